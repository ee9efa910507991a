//! Breakpoints and watches: what runs stop on.

use super::{App, Question};
use crate::layout::Pane;
use crate::worker::Bytes;

/// Bytes that are watched at once.
const WATCHED: u64 = 8;

impl App {
    /// The bytes that the memory pane has selected: what is written there is what is asked for.
    pub(super) fn selected_byte(&self) -> Bytes {
        let side = &self.state.side;
        let address = side.machine.memory.first.wrapping_add(side.memory_cursor);
        Bytes { address, len: 1, physical: side.look.memory.physical }
    }

    pub(super) fn watch(&mut self) {
        let bytes = Bytes { len: WATCHED, ..self.selected_byte() };
        let watches = &mut self.state.side.points.watches;
        let count = watches.len();
        watches.retain(|watch| watch.address != bytes.address || watch.physical != bytes.physical);
        let text = if watches.len() < count {
            format!("{:#x} is not watched any more", bytes.address)
        } else {
            watches.push(bytes);
            format!(
                "{WATCHED} bytes at {:#x} are watched: c and C stop before they are written",
                bytes.address
            )
        };
        self.info(text);
    }

    pub(super) fn breakpoint(&mut self) {
        match self.state.side.selected_line() {
            Some(address) if self.state.layout.focused() == Pane::Code => self.toggle_breakpoint(address),
            _ => self.ask(Question::Breakpoint, ""),
        }
    }

    pub(super) fn toggle_breakpoint(&mut self, address: u64) {
        let breakpoints = &mut self.state.side.points.breakpoints;
        let text = match breakpoints.iter().position(|other| *other == address) {
            Some(index) => {
                breakpoints.remove(index);
                format!("no breakpoint at {address:#x} any more")
            }
            None => {
                breakpoints.push(address);
                format!("breakpoint at {address:#x}")
            }
        };
        self.info(text);
    }
}
