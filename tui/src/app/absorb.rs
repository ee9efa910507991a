//! What has been asked for comes back: from the worker, and from the library.

use replayvm::timeline::TimelineError;

use super::{App, Note, chain};
use crate::action::Action;
use crate::layout::Pane;
use crate::library::Answer;
use crate::machine::Snapshot;
use crate::worker::{Job, Outcome};

impl App {
    /// The worker has done something.
    ///
    /// # Errors
    /// The recording cannot be used any more; the cursor is in no defined place.
    pub fn done(&mut self, outcome: Outcome) -> Result<(), TimelineError> {
        self.state.side.working = None;
        self.state.busy = None;
        let Outcome { snapshot, told, results, clock, error } = outcome;
        if let Some(clock) = clock {
            self.state.strip.set_clock(clock);
        }
        if let Some(text) = told.or(self.arrival.take().map(str::to_owned)) {
            self.info(text);
        }
        if let Some(results) = results {
            let count = results.list.len();
            let more = results.more.as_ref().map_or_else(String::new, |more| format!(" ({more})"));
            self.info(format!("{count} found: {}{more}", results.title));
            self.state.side.results = results;
            *self.state.side.scroll_mut(Pane::Results) = Default::default();
            self.state.layout.show(Pane::Results, self.state.size);
            self.fit();
            self.look_again = true;
        }
        match (snapshot, error) {
            (Some(snapshot), error) => {
                self.stand_on(*snapshot);
                if let Some(error) = error {
                    self.waiting.clear();
                    self.state.note = Some(Note::Error(chain(&error)));
                    self.failed.get_or_insert(error);
                }
            }
            (None, Some(error)) => return Err(error),
            // Steps beside the cursor could not be replayed: what is on the screen is not true any more.
            (None, None) => {
                self.state.note = Some(Note::Error("the cursor's surroundings are lost".to_owned()))
            }
        }
        self.go_on();
        Ok(())
    }

    /// What has waited for the worker.
    fn go_on(&mut self) {
        if let Some((position, why)) = self.coming.take() {
            self.come_to(position, why);
            return;
        }
        if let Some(action) = self.waiting.pop_front() {
            self.act(action);
        }
        if self.look_again && !self.is_working() {
            self.look_again = false;
            self.order(Job::Look);
        } else if self.clock_due && !self.is_working() {
            self.clock_due = false;
            self.order(Job::Clock);
        }
    }

    fn stand_on(&mut self, snapshot: Snapshot) {
        let side = &mut self.state.side;
        let moved = snapshot.position != side.machine.position;
        if moved {
            side.before = Some(std::mem::take(&mut side.machine.registers));
            // Code follows the cursor.
            side.code_line = None;
            let follows = side.look.code.take().is_some();
            side.history.visit(snapshot.position, self.stepping);
            self.look_again |= follows;
        }
        side.machine = snapshot;
        if !moved && !self.moving {
            self.fit();
            return;
        }
        let position = side.machine.position;
        self.state.strip.reveal(position.tick);
        self.find_cursor();
        self.follow_cursor();
    }

    /// Where the cursor is among exits and lines.
    pub(super) fn find_cursor(&mut self) {
        let side = &mut self.state.side;
        let position = side.machine.position;
        let begun = side.console.begun(position);
        let last = begun.checked_sub(1).and_then(|last| side.console.lines.get(last));
        side.console_tail = last
            .filter(|line| line.last >= position)
            .map(|line| side.console.text_at(&side.recording, line, position));
        let number = side.exits.number_at(position);
        if let Some(number) = self.note_read(number) {
            self.state.side.next_exit = number;
        }
    }

    /// Lists along time go where the cursor is, unless somebody is in them.
    fn follow_cursor(&mut self) {
        let side = &self.state.side;
        let position = side.machine.position;
        let focused = self.state.layout.focused();
        // Who goes from line to line stands before the one that comes next.
        let line = side.console.begun(position).saturating_sub(usize::from(focused != Pane::Console));
        let input = side.inputs.list.partition_point(|input| input.at < position);
        self.select(Pane::Console, line);
        if focused != Pane::Inputs {
            self.select(Pane::Inputs, input);
        }
        if focused != Pane::Exits {
            let result = self.state.side.exits.show_number(self.state.side.next_exit);
            self.note_read(result);
        }
        self.select(Pane::Stack, 0);
        self.fit();
    }

    /// The library has read something.
    pub fn read(&mut self, answer: Answer) {
        match answer {
            Answer::Index(index) => {
                if let Some(text) = index.shortfall() {
                    self.state.note = Some(Note::Error(text));
                }
                self.state.side.exits.know(std::sync::Arc::clone(&index));
                self.state.side.index = Some(index);
                self.find_cursor();
                let result = self.state.side.exits.show_number(self.state.side.next_exit);
                self.note_read(result);
            }
            Answer::Console(console) => {
                self.state.side.console = console;
                self.find_cursor();
                let line = self.state.side.console.begun(self.state.side.machine.position).saturating_sub(1);
                self.select(Pane::Console, line);
            }
            Answer::Inputs(inputs) => self.state.side.inputs = inputs,
            Answer::Symbols(found) => {
                self.state.side.naming = false;
                match found {
                    Ok(names) => self.state.side.names = names,
                    Err(error) => self.state.note = Some(Note::Error(format!("no symbols: {error}"))),
                }
                self.look();
            }
            Answer::Selected(found) => {
                self.state.side.selecting = false;
                self.state.busy = None;
                match found {
                    Ok(Some(listed)) => self.list_exits(Some(listed)),
                    Ok(None) => self.info("stopped; the list is as it was"),
                    Err(error) => self.state.note = Some(Note::Error(error)),
                }
            }
        }
    }

    /// Whether an action waits for the worker.
    #[must_use]
    pub fn waits(&self) -> Option<Action> {
        self.waiting.front().copied()
    }
}
