//! Everything that is drawn.

use std::path::PathBuf;
use std::sync::Arc;

use ratatui::layout::{Rect, Size};
use recorder::{ExitKind, Position, Recording};
use replayvm::symbols::Symbols;
use replayvm::timeline::{Progress, Timeline};

use super::{History, Prompt, Scroll, Strip};
use crate::exits::{ExitList, Filter, Order};
use crate::index::{ConsoleLines, Index, Inputs};
use crate::layout::{BORDER, Layout, Pane};
use crate::machine::{CodeLine, Look, Registers, Snapshot};
use crate::marks::Marks;
use crate::theme::Theme;
use crate::worker::{Points, Results};

/// Lines of code on both sides of what is shown, so that a few rows further are there already.
const CODE_MARGIN: u16 = 8;

/// A long operation on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Busy {
    /// The machine is replayed.
    Work {
        /// What for.
        what: &'static str,
        /// How far it is, if that is known.
        progress: Option<Progress>,
    },
    /// Exits are read.
    Exits {
        /// How many have been.
        seen: u64,
        /// How many there are.
        of: u64,
    },
}

/// A line for the person at the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// What came of the last action.
    Info(String),
    /// What went wrong.
    Error(String),
}

/// Everything that is drawn.
#[derive(Debug)]
pub struct State {
    /// What is open.
    pub title: String,
    /// What must not be overlooked.
    pub banner: Option<String>,
    /// The recording, and where one is in it.
    pub side: Side,
    /// The part of the run that the timeline shows.
    pub strip: Strip,
    /// Which panes are where.
    pub layout: Layout,
    /// The screen.
    pub size: Size,
    /// The colours.
    pub theme: Theme,
    /// What to say.
    pub note: Option<Note>,
    /// What is running.
    pub busy: Option<Busy>,
    /// The line that is asked for.
    pub prompt: Option<Prompt>,
    /// The first line of the help, while it is shown.
    pub help: Option<usize>,
    /// Whether there is another recording to go to.
    pub compared: bool,
    /// Whether it is over.
    pub quit: bool,
    /// And the other recording wanted.
    pub swap: bool,
}

/// A recording, and where one is in it.
#[derive(Debug)]
pub struct Side {
    /// The file.
    pub path: PathBuf,
    /// What it says.
    pub recording: Recording,
    /// The first position.
    pub begin: Position,
    /// The last position.
    pub end: Position,
    /// The machine under the cursor.
    pub machine: Snapshot,
    /// Its registers at the stop before.
    pub before: Option<Registers>,
    /// The exits.
    pub exits: ExitList,
    /// The number of the first exit at or after the cursor.
    pub next_exit: u64,
    /// Counts and places of all exits, once they are read.
    pub index: Option<Arc<Index>>,
    /// What was printed.
    pub console: Arc<ConsoleLines>,
    /// What is printed of the line that the cursor is in.
    pub console_tail: Option<String>,
    /// What came in.
    pub inputs: Arc<Inputs>,
    /// The guest's symbols.
    pub names: Option<Arc<Symbols>>,
    /// Whether symbols are still looked for.
    pub naming: bool,
    /// Named places.
    pub marks: Marks,
    /// Where the cursor has been.
    pub history: History,
    /// What was found last.
    pub results: Results,
    /// What panes show of the machine.
    pub look: Look,
    /// The selected line of code; `None`: the next instruction.
    pub code_line: Option<u64>,
    /// The selected byte of memory, from the first that is shown.
    pub memory_cursor: u64,
    /// What runs stop on.
    pub points: Points,
    /// What the worker is at.
    pub working: Option<&'static str>,
    /// Whether exits are being chosen.
    pub selecting: bool,
    scrolls: [Scroll; Pane::ALL.len()],
}

impl Side {
    pub(super) fn new(timeline: &Timeline, marks: Marks) -> Self {
        let recording = timeline.opened().recording().clone();
        let begin = timeline.position();
        Self {
            path: timeline.opened().path().to_owned(),
            exits: ExitList::new(recording.clone()),
            recording,
            begin: timeline.begin(),
            end: timeline.end(),
            machine: Snapshot { position: begin, ..Snapshot::default() },
            before: None,
            next_exit: 0,
            index: None,
            console: Arc::default(),
            console_tail: None,
            inputs: Arc::default(),
            names: None,
            naming: true,
            marks,
            history: History::at(begin),
            results: Results::default(),
            look: Look::default(),
            code_line: None,
            memory_cursor: 0,
            points: Points::default(),
            working: None,
            selecting: false,
            scrolls: Default::default(),
        }
    }

    /// What is selected of a pane's list.
    #[must_use]
    pub const fn scroll(&self, pane: Pane) -> Scroll {
        self.scrolls[pane as usize]
    }

    pub(super) const fn scroll_mut(&mut self, pane: Pane) -> &mut Scroll {
        &mut self.scrolls[pane as usize]
    }

    /// Rows of a pane's list, where it is one.
    #[must_use]
    pub fn len(&self, pane: Pane) -> usize {
        match pane {
            Pane::Console => self.console_rows(),
            Pane::Stack => self.machine.frames.len() + self.machine.stack.len(),
            Pane::Devices => self.machine.device.len(),
            Pane::Tasks => match &self.machine.tasks {
                crate::machine::Tasks::List(tasks) => tasks.len(),
                _ => 0,
            },
            Pane::Results => self.results.list.len(),
            Pane::Marks => self.marks.len() + self.points.breakpoints.len() + self.points.watches.len(),
            Pane::Inputs => self.inputs.list.len(),
            Pane::Summary => ExitKind::ALL.len(),
            Pane::Registers => crate::view::registers::LINES,
            Pane::Exits | Pane::Code | Pane::Memory => 0,
        }
    }

    /// Lines that are begun at the cursor, and the one after them.
    fn console_rows(&self) -> usize {
        (self.console.begun(self.machine.position) + 1).min(self.console.lines.len())
    }

    /// Which exits are listed.
    #[must_use]
    pub fn filter(&self) -> Option<&Filter> {
        self.exits.listed().and_then(|listed| listed.filter.as_ref())
    }

    /// How they are.
    #[must_use]
    pub fn sorted(&self) -> Order {
        self.exits.listed().map_or(Order::Position, |listed| listed.order)
    }

    /// The selected line of code, as a linear address.
    #[must_use]
    pub fn selected_line(&self) -> Option<u64> {
        let registers = &self.machine.registers;
        let line = self.code_line.unwrap_or(registers.rip);
        (!self.machine.code.is_empty()).then(|| registers.cs_base.wrapping_add(line))
    }

    /// The begin of the function of the selected line, or the line itself where functions are not known.
    #[must_use]
    pub fn selected_function(&self) -> Option<u64> {
        let line = self.selected_line()?;
        let place = self.names.as_ref().and_then(|names| names.place(line));
        Some(place.map_or(line, |place| line.wrapping_sub(place.offset)))
    }

    /// Whether a byte of memory is watched.
    #[must_use]
    pub fn watches(&self, address: u64, physical: bool) -> bool {
        let watched = |bytes: &&crate::worker::Bytes| {
            bytes.physical == physical && address.wrapping_sub(bytes.address) < bytes.len
        };
        self.points.watches.iter().any(|bytes| watched(&bytes))
    }

    /// The last byte of memory that is shown.
    pub(super) fn last_byte(&self) -> u64 {
        self.look.memory.count().saturating_sub(1)
    }
}

/// How a row of memory is drawn in so many columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryShape {
    /// Bytes of a row.
    pub row_bytes: u16,
    /// Digits of an address, the last ones of it.
    pub digits: u16,
    /// Whether they are shown as text too.
    pub text: bool,
}

impl MemoryShape {
    /// As much as there is room for.
    #[must_use]
    pub const fn of(columns: u16) -> Self {
        match columns {
            83.. => Self { row_bytes: 16, digits: 16, text: true },
            51..79 => Self { row_bytes: 8, digits: 16, text: true },
            43..51 => Self { row_bytes: 8, digits: 8, text: true },
            _ => Self { row_bytes: 8, digits: 8, text: false },
        }
    }

    /// The column of the first byte.
    #[must_use]
    pub const fn first_column(self) -> u16 {
        self.digits + 2
    }
}

impl State {
    /// Columns of a pane; none if it is not seen.
    #[must_use]
    pub fn columns_of(&self, pane: Pane) -> u16 {
        let places = self.layout.places(Rect::from(self.size), self.banner.is_some());
        let slot = self.layout.slot_of(pane, self.size);
        slot.map_or(0, |slot| places.slots[slot as usize].width.saturating_sub(BORDER))
    }

    /// Lines of a pane, if it is seen.
    #[must_use]
    pub fn rows_of(&self, pane: Pane) -> Option<u16> {
        let slot = self.layout.slot_of(pane, self.size)?;
        Some(self.layout.rows(slot, self.size, self.banner.is_some()))
    }

    /// How many exits of each kind are in the part of the run that is shown, the most frequent kind first.
    #[must_use]
    pub fn summary(&self) -> Vec<(ExitKind, u64)> {
        let counts =
            self.side.index.as_ref().map(|index| index.counts_between(self.strip.from, self.strip.to));
        let counts = counts.unwrap_or_default();
        let mut kinds: Vec<_> = ExitKind::ALL
            .into_iter()
            .filter_map(|kind| counts.get(kind as usize).map(|count| (kind, u64::from(*count))))
            .filter(|(_, count)| *count > 0)
            .collect();
        kinds.sort_by_key(|(kind, count)| (std::cmp::Reverse(*count), *kind));
        kinds
    }

    /// The lines of code that are in sight: the selected one in the middle, or what comes before it where there is less after.
    #[must_use]
    pub fn visible_code(&self) -> &[CodeLine] {
        let rows = usize::from(self.rows_of(Pane::Code).unwrap_or(0));
        let code = &self.side.machine.code;
        let line = self.side.code_line.unwrap_or(self.side.machine.registers.rip);
        let at = code.iter().position(|other| other.address == line).unwrap_or(0);
        let from = at.saturating_sub(rows / 2).min(code.len().saturating_sub(rows));
        code.get(from..(from + rows).min(code.len())).unwrap_or_default()
    }

    /// What the panes that are seen want to see.
    pub(super) fn wanted_look(&mut self) -> Look {
        let rows = self.rows_of(Pane::Memory).unwrap_or(1).clamp(1, 200);
        let code_rows = self.rows_of(Pane::Code).unwrap_or(1).saturating_add(CODE_MARGIN);
        let tasks = self.rows_of(Pane::Tasks).is_some();
        let steps = if self.strip.stepwise { (self.size.width / 2).saturating_add(1).min(500) } else { 0 };
        let row_bytes = MemoryShape::of(self.columns_of(Pane::Memory)).row_bytes;
        let look = &mut self.side.look;
        look.memory.rows = rows;
        look.memory.row_bytes = row_bytes;
        look.code_rows = code_rows;
        look.tasks = tasks;
        look.steps = steps;
        look.clone()
    }
}
