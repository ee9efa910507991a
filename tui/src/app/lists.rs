//! Rows of panes: selecting them, and what they are for.

use super::{App, Note};
use crate::action::Action;
use crate::exits::{Filter, Order};
use crate::layout::Pane;
use crate::machine::{Base, Tasks};
use crate::worker::Job;
use crate::worker::Of;

/// What a row of the marks is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MarkRow {
    Mark(usize),
    Breakpoint(usize),
    Watch(usize),
}

impl App {
    /// Up, down and aside in the pane that has the keys.
    pub(super) fn go_in_pane(&mut self, action: Action) {
        let page = isize::try_from(self.focus_rows().saturating_sub(1).max(1)).unwrap_or(1);
        let rows = match action {
            Action::Down => 1,
            Action::Up => -1,
            Action::PageDown => page,
            Action::PageUp => -page,
            Action::First => isize::MIN,
            Action::Last => isize::MAX,
            Action::Left | Action::Right => {
                self.go_aside(action == Action::Left);
                return;
            }
            _ => return,
        };
        match self.state.layout.focused() {
            Pane::Exits => {
                let exits = &mut self.state.side.exits;
                let result = match action {
                    Action::First => exits.select(0),
                    Action::Last => exits.select(u64::MAX),
                    _ => exits.move_by(rows as i64),
                };
                self.note_read(result);
            }
            Pane::Code => self.go_in_code(rows),
            Pane::Memory => self.go_in_memory(action, rows as i64),
            pane => self.scroll_by(pane, rows),
        }
    }

    fn go_aside(&mut self, left: bool) {
        match self.state.layout.focused() {
            Pane::Memory => {
                let cursor = self.state.side.memory_cursor;
                if left && cursor > 0 {
                    self.state.side.memory_cursor -= 1;
                } else if !left && cursor < self.state.side.last_byte() {
                    self.state.side.memory_cursor += 1;
                }
            }
            Pane::Devices => {
                self.state.side.look.device = self.state.side.look.device.next(!left);
                *self.state.side.scroll_mut(Pane::Devices) = Default::default();
                self.look();
            }
            _ => self.state.strip.pan(left),
        }
    }

    pub(super) fn scroll_by(&mut self, pane: Pane, rows: isize) {
        let (len, height) = (self.state.side.len(pane), self.state.rows_of(pane).unwrap_or(1));
        self.state.side.scroll_mut(pane).move_by(rows, len, usize::from(height));
    }

    pub(super) fn select(&mut self, pane: Pane, row: usize) {
        let (len, height) = (self.state.side.len(pane), self.state.rows_of(pane).unwrap_or(1));
        self.state.side.scroll_mut(pane).select(row, len, usize::from(height));
    }

    fn go_in_code(&mut self, rows: isize) {
        let side = &mut self.state.side;
        let line = side.code_line.unwrap_or(side.machine.registers.rip);
        let code = &side.machine.code;
        let last = code.len().saturating_sub(1);
        let here = code.iter().position(|other| other.address == line).unwrap_or(0);
        let to = here.saturating_add_signed(rows).min(last);
        let Some(address) = code.get(to).map(|line| line.address) else { return };
        side.code_line = Some(address);
        side.look.code = Some(address);
        self.look();
    }

    fn go_in_memory(&mut self, action: Action, rows: i64) {
        if matches!(action, Action::First | Action::Last) {
            self.state.side.memory_cursor =
                if action == Action::First { 0 } else { self.state.side.last_byte() };
            return;
        }
        let last = self.state.side.last_byte();
        let row = i64::from(self.state.side.look.memory.row_bytes);
        let side = &mut self.state.side;
        let page = rows.unsigned_abs() > 1;
        match side.memory_cursor.checked_add_signed(rows * row) {
            Some(cursor) if cursor <= last && !page => side.memory_cursor = cursor,
            // What is shown moves, and the cursor stays on its row.
            _ => {
                side.look.memory.base = side.look.memory.base.moved_by(rows * row);
                self.look();
            }
        }
    }

    /// What the selected row is for.
    pub(super) fn enter(&mut self) {
        let side = &self.state.side;
        let pane = self.state.layout.focused();
        let selected = side.scroll(pane).selected;
        match pane {
            Pane::Exits => match side.exits.selected() {
                Some(row) => self.seek(row.at),
                None => self.info("there is no exit to go to"),
            },
            Pane::Code => match side.selected_line() {
                Some(address) => self.order(Job::To { address, back: false }),
                None => self.info("there is no code"),
            },
            Pane::Console => match side.console.lines.get(selected) {
                Some(line) => self.seek(line.at),
                None => self.info("nothing is printed yet"),
            },
            Pane::Inputs => match side.inputs.list.get(selected) {
                Some(input) => self.seek(input.at),
                None => self.info("there is no input"),
            },
            Pane::Stack => self.enter_stack(selected),
            Pane::Results => self.enter_result(selected),
            Pane::Marks => self.enter_mark(selected),
            Pane::Tasks => {
                if let Tasks::List(tasks) = &side.machine.tasks
                    && let Some(address) = tasks.get(selected).map(|task| task.address)
                {
                    self.show_memory(address, false);
                }
            }
            Pane::Summary => {
                let kind = self.summary_kinds().get(selected).copied();
                if let Some(kind) = kind {
                    self.select_exits(Some(Filter::of_kind(kind)), Order::Position);
                    self.state.layout.show(Pane::Exits, self.state.size);
                    self.seen();
                }
            }
            Pane::Memory => {
                let at = usize::try_from(side.memory_cursor & !7).unwrap_or(0);
                let bytes = side.machine.memory.bytes.get(at..at + 8);
                let word: Option<Vec<u8>> = bytes.and_then(|bytes| bytes.iter().copied().collect());
                match word.and_then(|word| word.try_into().ok()) {
                    Some(word) => self.show_memory(u64::from_le_bytes(word), false),
                    None => self.info("there is no pointer to follow"),
                }
            }
            Pane::Registers | Pane::Devices => self.look(),
        }
    }

    /// Kinds in the order in which the summary lists them: the most frequent first.
    #[must_use]
    pub fn summary_kinds(&self) -> Vec<recorder::ExitKind> {
        self.state.summary().into_iter().map(|(kind, _)| kind).collect()
    }

    pub(super) fn show_memory(&mut self, address: u64, physical: bool) {
        let side = &mut self.state.side;
        side.look.memory.base = Base::Address(address & !0xf);
        side.look.memory.physical = physical;
        side.memory_cursor = address & 0xf;
        self.state.layout.show(Pane::Memory, self.state.size);
        self.seen();
    }

    /// Shows code at an address of the code segment.
    pub(super) fn show_code(&mut self, address: u64) {
        self.state.side.code_line = Some(address);
        self.state.side.look.code = Some(address);
        self.state.layout.show(Pane::Code, self.state.size);
        self.seen();
    }

    fn enter_stack(&mut self, selected: usize) {
        let machine = &self.state.side.machine;
        let base = machine.registers.cs_base;
        let frame = machine.frames.get(selected).map(|frame| frame.address);
        let slot = selected.checked_sub(machine.frames.len()).and_then(|slot| machine.stack.get(slot));
        match (frame, slot) {
            (Some(address), _) => self.show_code(address.wrapping_sub(base)),
            (None, Some(slot)) if slot.returns => self.show_code(slot.value.wrapping_sub(base)),
            (None, Some(slot)) => self.show_memory(slot.address, false),
            (None, None) => {}
        }
    }

    pub(super) fn enter_result(&mut self, selected: usize) {
        let results = &self.state.side.results;
        let Some(found) = results.list.get(selected) else {
            self.info("nothing has been found");
            return;
        };
        match (found.at, found.address, results.of) {
            (Some(at), ..) => self.seek(at),
            (None, Some(address), Of::Code) => self.show_code(address),
            (None, Some(address), of) => self.show_memory(address, of == Of::Physical),
            (None, None, _) => {}
        }
    }

    fn mark_row(&self, row: usize) -> Option<MarkRow> {
        let side = &self.state.side;
        let (marks, breakpoints) = (side.marks.len(), side.points.breakpoints.len());
        if row < marks {
            Some(MarkRow::Mark(row))
        } else if row < marks + breakpoints {
            Some(MarkRow::Breakpoint(row - marks))
        } else if row < side.len(Pane::Marks) {
            Some(MarkRow::Watch(row - marks - breakpoints))
        } else {
            None
        }
    }

    fn enter_mark(&mut self, selected: usize) {
        let side = &self.state.side;
        match self.mark_row(selected) {
            Some(MarkRow::Mark(row)) => {
                let place = side.marks.iter().nth(row).map(|(at, _)| at);
                if let Some(at) = place {
                    self.seek(at);
                }
            }
            Some(MarkRow::Breakpoint(row)) => {
                if let Some(address) = side.points.breakpoints.get(row).copied() {
                    self.show_code(address.wrapping_sub(side.machine.registers.cs_base));
                }
            }
            Some(MarkRow::Watch(row)) => {
                if let Some(bytes) = side.points.watches.get(row).copied() {
                    self.show_memory(bytes.address, bytes.physical);
                }
            }
            None => self.info("there is no mark yet: m"),
        }
    }

    /// Takes away what the selected row of the marks is.
    pub(super) fn delete(&mut self) {
        if self.state.layout.focused() != Pane::Marks {
            self.info("marks, breakpoints and watches are taken away in their pane: '");
            return;
        }
        let row = self.mark_row(self.state.side.scroll(Pane::Marks).selected);
        let side = &mut self.state.side;
        match row {
            Some(MarkRow::Mark(row)) => {
                let name = side.marks.remove(row).unwrap_or_default();
                self.state.note = Some(Note::Info(format!("`{name}` is no mark any more")));
                self.keep_marks();
            }
            Some(MarkRow::Breakpoint(row)) => {
                side.points.breakpoints.remove(row);
            }
            Some(MarkRow::Watch(row)) => {
                side.points.watches.remove(row);
            }
            None => {}
        }
        self.scroll_by(Pane::Marks, 0);
    }
}
