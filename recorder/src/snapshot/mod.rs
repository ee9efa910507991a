//! A snapshot: one state of a machine as a file of its own. It is made of a recording's frames, with a manifest, a frame for each
//! section and a seal; `docs/snapshots.md` describes the bytes. Unlike a recording it is whole, or it is refused.

/// Why a snapshot is refused.
mod error;
/// From a file to a snapshot that holds, or to what is wrong with it.
mod read;
#[cfg(test)]
mod tests;
/// From a machine's state to a file.
mod write;

use rkyv::{Archive, Deserialize, Serialize};

pub use error::{Part, SnapshotError};
pub use read::Snapshot;
pub use write::NewSnapshot;

use crate::{Digest, Position};

/// Sections, at most.
const MAX_SECTIONS: usize = 256;

/// What a snapshot is of.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Manifest {
    /// The recording that it was taken from.
    pub source: Source,
    /// Where the machine stands, every input of the position applied.
    pub position: Position,
    /// Instructions retired since power-on.
    pub instructions: u64,
    /// Digest of the whole machine, as a recording has it.
    pub digest: Digest,
    /// Digest of RAM, and of what the guest has written to its disks.
    pub ram: Digest,
    /// The sections that follow, in their order.
    pub sections: Vec<SectionEntry>,
}

/// Where a snapshot comes from.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Source {
    /// File name of the recording, without its folder.
    pub name: String,
    /// BLAKE3 of the recording's file as it was then.
    pub hash: [u8; 32],
}

/// A section as the manifest lists it.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct SectionEntry {
    /// The component's name, unique in a machine.
    pub name: String,
    /// Version of the layout of its bytes.
    pub version: u32,
    /// How many bytes.
    pub size: u64,
    /// [`crate::Section::digest`].
    pub digest: Digest,
}

/// Manifest frame.
#[derive(Debug, Archive, Serialize, Deserialize)]
struct ManifestFrame {
    manifest: Manifest,
    /// Pages in `pages`.
    listed_pages: u64,
    /// Pages stored in the frames that follow.
    stored_pages: u64,
    /// Every page that is not zeros: see `columns::page_table`. Not compressed: a small file cannot claim many pages.
    pages: Vec<u8>,
}

/// Seal frame.
#[derive(Debug, Archive, Serialize, Deserialize)]
struct Seal {
    /// Bytes before this frame.
    bytes: u64,
    /// Their BLAKE3.
    hash: [u8; 32],
}
