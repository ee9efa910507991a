//! Patching recordings, byte by byte. See `docs/trace-format.md`.

use std::fs;
use std::path::Path;

/// Where the header's words are.
pub mod header {
    /// Format version of the writer.
    pub const FORMAT_VERSION: usize = 8;
    /// Version of the oldest reader that understands the file.
    pub const MINIMUM_READER: usize = 12;
    /// Version of the rules of positions and virtual time.
    pub const RULES: usize = 16;
    /// Checksum of what is before it.
    pub const CHECKSUM: usize = 28;
}

/// Bytes of the header.
const HEADER: usize = 32;
/// Kind of a checkpoint frame.
const CHECKPOINT: u32 = 5;
/// Kind of a pages frame.
const PAGES: u32 = 4;
/// Bytes before a frame's payload.
const FRAME_HEADER: usize = 16;

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Puts words into the header of a recording, and the right checksum behind them.
pub fn patch_header(bytes: &mut [u8], words: &[(usize, u32)]) {
    for (at, value) in words {
        bytes[*at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    let checksum = crc32fast::hash(&bytes[..header::CHECKSUM]);
    bytes[header::CHECKSUM..header::CHECKSUM + 4].copy_from_slice(&checksum.to_le_bytes());
}

/// Offset and length of each frame, with its header; the kind first.
pub fn frames(bytes: &[u8]) -> Vec<(u32, usize, usize)> {
    let mut at = word(bytes, 20) as usize;
    let mut found = Vec::new();
    while at + FRAME_HEADER <= bytes.len() {
        let length = FRAME_HEADER + word(bytes, at + 8) as usize;
        found.push((word(bytes, at), at, length));
        at += length;
    }
    found
}

/// Checkpoints of which all bytes are there.
pub fn whole_checkpoints(bytes: &[u8]) -> usize {
    if bytes.len() < HEADER {
        return 0;
    }
    frames(bytes)
        .iter()
        .filter(|(kind, at, length)| *kind == CHECKPOINT && at + length <= bytes.len())
        .count()
}

/// Offset of the first stored page of RAM.
pub fn first_page(bytes: &[u8]) -> usize {
    let (_, at, _) = frames(bytes).into_iter().find(|(kind, ..)| *kind == PAGES).expect("a pages frame");
    at + FRAME_HEADER + word(bytes, at + FRAME_HEADER) as usize
}

/// Puts another version of the rules into the description, and the right checksum before it.
pub fn patch_rules_of_description(bytes: &mut [u8], rules: u32) {
    let (_, at, length) = frames(bytes)[0];
    // The archive's root is its last 94 bytes; memory_bytes and ns_per_tick come first there.
    let field = at + length - 94 + 8 + 4;
    bytes[field..field + 4].copy_from_slice(&rules.to_le_bytes());
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&bytes[at..at + 4]);
    checksum.update(&bytes[at + 8..at + length]);
    bytes[at + 4..at + 8].copy_from_slice(&checksum.finalize().to_le_bytes());
}

/// Copies a recording and changes the copy.
pub fn copy_damaged(from: &Path, to: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(from).expect("a recording can be read");
    change(&mut bytes);
    fs::write(to, bytes).expect("a folder of ours can be written");
}
