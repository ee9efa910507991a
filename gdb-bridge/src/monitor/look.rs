//! Looking elsewhere: the cursor moves and is put back where it was. What gdb knows of the machine stays true.

use std::fmt::Write;

use recorder::Position;
use replayvm::machine::PAGE_BYTES;
use replayvm::timeline::{Progress, Reason, unsupervised};

use super::failed;
use super::parse::Place;
use crate::architecture::Architecture;
use crate::registers;
use crate::target::ReplayTarget;

/// Its registers are compared: the others' are parts of them.
const ALL: Architecture = Architecture::X86_64;
/// Stretches of pages that are listed.
const STRETCHES_MAX: usize = 40;

/// What is said of a look that was interrupted.
pub(super) const INTERRUPTED: &str = "interrupted";

impl ReplayTarget<'_> {
    /// Lets `look` move the cursor, and puts it back.
    pub(super) fn looking<T>(
        &mut self,
        look: impl FnOnce(&mut Self) -> Result<T, String>,
    ) -> Result<T, String> {
        let here = self.timeline.keep_here().map_err(|error| failed(&error))?;
        let found = look(self);
        self.timeline.seek(here, &mut unsupervised()).map_err(|error| failed(&error))?;
        found
    }

    /// Goes to a place within a look.
    pub(super) fn visit(&mut self, target: Position) -> Result<(), String> {
        let link = self.link.clone();
        let mut supervisor = |_: Progress| !link.is_interrupted();
        let landing = self.timeline.seek(target, &mut supervisor).map_err(|error| failed(&error))?;
        if landing.reason == Reason::Interrupted { Err(INTERRUPTED.to_owned()) } else { Ok(()) }
    }

    /// The position of a place, within the recording.
    pub(super) fn position_of(&self, place: Place) -> Position {
        let (begin, end) = (self.timeline.begin(), self.timeline.end());
        match place {
            Place::At(position) => position.min(end).max(begin),
            Place::Begin => begin,
            Place::End => end,
        }
    }

    pub(super) fn translate(&self, linear: u64) -> Result<String, String> {
        match self.timeline.walk_tables(linear) {
            Ok(gpa) => {
                let ram = gpa < self.timeline.machine().platform.ram.bytes();
                Ok(format!(
                    "{linear:#x} is physical {gpa:#x}{}\n",
                    if ram { "" } else { ", which is not RAM" }
                ))
            }
            Err(why) => Err(format!("{linear:#x} is not mapped: {why}")),
        }
    }

    pub(super) fn diff(&mut self, place: Place) -> Result<String, String> {
        let target = self.position_of(place);
        self.looking(|target_here| {
            let here = target_here.timeline.position();
            let registers = target_here.register_values();
            let pages = target_here.timeline.page_map().map_err(|error| failed(&error))?;
            target_here.visit(target)?;
            let there = target_here.timeline.position();
            let mut text = format!("{:<12} {here:<34} {there}\n", "");
            for ((register, mine), theirs) in
                registers::all(ALL).zip(registers).zip(target_here.register_values())
            {
                if mine != theirs {
                    let _ = writeln!(text, "{:<12} {:<34} {theirs:#x}", register.name, format!("{mine:#x}"));
                }
            }
            let other = target_here.timeline.page_map().map_err(|error| failed(&error))?;
            let ram = target_here.timeline.machine().platform.ram.bytes() / PAGE_BYTES as u64;
            text.push_str(&pages_text(&pages.differing(&other), ram));
            Ok(text)
        })
    }

    fn register_values(&self) -> Vec<u128> {
        registers::all(ALL).map(|register| registers::value(self.timeline, register)).collect()
    }
}

/// Says which pages differ; those past `ram` hold what was written to disks.
fn pages_text(differing: &[u64], ram: u64) -> String {
    let (memory, disks) = differing.split_at(differing.partition_point(|gfn| *gfn < ram));
    let mut stretches: Vec<(u64, u64)> = Vec::new();
    for gfn in memory {
        match stretches.last_mut() {
            Some((_, end)) if *end == *gfn => *end += 1,
            _ => stretches.push((*gfn, gfn + 1)),
        }
    }
    let mut text = format!("{} of {ram} pages of RAM differ\n", memory.len());
    for (start, end) in stretches.iter().take(STRETCHES_MAX) {
        let bytes = PAGE_BYTES as u64;
        let _ = writeln!(text, "  physical {:#x}..{:#x}", start * bytes, end * bytes);
    }
    if let Some(more @ 1..) = stretches.len().checked_sub(STRETCHES_MAX) {
        let _ = writeln!(text, "  and {more} more stretches");
    }
    if !disks.is_empty() {
        let _ = writeln!(text, "{} pages of what is written to disks differ", disks.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_pages_are_one_stretch_and_disks_are_told_apart() {
        let text = pages_text(&[1, 2, 3, 7, 100, 101], 100);
        assert_eq!(
            text,
            "4 of 100 pages of RAM differ\n  physical 0x1000..0x4000\n  physical 0x7000..0x8000\n\
             2 pages of what is written to disks differ\n"
        );
        assert_eq!(pages_text(&[], 9), "0 of 9 pages of RAM differ\n");
    }

    #[test]
    fn long_lists_of_pages_are_cut_and_say_so() {
        let every_other: Vec<u64> = (0..50).map(|index| index * 2).collect();
        let text = pages_text(&every_other, 1000);
        assert_eq!(text.lines().count(), 1 + STRETCHES_MAX + 1);
        assert!(text.ends_with("  and 10 more stretches\n"), "{text}");
    }
}
