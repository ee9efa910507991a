//! Frames: a 16-byte header (kind, checksum, length) and a payload.
//!
//! The checksum covers kind, length and payload; of a pages frame only the head of the payload, as each page is
//! checked against its own hash.

use std::fmt;

use thiserror::Error;

use crate::DecodeError;
use crate::format::pack::UnpackError;
use crate::page::PAGE_BYTES;

/// Bytes of a frame's header.
pub(crate) const FRAME_HEADER_BYTES: usize = 16;
/// Frames of an unknown kind with this bit may be skipped.
pub(crate) const OPTIONAL_KIND: u32 = 0x8000_0000;
/// Pages in one pages frame, at most.
pub(crate) const MAX_PAGES_IN_FRAME: usize = 1024;

const MIB: u64 = 1 << 20;

/// What a frame of a recording or of a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FrameKind {
    /// The machine description and the list of images; always the first frame.
    Description,
    /// A piece of an image.
    Image,
    /// Events and exits up to a position.
    Log,
    /// Pages of RAM.
    Pages,
    /// A checkpoint.
    Checkpoint,
    /// How the run ended.
    End,
    /// Where the other frames are; always the last frame.
    Index,
    /// What a snapshot is of, and what is in it. Only in snapshots, as all that follow.
    Manifest,
    /// A section of a snapshot's state.
    Section,
    /// The checksum of a snapshot; its last frame.
    Seal,
}

impl FrameKind {
    /// Every kind, in the order in which tables list them.
    pub const ALL: [Self; 10] = [
        Self::Description,
        Self::Image,
        Self::Log,
        Self::Pages,
        Self::Checkpoint,
        Self::End,
        Self::Index,
        Self::Manifest,
        Self::Section,
        Self::Seal,
    ];

    /// The name that messages and tables use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Description => "description",
            Self::Image => "image",
            Self::Log => "log",
            Self::Pages => "pages",
            Self::Checkpoint => "checkpoint",
            Self::End => "end",
            Self::Index => "index",
            Self::Manifest => "manifest",
            Self::Section => "section",
            Self::Seal => "seal",
        }
    }

    /// The number in the file.
    pub(crate) const fn code(self) -> u32 {
        match self {
            Self::Description => 1,
            Self::Image => 2,
            Self::Log => 3,
            Self::Pages => 4,
            Self::Checkpoint => 5,
            Self::End => 6,
            Self::Index => 7,
            Self::Manifest => 8,
            Self::Section => 9,
            Self::Seal => 10,
        }
    }

    pub(crate) fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The longest payload, in bytes, that a reader accepts and a writer writes.
    pub(crate) const fn max_payload_bytes(self) -> u64 {
        match self {
            Self::Description => 4 * MIB,
            Self::Image => 8 * MIB,
            Self::Log => 16 * MIB,
            Self::Pages => (MAX_PAGES_IN_FRAME * PAGE_BYTES) as u64 + MIB,
            Self::Checkpoint | Self::Manifest => 80 * MIB,
            Self::End | Self::Section | Self::Seal => MIB,
            Self::Index => 1024 * MIB,
        }
    }
}

impl fmt::Display for FrameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The longest payload accepted of an unknown frame that may be skipped.
const MAX_OPTIONAL_PAYLOAD_BYTES: u64 = 1024 * MIB;

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: u32,
    pub(crate) crc: u32,
    /// Bytes of the payload.
    pub(crate) length: u64,
}

impl FrameHeader {
    /// The header for a payload of `length` bytes of which `checked` are covered by the checksum.
    pub(crate) fn new(kind: u32, length: u64, checked: &[u8]) -> Self {
        Self { kind, crc: checksum(kind, length, checked), length }
    }

    pub(crate) fn to_bytes(self) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[..4].copy_from_slice(&self.kind.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.crc.to_le_bytes());
        bytes[8..].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; FRAME_HEADER_BYTES]) -> Self {
        let [k0, k1, k2, k3, c0, c1, c2, c3, length @ ..] = *bytes;
        Self {
            kind: u32::from_le_bytes([k0, k1, k2, k3]),
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
            length: u64::from_le_bytes(length),
        }
    }
}

fn checksum(kind: u32, length: u64, checked: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&kind.to_le_bytes());
    hasher.update(&length.to_le_bytes());
    hasher.update(checked);
    hasher.finalize()
}

/// A frame whose checksum holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    /// `None` for one that may be skipped.
    pub(crate) kind: Option<FrameKind>,
    pub(crate) payload: &'a [u8],
    /// Offset of the payload in the file.
    pub(crate) payload_offset: u64,
}

impl Frame<'_> {
    /// Offset of the byte after the frame.
    pub(crate) const fn end(&self) -> u64 {
        self.payload_offset + self.payload.len() as u64
    }
}

/// What is wrong with a frame.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file ends within the frame.
    #[error("the file ends within the frame: {needed} bytes needed, {available} there")]
    Truncated {
        /// Bytes that the frame needs, as far as known.
        needed: u64,
        /// Bytes to the end of the file.
        available: u64,
    },
    /// No frame has such a kind.
    #[error("unknown frame kind {0:#x}")]
    UnknownKind(u32),
    /// The payload is longer than any writer writes.
    #[error("a payload of {length} bytes is longer than the limit of {limit}")]
    TooLong {
        /// Bytes declared.
        length: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The checksum is wrong.
    #[error("checksum {stored:#010x} in the file, {computed:#010x} of its bytes")]
    Checksum {
        /// CRC32 in the file.
        stored: u32,
        /// CRC32 of the bytes.
        computed: u32,
    },
    /// The payload is not laid out as a frame of its kind is.
    #[error("the payload is not valid: {0}")]
    Layout(String),
    /// A compressed part does not unpack.
    #[error("a compressed part {0}")]
    Unpack(UnpackError),
    /// Events, exits or page references do not decode.
    #[error("{0}")]
    Decode(DecodeError),
    /// Something is earlier than what stands before it in the file.
    #[error("{what} at {position} comes after {after} in the file")]
    OutOfOrder {
        /// What is too early.
        what: &'static str,
        /// Its position.
        position: crate::Position,
        /// The latest position before it.
        after: crate::Position,
    },
    /// The frame may not stand where it stands.
    #[error("{0}")]
    OutOfPlace(&'static str),
}

/// Reads the frame at `offset` of `file` and checks its size and its checksum.
pub(crate) fn read(file: &[u8], offset: u64) -> Result<Frame<'_>, Problem> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let rest = file.get(start..).unwrap_or_default();
    let available = rest.len() as u64;
    let Some((header, rest)) = rest.split_first_chunk() else {
        return Err(Problem::Truncated { needed: FRAME_HEADER_BYTES as u64, available });
    };
    let header = FrameHeader::from_bytes(header);
    let kind = FrameKind::from_code(header.kind);
    let limit = match kind {
        Some(kind) => kind.max_payload_bytes(),
        None if header.kind & OPTIONAL_KIND != 0 => MAX_OPTIONAL_PAYLOAD_BYTES,
        None => return Err(Problem::UnknownKind(header.kind)),
    };
    if header.length > limit {
        return Err(Problem::TooLong { length: header.length, limit });
    }
    let Some(payload) = rest.get(..header.length as usize) else {
        return Err(Problem::Truncated { needed: FRAME_HEADER_BYTES as u64 + header.length, available });
    };
    let checked = match kind {
        Some(FrameKind::Pages) => pages_head(payload)?,
        _ => payload,
    };
    let computed = checksum(header.kind, header.length, checked);
    if computed != header.crc {
        return Err(Problem::Checksum { stored: header.crc, computed });
    }
    Ok(Frame { kind, payload, payload_offset: offset + FRAME_HEADER_BYTES as u64 })
}

/// The part of a pages frame's payload before the pages; its first four bytes are its length.
pub(crate) fn pages_head(payload: &[u8]) -> Result<&[u8], Problem> {
    let length = payload.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize);
    let head = payload.get(..length).filter(|head| head.len() >= 8);
    head.ok_or_else(|| Problem::Layout("the head of the pages does not fit the payload".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = FrameHeader::new(kind, payload.len() as u64, payload).to_bytes().to_vec();
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn a_frame_reads_back() {
        let bytes = [&b"before"[..], &frame(6, b"payload"), b"after"].concat();
        let frame = read(&bytes, 6).unwrap();
        assert_eq!(
            (frame.kind, frame.payload, frame.payload_offset),
            (Some(FrameKind::End), &b"payload"[..], 22)
        );
        assert_eq!(frame.end(), 29);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = frame(6, b"payload");
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bytes, 0).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn an_unknown_kind_is_an_error_unless_it_may_be_skipped() {
        assert_eq!(read(&frame(99, b""), 0).unwrap_err(), Problem::UnknownKind(99));
        assert_eq!(read(&frame(OPTIONAL_KIND | 99, b"x"), 0).unwrap().kind, None);
    }

    #[test]
    fn a_length_is_capped_by_kind_and_by_the_file() {
        let mut bytes = frame(6, b"payload");
        bytes[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(read(&bytes, 0).unwrap_err(), Problem::TooLong { length: u64::MAX, limit: MIB });
        bytes[8..16].copy_from_slice(&8_u64.to_le_bytes());
        assert_eq!(read(&bytes, 0).unwrap_err(), Problem::Truncated { needed: 24, available: 23 });
        assert_eq!(read(&bytes, 20).unwrap_err(), Problem::Truncated { needed: 16, available: 3 });
        assert_eq!(read(&bytes, u64::MAX).unwrap_err(), Problem::Truncated { needed: 16, available: 0 });
    }
}
