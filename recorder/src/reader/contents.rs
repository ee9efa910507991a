//! What is in a file, gathered frame by frame. Order and bounds are checked here; batches, pages and checkpoints are
//! not decoded.

use super::statistics::Statistics;
use crate::columns::{DecodeError, MAX_BATCH, MAX_COLUMN_BYTES};
use crate::format::frame::{FRAME_HEADER_BYTES, Frame, FrameKind, MAX_PAGES_IN_FRAME, Problem, pages_head};
use crate::format::pack::{ArchivedPacked, UnpackError};
use crate::format::payload::{self, IndexEntry, access, decode, native};
use crate::format::{IMAGE_CHUNK_BYTES, IMAGE_RATIO, MAX_CHECKPOINT_BODY_BYTES, MAX_IMAGE_BYTES, MAX_IMAGES};
use crate::page::PAGE_BYTES;
use crate::{End, Image, MachineDescription, Position};

/// A checkpoint of a recording, without its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointInfo {
    /// Where the machine stood, every input of the position applied.
    pub position: Position,
    /// Instructions retired since power-on, for display.
    pub instructions: u64,
    /// Pages that it lists.
    pub listed_pages: u64,
    /// Events recorded before the checkpoint: the next one is the first to apply after a restore.
    pub events_before: u64,
    /// Exits recorded before the checkpoint.
    pub exits_before: u64,
    /// Number of the frame in the file.
    pub frame: u64,
    /// Offset of the frame in the file, in bytes.
    pub offset: u64,
    /// Pages stored before it.
    pub(crate) stored_pages: u64,
}

/// Where a frame is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameAt {
    pub(crate) number: u64,
    /// Of the header, in bytes.
    pub(crate) offset: u64,
}

/// A batch of events or exits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchAt {
    pub(crate) at: FrameAt,
    pub(crate) last: Position,
    /// Entries in the batches before.
    pub(crate) before: u64,
    pub(crate) count: u64,
}

/// A pages frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PagesAt {
    pub(crate) at: FrameAt,
    /// Pages stored before it.
    pub(crate) first_page: u64,
    pub(crate) count: u64,
    /// Offset of the first page in the file, in bytes.
    pub(crate) data_offset: u64,
}

/// A validated pages frame.
#[derive(Clone, Copy)]
pub(crate) struct PagesFrame<'a> {
    pub(crate) at: PagesAt,
    pub(crate) head: &'a payload::ArchivedPagesHead,
}

/// What is in a file.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) machine: MachineDescription,
    pub(crate) images: Vec<Image>,
    /// By image; empty for one with the bytes of an image before it.
    pub(crate) chunks: Vec<Vec<FrameAt>>,
    pub(crate) events: Vec<BatchAt>,
    pub(crate) exits: Vec<BatchAt>,
    pub(crate) checkpoints: Vec<CheckpointInfo>,
    pub(crate) pages: Vec<PagesAt>,
    pub(crate) end: Option<End>,
    /// How far the run is recorded.
    pub(crate) reached: Position,
    pub(crate) statistics: Statistics,
    /// Whether the index was seen: nothing may follow.
    pub(crate) closed: bool,
    /// The image whose bytes come next, and how many are missing.
    awaited: Option<(usize, u64)>,
    last_event: Position,
    last_exit: Position,
    /// Position of the last checkpoint.
    floor: Position,
}

impl Contents {
    /// From the first frame.
    pub(crate) fn new(frame: &Frame<'_>) -> Result<Self, Problem> {
        if frame.kind != Some(FrameKind::Description) {
            return Err(Problem::OutOfPlace("the first frame is not the description"));
        }
        let archived = access::<payload::ArchivedDescription>(frame.payload)?;
        let payload::Description { machine, images } = decode::<payload::Description>(archived)?;
        if images.len() > MAX_IMAGES {
            return Err(Problem::OutOfPlace("there are more images than a recording can hold"));
        }
        if images
            .iter()
            .try_fold(0_u64, |sum, image| sum.checked_add(image.size))
            .is_none_or(|sum| sum > MAX_IMAGE_BYTES as u64)
        {
            return Err(Problem::OutOfPlace("the images are declared larger than a recording can hold"));
        }
        let mut contents = Self {
            chunks: vec![Vec::new(); images.len()],
            machine,
            images,
            events: Vec::new(),
            exits: Vec::new(),
            checkpoints: Vec::new(),
            pages: Vec::new(),
            end: None,
            reached: Position::START,
            statistics: Statistics::default(),
            closed: false,
            awaited: None,
            last_event: Position::START,
            last_exit: Position::START,
            floor: Position::START,
        };
        contents.awaited = contents.image_from(0);
        contents.statistics.count(frame.kind, frame.payload.len() as u64);
        Ok(contents)
    }

    /// Whether all images are there.
    pub(crate) const fn has_images(&self) -> bool {
        self.awaited.is_none()
    }

    /// The image whose bytes come next.
    pub(crate) fn awaited_image(&self) -> Option<&Image> {
        self.images.get(self.awaited?.0)
    }

    /// Counts a frame of a snapshot.
    pub(crate) fn count(&mut self, frame: &Frame<'_>) {
        self.statistics.count(frame.kind, frame.payload.len() as u64);
    }

    /// The image that holds the bytes of image `index`: the first one with its hash.
    pub(crate) fn stored_as(&self, index: usize) -> usize {
        let hash = self.images.get(index).map(|image| image.hash);
        self.images.iter().position(|image| Some(image.hash) == hash).unwrap_or(index)
    }

    fn image_from(&self, first: usize) -> Option<(usize, u64)> {
        (first..self.images.len())
            .find(|&index| self.images[index].size > 0 && self.stored_as(index) == index)
            .map(|index| (index, self.images[index].size))
    }

    /// Adds the frame after the ones added before.
    pub(crate) fn add(&mut self, at: FrameAt, frame: &Frame<'_>) -> Result<(), Problem> {
        if let Some(kind) = frame.kind {
            self.check_place(kind)?;
        }
        match frame.kind {
            None => {}
            Some(FrameKind::Description) => {
                return Err(Problem::OutOfPlace("a second description"));
            }
            Some(FrameKind::Image) => self.add_image(at, frame)?,
            Some(FrameKind::Log) => self.add_log(at, frame)?,
            Some(FrameKind::Pages) => {
                let pages = pages_frame(at, frame)?.at;
                self.add_pages(pages)?;
            }
            Some(FrameKind::Checkpoint) => self.add_checkpoint(at, frame)?,
            Some(FrameKind::End) => {
                let end = decode::<End>(access::<crate::description::ArchivedEnd>(frame.payload)?)?;
                in_order("the end", end.position, self.reached)?;
                self.reached = end.position;
                self.end = Some(end);
            }
            Some(FrameKind::Index) => self.closed = true,
            Some(FrameKind::Manifest | FrameKind::Section | FrameKind::Seal) => {
                return Err(Problem::OutOfPlace("only a snapshot has such a frame"));
            }
        }
        self.statistics.count(frame.kind, frame.payload.len() as u64);
        Ok(())
    }

    /// Adds a pages frame that is only known from the index; it is validated when a page of it is used.
    pub(crate) fn add_unseen_pages(&mut self, at: FrameAt, entry: &IndexEntry) -> Result<(), Problem> {
        self.check_place(FrameKind::Pages)?;
        let limit = FrameKind::Pages.max_payload_bytes();
        if entry.length > limit {
            return Err(Problem::TooLong { length: entry.length, limit });
        }
        let count = u64::from(entry.pages);
        let end = at.offset + FRAME_HEADER_BYTES as u64 + entry.length;
        let data_offset = data_offset(at.offset, end, count)?;
        self.add_pages(PagesAt { at, first_page: self.statistics.stored_pages, count, data_offset })?;
        self.statistics.count(Some(FrameKind::Pages), entry.length);
        Ok(())
    }

    fn check_place(&self, kind: FrameKind) -> Result<(), Problem> {
        if self.closed {
            return Err(Problem::OutOfPlace("the file goes on after its index"));
        }
        if self.end.is_some() != (kind == FrameKind::Index) {
            return Err(Problem::OutOfPlace("only the index comes after the end, and only there"));
        }
        if self.awaited.is_some() && kind != FrameKind::Image {
            return Err(Problem::OutOfPlace("the bytes of an image are missing before it"));
        }
        Ok(())
    }

    fn add_image(&mut self, at: FrameAt, frame: &Frame<'_>) -> Result<(), Problem> {
        let chunk = access::<payload::ArchivedImageChunk>(frame.payload)?;
        let Some((image, missing)) = self.awaited else {
            return Err(Problem::OutOfPlace("an image that the description does not list"));
        };
        if chunk.image.to_native() as usize != image {
            return Err(Problem::OutOfPlace("a piece of another image than the one that is not complete"));
        }
        let size = chunk.content.declared();
        within(
            &chunk.content,
            IMAGE_CHUNK_BYTES.min(chunk.content.stored().len().saturating_mul(IMAGE_RATIO)),
        )?;
        self.awaited = match missing.checked_sub(size as u64) {
            _ if size == 0 => return Err(Problem::OutOfPlace("an empty piece of an image")),
            None => return Err(Problem::OutOfPlace("an image is longer than its description says")),
            Some(0) => self.image_from(image + 1),
            Some(missing) => Some((image, missing)),
        };
        self.chunks[image].push(at);
        Ok(())
    }

    fn add_log(&mut self, at: FrameAt, frame: &Frame<'_>) -> Result<(), Problem> {
        let log = access::<payload::ArchivedLog>(frame.payload)?;
        let reached = native(&log.reached);
        in_order("a log", reached, self.reached)?;
        let events =
            batch(at, log.events.as_ref(), self.last_event.max(self.floor), reached, self.statistics.events)?;
        let exits =
            batch(at, log.exits.as_ref(), self.last_exit.max(self.floor), reached, self.statistics.exits)?;
        if let (Some(batch), Some(archived)) = (events, log.events.as_ref()) {
            self.events.push(batch);
            self.last_event = batch.last;
            self.statistics.events += batch.count;
            self.statistics.event_bytes += archived.columns.stored().len() as u64;
        }
        if let (Some(batch), Some(archived)) = (exits, log.exits.as_ref()) {
            self.exits.push(batch);
            self.last_exit = batch.last;
            self.statistics.exits += batch.count;
            self.statistics.exit_bytes += archived.columns.stored().len() as u64;
        }
        self.reached = reached;
        Ok(())
    }

    fn add_pages(&mut self, pages: PagesAt) -> Result<(), Problem> {
        if pages.first_page != self.statistics.stored_pages {
            return Err(Problem::OutOfPlace("the pages are not numbered on from the ones before"));
        }
        self.statistics.stored_pages += pages.count;
        self.pages.push(pages);
        Ok(())
    }

    fn add_checkpoint(&mut self, at: FrameAt, frame: &Frame<'_>) -> Result<(), Problem> {
        let checkpoint = access::<payload::ArchivedCheckpointFrame>(frame.payload)?;
        within(&checkpoint.body, MAX_CHECKPOINT_BODY_BYTES)?;
        let position = native(&checkpoint.position);
        in_order("a checkpoint", position, self.reached)?;
        self.reached = position;
        self.floor = position;
        self.checkpoints.push(CheckpointInfo {
            position,
            instructions: checkpoint.instructions.to_native(),
            listed_pages: checkpoint.page_count.to_native(),
            events_before: self.statistics.events,
            exits_before: self.statistics.exits,
            frame: at.number,
            offset: at.offset,
            stored_pages: self.statistics.stored_pages,
        });
        Ok(())
    }
}

/// Reads the head of a pages frame.
pub(crate) fn pages_frame<'a>(at: FrameAt, frame: &Frame<'a>) -> Result<PagesFrame<'a>, Problem> {
    let misfit = || Problem::Layout("the hashes do not fit the head of the pages".to_owned());
    let head = pages_head(frame.payload)?;
    let (lengths, rest) = head.split_at_checked(8).ok_or_else(misfit)?;
    let length = lengths.last_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize);
    let archive = access::<payload::ArchivedPagesHead>(rest.get(..length).ok_or_else(misfit)?)?;
    let count = archive.hashes.len() as u64;
    let data_offset = data_offset(at.offset, frame.end(), count)?;
    if data_offset != frame.payload_offset + head.len() as u64 {
        return Err(Problem::Layout("the pages do not follow their head".to_owned()));
    }
    let at = PagesAt { at, first_page: archive.first_page.to_native(), count, data_offset };
    Ok(PagesFrame { at, head: archive })
}

/// Where `count` pages start that fill a frame from `start` to `end` up to its end.
fn data_offset(start: u64, end: u64, count: u64) -> Result<u64, Problem> {
    let fits = (1..=MAX_PAGES_IN_FRAME as u64).contains(&count);
    let first = start + FRAME_HEADER_BYTES as u64 + 8;
    let offset =
        end.checked_sub(count.saturating_mul(PAGE_BYTES as u64)).filter(|&offset| fits && offset >= first);
    match offset {
        Some(offset) if offset.is_multiple_of(PAGE_BYTES as u64) => Ok(offset),
        Some(_) => Err(Problem::Layout("the pages are not aligned to 4096 bytes".to_owned())),
        None => Err(Problem::Layout(format!("{count} pages do not fit the frame"))),
    }
}

fn batch(
    at: FrameAt,
    batch: Option<&payload::ArchivedBatch>,
    after: Position,
    reached: Position,
    before: u64,
) -> Result<Option<BatchAt>, Problem> {
    let Some(batch) = batch else { return Ok(None) };
    let (first, last) = batch.span();
    in_order("a batch", first, after)?;
    in_order("the last entry of a batch", last, first)?;
    in_order("a log", reached, last)?;
    within(&batch.columns, MAX_COLUMN_BYTES)?;
    let count = batch.count.to_native() as usize;
    match count {
        0 => Err(Problem::OutOfPlace("an empty batch")),
        1..=MAX_BATCH => Ok(Some(BatchAt { at, last, before, count: count as u64 })),
        _ => Err(Problem::Decode(DecodeError::TooMany { count, limit: MAX_BATCH })),
    }
}

fn within(packed: &ArchivedPacked, cap: usize) -> Result<(), Problem> {
    let declared = packed.declared();
    if declared <= cap { Ok(()) } else { Err(Problem::Unpack(UnpackError::TooLarge { declared, cap })) }
}

fn in_order(what: &'static str, position: Position, after: Position) -> Result<(), Problem> {
    if position < after { Err(Problem::OutOfOrder { what, position, after }) } else { Ok(()) }
}
