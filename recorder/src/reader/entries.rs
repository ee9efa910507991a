//! Events and exits, one batch decoded at a time.

use std::vec;

use super::Recording;
use super::contents::{BatchAt, Contents};
use super::error::ReadError;
use crate::columns::{self, Declared, DecodeError, MAX_COLUMN_BYTES};
use crate::format::frame::Problem;
use crate::format::payload::{ArchivedBatch, ArchivedLog, access};
use crate::{Event, Exit, Position};

/// What a log frame holds batches of.
pub(crate) trait Entry: Sized {
    /// All batches of a recording.
    fn batches(contents: &Contents) -> &[BatchAt];
    /// The batch in a log frame.
    fn batch(log: &ArchivedLog) -> Option<&ArchivedBatch>;
    /// From columns.
    fn decode(columns: &[u8], declared: Declared) -> Result<Vec<(Position, Self)>, DecodeError>;
}

impl Entry for Event {
    fn batches(contents: &Contents) -> &[BatchAt] {
        &contents.events
    }

    fn batch(log: &ArchivedLog) -> Option<&ArchivedBatch> {
        log.events.as_ref()
    }

    fn decode(columns: &[u8], declared: Declared) -> Result<Vec<(Position, Self)>, DecodeError> {
        columns::events::decode(columns, declared)
    }
}

impl Entry for Exit {
    fn batches(contents: &Contents) -> &[BatchAt] {
        &contents.exits
    }

    fn batch(log: &ArchivedLog) -> Option<&ArchivedBatch> {
        log.exits.as_ref()
    }

    fn decode(columns: &[u8], declared: Declared) -> Result<Vec<(Position, Self)>, DecodeError> {
        columns::exits::decode(columns, declared)
    }
}

/// The events of a recording in order of position. It holds the recording, and ends after the first error.
#[derive(Debug)]
pub struct Events(pub(crate) Entries<Event>);

impl Iterator for Events {
    type Item = Result<(Position, Event), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

/// The exits of a recording in order of position. It holds the recording, and ends after the first error.
#[derive(Debug)]
pub struct Exits(pub(crate) Entries<Exit>);

impl Iterator for Exits {
    type Item = Result<(Position, Exit), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

/// Either of them.
#[derive(Debug)]
pub(crate) struct Entries<T> {
    recording: Recording,
    next_batch: usize,
    /// What is left of the batch before `next_batch`.
    entries: vec::IntoIter<(Position, T)>,
    /// Entries of the next batch to leave out.
    skip: usize,
    from: Position,
}

impl<T: Entry> Entries<T> {
    /// The entries at or after `from`.
    pub(crate) fn from_position(recording: Recording, from: Position) -> Self {
        let next_batch = T::batches(recording.contents()).partition_point(|batch| batch.last < from);
        Self { recording, next_batch, entries: Vec::new().into_iter(), skip: 0, from }
    }

    /// The entries from number `number` on.
    pub(crate) fn from_number(recording: Recording, number: u64) -> Self {
        let batches = T::batches(recording.contents());
        let next_batch = batches.partition_point(|batch| batch.before + batch.count <= number);
        let before = batches.get(next_batch).map_or(number, |batch| batch.before);
        // Less than the entries of a batch.
        let skip = number.saturating_sub(before) as usize;
        Self { recording, next_batch, entries: Vec::new().into_iter(), skip, from: Position::START }
    }

    fn decode(&self, batch: BatchAt) -> Result<Vec<(Position, T)>, ReadError> {
        let frame = self.recording.frame(batch.at)?;
        let problem = |problem| self.recording.frame_error(batch.at, problem);
        let log = access::<ArchivedLog>(frame.payload).map_err(problem)?;
        let archived = T::batch(log).ok_or_else(|| problem(Problem::OutOfPlace("the batch is gone")))?;
        let columns =
            archived.columns.unpack(MAX_COLUMN_BYTES).map_err(|error| problem(Problem::Unpack(error)))?;
        let (first, last) = archived.span();
        let declared = Declared { first, last, count: archived.count.to_native() as usize };
        Ok(T::decode(&columns, declared).map_err(|error| problem(Problem::Decode(error)))?)
    }
}

impl<T: Entry> Iterator for Entries<T> {
    type Item = Result<(Position, T), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.entries.by_ref().find(|entry| entry.0 >= self.from) {
                return Some(Ok(entry));
            }
            let batches = T::batches(self.recording.contents());
            let batch = *batches.get(self.next_batch)?;
            let end = batches.len();
            match self.decode(batch) {
                Ok(mut entries) => {
                    entries.drain(..self.skip.min(entries.len()));
                    self.skip = 0;
                    self.entries = entries.into_iter();
                    self.next_batch += 1;
                }
                Err(error) => {
                    self.next_batch = end;
                    return Some(Err(error));
                }
            }
        }
    }
}
