//! The file header: fixed, little-endian, readable without decoding anything else.

use std::fmt;

use thiserror::Error;

/// What a file of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A recording (`.rvm`).
    Recording,
    /// A snapshot (`.rvs`).
    Snapshot,
}

impl FileKind {
    /// First bytes of the file. The line ends show up a transfer that translated them.
    const fn magic(self) -> [u8; 8] {
        match self {
            Self::Recording => *b"\x89RVM\r\n\x1a\n",
            Self::Snapshot => *b"\x89RVS\r\n\x1a\n",
        }
    }

    /// The version that this crate writes, and the oldest reader that understands that.
    const fn versions(self) -> (u32, u32) {
        match self {
            Self::Recording => (FORMAT_VERSION, MINIMUM_READER_VERSION),
            Self::Snapshot => (SNAPSHOT_FORMAT_VERSION, SNAPSHOT_FORMAT_VERSION),
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Recording => "recording",
            Self::Snapshot => "snapshot",
        })
    }
}

/// The version of the format of snapshots that this crate writes and reads.
pub const SNAPSHOT_FORMAT_VERSION: u32 = 1;
/// The version of the format of recordings that this crate writes.
pub const FORMAT_VERSION: u32 = 2;
/// From this version on a checkpoint lists every page that was written since the one before, and not only those that hold
/// something else.
pub(crate) const EVERY_WRITTEN_PAGE_VERSION: u32 = 2;
/// The oldest reader that understands what this crate writes.
pub(crate) const MINIMUM_READER_VERSION: u32 = 1;
/// Bytes of the header that this crate writes.
pub(crate) const HEADER_BYTES: usize = 32;
/// The largest header that a later version may write.
const MAX_HEADER_BYTES: u32 = 4096;

/// The file header of a recording or of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileHeader {
    /// The version of the format that wrote the file.
    pub format_version: u32,
    /// The oldest format version whose readers understand the file.
    pub minimum_reader_version: u32,
    /// The version of the rules by which positions and virtual time are counted.
    pub rules_version: u32,
    /// Bytes before the first frame.
    pub header_bytes: u32,
}

/// Why bytes do not start with a header that this crate can use.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// The magic number is not there.
    #[error("this is not a Replayvm {0}: it does not start with the magic number of one")]
    OtherFile(FileKind),
    /// A snapshot where a recording is asked for.
    #[error(
        "this is a snapshot and not a recording: `replayvm run` continues it, `run --record` records that"
    )]
    IsSnapshot,
    /// A recording where a snapshot is asked for.
    #[error("this is a recording and not a snapshot: `replayvm snapshot save FILE@POS OUT` makes one of it")]
    IsRecording,
    /// The file ends within its header.
    #[error("the {file} ends within its header: {available} bytes of {HEADER_BYTES}")]
    Truncated {
        /// What the file is.
        file: FileKind,
        /// Bytes of the file.
        available: usize,
    },
    /// The header's checksum is wrong.
    #[error(
        "the {file}'s header is corrupted: checksum {stored:#010x} in the file, {computed:#010x} of its bytes"
    )]
    Corrupted {
        /// What the file is.
        file: FileKind,
        /// CRC32 in the file.
        stored: u32,
        /// CRC32 of the header's bytes.
        computed: u32,
    },
    /// The checksum is right and the fields make no sense.
    #[error("the {0}'s header is not valid: {1}")]
    Invalid(FileKind, &'static str),
    /// Only later versions understand the file.
    #[error(
        "the {file} has format version {written} and needs a reader of version {needed} or later, this one is of \
         version {known}: open it with a newer replayvm"
    )]
    Newer {
        /// What the file is.
        file: FileKind,
        /// Format version of the file.
        written: u32,
        /// Oldest reader that understands it.
        needed: u32,
        /// The version of this reader.
        known: u32,
    },
}

impl FileHeader {
    /// The header of a new file.
    pub(crate) const fn new(file: FileKind, rules_version: u32) -> Self {
        let (format_version, minimum_reader_version) = file.versions();
        Self { format_version, minimum_reader_version, rules_version, header_bytes: HEADER_BYTES as u32 }
    }

    pub(crate) fn to_bytes(self, file: FileKind) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&file.magic());
        bytes[8..12].copy_from_slice(&self.format_version.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.minimum_reader_version.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.rules_version.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.header_bytes.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header of a recording, of which the first 32 bytes are enough.
    ///
    /// # Errors
    /// Anything but a header of a version that this crate can read.
    pub fn read(bytes: &[u8]) -> Result<Self, HeaderError> {
        Self::read_as(FileKind::Recording, bytes)
    }

    /// The same of a file that is to be a `file`.
    pub(crate) fn read_as(file: FileKind, bytes: &[u8]) -> Result<Self, HeaderError> {
        let expected = file.magic();
        let magic = bytes.get(..expected.len()).unwrap_or(bytes);
        if magic.is_empty() || !expected.starts_with(magic) {
            return Err(match file {
                FileKind::Recording if magic == FileKind::Snapshot.magic() => HeaderError::IsSnapshot,
                FileKind::Snapshot if magic == FileKind::Recording.magic() => HeaderError::IsRecording,
                _ => HeaderError::OtherFile(file),
            });
        }
        let available = bytes.len();
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(HeaderError::Truncated { file, available });
        };
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (stored, computed) = (word(28), crc32fast::hash(&bytes[..28]));
        if stored != computed {
            return Err(HeaderError::Corrupted { file, stored, computed });
        }
        let header = Self {
            format_version: word(8),
            minimum_reader_version: word(12),
            rules_version: word(16),
            header_bytes: word(20),
        };
        let (known, _) = file.versions();
        if header.minimum_reader_version > known {
            let (written, needed) = (header.format_version, header.minimum_reader_version);
            return Err(HeaderError::Newer { file, written, needed, known });
        }
        if header.format_version == 0 || header.minimum_reader_version == 0 {
            return Err(HeaderError::Invalid(file, "there is no format version 0"));
        }
        if !(HEADER_BYTES as u32..=MAX_HEADER_BYTES).contains(&header.header_bytes) {
            return Err(HeaderError::Invalid(file, "the header is not between 32 and 4096 bytes long"));
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use FileKind::{Recording, Snapshot};

    use super::*;

    #[test]
    fn a_header_reads_back() {
        let header = FileHeader::new(Recording, 7);
        assert_eq!(FileHeader::read(&header.to_bytes(Recording)), Ok(header));
    }

    #[test]
    fn other_files_are_not_recordings_and_a_torn_header_is_a_torn_recording() {
        let bytes = FileHeader::new(Recording, 1).to_bytes(Recording);
        for other in [&b""[..], b"\x7fELF", b"\x89PNG\r\n\x1a\n and so on", b"\x89RVM\n\x1a\n"] {
            assert_eq!(FileHeader::read(other), Err(HeaderError::OtherFile(Recording)));
        }
        for length in 1..HEADER_BYTES {
            assert_eq!(
                FileHeader::read(&bytes[..length]),
                Err(HeaderError::Truncated { file: Recording, available: length })
            );
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = FileHeader::new(Recording, 1).to_bytes(Recording);
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = FileHeader::read(&bytes).unwrap_err();
            assert_eq!(!matches!(error, HeaderError::Corrupted { .. }), bit < 64, "bit {bit}: {error}");
        }
    }

    #[test]
    fn a_newer_format_says_what_to_do() {
        let header =
            FileHeader { format_version: 9, minimum_reader_version: 3, ..FileHeader::new(Recording, 1) };
        let error = FileHeader::read(&header.to_bytes(Recording)).unwrap_err();
        assert_eq!(
            error,
            HeaderError::Newer { file: Recording, written: 9, needed: 3, known: FORMAT_VERSION }
        );
        assert!(error.to_string().contains("newer replayvm"), "{error}");
        // Newer, and still readable.
        let header = FileHeader { format_version: 9, ..FileHeader::new(Recording, 1) };
        assert_eq!(FileHeader::read(&header.to_bytes(Recording)), Ok(header));
    }

    #[test]
    fn a_snapshot_is_no_recording_and_a_recording_no_snapshot() {
        let header = FileHeader::new(Snapshot, 7);
        let bytes = header.to_bytes(Snapshot);
        assert_eq!(FileHeader::read_as(Snapshot, &bytes), Ok(header));
        assert_eq!(FileHeader::read(&bytes), Err(HeaderError::IsSnapshot));
        let bytes = FileHeader::new(Recording, 7).to_bytes(Recording);
        assert_eq!(FileHeader::read_as(Snapshot, &bytes), Err(HeaderError::IsRecording));
        assert_eq!(FileHeader::read_as(Snapshot, b"x"), Err(HeaderError::OtherFile(Snapshot)));
    }
}
