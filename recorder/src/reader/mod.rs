//! Reading a recording, which is untrusted input.
//!
//! Opening finds the frames and checks the order of what they hold; batches, checkpoints and pages are decoded when
//! they are asked for, and checked again then.

/// Checkpoints and pages.
mod checkpoint;
/// What is in a file.
pub(crate) mod contents;
/// Events and exits.
mod entries;
/// Why a recording cannot be read.
mod error;
/// Finding the frames.
pub(crate) mod scan;
/// What a recording is made of.
mod statistics;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

pub use checkpoint::{Checkpoint, PageRef};
pub use contents::CheckpointInfo;
use contents::{Contents, FrameAt};
use entries::Entries;
pub use entries::{Events, Exits};
pub use error::{FrameError, ReadError, Recovery, RecoveryReason};
pub use statistics::Statistics;

use crate::format::IMAGE_CHUNK_BYTES;
use crate::format::frame::{self, Frame, Problem};
use crate::format::header::{EVERY_WRITTEN_PAGE_VERSION, FileHeader};
use crate::format::payload::{self, access};
use crate::{End, Image, MachineDescription, Position};

/// An open recording. Clones share it.
#[derive(Clone)]
pub struct Recording {
    inner: Arc<Inner>,
}

struct Inner {
    bytes: Box<dyn AsRef<[u8]> + Send + Sync>,
    header: FileHeader,
    contents: Contents,
    recovery: Option<Recovery>,
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording")
            .field("header", &self.inner.header)
            .field("recovery", &self.inner.recovery)
            .finish_non_exhaustive()
    }
}

impl Recording {
    /// Opens a recording, best one that is mapped. Of a recording that was not closed or is damaged, the longest valid
    /// prefix is used; [`Self::recovery`] then says so.
    ///
    /// # Errors
    /// [`ReadError::Header`] for what is no recording or a newer one, [`ReadError::Unusable`] where the description
    /// or an image is damaged.
    pub fn open(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Result<Self, ReadError> {
        let file = bytes.as_ref();
        let header = FileHeader::read(file)?;
        let (contents, recovery) = scan::read(file, u64::from(header.header_bytes))?;
        Ok(Self { inner: Arc::new(Inner { bytes: Box::new(bytes), header, contents, recovery }) })
    }

    /// The frames of a snapshot, which is whole: description, images and pages.
    pub(crate) fn of_snapshot(
        bytes: impl AsRef<[u8]> + Send + Sync + 'static,
        header: FileHeader,
        contents: Contents,
    ) -> Self {
        Self { inner: Arc::new(Inner { bytes: Box::new(bytes), header, contents, recovery: None }) }
    }

    /// BLAKE3 of the file as it is.
    #[must_use]
    pub fn file_hash(&self) -> [u8; 32] {
        *blake3::hash(self.bytes()).as_bytes()
    }

    /// The file header.
    #[must_use]
    pub fn header(&self) -> FileHeader {
        self.inner.header
    }

    /// Whether a page that a checkpoint does not list was not written since the checkpoint before. Otherwise it may have been,
    /// with what it held already.
    #[must_use]
    pub fn lists_every_written_page(&self) -> bool {
        self.inner.header.format_version >= EVERY_WRITTEN_PAGE_VERSION
    }

    /// Why only a prefix is used, where that is so.
    #[must_use]
    pub fn recovery(&self) -> Option<&Recovery> {
        self.inner.recovery.as_ref()
    }

    /// The machine.
    #[must_use]
    pub fn description(&self) -> &MachineDescription {
        &self.contents().machine
    }

    /// The images, without their bytes.
    #[must_use]
    pub fn images(&self) -> &[Image] {
        &self.contents().images
    }

    /// The bytes of image `index`, checked against its hash; borrowed from the file where they lie there in one piece.
    ///
    /// # Errors
    /// [`ReadError::NoSuchImage`], [`ReadError::Frame`] and [`ReadError::Image`] where it is damaged.
    pub fn image_bytes(&self, index: usize) -> Result<Cow<'_, [u8]>, ReadError> {
        let contents = self.contents();
        let missing = ReadError::NoSuchImage { index, count: contents.images.len() };
        let image = contents.images.get(index).ok_or(missing)?;
        let chunks = contents.chunks.get(contents.stored_as(index)).map_or(&[][..], Vec::as_slice);
        let mut bytes = Cow::Borrowed(&[][..]);
        for at in chunks {
            let problem = |problem| self.frame_error(*at, problem);
            let chunk = access::<payload::ArchivedImageChunk>(self.frame(*at)?.payload).map_err(problem)?;
            let piece = chunk.content.unpack(IMAGE_CHUNK_BYTES);
            let piece = piece.map_err(|error| problem(Problem::Unpack(error)))?;
            if bytes.is_empty() {
                bytes = piece;
            } else {
                bytes.to_mut().extend_from_slice(&piece);
            }
        }
        if bytes.len() as u64 != image.size || *blake3::hash(&bytes).as_bytes() != image.hash {
            let offset = chunks.first().map_or(0, |at| at.offset);
            return Err(ReadError::Image { index, name: image.name.clone(), offset });
        }
        Ok(bytes)
    }

    /// All events in order.
    #[must_use]
    pub fn events(&self) -> Events {
        self.events_from(Position::START)
    }

    /// The events at or after `from`.
    #[must_use]
    pub fn events_from(&self, from: Position) -> Events {
        Events(Entries::from_position(self.clone(), from))
    }

    /// The events after the first `number`: with [`CheckpointInfo::events_before`], those to apply after a restore.
    #[must_use]
    pub fn events_from_number(&self, number: u64) -> Events {
        Events(Entries::from_number(self.clone(), number))
    }

    /// All exits in order.
    #[must_use]
    pub fn exits(&self) -> Exits {
        self.exits_from(Position::START)
    }

    /// The exits at or after `from`.
    #[must_use]
    pub fn exits_from(&self, from: Position) -> Exits {
        Exits(Entries::from_position(self.clone(), from))
    }

    /// The exits after the first `number`.
    #[must_use]
    pub fn exits_from_number(&self, number: u64) -> Exits {
        Exits(Entries::from_number(self.clone(), number))
    }

    /// The checkpoints in order of position, without their state.
    #[must_use]
    pub fn checkpoints(&self) -> &[CheckpointInfo] {
        &self.contents().checkpoints
    }

    /// How the run ended; `None` where the recording does not come to its end.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        self.contents().end.as_ref()
    }

    /// How far the run is recorded: every event and exit before this position is there, and of those at it the ones that
    /// had happened when it was written.
    #[must_use]
    pub fn last_position(&self) -> Position {
        self.contents().reached
    }

    /// What the recording is made of.
    #[must_use]
    pub fn statistics(&self) -> &Statistics {
        &self.contents().statistics
    }

    /// Bytes of the file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.bytes().len() as u64
    }

    /// Reads everything there is, as every use of the recording would.
    ///
    /// # Errors
    /// The first one that any of it gives.
    pub fn verify(&self) -> Result<(), ReadError> {
        for index in 0..self.images().len() {
            self.image_bytes(index)?;
        }
        self.events().try_for_each(|event| event.map(drop))?;
        self.exits().try_for_each(|exit| exit.map(drop))?;
        for index in 0..self.checkpoints().len() {
            for page in self.checkpoint(index)?.pages {
                self.page(&page)?;
            }
        }
        Ok(())
    }

    pub(crate) fn contents(&self) -> &Contents {
        &self.inner.contents
    }

    /// The whole file, what is not used of it included.
    pub(crate) fn bytes(&self) -> &[u8] {
        (*self.inner.bytes).as_ref()
    }

    /// Reads a frame that was there at opening.
    pub(crate) fn frame(&self, at: FrameAt) -> Result<Frame<'_>, FrameError> {
        frame::read(self.bytes(), at.offset).map_err(|problem| self.frame_error(at, problem))
    }

    pub(crate) fn frame_error(&self, at: FrameAt, problem: Problem) -> FrameError {
        scan::error(self.bytes(), at, problem)
    }
}

#[cfg(test)]
mod tests;
