//! Where branches through registers and memory most likely lead: as they would if they were executed now.
//!
//! A guess costs a comparison where the branch is executed, and saves the table where it is right. So it is made where most branches
//! always lead to the same place: at calls, and at jumps through a fixed place in memory, of which a linker makes calls.

use iced_x86::{Code as Opcode, Instruction, OpKind, Register};

use super::Code;
use super::block::Op;

/// How many loads a guess follows back.
const MAX_LOADS: usize = 3;

/// Where a call or a jump through memory after these instructions leads.
pub(super) fn target(before: &[Op], insn: &Instruction, code: &mut dyn Code) -> Option<u64> {
    if insn.op0_kind() == OpKind::Register {
        return register(before, insn.op0_register(), code, MAX_LOADS);
    }
    memory(before, insn, code, MAX_LOADS)
}

/// Whether the operand is a place in memory that depends on no register.
pub(super) fn is_fixed(insn: &Instruction) -> bool {
    insn.op0_kind() == OpKind::Memory
        && (insn.memory_base() == Register::None || insn.is_ip_rel_memory_operand())
        && insn.memory_index() == Register::None
        && !matches!(insn.segment_prefix(), Register::FS | Register::GS)
}

fn memory(before: &[Op], insn: &Instruction, code: &mut dyn Code, loads: usize) -> Option<u64> {
    if loads == 0 || matches!(insn.segment_prefix(), Register::FS | Register::GS) {
        return None;
    }
    let mut linear = insn.memory_displacement64();
    if insn.memory_base() != Register::None && !insn.is_ip_rel_memory_operand() {
        linear = linear.wrapping_add(register(before, insn.memory_base(), code, loads - 1)?);
    }
    if insn.memory_index() != Register::None {
        let index = register(before, insn.memory_index(), code, loads - 1)?;
        linear = linear.wrapping_add(index.wrapping_mul(u64::from(insn.memory_index_scale())));
    }
    code.memory(linear)
}

/// What a 64-bit register holds after these instructions.
fn register(before: &[Op], wanted: Register, code: &mut dyn Code, loads: usize) -> Option<u64> {
    if !wanted.is_gpr64() {
        return None;
    }
    let number = wanted.number();
    let Some(at) = before.iter().rposition(|op| op.writes & 1 << number != 0) else {
        return Some(code.register(number));
    };
    let insn = &before.get(at)?.insn;
    let earlier = before.get(..at)?;
    match insn.code() {
        Opcode::Mov_r64_rm64 if insn.op1_kind() == OpKind::Memory => memory(earlier, insn, code, loads),
        Opcode::Mov_r64_rm64 | Opcode::Mov_rm64_r64 => register(earlier, insn.op1_register(), code, loads),
        _ => None,
    }
}
