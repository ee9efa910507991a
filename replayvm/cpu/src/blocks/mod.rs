//! The fast form: decoded blocks.
//!
//! A block is a run of instructions within a page, each decoded to an operation: a function with its operands resolved.
//! Nothing here decides what an instruction means: an operation does the common case of its instruction (registers,
//! RAM that is translated already and has no consequences) and leaves everything else, before anything has changed, to
//! the plain form's handler. Everything at a boundary is the plain form's too: interrupts, debugging, modes.
//! `docs/adr/0006-decoded-blocks.md` tells what keeps the two forms equal.

/// From instructions to operations.
mod build;
/// Blocks by address, and whether memory still has their bytes.
mod cache;
/// The arithmetic flags, computed when somebody asks.
mod lazy;
/// Operations and what they are made of.
mod op;
/// What operations do, one family a file.
mod ops;
/// Running blocks.
mod run;

use crate::bus::Moment;
use crate::state::CpuState;

pub use cache::Blocks;
pub(crate) use lazy::Lazy;

/// What blocks in execution keep apart from the state.
#[derive(Debug, Default)]
pub(crate) struct Fast {
    /// The arithmetic flags, while blocks run; those in RFLAGS are stale then.
    pub(crate) lazy: Lazy,
    /// The permission that loads need of a remembered translation.
    read: u64,
    /// The permission that stores need.
    write: u64,
}

/// How far to run.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The run comes back when this tick begins.
    pub due_tick: u64,
    /// The run comes back at this moment.
    pub until: Moment,
    /// The run comes back where user code begins or ends.
    pub one_privilege: bool,
}

/// Whether blocks can run in this state, for all that follows from the state alone.
pub(crate) fn usual(state: &CpuState) -> bool {
    use crate::flags::Rflags;
    use crate::state::{Mode, Shadow, cr0};
    let flags = state.rflags;
    !state.shutdown
        && !state.halted
        && state.shadow == Shadow::None
        && state.pending_debug == 0
        && state.dr7 & 0xff == 0
        && flags & (Rflags::TF | Rflags::RF).bits() == 0
        && state.mode() == Mode::Long64
        && !(flags & Rflags::AC.bits() != 0 && state.cr0 & cr0::AM != 0 && state.cpl() == 3)
}
