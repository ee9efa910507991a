//! The stack: PUSH, POP and what is made of them. Pops into segment registers are not here.

use iced_x86::{Code, Register};

use crate::access::Intent;
use crate::bus::Bus;
use crate::exec::operand::number;
use crate::exec::{Exec, Flow};
use crate::fault::Fault;
use crate::flags::{Rflags, Width};

/// The flags that POPF of 32 or 64 bits writes whatever the privilege.
const POPF_ALWAYS: Rflags = Rflags::ARITHMETIC
    .union(Rflags::TF)
    .union(Rflags::DF)
    .union(Rflags::NT)
    .union(Rflags::AC)
    .union(Rflags::ID);

impl<B: Bus> Exec<'_, B> {
    /// Bytes that the instruction pushes or pops.
    fn stack_operand(&self, pieces: i32) -> Width {
        Width::of_bytes((self.insn.stack_pointer_increment() / pieces).unsigned_abs() as usize)
    }

    /// PUSH of a register, memory, an immediate or a segment register (zero-extended).
    #[inline]
    pub(crate) fn push_operand(&mut self) -> Result<Flow, Fault> {
        let value = self.read_operand(0)?;
        let size = self.insn.stack_pointer_increment().unsigned_abs() as usize;
        self.push(value, size)?;
        Ok(Flow::Next)
    }

    /// POP into a general register or memory. The address of a memory operand is formed with the stack pointer already
    /// moved; a stack pointer that is popped into keeps what was popped.
    #[inline]
    pub(crate) fn pop_operand(&mut self) -> Result<Flow, Fault> {
        let before = self.cpu.state.gpr[number::RSP];
        let size = self.insn.stack_pointer_increment().unsigned_abs() as usize;
        let value = self.pop(size)?;
        let written = self.write_operand(0, value);
        if written.is_err() {
            self.cpu.state.gpr[number::RSP] = before;
        }
        written.map(|()| Flow::Next)
    }

    /// PUSHA, PUSHAD: either all registers are written or none.
    pub(crate) fn pusha(&mut self) -> Result<Flow, Fault> {
        let (stack, width) = (self.stack_width(), self.stack_operand(8));
        let top = self.stack_pointer();
        let below = |i: usize| top.wrapping_sub((i as u64 + 1) * width.bytes()) & stack.mask();
        for i in 0..8 {
            self.load_sized(Register::SS, below(i), width, Intent::Modify)?;
        }
        for i in 0..8 {
            self.store_sized(Register::SS, below(i), width, self.cpu.state.gpr[i])?;
        }
        self.set_stack_pointer(below(7));
        Ok(Flow::Next)
    }

    /// POPA, POPAD: the stack pointer that PUSHA has pushed is skipped.
    pub(crate) fn popa(&mut self) -> Result<Flow, Fault> {
        let width = self.stack_operand(8);
        let mut values = [0; 8];
        for (i, value) in values.iter_mut().enumerate() {
            *value = self.peek(i as u64 * width.bytes(), width.bytes() as usize)?;
        }
        for (i, value) in values.into_iter().enumerate() {
            if 7 - i != number::RSP {
                self.set_numbered(7 - i, width, value);
            }
        }
        let top = self.stack_pointer();
        self.set_stack_pointer(top.wrapping_add(8 * width.bytes()));
        Ok(Flow::Next)
    }

    /// ENTER. A write at the stack pointer's final place must be possible too (SDM vol. 2, ENTER).
    ///
    /// Reads see what earlier pushes wrote, and a fault leaves those pushes in memory below the stack pointer, as
    /// processors do; registers are as before.
    pub(crate) fn enter(&mut self) -> Result<Flow, Fault> {
        let bytes = u64::from(self.insn.immediate16());
        let level = u64::from(self.insn.immediate8_2nd() & 31);
        let (stack, width) = (self.stack_width(), self.frame_width());
        let (top, outer) = (self.stack_pointer(), self.numbered(number::RBP, stack));
        let below = |from: u64, i: u64| from.wrapping_sub(i * width.bytes()) & stack.mask();
        let frame = below(top, 1);
        // The old frame pointer, then those of the outer levels, then the new one.
        self.store_sized(Register::SS, frame, width, self.cpu.state.gpr[number::RBP])?;
        for i in 1..level {
            let value = self.load_sized(Register::SS, below(outer, i), width, Intent::Read)?;
            self.store_sized(Register::SS, below(top, i + 1), width, value)?;
        }
        if level > 0 {
            self.store_sized(Register::SS, below(top, level + 1), width, frame)?;
        }
        let last = below(top, level + 1).wrapping_sub(bytes) & stack.mask();
        self.load_sized(Register::SS, last, width, Intent::Modify)?;
        self.set_stack_pointer(last);
        self.set_numbered(number::RBP, width, frame);
        Ok(Flow::Next)
    }

    /// The operand size of ENTER and LEAVE, which the decoder does not count as pushes and pops of a known size.
    fn frame_width(&self) -> Width {
        match self.insn.code() {
            Code::Enterw_imm16_imm8 | Code::Leavew => Width::Word,
            Code::Enterd_imm16_imm8 | Code::Leaved => Width::Dword,
            _ => Width::Qword,
        }
    }

    /// LEAVE.
    pub(crate) fn leave(&mut self) -> Result<Flow, Fault> {
        let (stack, width) = (self.stack_width(), self.frame_width());
        let frame = self.numbered(number::RBP, stack);
        let value = self.load_sized(Register::SS, frame, width, Intent::Read)?;
        self.set_stack_pointer(frame.wrapping_add(width.bytes()));
        self.set_numbered(number::RBP, width, value);
        Ok(Flow::Next)
    }

    /// #GP(0) in virtual-8086 mode below IOPL 3 (there are no virtual-mode extensions here).
    fn check_flags_access(&self) -> Result<(), Fault> {
        let rflags = self.cpu.state.rflags;
        let virtual8086 = self.cpu.state.cr0 & 1 != 0 && rflags & Rflags::VM.bits() != 0;
        let sensitive = rflags & Rflags::IOPL.bits() != Rflags::IOPL.bits();
        if virtual8086 && sensitive { Err(Fault::gp(0)) } else { Ok(()) }
    }

    /// PUSHF: VM and RF read as zero.
    pub(crate) fn pushf(&mut self) -> Result<Flow, Fault> {
        self.check_flags_access()?;
        let image = self.cpu.state.rflags & !(Rflags::VM | Rflags::RF).bits();
        self.push(image, self.stack_operand(1).bytes() as usize)?;
        Ok(Flow::Next)
    }

    /// POPF: IOPL is written at CPL 0 only, IF where CPL is no more than IOPL; VM, VIF and VIP never; RF becomes zero.
    pub(crate) fn popf(&mut self) -> Result<Flow, Fault> {
        self.check_flags_access()?;
        let width = self.stack_operand(1);
        let image = self.pop(width.bytes() as usize)?;
        let cpl = u64::from(self.cpu.state.cpl());
        let iopl = (self.cpu.state.rflags & Rflags::IOPL.bits()) >> 12;
        let mut which = POPF_ALWAYS;
        which.set(Rflags::IOPL, cpl == 0);
        which.set(Rflags::IF, cpl <= iopl);
        let which = if width == Width::Word { which.bits() & 0xffff } else { (which | Rflags::RF).bits() };
        self.set_flags(which, image & !Rflags::RF.bits());
        Ok(Flow::Next)
    }
}
