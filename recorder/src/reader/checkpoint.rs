//! Checkpoints and pages out of a recording.

use std::collections::BTreeMap;

use super::Recording;
use super::contents::{CheckpointInfo, FrameAt, PagesAt, PagesFrame, pages_frame};
use super::error::ReadError;
use crate::columns::page_table::{self, Slot};
use crate::format::MAX_CHECKPOINT_BODY_BYTES;
use crate::format::frame::Problem;
use crate::format::payload::{self, access, decode};
use crate::page::{PAGE_BYTES, Page, PageHash, ZERO_PAGE};
use crate::{Digest, Section};

/// A checkpoint out of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Where it is.
    pub info: CheckpointInfo,
    /// The state of everything but RAM.
    pub sections: Vec<Section>,
    /// Digests by component, RAM included.
    pub digests: Vec<(String, Digest)>,
    /// The pages that were written since the checkpoint before (since all zeros, for the first), by guest frame number, with
    /// what they hold now. Those that hold what they held before are among them if [`Recording::lists_every_written_page`].
    pub pages: Vec<PageRef>,
}

/// A page of RAM at a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRef {
    /// Guest frame number: the physical address divided by 4096. Less than 2^40, whatever the size of RAM.
    pub gfn: u64,
    /// Its content.
    pub hash: PageHash,
    /// Where that is stored.
    slot: Slot,
}

impl Recording {
    /// Checkpoint `index`, by order of position.
    ///
    /// # Errors
    /// [`ReadError::NoSuchCheckpoint`], and [`ReadError::Frame`] where it, or the hashes of its pages, are damaged.
    pub fn checkpoint(&self, index: usize) -> Result<Checkpoint, ReadError> {
        let info = self.checkpoint_info(index)?;
        let body = self.body(&info)?;
        let pages = self.resolve(body.pages)?;
        Ok(Checkpoint { info, sections: body.sections, digests: body.digests, pages })
    }

    /// All pages of RAM at checkpoint `index` that were ever anything but zeros, by guest frame number. Costs as much as
    /// the page tables of all checkpoints up to it.
    ///
    /// # Errors
    /// As [`Self::checkpoint`], for any of those.
    pub fn memory_at(&self, index: usize) -> Result<Vec<PageRef>, ReadError> {
        self.checkpoint_info(index)?;
        let mut memory = BTreeMap::new();
        for info in self.checkpoints().iter().take(index + 1) {
            memory.extend(self.body(info)?.pages);
        }
        self.resolve(memory)
    }

    /// The content of a page, checked against its hash.
    ///
    /// # Errors
    /// [`ReadError::Page`] where the content is corrupted, [`ReadError::ForeignPage`].
    pub fn page(&self, page: &PageRef) -> Result<&Page, ReadError> {
        let foreign = ReadError::ForeignPage { gfn: page.gfn };
        if page.slot == 0 {
            return if page.hash.is_zero() { Ok(&ZERO_PAGE) } else { Err(foreign) };
        }
        let offset = self.page_file_offset(page).ok_or(foreign.clone())?;
        let start = usize::try_from(offset).map_err(|_| foreign.clone())?;
        let content = self.bytes().get(start..).and_then(|rest| rest.first_chunk::<PAGE_BYTES>());
        let content = content.ok_or(foreign)?;
        let found = PageHash::of(content);
        if found != page.hash {
            return Err(ReadError::Page { gfn: page.gfn, offset, expected: page.hash, found });
        }
        Ok(content)
    }

    /// Where a page's content is in the file, in bytes: a multiple of 4096. `None` for the page of zeros, which is not
    /// stored. Call [`Self::page`] before mapping it, as nothing is checked here.
    #[must_use]
    pub fn page_file_offset(&self, page: &PageRef) -> Option<u64> {
        let number = page.slot.checked_sub(1)?;
        let pages = self.pages_with(number)?;
        Some(pages.data_offset + (number - pages.first_page) * PAGE_BYTES as u64)
    }

    fn checkpoint_info(&self, index: usize) -> Result<CheckpointInfo, ReadError> {
        let checkpoints = self.checkpoints();
        let missing = ReadError::NoSuchCheckpoint { index, count: checkpoints.len() };
        checkpoints.get(index).copied().ok_or(missing)
    }

    fn body(&self, info: &CheckpointInfo) -> Result<Body, ReadError> {
        let at = FrameAt { number: info.frame, offset: info.offset };
        let problem = |problem| self.frame_error(at, problem);
        let frame = self.frame(at)?;
        let archived = access::<payload::ArchivedCheckpointFrame>(frame.payload).map_err(problem)?;
        let bytes = archived.body.unpack(MAX_CHECKPOINT_BODY_BYTES);
        let bytes = bytes.map_err(|error| problem(Problem::Unpack(error)))?;
        let body = access::<payload::ArchivedCheckpointBody>(&bytes).map_err(problem)?;
        let pages = page_table::decode(&body.pages, info.listed_pages, info.stored_pages);
        Ok(Body {
            sections: decode::<Vec<Section>>(&body.sections).map_err(problem)?,
            digests: decode::<Vec<(String, Digest)>>(&body.digests).map_err(problem)?,
            pages: pages.map_err(|error| problem(Problem::Decode(error)))?,
        })
    }

    /// Looks up hashes.
    pub(crate) fn resolve(
        &self,
        pages: impl IntoIterator<Item = (u64, Slot)>,
    ) -> Result<Vec<PageRef>, ReadError> {
        let mut last: Option<PagesFrame<'_>> = None;
        let resolve = |(gfn, slot): (u64, Slot)| {
            let Some(number) = slot.checked_sub(1) else {
                return Ok(PageRef { gfn, hash: PageHash::ZERO, slot });
            };
            let inside = |frame: &PagesFrame<'_>| {
                number >= frame.at.first_page && number - frame.at.first_page < frame.at.count
            };
            let frame = match last.filter(inside) {
                Some(frame) => frame,
                None => {
                    let pages = self.pages_with(number).ok_or(ReadError::ForeignPage { gfn })?;
                    *last.insert(self.pages_frame(pages)?)
                }
            };
            let hash = frame.head.hashes.get((number - frame.at.first_page) as usize);
            let hash = hash.ok_or(ReadError::ForeignPage { gfn })?;
            Ok(PageRef { gfn, hash: PageHash(hash.to_native()), slot })
        };
        pages.into_iter().map(resolve).collect()
    }

    /// The frame that holds stored page `number`.
    fn pages_with(&self, number: u64) -> Option<PagesAt> {
        let frames = &self.contents().pages;
        let after = frames.partition_point(|pages| pages.first_page <= number);
        let pages = *frames.get(after.checked_sub(1)?)?;
        (number - pages.first_page < pages.count).then_some(pages)
    }

    /// Validates a pages frame, which may be known from the index only.
    fn pages_frame(&self, pages: PagesAt) -> Result<PagesFrame<'_>, ReadError> {
        let problem = |problem| self.frame_error(pages.at, problem);
        let frame = pages_frame(pages.at, &self.frame(pages.at)?).map_err(problem)?;
        let found = (frame.at.first_page, frame.at.count, frame.at.data_offset);
        if found != (pages.first_page, pages.count, pages.data_offset) {
            return Err(problem(Problem::OutOfPlace("the pages are not the ones in the index")).into());
        }
        Ok(frame)
    }
}

/// A decoded checkpoint body.
struct Body {
    sections: Vec<Section>,
    digests: Vec<(String, Digest)>,
    pages: Vec<(u64, Slot)>,
}
