//! What a run stops on, and how it tells.

use std::ops::RangeInclusive;

use recorder::{Exit, Position};

use crate::engine::{AddressSpace, Breakpoints};
use crate::machine::{ExitFilter, PAGE_BYTES, Watch, WatchHit, WatchKind};

/// Pages of RAM by guest frame number.
pub(super) type Pages = RangeInclusive<u64>;

/// What a run stops on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stops {
    /// Linear addresses of instructions.
    pub addresses: Vec<u64>,
    /// The same, each in one address space only: elsewhere the run passes.
    pub bound: Vec<(u64, AddressSpace)>,
    /// Watched ranges of physical memory.
    pub watches: Vec<Watch>,
    /// Kinds of exits.
    pub exits: ExitFilter,
}

impl Stops {
    /// Whether no step does anything that is asked for.
    pub(super) fn sees_no_step(&self) -> bool {
        self.watches.is_empty() && self.exits == ExitFilter::NONE
    }

    /// If a run stops on nothing but stores to RAM, which is so long: the pages of which one is written at each stop.
    pub(super) fn pages_to_write(&self, ram_bytes: u64) -> Option<Vec<Pages>> {
        // Whatever else a run may stop on has to be thought of here.
        let Self { addresses, bound, watches, exits } = self;
        if !addresses.is_empty() || !bound.is_empty() || *exits != ExitFilter::NONE {
            return None;
        }
        let page = PAGE_BYTES as u64;
        let pages = |watch: &Watch| {
            let last = watch.gpa.checked_add(watch.len.max(1) - 1)?;
            // Of devices nobody takes note.
            (watch.kind == WatchKind::Write && last < ram_bytes).then(|| watch.gpa / page..=last / page)
        };
        watches.iter().map(pages).collect()
    }

    pub(super) fn breakpoints(&self) -> Breakpoints {
        Breakpoints::with_bound(self.addresses.clone(), self.bound.clone())
    }
}

/// Where a run came to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Landing {
    /// Where.
    pub position: Position,
    /// Why.
    pub reason: Reason,
}

/// Why a run came to rest.
///
/// Forward, a run rests after the step that accessed watched memory or made an exit; backward, before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It is where it was sent.
    Reached,
    /// The next instruction is at this breakpoint.
    Breakpoint(u64),
    /// Watched memory is accessed by this step.
    Watch(WatchHit),
    /// An exit that was asked for, with its position.
    Exit(Position, Exit),
    /// The begin of the recording.
    Begin,
    /// The end of the recording.
    End,
    /// The supervisor stopped it.
    Interrupted,
}

/// How far a long operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Where the replay is; where there are several, up to where everything is searched.
    pub position: Position,
    /// Where it is going at the farthest.
    pub goal: Position,
}

/// Looks on while a long operation runs.
pub trait Supervisor {
    /// Called every few milliseconds. `false` stops the operation at an exact position.
    fn go_on(&mut self, progress: Progress) -> bool;
}

impl<F: FnMut(Progress) -> bool> Supervisor for F {
    fn go_on(&mut self, progress: Progress) -> bool {
        self(progress)
    }
}

/// Nobody looks on: never stops.
#[must_use]
pub fn unsupervised() -> impl Supervisor {
    |_: Progress| true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stores_to_ram_leave_pages_behind() {
        let watch = |gpa, len, kind| Watch { gpa, len, kind };
        let pages = |stops: &Stops| stops.pages_to_write(0x10_0000);
        let stores = vec![watch(0x1ffc, 8, WatchKind::Write), watch(0x5000, 0, WatchKind::Write)];
        let stops = Stops { watches: stores, ..Stops::default() };
        assert_eq!(pages(&stops), Some(vec![1..=2, 5..=5]));
        assert_eq!(pages(&Stops::default()), Some(Vec::new()));
        assert_eq!(pages(&Stops { addresses: vec![0x1000], ..stops.clone() }), None);
        let space = AddressSpace::of_cr3(0x1000);
        assert_eq!(pages(&Stops { bound: vec![(0x1000, space)], ..stops.clone() }), None);
        assert_eq!(pages(&Stops { exits: ExitFilter::ALL, ..stops.clone() }), None);
        for other in [
            watch(0x1000, 1, WatchKind::Read),
            watch(0x1000, 1, WatchKind::Access),
            watch(0xf_fff0, 0x11, WatchKind::Write),
            watch(u64::MAX, 2, WatchKind::Write),
        ] {
            let mut stops = stops.clone();
            stops.watches.push(other);
            assert_eq!(pages(&stops), None, "{other:?}");
        }
    }
}
