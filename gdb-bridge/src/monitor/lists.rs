//! What the recording itself says about the time around here: `exits`, `events`, `console`. Nothing is replayed.

use std::collections::VecDeque;
use std::fmt::Write;

use recorder::{ExitKind, Position, ReadError};
use replayvm::console::{Cleaner, Colours, Lines, printed};

use super::chain;
use super::look::INTERRUPTED;
use crate::target::ReplayTarget;

/// Ticks before here in which entries are looked for first.
const FIRST_TICKS: u64 = 1 << 12;
/// Entries between two looks at the client.
const ENTRIES_UNSEEN: u32 = 1 << 12;
/// Characters of a line that are shown.
pub(super) const LINE_CHARS: usize = 200;

/// The entries on both sides of a position.
struct Around<T> {
    before: VecDeque<(Position, T)>,
    after: Vec<(Position, T)>,
}

/// Finds the last `count` wanted entries that are not `ahead` of `here`, and the first ones that are. Only as much of the
/// recording is read as has them.
fn around<T, I: Iterator<Item = Result<(Position, T), ReadError>>>(
    here: Position,
    count: usize,
    entries_from: impl Fn(Position) -> I,
    ahead: impl Fn(&(Position, T)) -> bool,
    wanted: impl Fn(&T) -> bool,
    mut go_on: impl FnMut() -> bool,
) -> Result<Around<T>, String> {
    let mut seen = 0_u32;
    let mut look = || {
        seen = seen.wrapping_add(1);
        if seen.is_multiple_of(ENTRIES_UNSEEN) && !go_on() { Err(INTERRUPTED.to_owned()) } else { Ok(()) }
    };
    let mut before = VecDeque::new();
    let (mut ticks, mut upper) = (FIRST_TICKS, None);
    loop {
        let start = Position::new(here.tick.saturating_sub(ticks), 0);
        let mut found = VecDeque::new();
        for entry in entries_from(start) {
            look()?;
            let entry = entry.map_err(|error| chain(&error))?;
            if upper.map_or_else(|| ahead(&entry), |upper| entry.0 >= upper) {
                break;
            }
            if wanted(&entry.1) {
                found.push_back(entry);
                if found.len() + before.len() > count {
                    found.pop_front();
                }
            }
        }
        found.append(&mut before);
        before = found;
        if before.len() >= count || start.tick == 0 {
            break;
        }
        (ticks, upper) = (ticks.saturating_mul(8), Some(start));
    }
    let mut after = Vec::new();
    for entry in entries_from(here) {
        look()?;
        let entry = entry.map_err(|error| chain(&error))?;
        if ahead(&entry) && wanted(&entry.1) {
            after.push(entry);
            if after.len() >= count {
                break;
            }
        }
    }
    Ok(Around { before, after })
}

impl<T> Around<T> {
    fn text(&self, here: Position, show: impl Fn(&T) -> String) -> String {
        let mut text = String::new();
        for (at, entry) in &self.before {
            let _ = writeln!(text, "  {at:<20} {}", show(entry));
        }
        let _ = writeln!(text, "> {here:<20} here");
        for (at, entry) in &self.after {
            let _ = writeln!(text, "  {at:<20} {}", show(entry));
        }
        text
    }
}

impl ReplayTarget<'_> {
    pub(super) fn exits(&self, kind: Option<ExitKind>, count: usize) -> Result<String, String> {
        self.demand_recording("exits")?;
        let here = self.timeline.position();
        let recording = self.timeline.opened().recording();
        let found = around(
            here,
            count,
            |from| recording.exits_from(from),
            |(at, _)| *at >= here,
            |exit| kind.is_none_or(|kind| exit.kind() == kind),
            || !self.link.is_interrupted(),
        )?;
        Ok(found.text(here, ToString::to_string))
    }

    pub(super) fn events(&self, count: usize) -> Result<String, String> {
        self.demand_recording("events")?;
        let here = self.timeline.position();
        let recording = self.timeline.opened().recording();
        let found = around(
            here,
            count,
            |from| recording.events_from(from),
            |(at, event)| *at > here || *at == here && event.is_read(),
            |_| true,
            || !self.link.is_interrupted(),
        )?;
        Ok(found.text(here, ToString::to_string))
    }

    pub(super) fn console(&self, count: usize) -> Result<String, String> {
        let here = self.timeline.position();
        if let Some(text) = self.branch_console(here, count) {
            return Ok(text);
        }
        let (mut seen, mut interrupted) = (0_u32, false);
        let before = printed(self.timeline.opened().recording()).take_while(|byte| {
            seen = seen.wrapping_add(1);
            interrupted |= seen.is_multiple_of(ENTRIES_UNSEEN) && self.link.is_interrupted();
            !interrupted && byte.as_ref().map_or(true, |byte| byte.at < here)
        });
        let mut last = VecDeque::new();
        for line in Lines::new(before) {
            let line = line.map_err(|error| chain(&error))?;
            let text = Cleaner::whole(Colours::Dropped, &line.bytes);
            if last.len() == count {
                last.pop_front();
            }
            last.push_back((line.at, text.chars().take(LINE_CHARS).collect::<String>()));
        }
        if interrupted {
            return Err(INTERRUPTED.to_owned());
        }
        if last.is_empty() {
            return Ok(format!("nothing is printed before {here}\n"));
        }
        Ok(last.iter().map(|(at, line)| line_text(*at, line)).collect())
    }
}

/// A line of the console and where it begins.
pub(super) fn line_text(at: Position, line: &str) -> String {
    format!("{at:<20} {line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(
        all: &[(u64, u32)],
        here: u64,
        count: usize,
        wanted: impl Fn(&u32) -> bool,
    ) -> (Vec<u32>, Vec<u32>) {
        let from = |from: Position| {
            let rest = all.iter().map(|(tick, entry)| (Position::new(*tick, 0), *entry));
            rest.filter(move |(at, _)| *at >= from).map(Ok)
        };
        let here = Position::new(here, 0);
        let found = around(here, count, from, |(at, _)| *at >= here, wanted, || true).unwrap();
        let numbers =
            |entries: &mut dyn Iterator<Item = &(Position, u32)>| entries.map(|(_, n)| *n).collect();
        (numbers(&mut found.before.iter()), numbers(&mut found.after.iter()))
    }

    #[test]
    fn the_nearest_entries_are_found_however_far_away() {
        let all: Vec<_> = (0..1000).map(|n| (u64::from(n) * 777, n)).collect();
        assert_eq!(find(&all, 777 * 500, 3, |_| true), (vec![497, 498, 499], vec![500, 501, 502]));
        assert_eq!(find(&all, 777 * 500, 2, |n| n % 400 == 0), (vec![0, 400], vec![800]));
        assert_eq!(find(&all, 0, 2, |_| true), (vec![], vec![0, 1]));
        assert_eq!(find(&all, u64::MAX, 2, |_| true), (vec![998, 999], vec![]));
        let burst = [(5, 0), (5, 1), (5, 2), (9, 3)];
        assert_eq!(find(&burst, 6, 2, |_| true), (vec![1, 2], vec![3]));
    }

    #[test]
    fn a_search_can_be_interrupted() {
        let entries = |_: Position| (0..100_000).map(|tick| Ok((Position::new(tick, 0), ())));
        let here = Position::new(1 << 40, 0);
        let found = around(here, 1, entries, |_| false, |()| false, || false);
        assert_eq!(found.err().as_deref(), Some(INTERRUPTED));
    }
}
