//! The list of exits: which ones are on the screen, which one is selected, of which kind, in which order.
//!
//! Only a window of the recording is in memory. Going anywhere decodes a batch or two, however long the recording is.

/// Which exits are listed.
mod filter;
/// In which order they are.
mod order;

pub use filter::{Filter, FilterError, number};
pub use order::{Listed, Order, select};

use std::collections::BTreeMap;
use std::sync::Arc;

use recorder::{Exit, ExitKind, Position, ReadError, Recording};

use crate::index::Index;

/// Exits kept in memory.
const WINDOW: u64 = 512;
/// As many exits the writer puts into a batch, so that so many are decoded in one go.
const BATCH: u64 = 1 << 15;

/// An exit in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Which one of the recording, from 0.
    pub number: u64,
    /// Where it happened: before the step that made it.
    pub at: Position,
    /// What happened.
    pub exit: Exit,
}

/// The list. An *index* counts the exits that are listed, a *number* counts all of them.
#[derive(Debug)]
pub struct ExitList {
    recording: Recording,
    /// Counts and places, once they are known.
    known: Option<Arc<Index>>,
    /// What is listed, if not everything in its order.
    listed: Option<Listed>,
    /// Rows on the screen.
    height: u64,
    top: u64,
    selected: u64,
    window: Vec<Row>,
    window_start: u64,
}

impl ExitList {
    /// The exits of a recording, the first one selected. Nothing is loaded yet.
    #[must_use]
    pub fn new(recording: Recording) -> Self {
        Self {
            recording,
            known: None,
            listed: None,
            height: 1,
            top: 0,
            selected: 0,
            window: Vec::new(),
            window_start: 0,
        }
    }

    /// From here on places are looked up in this.
    pub fn know(&mut self, index: Arc<Index>) {
        self.known = Some(index);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.listed {
            Some(listed) => listed.numbers.len() as u64,
            None => self.recording.statistics().exits,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is listed, if not everything in its order.
    #[must_use]
    pub fn listed(&self) -> Option<&Listed> {
        self.listed.as_ref()
    }

    /// The index of the selected row.
    #[must_use]
    pub fn selected_index(&self) -> u64 {
        self.selected
    }

    /// The selected row, if there is one and it could be read.
    #[must_use]
    pub fn selected(&self) -> Option<&Row> {
        self.row(self.selected)
    }

    /// The rows on the screen from the top, each with its index. `None` for one that cannot be read.
    pub fn visible(&self) -> impl Iterator<Item = (u64, Option<&Row>)> {
        let end = self.top.saturating_add(self.height).min(self.len());
        (self.top..end).map(|index| (index, self.row(index)))
    }

    /// The index of the first row on the screen.
    #[must_use]
    pub fn top(&self) -> u64 {
        self.top
    }

    /// How many rows are in memory.
    #[must_use]
    pub fn loaded(&self) -> usize {
        self.window.len()
    }

    /// The row with an index, as far as it is in memory.
    #[must_use]
    pub fn row(&self, index: u64) -> Option<&Row> {
        let inside = usize::try_from(index.checked_sub(self.window_start)?).ok()?;
        self.window.get(inside)
    }

    /// How many rows fit on the screen.
    ///
    /// # Errors
    /// The rows that come into sight cannot be read.
    pub fn set_height(&mut self, rows: u16) -> Result<(), ReadError> {
        self.height = u64::from(rows.max(1));
        self.show()
    }

    /// Moves the selection by rows.
    ///
    /// # Errors
    /// The rows that come into sight cannot be read.
    pub fn move_by(&mut self, rows: i64) -> Result<(), ReadError> {
        self.select(self.selected.saturating_add_signed(rows))
    }

    /// Selects by index; beyond the end, the last one.
    ///
    /// # Errors
    /// The rows that come into sight cannot be read.
    pub fn select(&mut self, index: u64) -> Result<(), ReadError> {
        self.selected = index;
        self.show()
    }

    /// Selects the exit with this number, or the next one that is listed.
    ///
    /// # Errors
    /// Exits cannot be read.
    pub fn select_number(&mut self, number: u64) -> Result<(), ReadError> {
        let index = match &self.listed {
            Some(listed) => listed.index_of(number),
            None => number,
        };
        self.select(index)
    }

    /// The same, with what is around it in sight.
    ///
    /// # Errors
    /// Exits cannot be read.
    pub fn show_number(&mut self, number: u64) -> Result<(), ReadError> {
        self.select_number(number)?;
        self.top = self.selected.saturating_sub(self.height / 2);
        self.show()
    }

    /// Lists these, or everything in its order. The selection goes to the exit with this number, or the next one that is listed.
    ///
    /// # Errors
    /// Exits cannot be read.
    pub fn list(&mut self, listed: Option<Listed>, number: u64) -> Result<(), ReadError> {
        self.listed = listed;
        self.window.clear();
        self.select_number(number)
    }

    /// The number of the first exit at or after `position`.
    ///
    /// # Errors
    /// Exits cannot be read.
    pub fn number_at(&self, position: Position) -> Result<u64, ReadError> {
        let known = self.known.as_ref().map_or(0, |index| index.before_tick(position.tick));
        let checkpoints = self.recording.checkpoints();
        let after = checkpoints.partition_point(|info| info.position <= position);
        let stored =
            after.checked_sub(1).and_then(|last| checkpoints.get(last)).map_or(0, |info| info.exits_before);
        let from = stored.max(known).min(self.recording.statistics().exits);
        let mut number = from;
        for exit in self.recording.exits_from_number(from) {
            if exit?.0 >= position {
                break;
            }
            number += 1;
        }
        Ok(number)
    }

    /// The exit with this number.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn exit(&self, number: u64) -> Result<Option<Row>, ReadError> {
        let exit = self.recording.exits_from_number(number).next().transpose()?;
        Ok(exit.map(|(at, exit)| Row { number, at, exit }))
    }

    /// The number of the exit of this kind at this position.
    ///
    /// # Errors
    /// Exits cannot be read.
    pub fn find(&self, at: Position, kind: ExitKind) -> Result<Option<u64>, ReadError> {
        let first = self.number_at(at)?;
        for (number, exit) in (first..).zip(self.recording.exits_from_number(first)) {
            let (here, exit) = exit?;
            if here > at {
                break;
            }
            if exit.kind() == kind {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// Brings the selection into the list and into sight, and what is in sight into memory.
    fn show(&mut self) -> Result<(), ReadError> {
        let last = self.len().saturating_sub(1);
        self.selected = self.selected.min(last);
        let lowest = self.selected.saturating_sub(self.height - 1);
        let bottom = self.len().saturating_sub(self.height);
        self.top = self.top.clamp(lowest, self.selected).min(bottom.max(lowest));
        let end = self.top.saturating_add(self.height).min(self.len());
        let window_end = self.window_start + self.window.len() as u64;
        if self.top >= self.window_start && end <= window_end {
            return Ok(());
        }
        match self.listed {
            None => {
                let size = WINDOW.max(self.height.saturating_mul(2));
                self.load(self.top.saturating_sub(size / 2), size)
            }
            // They may be far apart: no more of them than are seen.
            Some(_) => self.load_listed(self.top, end),
        }
    }

    fn load(&mut self, start: u64, size: u64) -> Result<(), ReadError> {
        self.window.clear();
        self.window_start = start;
        let size = usize::try_from(size.min(self.len().saturating_sub(start))).unwrap_or(usize::MAX);
        for (number, exit) in (start..).zip(self.recording.exits_from_number(start).take(size)) {
            let (at, exit) = exit?;
            self.window.push(Row { number, at, exit });
        }
        Ok(())
    }

    fn load_listed(&mut self, start: u64, end: u64) -> Result<(), ReadError> {
        let Some(listed) = &self.listed else { return Ok(()) };
        self.window.clear();
        self.window_start = start;
        let place = |index: u64| usize::try_from(index).unwrap_or(usize::MAX);
        let numbers = listed.numbers.get(place(start)..place(end)).unwrap_or_default();
        // Each batch is decoded once, in whatever order its exits are listed.
        let mut batches: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for number in numbers.iter().map(|number| u64::from(*number)) {
            batches.entry(number / BATCH).or_default().push(number);
        }
        let mut rows = BTreeMap::new();
        for mut wanted in batches.into_values() {
            wanted.sort_unstable();
            let (Some(first), Some(last)) = (wanted.first().copied(), wanted.last().copied()) else {
                continue;
            };
            for (number, exit) in (first..=last).zip(self.recording.exits_from_number(first)) {
                let (at, exit) = exit?;
                if wanted.binary_search(&number).is_ok() {
                    rows.insert(number, Row { number, at, exit });
                }
            }
        }
        self.window = numbers.iter().map_while(|number| rows.get(&u64::from(*number)).copied()).collect();
        Ok(())
    }
}
