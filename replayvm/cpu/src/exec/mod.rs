//! What instructions do, one family a file.
//!
//! A handler either completes or returns a [`Fault`] having changed nothing. The order inside each is therefore: read
//! operands, compute, write memory, then write registers and flags.

/// Operands: registers, memory, immediates.
mod operand;

use iced_x86::{Instruction, Mnemonic};

use crate::bus::{Bus, Moment};
use crate::fault::Fault;
use crate::step::Cpu;

/// One instruction in execution.
pub(crate) struct Exec<'c, B> {
    pub(crate) cpu: &'c mut Cpu,
    pub(crate) bus: &'c mut B,
    pub(crate) insn: &'c Instruction,
    /// The moment of the boundary before this step.
    pub(crate) at: Moment,
}

/// Where control goes after an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// To the next instruction.
    Next,
    /// To a target within the code segment, already checked.
    Jump(u64),
    /// A conditional branch retired, taken to the target or not: a tick.
    Branch(Option<u64>),
    /// The handler has set CS and RIP.
    Transferred,
    /// To the same instruction again: a REP that has reached its limit of iterations.
    Again,
}

impl<B: Bus> Exec<'_, B> {
    /// Executes the instruction.
    pub(crate) fn execute(&mut self) -> Result<Flow, Fault> {
        use Mnemonic as M;
        match self.insn.mnemonic() {
            // Integer: data movement, arithmetic, shifts, bits, strings, stack.
            M::Nop | M::Pause => Ok(Flow::Next),

            // Control transfer within and between segments.

            // System: control registers, tables, segments, MSRs, ports, interrupts.

            // SSE, SSE2 and the x87 control instructions.
            _ => Err(Fault::UD),
        }
    }
}
