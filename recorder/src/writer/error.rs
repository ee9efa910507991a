//! Why a recording or a snapshot cannot be written.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::{FileKind, Position};

/// Why a recording or a snapshot cannot be written. Once the file itself fails, every later call returns that same failure.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The operating system refused; what is in the file up to there is a valid prefix.
    #[error("cannot {action} the {file} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the file is.
        file: FileKind,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// Something is earlier than what was recorded before it.
    #[error("{what} at {at} cannot be recorded: the recording has come to {after} already")]
    OutOfOrder {
        /// What is too early.
        what: &'static str,
        /// Its position.
        at: Position,
        /// The position that it must not be before.
        after: Position,
    },
    /// An image is not the one described.
    #[error("the bytes of image {index} (`{name}`) do not have the size and hash of its description")]
    WrongImage {
        /// Index of the image.
        index: usize,
        /// Its name.
        name: String,
    },
    /// More images than a recording can hold.
    #[error("{count} images are more than the {limit} that a recording can hold")]
    TooManyImages {
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// A checkpoint names a page whose content was never given.
    #[error("the checkpoint at {at} names page {gfn:#x} by a hash whose content is not stored")]
    MissingPage {
        /// The checkpoint.
        at: Position,
        /// The guest frame number.
        gfn: u64,
    },
    /// A checkpoint names a page twice, or one beyond all physical addresses.
    #[error("the checkpoint at {at} names page {gfn:#x} twice or beyond physical memory")]
    BadPage {
        /// The checkpoint.
        at: Position,
        /// The guest frame number.
        gfn: u64,
    },
    /// A page was handed over with the hash of another.
    #[error("the checkpoint at {at} has a page whose content does not have the hash it is given with")]
    WrongHash {
        /// The checkpoint.
        at: Position,
    },
    /// More than a reader would accept in one frame.
    #[error("{what} of {bytes} bytes is more than the {limit} that a recording can hold in one piece")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A payload could not be laid out.
    #[error("cannot lay out a {frame} frame: {reason}")]
    Layout {
        /// The kind of frame.
        frame: crate::FrameKind,
        /// What rkyv said.
        reason: String,
    },
    /// The writer thread could not be started or ended without a word.
    #[error("the recording's writer thread is gone")]
    ThreadGone,
}
