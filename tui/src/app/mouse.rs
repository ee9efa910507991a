//! Clicks and wheels.

use ratatui::layout::{Position as Cell, Rect};

use super::{App, MemoryShape, centered};
use crate::action::Action;
use crate::layout::{BORDER, Pane, Slot};

impl App {
    /// Somebody has clicked. Once selects, on what is selected already it does what Enter does.
    pub fn click(&mut self, cell: Cell) {
        if self.state.help.take().is_some() {
            return;
        }
        let places = self.state.layout.places(Rect::from(self.state.size), self.state.banner.is_some());
        if places.strip.contains(cell) {
            self.click_strip(usize::from(cell.x - places.strip.x), usize::from(places.strip.width));
            return;
        }
        let slot = Slot::ALL.into_iter().find(|slot| places.slots[*slot as usize].contains(cell));
        let Some(slot) = slot else { return };
        self.state.layout.focus_on(slot);
        let area = places.slots[slot as usize];
        let inside = cell.y > area.y && cell.y < area.bottom().saturating_sub(BORDER / 2);
        if inside {
            let column = cell.x.saturating_sub(area.x + 1);
            self.click_row(self.state.layout.pane(slot), usize::from(cell.y - area.y - 1), column);
        }
    }

    /// The wheel was turned over a place.
    pub fn wheel(&mut self, cell: Cell, down: bool) {
        let places = self.state.layout.places(Rect::from(self.state.size), self.state.banner.is_some());
        if places.strip.contains(cell) {
            self.act(if down { Action::ZoomOut } else { Action::ZoomIn });
            return;
        }
        if let Some(slot) = Slot::ALL.into_iter().find(|slot| places.slots[*slot as usize].contains(cell)) {
            self.state.layout.focus_on(slot);
        }
        for _ in 0..3 {
            self.act(if down { Action::Down } else { Action::Up });
        }
    }

    fn click_strip(&mut self, column: usize, columns: usize) {
        if self.is_working() {
            return;
        }
        let here = self.state.side.machine.position;
        let to = if self.state.strip.stepwise {
            centered(&self.state.side.machine.steps, here, columns).get(column).map(|step| step.at)
        } else {
            Some(recorder::Position::new(self.state.strip.tick_of(column, columns), 0))
        };
        if let Some(to) = to {
            self.seek(to.clamp(self.state.side.begin, self.state.side.end));
        }
    }

    fn click_row(&mut self, pane: Pane, row: usize, column: u16) {
        let again = match pane {
            Pane::Exits => {
                let exits = &mut self.state.side.exits;
                let index = exits.top().saturating_add(row as u64);
                let again = exits.selected_index() == index;
                if index < exits.len() {
                    let result = exits.select(index);
                    self.note_read(result);
                }
                again
            }
            Pane::Code => {
                let lines = self.state.visible_code();
                let Some(address) = lines.get(row).map(|line| line.address) else { return };
                let side = &mut self.state.side;
                let again = side.code_line.unwrap_or(side.machine.registers.rip) == address;
                side.code_line = Some(address);
                again
            }
            Pane::Memory => {
                let shape = MemoryShape::of(self.state.columns_of(pane));
                let byte = (column.saturating_sub(shape.first_column()) / 3).min(shape.row_bytes - 1);
                let at = row as u64 * u64::from(shape.row_bytes) + u64::from(byte);
                let again = self.state.side.memory_cursor == at;
                self.state.side.memory_cursor = at.min(self.state.side.last_byte());
                again
            }
            Pane::Registers => false,
            _ => {
                let scroll = self.state.side.scroll(pane);
                let index = scroll.top + row;
                if index < self.state.side.len(pane) {
                    self.select(pane, index);
                }
                scroll.selected == index
            }
        };
        if again {
            self.act(Action::Enter);
        }
    }
}
