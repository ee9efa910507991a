//! What is done with a line that was asked for.

use super::prompt::Target;
use super::{App, Note, Question, chain};
use crate::exits::{Filter, number};
use crate::layout::Pane;
use crate::machine::{Base, GENERAL};
use crate::worker::Job;

impl App {
    /// One more character of the line that is asked for.
    pub fn write(&mut self, c: char) {
        if let Some(prompt) = &mut self.state.prompt {
            prompt.push(c);
        }
    }

    /// One character less.
    pub fn erase(&mut self) {
        if let Some(prompt) = &mut self.state.prompt {
            prompt.text.pop();
        }
    }

    /// All of them.
    pub fn erase_all(&mut self) {
        if let Some(prompt) = &mut self.state.prompt {
            prompt.text.clear();
        }
    }

    /// There will be no answer.
    pub fn forget_question(&mut self) {
        self.state.prompt = None;
    }

    /// That was it.
    pub fn answer(&mut self) {
        let Some(prompt) = self.state.prompt.take() else { return };
        self.state.note = None;
        let text = prompt.text.trim();
        if text.is_empty() && prompt.question != Question::Filter {
            return;
        }
        if self.is_working() && !matches!(prompt.question, Question::Filter | Question::Breakpoint) {
            // The cursor is on its way: what is meant here is not where it was asked.
            self.info("something is still running: Esc stops it");
            self.state.prompt = Some(prompt);
            return;
        }
        match prompt.question {
            Question::GoTo => self.go_to(text),
            Question::Filter => match Filter::parse(text) {
                Ok(filter) => {
                    let order = self.state.side.sorted();
                    self.select_exits(filter, order);
                }
                Err(error) => self.state.note = Some(Note::Error(error.to_string())),
            },
            Question::Find => self.find(text),
            Question::Mark => self.mark(text),
            Question::Address => self.show_address(text),
            Question::Breakpoint => match self.address_of(text) {
                Some(address) => self.toggle_breakpoint(address),
                None => self.unknown(text),
            },
        }
    }

    fn unknown(&mut self, text: &str) {
        let why = match (&self.state.side.names, self.state.side.naming) {
            (Some(_), _) => "is no symbol",
            (None, true) => "is no address, and symbols are still looked for",
            (None, false) => "is no address, and this guest has no symbols",
        };
        self.state.note = Some(Note::Error(format!("`{text}` {why}")));
    }

    fn address_of(&self, text: &str) -> Option<u64> {
        if text.starts_with("0x") {
            return number(text);
        }
        self.state.side.names.as_ref().and_then(|names| names.address(text))
    }

    fn go_to(&mut self, text: &str) {
        let side = &self.state.side;
        match Target::parse(text, side.begin, side.end) {
            Some(Target::Position(position)) if position > side.end => {
                self.info(format!("{position} is beyond the end of the recording, {}", side.end));
            }
            Some(Target::Position(position)) => self.seek(position),
            Some(Target::Time(ns)) => self.order(Job::Time(ns)),
            Some(Target::Part(part)) => {
                let ticks = u128::from(side.end.tick - side.begin.tick) * u128::from(part) / 1000;
                let tick = side.begin.tick.saturating_add(u64::try_from(ticks).unwrap_or(0));
                self.seek(recorder::Position::new(tick, 0));
            }
            Some(Target::Address { address, back }) => self.order(Job::To { address, back }),
            Some(Target::Name { name, back }) => {
                if let Some(place) = side.marks.named(&name) {
                    self.seek(place);
                } else if let Some(address) = self.address_of(&name) {
                    self.order(Job::To { address, back });
                } else {
                    self.unknown(&name);
                }
            }
            None => self.info(format!("`{text}` is no place")),
        }
    }

    fn mark(&mut self, name: &str) {
        let position = self.state.side.machine.position;
        match self.state.side.marks.add(position, name) {
            Ok(()) => {
                self.info(format!("marked {position} as `{name}`"));
                self.keep_marks();
            }
            Err(error) => self.state.note = Some(Note::Error(chain(&error))),
        }
    }

    fn show_address(&mut self, text: &str) {
        let in_code = self.state.layout.focused() == Pane::Code;
        let register = GENERAL.iter().position(|name| *name == text);
        if let (Some(index), false) = (register, in_code) {
            self.state.side.look.memory.base = Base::Register(index, 0);
            self.state.side.memory_cursor = 0;
            self.state.layout.show(Pane::Memory, self.state.size);
            self.seen();
            return;
        }
        let address = self.state.side.machine.registers.named(text).or_else(|| self.address_of(text));
        match address {
            Some(address) if in_code => {
                self.show_code(address.wrapping_sub(self.state.side.machine.registers.cs_base));
            }
            Some(address) => {
                let physical = self.state.side.look.memory.physical;
                self.show_memory(address, physical);
            }
            None => self.unknown(text),
        }
    }
}
