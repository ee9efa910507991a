//! Where two recordings part, as lists for the front end. In each, A is the first recording of the command line.

use std::fmt::Display;
use std::path::Path;

use recorder::Position;
use replayvm::compare::{self, Comparison, Entry, compare};
use replayvm::timeline::{Timeline, unsupervised};
use tui::Place;
use tui::worker::{Found, Of, Results};

use crate::args::Tui;
use crate::commands::diff::shown;
use crate::failure::Failure;

/// Inputs and exits of each side that are listed.
const ENTRIES: usize = 10;

/// Two recordings that have been compared.
pub struct Compared {
    /// What each lists.
    pub lists: [Results; 2],
    /// The last position of each.
    pub ends: [Position; 2],
    first: Option<Position>,
}

impl Compared {
    /// Compares the recording of the command line with another one.
    pub fn new(arguments: &Tui, other: &Path) -> Result<Self, Failure> {
        let files = [arguments.file.as_path(), other];
        let disks = arguments.disks.paths();
        let timelines =
            [Timeline::open_finding(files[0], &disks)?, Timeline::open_finding(files[1], &disks)?];
        let found = compare(timelines, ENTRIES, &mut unsupervised())?;
        let place = found.cpu.as_ref().or(found.state.as_ref());
        let list = rows(&found);
        let results = |title: String| Results { title, list: list.clone(), of: Of::Moments, more: None };
        let [a, b] = files.map(|file| file.file_name().unwrap_or(file.as_os_str()).to_string_lossy());
        Ok(Self {
            lists: [
                results(format!("differences; this is A, B is {}", b.escape_debug())),
                results(format!("differences; this is B, A is {}", a.escape_debug())),
            ],
            ends: found.lasts,
            first: place.map(compare::Place::position),
        })
    }

    /// Where the CPU, or else the state, differs first.
    pub fn place(&self) -> Option<Place> {
        self.first.map(Place::At)
    }
}

fn rows(found: &Comparison) -> Vec<Found> {
    let mut rows = Rows(Vec::new());
    if let Some(input) = &found.input {
        rows.push(input.position(), "first different input".to_owned());
    }
    rows.entries("A", &found.inputs[0]);
    rows.entries("B", &found.inputs[1]);
    if let Some(state) = &found.state {
        rows.push(state.position(), format!("first different state: {}", state.components.join(", ")));
    }
    if let Some(place) = found.cpu.as_ref().or(found.state.as_ref()) {
        rows.place(place);
    }
    if let Some(exit) = &found.exit {
        rows.push(exit.position(), format!("first different exit, after {} in common", exit.number));
    }
    rows.entries("=", &found.common_exits);
    rows.entries("A", &found.exits[0]);
    rows.entries("B", &found.exits[1]);
    if rows.0.is_empty() {
        let equal = if found.is_equal() { "equal from begin to end" } else { "equal as far as both go" };
        rows.push(found.end, equal.to_owned());
    }
    rows.0
}

struct Rows(Vec<Found>);

impl Rows {
    fn push(&mut self, at: Position, text: String) {
        self.0.push(Found { at: Some(at), address: None, text });
    }

    fn entries<T: Display>(&mut self, side: &str, entries: &[Entry<T>]) {
        entries.iter().for_each(|(at, what)| self.push(*at, format!("{side} {what}")));
    }

    fn place(&mut self, place: &compare::Place) {
        if let Some(before) = &place.before {
            self.push(before.position, format!("= {:#x} {}", before.rip, before.instruction));
        }
        for (side, there) in ["A", "B"].iter().zip(&place.sides) {
            self.push(there.position, format!("{side} {:#x} {}", there.rip, there.instruction));
        }
        let at = place.position();
        for register in &place.registers {
            self.push(at, format!("{}: A {} B {}", register.name, register.sides[0], register.sides[1]));
        }
        for range in &place.memory.ranges {
            let [a, b] = range.sides.each_ref().map(|bytes| shown(bytes, range.len));
            self.push(at, format!("memory {:#x}: A {a}", range.gpa));
            self.push(at, format!("memory {:#x}: B {b}", range.gpa));
        }
    }
}
