//! The file header: fixed, little-endian, readable without decoding anything else.

use thiserror::Error;

/// First bytes of a recording. The line ends show up a transfer that translated them.
pub(crate) const MAGIC: [u8; 8] = *b"\x89RVM\r\n\x1a\n";
/// The version of the format that this crate writes.
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

/// The file header of a recording.
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
    #[error("this is not a Replayvm recording: it does not start with the magic number of one")]
    NotARecording,
    /// The file ends within its header.
    #[error("the recording ends within its header: {available} bytes of {HEADER_BYTES}")]
    Truncated {
        /// Bytes of the file.
        available: usize,
    },
    /// The header's checksum is wrong.
    #[error(
        "the recording's header is corrupted: checksum {stored:#010x} in the file, {computed:#010x} of its bytes"
    )]
    Corrupted {
        /// CRC32 in the file.
        stored: u32,
        /// CRC32 of the header's bytes.
        computed: u32,
    },
    /// The checksum is right and the fields make no sense.
    #[error("the recording's header is not valid: {0}")]
    Invalid(&'static str),
    /// Only later versions understand the file.
    #[error(
        "the recording has format version {written} and needs a reader of version {needed} or later, this one is of \
         version {FORMAT_VERSION}: open it with a newer replayvm"
    )]
    Newer {
        /// Format version of the file.
        written: u32,
        /// Oldest reader that understands it.
        needed: u32,
    },
}

impl FileHeader {
    /// The header of a new recording.
    pub(crate) const fn new(rules_version: u32) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            minimum_reader_version: MINIMUM_READER_VERSION,
            rules_version,
            header_bytes: HEADER_BYTES as u32,
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.format_version.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.minimum_reader_version.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.rules_version.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.header_bytes.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header of `file`, of which the first 32 bytes are enough.
    ///
    /// # Errors
    /// Anything but a header of a version that this crate can read.
    pub fn read(file: &[u8]) -> Result<Self, HeaderError> {
        let magic = file.get(..MAGIC.len()).unwrap_or(file);
        if magic.is_empty() || !MAGIC.starts_with(magic) {
            return Err(HeaderError::NotARecording);
        }
        let Some(bytes) = file.first_chunk::<HEADER_BYTES>() else {
            return Err(HeaderError::Truncated { available: file.len() });
        };
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (stored, computed) = (word(28), crc32fast::hash(&bytes[..28]));
        if stored != computed {
            return Err(HeaderError::Corrupted { stored, computed });
        }
        let header = Self {
            format_version: word(8),
            minimum_reader_version: word(12),
            rules_version: word(16),
            header_bytes: word(20),
        };
        if header.minimum_reader_version > FORMAT_VERSION {
            let (written, needed) = (header.format_version, header.minimum_reader_version);
            return Err(HeaderError::Newer { written, needed });
        }
        if header.format_version == 0 || header.minimum_reader_version == 0 {
            return Err(HeaderError::Invalid("there is no format version 0"));
        }
        if !(HEADER_BYTES as u32..=MAX_HEADER_BYTES).contains(&header.header_bytes) {
            return Err(HeaderError::Invalid("the header is not between 32 and 4096 bytes long"));
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back() {
        let header = FileHeader::new(7);
        assert_eq!(FileHeader::read(&header.to_bytes()), Ok(header));
    }

    #[test]
    fn other_files_are_not_recordings_and_a_torn_header_is_a_torn_recording() {
        let bytes = FileHeader::new(1).to_bytes();
        for other in [&b""[..], b"\x7fELF", b"\x89PNG\r\n\x1a\n and so on", b"\x89RVM\n\x1a\n"] {
            assert_eq!(FileHeader::read(other), Err(HeaderError::NotARecording));
        }
        for length in 1..HEADER_BYTES {
            assert_eq!(FileHeader::read(&bytes[..length]), Err(HeaderError::Truncated { available: length }));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = FileHeader::new(1).to_bytes();
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = FileHeader::read(&bytes).unwrap_err();
            assert_eq!(matches!(error, HeaderError::NotARecording), bit < 64, "bit {bit}: {error}");
        }
    }

    #[test]
    fn a_newer_format_says_what_to_do() {
        let header = FileHeader { format_version: 9, minimum_reader_version: 3, ..FileHeader::new(1) };
        let error = FileHeader::read(&header.to_bytes()).unwrap_err();
        assert_eq!(error, HeaderError::Newer { written: 9, needed: 3 });
        assert!(error.to_string().contains("newer replayvm"), "{error}");
        // Newer, and still readable.
        let header = FileHeader { format_version: 9, ..FileHeader::new(1) };
        assert_eq!(FileHeader::read(&header.to_bytes()), Ok(header));
    }
}
