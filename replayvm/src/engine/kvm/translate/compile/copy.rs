//! Instructions where they are not: copies, and those that are taken apart.

use iced_x86::{Code as Opcode, Instruction, Mnemonic, OpKind, Register};

use super::{Compiler, S2, S3, State};
use crate::engine::kvm::translate::block::{Op, encode, gpr};
use crate::engine::kvm::translate::emit::RCX;
use crate::engine::kvm::translate::layout::COUNT;
use crate::engine::kvm::translate::recover::Spilled;

/// An instruction that reads memory and sets all flags, in two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) register: u8,
    /// The operand's load, unless its address has to be loaded first.
    pub(super) load: Option<Vec<u8>>,
    pub(super) through: Option<(u64, Vec<u8>)>,
    /// The rest, with the register in the operand's place.
    pub(super) rest: Vec<u8>,
    pub(super) relative: Option<(u8, u64)>,
}

impl Compiler<'_, '_> {
    /// Loads the operand of a split instruction.
    pub(super) fn first_half(&mut self, at: usize, split: &Split, state: &State) {
        self.buffer.store(S2, split.register);
        match (&split.load, &split.through) {
            (Some(load), _) => {
                self.fault(at, state, None);
                self.patched(load, split.relative);
            }
            (None, Some((address, load))) => {
                self.buffer.constant(split.register, *address);
                self.fault(at, state, Some((split.register, Spilled::Number(2))));
                self.buffer.put(load);
            }
            (None, None) => self.buffer.overflow = true,
        }
    }

    /// Bytes with a RIP-relative operand in them, maybe.
    pub(super) fn patched(&mut self, bytes: &[u8], relative: Option<(u8, u64)>) {
        let mut copy = [0; 16];
        let Some(place) = copy.get_mut(..bytes.len()) else {
            self.buffer.overflow = true;
            return;
        };
        place.copy_from_slice(bytes);
        if let Some((offset, target)) = relative {
            let next = self.buffer.address(self.buffer.here()).wrapping_add(bytes.len() as u64);
            let displacement = (target.wrapping_sub(next) as u32).to_le_bytes();
            match place.get_mut(usize::from(offset)..usize::from(offset) + 4) {
                Some(place) => place.copy_from_slice(&displacement),
                None => self.buffer.overflow = true,
            }
        }
        self.buffer.put(place);
    }

    /// Writes an instruction as it is, or these bytes in its stead.
    pub(super) fn copy(&mut self, at: usize, bytes: &[u8], state: &State) {
        let block = self.block;
        let Some(op) = block.ops.get(at) else { return };
        if op.insn.is_jmp_short_or_near() {
            return;
        }
        if op.repeats {
            self.check_count(at, state);
        }
        let mut restore = None;
        if let Some((register, address)) = op.scratch {
            self.buffer.store(S3, register);
            self.buffer.constant(register, address);
            restore = Some((register, Spilled::Number(3)));
        }
        if op.faults {
            self.fault(at, state, restore);
        }
        self.patched(bytes, op.relative);
        if let Some((register, _)) = op.scratch {
            self.buffer.load(register, S3);
        }
    }

    /// A repeated instruction is one step only if it does not repeat too often.
    pub(super) fn check_count(&mut self, at: usize, state: &State) {
        let leave = self.leave_stub(at, state, Some((RCX, Spilled::Count)));
        self.buffer.store(COUNT, RCX);
        self.buffer.load_dword(RCX, COUNT + 2);
        self.buffer.jump_if_rcx(leave);
        self.buffer.slot(&[0x0f, 0xb7], RCX, COUNT + 6, &[]);
        self.buffer.jump_if_rcx(leave);
        self.buffer.load(RCX, COUNT);
    }
}

/// An instruction that only reads memory, in two.
pub(super) fn split(op: &Op) -> Option<Split> {
    use Mnemonic as M;
    let insn = &op.insn;
    let ordinary = matches!(insn.mnemonic(), M::Add | M::Sub | M::Cmp | M::And | M::Or | M::Xor | M::Test);
    let operand = (0..2).find(|&i| insn.op_kind(i) == OpKind::Memory)?;
    let only_reads = operand == 1 || matches!(insn.mnemonic(), M::Cmp | M::Test);
    if !ordinary || !only_reads || insn.has_lock_prefix() {
        return None;
    }
    let bytes = insn.memory_size().size();
    [1u8, 2, 0, 3, 6, 7, 8, 9, 10, 11].into_iter().find_map(|register| {
        if op.uses & 1 << register != 0 {
            return None;
        }
        let mut rest = *insn;
        rest.set_op_kind(operand, OpKind::Register);
        rest.set_op_register(operand, sized(register, bytes)?);
        rest.set_segment_prefix(Register::None);
        let rest = encode(&rest)?;
        if op.relative.is_some() || op.scratch.is_some() {
            let address = insn.ip_rel_memory_address();
            let mut through = load_of(insn, register, bytes)?;
            through.clear();
            let mut load = Instruction::default();
            load.set_code(load_code(bytes)?);
            load.set_op0_kind(OpKind::Register);
            load.set_op0_register(sized(register, bytes)?);
            load.set_op1_kind(OpKind::Memory);
            load.set_memory_base(gpr(register));
            let through = Some((address, encode(&load)?));
            return Some(Split { register, load: None, through, rest, relative: None });
        }
        let load = Some(load_of(insn, register, bytes)?);
        Some(Split { register, load, through: None, rest, relative: None })
    })
}

/// `mov register, [operand]`, whatever register is that wide.
pub(super) fn load_of(insn: &Instruction, register: u8, bytes: usize) -> Option<Vec<u8>> {
    let mut load = Instruction::default();
    load.set_code(load_code(bytes)?);
    load.set_op0_kind(OpKind::Register);
    load.set_op0_register(sized(register, bytes)?);
    load.set_op1_kind(OpKind::Memory);
    load.set_memory_base(insn.memory_base());
    load.set_memory_index(insn.memory_index());
    load.set_memory_index_scale(insn.memory_index_scale());
    load.set_memory_displ_size(insn.memory_displ_size());
    load.set_memory_displacement64(insn.memory_displacement64());
    load.set_segment_prefix(insn.segment_prefix());
    encode(&load)
}

pub(super) fn load_code(bytes: usize) -> Option<Opcode> {
    Some(match bytes {
        1 => Opcode::Mov_r8_rm8,
        2 => Opcode::Mov_r16_rm16,
        4 => Opcode::Mov_r32_rm32,
        8 => Opcode::Mov_r64_rm64,
        _ => return None,
    })
}

/// The register of that number with so many bytes.
pub(super) fn sized(register: u8, bytes: usize) -> Option<Register> {
    let number = u32::from(register & 15);
    Some(match bytes {
        1 if number < 4 => Register::AL + number,
        1 => Register::SPL + number.checked_sub(4)?,
        2 => Register::AX + number,
        4 => Register::EAX + number,
        8 => Register::RAX + number,
        _ => return None,
    })
}
