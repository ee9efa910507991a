//! Finding the frames of a file: by its index, or one after the other up to the first that is damaged.

use super::contents::{Contents, FrameAt};
use super::error::{FrameError, ReadError, Recovery, RecoveryReason};
use crate::format::frame::{self, FRAME_HEADER_BYTES, FrameKind, Problem};
use crate::format::payload::{self, INDEX_MAGIC, INDEX_TRAILER_BYTES, IndexEntry};

/// Reads what is in `file`, whose first frame is at `start`.
pub(crate) fn read(file: &[u8], start: u64) -> Result<(Contents, Option<Recovery>), ReadError> {
    match by_index(file, start) {
        Some(contents) => Ok((contents, None)),
        None => by_scan(file, start),
    }
}

fn by_scan(file: &[u8], start: u64) -> Result<(Contents, Option<Recovery>), ReadError> {
    let end = file.len() as u64;
    let mut at = FrameAt { number: 0, offset: start };
    let first = frame::read(file, start).and_then(|frame| Ok((Contents::new(&frame)?, frame.end())));
    let (mut contents, mut next) = first.map_err(|problem| ReadError::Unusable(error(file, at, problem)))?;
    let damage = loop {
        at = FrameAt { number: at.number + 1, offset: next };
        if next == end {
            break None;
        }
        let added = frame::read(file, next).and_then(|frame| {
            contents.add(at, &frame)?;
            Ok(frame.end())
        });
        match added {
            Ok(after) => next = after,
            Err(problem) => break Some(error(file, at, problem)),
        }
    };
    if !contents.has_images() {
        let missing = || Problem::Truncated { needed: FRAME_HEADER_BYTES as u64, available: 0 };
        return Err(ReadError::Unusable(damage.unwrap_or_else(|| error(file, at, missing()))));
    }
    let reason = match damage {
        None if contents.closed => return Ok((contents, None)),
        None => RecoveryReason::NotClosed,
        Some(error) => RecoveryReason::Damaged(error),
    };
    Ok((contents, Some(Recovery { valid_bytes: next, lost_bytes: end - next, reason })))
}

/// What is in a file that was closed and is whole, as far as can be seen without touching its pages. `None` where the
/// index is missing or anything contradicts it: a scan then says what is wrong.
fn by_index(file: &[u8], start: u64) -> Option<Contents> {
    let (rest, magic) = file.split_last_chunk::<8>()?;
    let (_, offset) = rest.split_last_chunk::<8>()?;
    if *magic != INDEX_MAGIC {
        return None;
    }
    let index_offset = u64::from_le_bytes(*offset);
    let index = frame::read(file, index_offset).ok()?;
    if index.kind != Some(FrameKind::Index) || index.end() != file.len() as u64 {
        return None;
    }
    let archive = index.payload.get(..index.payload.len().checked_sub(INDEX_TRAILER_BYTES)?)?;
    let archived = payload::access::<payload::ArchivedIndex>(archive).ok()?;
    let mut contents: Option<Contents> = None;
    let mut at = FrameAt { number: 0, offset: start };
    for entry in archived.entries.iter() {
        let entry = payload::decode::<IndexEntry>(entry).ok()?;
        let end = entry.offset.checked_add(FRAME_HEADER_BYTES as u64)?.checked_add(entry.length)?;
        if entry.offset != at.offset || end > index_offset {
            return None;
        }
        match &mut contents {
            Some(contents) if entry.kind == FrameKind::Pages.code() => {
                contents.add_unseen_pages(at, &entry).ok()?;
            }
            _ => {
                let frame = frame::read(file, at.offset).ok()?;
                let kind = frame.kind.map(FrameKind::code);
                if frame.end() != end || kind.is_some_and(|kind| kind != entry.kind) {
                    return None;
                }
                match &mut contents {
                    Some(contents) => contents.add(at, &frame).ok()?,
                    None => contents = Some(Contents::new(&frame).ok()?),
                }
            }
        }
        at = FrameAt { number: at.number + 1, offset: end };
    }
    let mut contents = contents.filter(|_| at.offset == index_offset)?;
    contents.add(at, &index).ok()?;
    contents.has_images().then_some(contents)
}

/// The error for the frame at `at`, with its kind where that can be read.
pub(crate) fn error(file: &[u8], at: FrameAt, problem: Problem) -> FrameError {
    let kind = usize::try_from(at.offset).ok().and_then(|start| file.get(start..)?.first_chunk());
    let kind = kind.and_then(|bytes| FrameKind::from_code(u32::from_le_bytes(*bytes)));
    FrameError { frame: at.number, kind, offset: at.offset, problem }
}
