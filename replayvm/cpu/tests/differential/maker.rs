//! Operands at random, then registers and memory to suit them.

use iced_x86::{Code, Instruction, MemorySize, Mnemonic as M, OpCodeOperandKind as K, OpKind, Register};

use crate::catalogue;
use crate::common::{CODE, CODE_LEN, WINDOW, WINDOW_LEN};
use crate::generate::{GS_BASE, address_size, is_bit_string, value_of};
use crate::native::Registers;
use crate::values::Dice;

/// The state and the operands of one case in the making.
pub struct Maker<'d> {
    pub dice: &'d mut Dice,
    pub fs_base: u64,
    pub input: Registers,
    pub patches: Vec<(u64, Vec<u8>)>,
    /// Where the code is.
    pub at: u64,
    /// Where a branch goes.
    pub target: u64,
}

impl Maker<'_> {
    pub fn registers(&mut self) {
        for i in 0..16 {
            self.input.gpr[i] = self.dice.integer();
            let value = self.dice.vector();
            self.input.set_xmm(i, value);
        }
        let flags = self.dice.bits() & 0x8d5;
        self.input.rflags = 0x202 | flags;
        if self.dice.one_in(4) {
            self.input.rflags |= 0x400;
        }
        let mxcsr = self.dice.mxcsr();
        self.input.set_mxcsr(mxcsr);
        self.input.fx[0..2].copy_from_slice(&0x37fu16.to_le_bytes());
        // A stack within the window, now and then at its edge or askew.
        self.input.gpr[4] = match self.dice.below(32) {
            0 => WINDOW + self.dice.below(16),
            1 => WINDOW + WINDOW_LEN as u64 - self.dice.below(16),
            2 => WINDOW + 0x200 + self.dice.below(0x1c00),
            3 => self.dice.integer() | 1 << 62,
            _ => WINDOW + 0x400 + self.dice.below(0x180) * 8,
        };
    }

    /// Any state of the x87 that it can be in: every precision and rounding, stacks of any depth, pending exceptions,
    /// registers that MMX instructions have left.
    pub fn x87(&mut self) {
        let random = self.dice.bits();
        let control = match self.dice.below(4) {
            0 => 0x37f,
            1 => 0x7f | random as u16 & 0xf00,
            _ => random as u16 & 0x1f3f | 0x40,
        };
        let mut status = (random >> 16) as u16 & 0x7f7f;
        if !self.dice.one_in(4) {
            // No flag is up; it is the instruction that raises them.
            status &= 0x7f00;
        }
        if status & !control & 0x3f != 0 {
            status |= 0x8080;
        }
        let tags = match self.dice.below(4) {
            0 => (random >> 32) as u8,
            1 => 0,
            _ => 0xff,
        };
        self.input.fx[0..2].copy_from_slice(&control.to_le_bytes());
        self.input.fx[2..4].copy_from_slice(&status.to_le_bytes());
        self.input.fx[4] = tags;
        for i in 0..8 {
            let value = match self.dice.below(8) {
                0 => 0xffff << 64 | u128::from(self.dice.integer()),
                1 => self.dice.vector(),
                // The same number, or its neighbour, a few registers further down.
                2 if i != 0 => {
                    self.input.st(self.dice.below(i as u64) as usize) ^ u128::from(self.dice.below(3))
                }
                _ => self.dice.extended(),
            };
            self.input.set_st(i, value);
        }
    }

    /// MMX registers as integer code leaves them.
    pub fn mmx(&mut self) {
        for i in 0..8 {
            let value = match self.dice.below(3) {
                0 => self.dice.integer(),
                1 => u64::from(self.dice.single()) | u64::from(self.dice.single()) << 32,
                _ => self.dice.bits(),
            };
            self.input.set_st(i, 0xffff << 64 | u128::from(value));
        }
    }

    pub fn place(&mut self) {
        self.at = match self.dice.below(64) {
            // At the very end, or over it.
            0 => CODE + CODE_LEN as u64 - 1 - self.dice.below(8),
            _ => CODE + 0x100 + self.dice.below(0xe00),
        };
        self.input.rip = self.at;
        self.target = loop {
            let target = match self.dice.below(16) {
                0 => CODE - 1 - self.dice.below(64),
                1..4 => self.at.wrapping_add(self.dice.below(200)).wrapping_sub(100),
                _ => CODE + self.dice.below(CODE_LEN as u64),
            };
            if !(self.at..self.at + 16).contains(&target) {
                break target;
            }
        };
    }

    pub fn instruction(&mut self, code: Code) -> Option<Instruction> {
        let info = code.op_code();
        let mut insn = Instruction::default();
        insn.set_code(code);
        let short = matches!(code.mnemonic(), M::Loop | M::Loope | M::Loopne | M::Jcxz | M::Jecxz | M::Jrcxz)
            || info.op_kinds().iter().any(|k| matches!(k, K::br64_1 | K::br32_1));
        if short {
            let near = self.at.wrapping_add(self.dice.below(240)).wrapping_sub(112);
            self.target = if (self.at..self.at + 16).contains(&near) { self.at + 40 } else { near };
        }
        // Byte registers without REX most often; a REX prefix makes AH to BH unencodable.
        let legacy = self.dice.one_in(2);
        let limit = if legacy || self.dice.one_in(3) { 8 } else { 16 };
        let mut immediates = 0;
        for (i, &kind) in info.op_kinds().iter().enumerate() {
            let i = i as u32;
            let memory = match kind {
                K::mem | K::mem_offs => true,
                K::r8_or_mem
                | K::r16_or_mem
                | K::r32_or_mem
                | K::r64_or_mem
                | K::xmm_or_mem
                | K::mm_or_mem => self.dice.one_in(2),
                _ => false,
            };
            if memory {
                insn.set_op_kind(i, OpKind::Memory);
                self.memory(&mut insn, kind == K::mem_offs, limit);
                continue;
            }
            let number = self.dice.below(limit) as u32;
            if let Some(register) = catalogue::register(kind, number, legacy) {
                if kind == K::seg_reg && i == 0 && register == Register::CS {
                    return None;
                }
                insn.set_op_kind(i, OpKind::Register);
                insn.set_op_register(i, register);
                continue;
            }
            let value = self.dice.integer();
            match kind {
                K::imm8 | K::imm8_const_1 => {
                    let value = if kind == K::imm8 { value as u8 } else { 1 };
                    if immediates == 0 {
                        insn.set_op_kind(i, OpKind::Immediate8);
                        insn.set_immediate8(value);
                    } else {
                        insn.set_op_kind(i, OpKind::Immediate8_2nd);
                        insn.set_immediate8_2nd(value);
                    }
                    immediates += 1;
                }
                K::imm8sex16 => {
                    insn.set_op_kind(i, OpKind::Immediate8to16);
                    insn.set_immediate8to16(i16::from(value as i8));
                }
                K::imm8sex32 => {
                    insn.set_op_kind(i, OpKind::Immediate8to32);
                    insn.set_immediate8to32(i32::from(value as i8));
                }
                K::imm8sex64 => {
                    insn.set_op_kind(i, OpKind::Immediate8to64);
                    insn.set_immediate8to64(i64::from(value as i8));
                }
                K::imm16 => {
                    insn.set_op_kind(i, OpKind::Immediate16);
                    // ENTER: a frame that stays inside.
                    insn.set_immediate16(
                        if code.mnemonic() == M::Enter { value & 0xff } else { value } as u16
                    );
                    immediates += 1;
                }
                K::imm32 => {
                    insn.set_op_kind(i, OpKind::Immediate32);
                    insn.set_immediate32(value as u32);
                }
                K::imm32sex64 => {
                    insn.set_op_kind(i, OpKind::Immediate32to64);
                    insn.set_immediate32to64(i64::from(value as i32));
                }
                K::imm64 => {
                    insn.set_op_kind(i, OpKind::Immediate64);
                    insn.set_immediate64(value);
                }
                K::br64_1 | K::br64_4 => {
                    insn.set_op_kind(i, OpKind::NearBranch64);
                    insn.set_near_branch64(self.target);
                }
                K::seg_rSI | K::es_rDI | K::seg_rDI | K::seg_rBX_al => {
                    self.string_operand(&mut insn, i, kind);
                }
                _ => return None,
            }
        }
        if info.can_use_lock_prefix() && insn.op0_kind() == OpKind::Memory && self.dice.one_in(4) {
            insn.set_has_lock_prefix(true);
        }
        if insn.is_string_instruction() {
            match self.dice.below(3) {
                0 if info.can_use_rep_prefix() => insn.set_has_rep_prefix(true),
                1 if info.can_use_repne_prefix() => insn.set_has_repne_prefix(true),
                _ => {}
            }
        }
        Some(insn)
    }

    fn string_operand(&mut self, insn: &mut Instruction, i: u32, kind: K) {
        // The second operand of a string instruction has the address size of the first.
        let small = if i > 0 && insn.op_count() > 1 { address_size(insn) == 4 } else { self.dice.one_in(6) };
        if kind == K::seg_rBX_al {
            insn.set_op_kind(i, OpKind::Memory);
            insn.set_memory_base(if small { Register::EBX } else { Register::RBX });
            insn.set_memory_index(Register::AL);
            insn.set_memory_index_scale(1);
            return;
        }
        insn.set_op_kind(
            i,
            match (kind, small) {
                (K::seg_rSI, false) => OpKind::MemorySegRSI,
                (K::seg_rSI, true) => OpKind::MemorySegESI,
                (K::es_rDI, false) => OpKind::MemoryESRDI,
                (K::es_rDI, true) => OpKind::MemoryESEDI,
                (_, false) => OpKind::MemorySegRDI,
                (_, true) => OpKind::MemorySegEDI,
            },
        );
        if kind == K::seg_rSI && self.dice.one_in(8) {
            insn.set_segment_prefix(self.dice.pick(&[Register::FS, Register::GS]));
        }
    }

    /// An address for data: inside, across the middle, at the edges, now and then nowhere.
    fn address(&mut self, size: u64) -> u64 {
        let room = (WINDOW_LEN as u64).saturating_sub(size.max(1));
        match self.dice.below(64) {
            0 => WINDOW - self.dice.below(size + 2),
            1 => WINDOW + WINDOW_LEN as u64 - self.dice.below(size + 2),
            2 => self.dice.integer() ^ 1 << 62,
            3..6 => WINDOW + 0x1000 - self.dice.below(size + 2),
            6..24 => WINDOW + self.dice.below(room),
            _ => WINDOW + self.dice.below(room / 16) * 16,
        }
    }

    fn memory(&mut self, insn: &mut Instruction, offset_only: bool, limit: u64) {
        let size = (insn.memory_size().size() as u64).max(8);
        let mut address = self.address(size);
        if self.dice.one_in(8) {
            insn.set_segment_prefix(self.dice.pick(&[
                Register::FS,
                Register::GS,
                Register::FS,
                Register::GS,
                Register::DS,
                Register::SS,
            ]));
        }
        let segment = match insn.segment_prefix() {
            Register::FS => self.fs_base,
            Register::GS => GS_BASE,
            _ => 0,
        };
        address = address.wrapping_sub(segment);
        let small = self.dice.one_in(6) && address >> 32 == 0;
        let (first, ip) = if small { (Register::EAX, Register::EIP) } else { (Register::RAX, Register::RIP) };
        let disp_size = if small { 4 } else { 8 };
        if offset_only {
            insn.set_memory_displacement64(address);
            insn.set_memory_displ_size(disp_size);
            return;
        }
        let bits = |value: u64| if small { value & 0xffff_ffff } else { value };
        let base = self.dice.below(limit) as u32;
        let mut index = self.dice.below(limit) as u32;
        if index == 4 || index == base {
            index = if base == 5 { 6 } else { 5 };
        }
        let scale = 1u32 << self.dice.below(4);
        let displacement = match self.dice.below(4) {
            0 | 1 => 0,
            2 => i64::from(self.dice.bits() as i8),
            _ => i64::from(self.dice.integer() as i32),
        };
        let displacement_size = match displacement {
            0 => u32::from(self.dice.one_in(8)),
            -128..=127 => 1,
            _ => disp_size,
        };
        let fits = |value: u64| small || value as i64 == i64::from(value as i32);
        match self.dice.below(8) {
            0 if fits(address) => {
                insn.set_memory_displacement64(address);
                insn.set_memory_displ_size(disp_size);
                if self.dice.one_in(2) {
                    insn.set_memory_base(ip);
                }
            }
            1 if fits(address) => {
                // Index and displacement.
                insn.set_memory_index(first + index);
                insn.set_memory_index_scale(scale);
                let value = self.dice.below(0x1000);
                self.input.gpr[index as usize] = value;
                let rest = address.wrapping_sub(value * u64::from(scale));
                insn.set_memory_displacement64(if small { rest & 0xffff_ffff } else { rest });
                insn.set_memory_displ_size(disp_size);
            }
            2..5 => {
                insn.set_memory_base(first + base);
                insn.set_memory_index(first + index);
                insn.set_memory_index_scale(scale);
                insn.set_memory_displacement64(bits(displacement as u64));
                insn.set_memory_displ_size(displacement_size);
                let inner = self.input.gpr[index as usize]
                    .wrapping_mul(u64::from(scale))
                    .wrapping_add(displacement as u64);
                self.set_base(base, address.wrapping_sub(inner), small);
            }
            _ => {
                insn.set_memory_base(first + base);
                insn.set_memory_displacement64(bits(displacement as u64));
                insn.set_memory_displ_size(displacement_size);
                self.set_base(base, address.wrapping_sub(displacement as u64), small);
            }
        }
    }

    fn set_base(&mut self, base: u32, value: u64, small: bool) {
        let high = if small { self.dice.integer() & !0xffff_ffff } else { 0 };
        self.input.gpr[base as usize] = if small { value & 0xffff_ffff | high } else { value };
    }

    /// Registers that an instruction uses without naming them, or in a way that needs bounds.
    pub fn implicit(&mut self, insn: &Instruction) {
        if insn.is_string_instruction() {
            let small = address_size(insn) == 4;
            let size = insn.memory_size().size() as u64;
            for register in [6u32, 7] {
                let prefix = if register == 6 { insn.segment_prefix() } else { Register::None };
                let segment = match prefix {
                    Register::FS => self.fs_base,
                    Register::GS => GS_BASE,
                    _ => 0,
                };
                let address = self.address(size * 8).wrapping_sub(segment);
                self.set_base(register, address, small);
            }
            if self.dice.one_in(8) {
                // Source and destination overlap.
                self.input.gpr[7] = self.input.gpr[6].wrapping_add(self.dice.below(40)).wrapping_sub(20);
            }
            if insn.has_rep_prefix() || insn.has_repne_prefix() {
                let count = match self.dice.below(4) {
                    0 => self.dice.below(3),
                    _ => self.dice.below(40),
                };
                self.set_base(1, count, small);
            }
        }
        match insn.mnemonic() {
            M::Xlatb => {
                let address = self.address(1).wrapping_sub(self.input.gpr[0] & 0xff);
                let small = insn.memory_base() == Register::EBX;
                self.set_base(3, address, small);
            }
            M::Maskmovdqu | M::Maskmovq => {
                let address = self.address(16);
                let small = address_size(insn) == 4;
                self.set_base(7, address, small);
            }
            M::Enter | M::Leave => self.input.gpr[5] = WINDOW + 0x800 + self.dice.below(0x800),
            M::Loop | M::Loope | M::Loopne | M::Jrcxz | M::Jecxz if self.dice.one_in(2) => {
                self.input.gpr[1] = self.dice.below(3) | self.dice.pick(&[0, 0, 1 << 32]);
            }
            M::Div | M::Idiv if self.dice.one_in(2) => {
                self.input.gpr[2] = match self.dice.below(3) {
                    0 => 0,
                    1 => ((self.input.gpr[0] as i64) >> 63) as u64,
                    _ => self.dice.below(256),
                };
            }
            M::Jmp | M::Call if insn.op0_kind() == OpKind::Register => {
                self.input.gpr[insn.op0_register().number()] = self.target;
            }
            _ => {}
        }
        if is_bit_string(insn) {
            let register = insn.op1_register().number();
            if register != insn.memory_base().number() || insn.memory_base() == Register::None {
                let index = insn.memory_index();
                if index == Register::None || index.number() != register {
                    let offset = self.dice.below(0x4000).wrapping_sub(0x2000);
                    // Wider garbage above the operand's size must not matter.
                    let size = insn.op1_register().size() * 8;
                    let mask = u64::MAX >> (64 - size);
                    self.input.gpr[register] = offset & mask | self.input.gpr[register] & !mask;
                }
            }
        }
    }

    /// Operands that have something to do with each other, where chance alone would hardly ever make such.
    fn related(&mut self, insn: &Instruction) -> Option<[u128; 2]> {
        let strings = matches!(
            insn.mnemonic(),
            M::Pcmpestri | M::Pcmpestri64 | M::Pcmpistri | M::Pcmpestrm | M::Pcmpestrm64 | M::Pcmpistrm
        );
        if strings && !self.dice.one_in(8) {
            // Few different elements, zeros now and then.
            let letters: [u8; 4] = [0, 1, 0x7f, 0x80]
                .map(|edge| if self.dice.one_in(2) { edge } else { self.dice.bits() as u8 });
            let zeros = self.dice.pick(&[2, 8, 64]);
            let words = insn.immediate8() & 1 != 0;
            let mut text = || {
                let mut bytes = [0; 16];
                for byte in &mut bytes {
                    *byte = if self.dice.one_in(zeros) { 0 } else { self.dice.pick(&letters[1..]) };
                }
                if words {
                    (0..8).for_each(|i| bytes[2 * i + 1] = self.dice.pick(&[0, 0, bytes[2 * i]]));
                }
                u128::from_le_bytes(bytes)
            };
            let mut pair = [text(), text()];
            if self.dice.one_in(3) {
                // The one is found in the other, somewhere.
                pair[1] = pair[0] << (8 * self.dice.below(16));
            }
            for register in [0, 2] {
                let whole = Register::RAX + register as u32;
                let addresses = [insn.memory_base(), insn.memory_index()].map(Register::full_register);
                if !addresses.contains(&whole) && !self.dice.one_in(4) {
                    self.input.gpr[register] = self.dice.below(36).wrapping_sub(18);
                }
            }
            return Some(pair);
        }
        if insn.mnemonic() == M::Ptest && self.dice.one_in(2) {
            let first = self.dice.vector();
            let second = self.dice.pick(&[first, !first, 0]) & self.dice.vector();
            return Some([first, second]);
        }
        None
    }

    pub fn memory_address(&self, insn: &Instruction) -> Option<u64> {
        let memory = (0..insn.op_count()).find(|&i| insn.op_kind(i) == OpKind::Memory)?;
        insn.virtual_address(memory, 0, |r, _, _| Some(value_of(&self.input, self.fs_base, r)))
    }

    /// What memory holds where the instruction will look.
    pub fn contents(&mut self, insn: &Instruction) {
        let stack = self.input.gpr[4];
        let mut top = self.dice.integer();
        match insn.mnemonic() {
            M::Popf | M::Popfq => top &= !0x4_0100,
            M::Ret => top = self.target,
            _ => {}
        }
        self.patch(stack, &top.to_le_bytes());
        let related = self.related(insn);
        if let Some([first, second]) = related {
            for (register, value) in [(insn.op1_register(), second), (insn.op0_register(), first)] {
                if register.is_xmm() {
                    self.input.set_xmm(register.number(), value);
                }
            }
        }
        let Some(address) = self.memory_address(insn) else { return };
        if let Some([_, second]) = related {
            return self.patch(address, &second.to_le_bytes());
        }
        let mut bytes = self.dice.vector().to_le_bytes().to_vec();
        let rax = self.input.gpr[0].to_le_bytes();
        let rdx = self.input.gpr[2].to_le_bytes();
        match insn.mnemonic() {
            M::Jmp | M::Call => bytes[..8].copy_from_slice(&self.target.to_le_bytes()),
            M::Cmpxchg if self.dice.one_in(2) => bytes[..8].copy_from_slice(&rax),
            M::Cmpxchg8b if self.dice.one_in(2) => {
                bytes[..4].copy_from_slice(&rax[..4]);
                bytes[4..8].copy_from_slice(&rdx[..4]);
            }
            M::Cmpxchg16b if self.dice.one_in(2) => {
                bytes[..8].copy_from_slice(&rax);
                bytes[8..].copy_from_slice(&rdx);
            }
            _ => {}
        }
        let number = match insn.memory_size() {
            MemorySize::Float80 => Some(self.dice.extended()),
            MemorySize::Float64 => Some(self.dice.double().into()),
            MemorySize::Float32 => Some(self.dice.single().into()),
            MemorySize::Bcd => Some(self.dice.decimal()),
            _ => None,
        };
        if let Some(number) = number
            && catalogue::uses_fpu(insn.code())
        {
            bytes = number.to_le_bytes().to_vec();
        }
        match insn.mnemonic() {
            M::Ldmxcsr if !self.dice.one_in(8) => {
                let mxcsr = self.dice.mxcsr();
                bytes[..4].copy_from_slice(&mxcsr.to_le_bytes());
            }
            // Bit 17 (MM) is AMD's own, and not ours.
            M::Ldmxcsr => bytes[2] &= !2,
            M::Fxrstor | M::Fxrstor64 => {
                bytes = (0..64).flat_map(|_| self.dice.integer().to_le_bytes()).collect();
                if !self.dice.one_in(8) {
                    let mxcsr = self.dice.mxcsr();
                    bytes[24..28].copy_from_slice(&mxcsr.to_le_bytes());
                }
                bytes[26] &= !2;
            }
            _ if number.is_none() && self.dice.one_in(2) => {
                bytes[..8].copy_from_slice(&self.dice.integer().to_le_bytes())
            }
            _ => {}
        }
        self.patch(address, &bytes);
    }

    fn patch(&mut self, address: u64, bytes: &[u8]) {
        let end = WINDOW + WINDOW_LEN as u64;
        for (i, &byte) in bytes.iter().enumerate() {
            let place = address.wrapping_add(i as u64);
            if (WINDOW..end).contains(&place) {
                match self.patches.last_mut() {
                    Some((start, old)) if *start + old.len() as u64 == place => old.push(byte),
                    _ => self.patches.push((place, vec![byte])),
                }
            }
        }
    }
}
