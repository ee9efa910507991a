//! Why a snapshot is refused. Each variant names the field, the section or the page.

use std::fmt;

use thiserror::Error;

use crate::format::header::HeaderError;
use crate::reader::{FrameError, ReadError};

/// A part of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The machine description.
    Description,
    /// The image of this name.
    Image(String),
    /// The manifest.
    Manifest,
    /// The section of this name.
    Section(String),
    /// Stored pages.
    Pages,
    /// The checksum of all.
    Seal,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Description => f.write_str("machine description"),
            Self::Image(name) => write!(f, "image `{name}`"),
            Self::Manifest => f.write_str("manifest"),
            Self::Section(name) => write!(f, "section `{name}`"),
            Self::Pages => f.write_str("frame of stored pages"),
            Self::Seal => f.write_str("seal"),
        }
    }
}

/// Why a snapshot is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The file is no snapshot, or none that this version can read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A part is torn, corrupted, or no such part.
    #[error("the snapshot's {part} is damaged")]
    Damaged {
        /// Which.
        part: Part,
        /// What is wrong with it.
        #[source]
        source: FrameError,
    },
    /// Something else stands where a part belongs.
    #[error("the snapshot's {part} is missing: {found} stands in its place, at byte {offset}")]
    Missing {
        /// Which.
        part: Part,
        /// What is there.
        found: String,
        /// Offset of that in the file, in bytes.
        offset: u64,
    },
    /// A field says what cannot be.
    #[error("the snapshot's field `{field}` is wrong: {why}")]
    Field {
        /// Which.
        field: &'static str,
        /// What it says, and what holds.
        why: String,
    },
    /// A section is another than the one that the manifest lists.
    #[error("the snapshot's section `{name}` is not the one that its manifest lists: {why}")]
    Section {
        /// Which.
        name: String,
        /// What differs.
        why: String,
    },
    /// An image or a page.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// All parts hold, and together they are not what was sealed.
    #[error("the snapshot has been changed: its BLAKE3 is {found}, its seal says {expected}")]
    Seal {
        /// The sealed one.
        expected: blake3::Hash,
        /// The one of the bytes before the seal.
        found: blake3::Hash,
    },
    /// There are bytes after the end.
    #[error("the file goes on after the snapshot's seal, by {0} bytes")]
    Trailing(u64),
}
