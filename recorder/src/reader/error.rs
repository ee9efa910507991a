//! Why a recording, or a part of one, cannot be read.

use std::fmt;

use thiserror::Error;

use crate::format::frame::{FrameKind, Problem};
use crate::format::header::HeaderError;
use crate::page::PageHash;

/// A frame that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameError {
    /// Number of the frame in the file, from 0.
    pub frame: u64,
    /// Its kind, where that is known.
    pub kind: Option<FrameKind>,
    /// Offset of its header in the file, in bytes.
    pub offset: u64,
    /// What is wrong with it.
    pub problem: Problem,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frame {}", self.frame)?;
        if let Some(kind) = self.kind {
            write!(f, " ({kind})")?;
        }
        write!(f, " at byte {}: {}", self.offset, self.problem)
    }
}

impl std::error::Error for FrameError {}

/// Why a recording, or a part of one, cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file is no recording, or none that this version can read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The machine description or an image is damaged or missing: there is nothing to replay with.
    #[error("the recording is of no use without its description and images")]
    Unusable(#[source] FrameError),
    /// A frame is damaged.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// An image's bytes are not the ones described.
    #[error(
        "image {index} (`{name}`) does not have the size and hash of its description; it starts in the frame at byte {offset}"
    )]
    Image {
        /// Index of the image.
        index: usize,
        /// Its name.
        name: String,
        /// Offset of its first frame in the file, in bytes; 0 for an image without bytes.
        offset: u64,
    },
    /// A page's content does not have its hash.
    #[error(
        "the content of page {gfn:#x}, at byte {offset} of the file, is corrupted: hash {found}, not {expected}"
    )]
    Page {
        /// Guest frame number.
        gfn: u64,
        /// Offset of the content in the file, in bytes.
        offset: u64,
        /// The hash it was stored under.
        expected: PageHash,
        /// The hash of what is there.
        found: PageHash,
    },
    /// A page reference of some other recording.
    #[error("page {gfn:#x} is not in this file")]
    ForeignPage {
        /// Guest frame number.
        gfn: u64,
    },
    /// There is no such image.
    #[error("there is no image {index}: the recording has {count}")]
    NoSuchImage {
        /// The index asked for.
        index: usize,
        /// Images in the recording.
        count: usize,
    },
    /// There is no such checkpoint.
    #[error("there is no checkpoint {index}: the recording has {count}")]
    NoSuchCheckpoint {
        /// The index asked for.
        index: usize,
        /// Checkpoints in the recording.
        count: usize,
    },
}

/// What was done to open a recording that was not closed, or that is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes of the prefix that is used.
    pub valid_bytes: u64,
    /// Bytes after it, which are not.
    pub lost_bytes: u64,
    /// Why.
    pub reason: RecoveryReason,
}

/// Why only a prefix of a recording is used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecoveryReason {
    /// All frames are whole, and the last of them are missing: the recorder did not come to close the file.
    #[error("the recording was not closed")]
    NotClosed,
    /// A frame is torn or corrupted.
    #[error(transparent)]
    Damaged(FrameError),
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {} bytes are used, {} are lost", self.reason, self.valid_bytes, self.lost_bytes)
    }
}
