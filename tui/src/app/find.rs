//! What is looked for in a pane.

use super::{App, Question};
use crate::layout::Pane;
use crate::worker::{Found, Job, Of, Results};

/// Lines that one search lists.
const MAX_FOUND: usize = 1000;

impl App {
    pub(super) fn ask_find(&mut self) {
        match self.state.layout.focused() {
            Pane::Exits => self.ask(Question::Filter, ""),
            Pane::Code | Pane::Memory | Pane::Console | Pane::Results | Pane::Inputs => {
                self.ask(Question::Find, "");
            }
            pane => self.info(format!("nothing is searched in {}", pane.name())),
        }
    }

    /// Looks for a text in the pane that has the keys.
    pub(super) fn find(&mut self, text: &str) {
        let side = &self.state.side;
        match self.state.layout.focused() {
            Pane::Code => {
                let from = side.code_line.unwrap_or(side.machine.registers.rip);
                self.order(Job::FindCode { wanted: text.to_owned(), from });
            }
            Pane::Memory => match super::prompt::bytes(text) {
                Some(wanted) => {
                    let from = side.machine.memory.first.wrapping_add(side.memory_cursor);
                    let physical = side.look.memory.physical;
                    self.order(Job::FindBytes { wanted, physical, from });
                }
                None => self.info("bytes are written as de ad be ef, 0x1234, or \"text\""),
            },
            Pane::Console => {
                let lines = side.console.lines.iter().filter(|line| line.text.contains(text));
                let list =
                    lines.map(|line| Found { at: Some(line.at), address: None, text: line.text.clone() });
                let list = list.take(MAX_FOUND).collect();
                self.found(format!("console lines with `{text}`"), list);
            }
            Pane::Inputs => {
                let inputs = side.inputs.list.iter().filter(|input| input.text.contains(text));
                let list =
                    inputs.map(|input| Found { at: Some(input.at), address: None, text: input.text.clone() });
                let list = list.take(MAX_FOUND).collect();
                self.found(format!("inputs with `{text}`"), list);
            }
            Pane::Results => self.find_in_results(text),
            _ => {}
        }
    }

    fn found(&mut self, title: String, list: Vec<Found>) {
        let more = (list.len() >= MAX_FOUND).then(|| format!("the first {MAX_FOUND}"));
        self.info(format!("{} found: {title}", list.len()));
        self.state.side.results = Results { title, list, of: Of::Moments, more };
        *self.state.side.scroll_mut(Pane::Results) = Default::default();
        self.state.layout.show(Pane::Results, self.state.size);
        self.seen();
    }

    fn find_in_results(&mut self, text: &str) {
        let list = &self.state.side.results.list;
        let from = self.state.side.scroll(Pane::Results).selected + 1;
        let (before, after) = list.split_at(from.min(list.len()));
        let wanted = |found: &Found| found.text.contains(text);
        let row = after.iter().position(wanted).map(|row| row + before.len());
        match row.or_else(|| before.iter().position(wanted)) {
            Some(row) => self.select(Pane::Results, row),
            None => self.info(format!("no result has `{text}`")),
        }
    }

    /// Goes to the next result, or the one before.
    pub(super) fn next_match(&mut self, back: bool) {
        let selected = self.state.side.scroll(Pane::Results).selected;
        let count = self.state.side.results.list.len();
        let row = if back { selected.checked_sub(1) } else { Some(selected + 1).filter(|row| *row < count) };
        match row {
            Some(row) => {
                self.select(Pane::Results, row);
                self.enter_result(row);
            }
            None => self.info("no more results"),
        }
    }
}
