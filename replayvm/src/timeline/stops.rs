//! What a run stops on, and how it tells.

use recorder::{Exit, Position};

use crate::engine::{AddressSpace, Breakpoints};
use crate::machine::{ExitFilter, Watch, WatchHit};

/// What a run stops on.
#[derive(Debug, Clone, Default)]
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
    /// Where the replay is.
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
