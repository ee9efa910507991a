//! Events, exits and page tables as columns of small integers, which compress far better than records.

/// Events to bytes and back.
pub(crate) mod events;
/// Exits to bytes and back.
pub(crate) mod exits;
/// The pages of a checkpoint to bytes and back.
pub(crate) mod page_table;

use thiserror::Error;

use crate::Position;
use crate::format::varint::{self, Cursor};

/// Bytes of columns of one batch, before compression, at most.
pub(crate) const MAX_COLUMN_BYTES: usize = 4 << 20;
/// Events or exits in one batch, at most.
pub(crate) const MAX_BATCH: usize = 1 << 16;

/// Why events, exits or page references do not decode.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// No event has such a tag.
    #[error("unknown event tag {tag} (event {index} of the batch)")]
    UnknownEvent {
        /// The tag.
        tag: u8,
        /// Which event of its batch.
        index: usize,
    },
    /// No exit has such a tag.
    #[error("unknown exit tag {tag} (shape {index} of the batch)")]
    UnknownExit {
        /// The tag.
        tag: u8,
        /// Which shape of its batch.
        index: usize,
    },
    /// A column ends early, or holds a number that does not fit.
    #[error("the column of {column} ends early or is out of range (entry {index})")]
    Column {
        /// What the column holds.
        column: &'static str,
        /// Which entry of its batch.
        index: usize,
    },
    /// A column holds more than is used.
    #[error("the columns hold more than the {count} entries declared")]
    LeftOver {
        /// Entries declared.
        count: usize,
    },
    /// The columns' lengths do not fit their bytes.
    #[error("the lengths of the columns do not fit their bytes")]
    Lengths,
    /// The positions are not those declared.
    #[error("the batch is declared to reach from {first} to {last} and does not")]
    Span {
        /// First position declared.
        first: Position,
        /// Last position declared.
        last: Position,
    },
    /// More is declared than a batch can hold.
    #[error("{count} entries are declared, and {limit} is the limit")]
    TooMany {
        /// Entries declared.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// A page's number is out of order or out of range.
    #[error("guest frame number {gfn:#x} is out of order or out of range")]
    Gfn {
        /// The guest frame number.
        gfn: u64,
    },
    /// A checkpoint refers to a page that is not stored before it.
    #[error(
        "guest frame number {gfn:#x} refers to stored page {page}, which is not in the file before the checkpoint"
    )]
    NoSuchPage {
        /// The guest frame number.
        gfn: u64,
        /// Number of the stored page.
        page: u64,
    },
}

/// Joins columns: their lengths as integers, then their bytes.
fn join<const N: usize>(columns: [Vec<u8>; N]) -> Vec<u8> {
    let mut out = Vec::with_capacity(columns.iter().map(Vec::len).sum::<usize>() + 3 * N);
    for column in &columns {
        varint::put(&mut out, column.len() as u64);
    }
    for column in &columns {
        out.extend_from_slice(column);
    }
    out
}

/// Takes joined columns apart; they must fill `bytes` exactly.
fn split<const N: usize>(bytes: &[u8]) -> Result<[Cursor<'_>; N], DecodeError> {
    let mut rest = Cursor(bytes);
    let mut lengths = [0_usize; N];
    for length in &mut lengths {
        *length = rest.varint().ok_or(DecodeError::Lengths)?;
    }
    let mut columns = [Cursor(&[]); N];
    for (column, length) in columns.iter_mut().zip(lengths) {
        *column = Cursor(rest.bytes(length).ok_or(DecodeError::Lengths)?);
    }
    if rest.is_empty() { Ok(columns) } else { Err(DecodeError::Lengths) }
}

/// Writes positions as two columns: ticks as differences; offsets as differences within a tick, else whole.
#[derive(Debug)]
struct PositionWriter {
    previous: Position,
    ticks: Vec<u8>,
    offsets: Vec<u8>,
}

impl PositionWriter {
    const fn new(first: Position) -> Self {
        Self { previous: first, ticks: Vec::new(), offsets: Vec::new() }
    }

    /// `position` must not be before the one put last.
    fn put(&mut self, position: Position) {
        let ticks = position.tick.wrapping_sub(self.previous.tick);
        let base = if ticks == 0 { self.previous.offset } else { 0 };
        varint::put(&mut self.ticks, ticks);
        varint::put(&mut self.offsets, u64::from(position.offset.wrapping_sub(base)));
        self.previous = position;
    }
}

/// Reads what [`PositionWriter`] wrote. What it reads never goes back.
struct PositionReader<'a> {
    previous: Position,
    ticks: Cursor<'a>,
    offsets: Cursor<'a>,
}

impl PositionReader<'_> {
    fn take(&mut self) -> Option<Position> {
        let ticks: u64 = self.ticks.varint()?;
        let base = if ticks == 0 { self.previous.offset } else { 0 };
        let tick = self.previous.tick.checked_add(ticks)?;
        self.previous = Position::new(tick, base.checked_add(self.offsets.varint()?)?);
        Some(self.previous)
    }
}

/// What a batch says of itself before its columns are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Declared {
    pub(crate) first: Position,
    pub(crate) last: Position,
    pub(crate) count: usize,
}

impl Declared {
    fn check_count(&self) -> Result<(), DecodeError> {
        let (count, limit) = (self.count, MAX_BATCH);
        if count <= limit { Ok(()) } else { Err(DecodeError::TooMany { count, limit }) }
    }

    fn check_span(&self, first: Option<Position>, last: Option<Position>) -> Result<(), DecodeError> {
        if (first, last) == (Some(self.first), Some(self.last)) {
            Ok(())
        } else {
            Err(DecodeError::Span { first: self.first, last: self.last })
        }
    }
}

#[cfg(test)]
mod tests;
