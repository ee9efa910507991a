//! Which instructions KVM may execute: those whose outcome depends on registers and memory alone, that do not show or change
//! the trap flag, and that every processor executes alike.

use iced_x86::{Instruction, Mnemonic, OpKind};
use replayvm_cpu::{CpuState, Mode};

use super::statistics::Reason;
use crate::engine::ordinary::{address_size, integer, vector};

/// Iterations of a repeated string instruction that KVM is given at the most; each may cost an exit.
const MAX_ITERATIONS: u64 = 32;

/// What KVM has to be given and asked besides the general registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plain {
    /// The instruction uses XMM registers or MXCSR.
    pub(crate) xmm: bool,
    /// It may come back to itself, iteration by iteration.
    pub(crate) repeats: bool,
}

/// Whether KVM may execute this instruction, of these bytes, in this state. `same_flags` says that the host leaves in undefined flags what
/// the profile does.
pub(crate) fn plain(
    insn: &Instruction,
    code: &[u8],
    state: &CpuState,
    same_flags: bool,
) -> Result<Plain, Reason> {
    let mode = state.mode();
    if mode == Mode::Virtual8086 {
        return Err(Reason::Mode);
    }
    let xmm = vector(insn);
    if !(xmm || integer(insn, code, mode)) {
        return Err(Reason::NotPlain);
    }
    // Undefined flags go with undefined results (BSF of zero, a double shift by more than the width).
    if !same_flags && insn.rflags_undefined() != 0 {
        return Err(Reason::Undefined);
    }
    let repeats = insn.is_string_instruction() && (insn.has_rep_prefix() || insn.has_repne_prefix());
    if repeats {
        let mask = match address_size(insn) {
            2 => 0xffff,
            4 => 0xffff_ffff,
            _ => u64::MAX,
        };
        if state.gpr[1] & mask > MAX_ITERATIONS {
            return Err(Reason::TooLong);
        }
    }
    Ok(Plain { xmm, repeats })
}

/// Whether processors are known to differ in the result of this instruction, beyond the flags that the decoder says are undefined.
pub(crate) fn processors_differ(insn: &Instruction, state: &CpuState) -> bool {
    let count = match insn.op_kind(insn.op_count().saturating_sub(1)) {
        OpKind::Register => state.gpr[1],
        _ => u64::from(insn.immediate8()),
    } & 31;
    match insn.mnemonic() {
        // By more than the width: all of the result (SDM vol. 2, "SHLD"). Of other widths the count is cut to less.
        Mnemonic::Shld | Mnemonic::Shrd => insn.op1_register().size() == 2 && count > 16,
        // By a multiple of the width and CF: OF, as by any count but one (SDM vol. 2, "RCL").
        Mnemonic::Rcl | Mnemonic::Rcr => count > 1,
        // Which of several NaNs.
        Mnemonic::Dpps | Mnemonic::Dppd => true,
        // Whether the upper halves of 32-bit counters are cleared where nothing is repeated.
        _ => {
            let repeats = insn.is_string_instruction() && (insn.has_rep_prefix() || insn.has_repne_prefix());
            repeats
                && state.mode() == Mode::Long64
                && address_size(insn) == 4
                && (state.gpr[1] | state.gpr[6] | state.gpr[7]) >> 32 != 0
        }
    }
}

/// Whether KVM's instruction emulator is known to do it otherwise than the processor: it takes TZCNT and LZCNT for BSF and
/// BSR, computes undefined flags of its own for decimal adjustment, and writes the upper half of a register that CMPXCHG
/// does not change.
pub(crate) fn emulated_otherwise(insn: &Instruction) -> bool {
    use Mnemonic as M;
    match insn.mnemonic() {
        M::Tzcnt | M::Lzcnt | M::Aaa | M::Aas | M::Daa | M::Das | M::Aam | M::Aad => true,
        M::Cmpxchg => insn.op0_kind() == OpKind::Register,
        _ => false,
    }
}

/// The linear addresses of RIP that the instruction can lead to, apart from what it takes from registers and memory.
pub(crate) fn reachable(insn: &Instruction, rip: u64, next: u64, predicted: u64) -> bool {
    let target = match insn.op0_kind() {
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => insn.near_branch_target(),
        _ => next,
    };
    rip == next || rip == target || rip == predicted
}
