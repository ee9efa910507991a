//! The list of exits: which ones are on the screen, which one is selected, of which kind.
//!
//! Only a window of the recording is in memory. Going anywhere decodes a batch or two, however long the recording is.

use recorder::{Exit, ExitKind, Position, ReadError, Recording};

use crate::census::{BLOCK, Census};

/// Exits kept in memory.
const WINDOW: u64 = 512;

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

/// The list. An *index* counts the exits that the filter lets through, a *number* counts all of them.
#[derive(Debug)]
pub struct ExitList {
    recording: Recording,
    /// The one kind that is listed, with the census that finds it.
    filter: Option<(ExitKind, Census)>,
    /// The census while no filter is on.
    idle_census: Option<Census>,
    /// Rows on the screen.
    height: u64,
    top: u64,
    selected: u64,
    /// The number that was selected before filters moved the selection.
    anchor: Option<u64>,
    window: Vec<Row>,
    window_start: u64,
}

impl ExitList {
    /// The exits of a recording, the first one selected. Nothing is loaded yet.
    #[must_use]
    pub fn new(recording: Recording) -> Self {
        Self {
            recording,
            filter: None,
            idle_census: None,
            height: 1,
            top: 0,
            selected: 0,
            anchor: None,
            window: Vec::new(),
            window_start: 0,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.filter {
            Some((kind, census)) => census.count(*kind),
            None => self.recording.statistics().exits,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The kind that is listed alone.
    #[must_use]
    pub fn filter(&self) -> Option<ExitKind> {
        self.filter.as_ref().map(|(kind, _)| *kind)
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

    /// Moves the selection by screens, one row of each kept in sight.
    ///
    /// # Errors
    /// The rows that come into sight cannot be read.
    pub fn move_by_pages(&mut self, pages: i64) -> Result<(), ReadError> {
        let page = i64::try_from(self.height.saturating_sub(1).max(1)).unwrap_or(i64::MAX);
        self.move_by(page.saturating_mul(pages))
    }

    /// Selects by index; beyond the end, the last one.
    ///
    /// # Errors
    /// The rows that come into sight cannot be read.
    pub fn select(&mut self, index: u64) -> Result<(), ReadError> {
        self.selected = index;
        self.anchor = None;
        self.show()
    }

    /// Selects the exit with this number, or the next one that is listed.
    ///
    /// # Errors
    /// Exits cannot be read.
    pub fn select_number(&mut self, number: u64) -> Result<(), ReadError> {
        let index = self.index_of(number)?;
        self.select(index)
    }

    /// The index of the first listed exit with this number or a later one.
    fn index_of(&self, number: u64) -> Result<u64, ReadError> {
        let Some((kind, census)) = &self.filter else { return Ok(number) };
        let block = number / BLOCK;
        let mut index = census.before(usize::try_from(block).unwrap_or(usize::MAX), *kind);
        let inside = usize::try_from(number % BLOCK).unwrap_or(usize::MAX);
        for exit in self.recording.exits_from_number(block * BLOCK).take(inside) {
            index += u64::from(exit?.1.kind() == *kind);
        }
        Ok(index)
    }

    /// The number of the first exit at or after `position`, given an earlier answer for a place that may be near.
    ///
    /// # Errors
    /// Exits cannot be read.
    pub fn number_at(&self, position: Position, known: Option<(Position, u64)>) -> Result<u64, ReadError> {
        let checkpoints = self.recording.checkpoints();
        let after = checkpoints.partition_point(|info| info.position <= position);
        let stored =
            after.checked_sub(1).and_then(|last| checkpoints.get(last)).map_or(0, |info| info.exits_before);
        let known = known.filter(|(at, _)| *at <= position).map_or(0, |(_, number)| number);
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

    /// The number of the exit of this kind at this position.
    ///
    /// # Errors
    /// Exits cannot be read.
    pub fn find(&self, at: Position, kind: ExitKind) -> Result<Option<u64>, ReadError> {
        let first = self.number_at(at, None)?;
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

    /// Lists the next kind that the recording has, after the last one all kinds again. The selection stays where it is
    /// or, while that is not listed, moves to the next exit that is. `go_on` is told how many exits the first pass has counted; if it
    /// returns `false` nothing changes and neither does this return `true`.
    ///
    /// # Errors
    /// Exits cannot be read.
    pub fn cycle_filter(
        &mut self,
        forward: bool,
        go_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<bool, ReadError> {
        let number = self.anchor.or(self.selected().map(|row| row.number)).unwrap_or(0);
        let current = self.filter();
        let census = match self.filter.take().map(|(_, census)| census).or(self.idle_census.take()) {
            Some(census) => census,
            None => match Census::take(&self.recording, go_on)? {
                Some(census) => census,
                None => return Ok(false),
            },
        };
        let mut stations = vec![None];
        stations.extend(ExitKind::ALL.into_iter().filter(|kind| census.count(*kind) > 0).map(Some));
        let here = stations.iter().position(|station| *station == current).unwrap_or(0);
        let next = here + if forward { 1 } else { stations.len() - 1 };
        match stations.get(next % stations.len()).copied().flatten() {
            Some(kind) => self.filter = Some((kind, census)),
            None => self.idle_census = Some(census),
        }
        self.window.clear();
        self.select_number(number)?;
        self.anchor = Some(number);
        Ok(true)
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
        let size = WINDOW.max(self.height.saturating_mul(2));
        self.load(self.top.saturating_sub(size / 2), size)
    }

    fn load(&mut self, start: u64, size: u64) -> Result<(), ReadError> {
        self.window.clear();
        self.window_start = start;
        let size = usize::try_from(size.min(self.len().saturating_sub(start))).unwrap_or(usize::MAX);
        let Some((kind, census)) = &self.filter else {
            for (number, exit) in (start..).zip(self.recording.exits_from_number(start).take(size)) {
                let (at, exit) = exit?;
                self.window.push(Row { number, at, exit });
            }
            return Ok(());
        };
        let first = census.block_of(start, *kind);
        let mut skip = start.saturating_sub(census.before(first, *kind));
        for block in first..census.blocks() {
            if self.window.len() >= size {
                break;
            }
            if census.before(block, *kind) == census.before(block + 1, *kind) {
                continue;
            }
            let from = block as u64 * BLOCK;
            for (number, exit) in (from..from + BLOCK).zip(self.recording.exits_from_number(from)) {
                let (at, exit) = exit?;
                if exit.kind() != *kind {
                    continue;
                }
                if skip > 0 {
                    skip -= 1;
                } else if self.window.len() < size {
                    self.window.push(Row { number, at, exit });
                } else {
                    break;
                }
            }
        }
        Ok(())
    }
}
