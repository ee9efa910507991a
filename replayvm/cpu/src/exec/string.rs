//! String instructions, alone and repeated.
//!
//! A repeated one does at most [`crate::REP_LIMIT`] iterations in a step (one, if RFLAGS.TF is set) and then asks to be
//! executed again. After a fault registers and flags stand where the faulting iteration found them. (The SDM says
//! that RFLAGS is as before the instruction; Zen leaves what the last iteration set, and so does the profile.)

use iced_x86::{OpKind, Register};

use crate::access::Intent;
use crate::bus::{Access, Bus};
use crate::exec::operand::number;
use crate::exec::{Exec, Flow};
use crate::fault::Fault;
use crate::flags::{self, Rflags, Width, ZF};
use crate::step::REP_LIMIT;

/// What all iterations of one instruction share.
#[derive(Clone, Copy)]
struct Shape {
    /// Of an element.
    width: Width,
    /// Of RCX, RSI and RDI.
    address: Width,
    /// What is added to RSI and RDI.
    step: u64,
}

/// When a repeated comparison goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum While {
    Equal,
    NotEqual,
}

impl<B: Bus> Exec<'_, B> {
    fn shape(&self, memory: u32) -> Shape {
        let width = self.width(memory);
        let address = match self.insn.op_kind(memory) {
            OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI => Width::Word,
            OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI => Width::Dword,
            _ => Width::Qword,
        };
        let down = self.cpu.state.rflags & Rflags::DF.bits() != 0;
        let step = if down { width.bytes().wrapping_neg() } else { width.bytes() };
        Shape { width, address, step }
    }

    #[inline]
    fn advance(&mut self, register: usize, shape: Shape) {
        let moved = self.cpu.state.gpr[register].wrapping_add(shape.step);
        self.set_numbered(register, shape.address, moved);
    }

    /// Runs one iteration, or as many as the prefix says. `body` says whether to go on.
    #[inline(always)]
    fn repeat(
        &mut self,
        shape: Shape,
        body: impl FnMut(&mut Self) -> Result<bool, Fault>,
    ) -> Result<Flow, Fault> {
        self.repeat_in_bulk(shape, |_, _| 0, body)
    }

    /// The same, where `bulk` may do iterations after the first, as many as it is given at the most, if it can do so at
    /// once and without a fault. It says how many it has done.
    #[inline(always)]
    fn repeat_in_bulk(
        &mut self,
        shape: Shape,
        mut bulk: impl FnMut(&mut Self, u64) -> u64,
        mut body: impl FnMut(&mut Self) -> Result<bool, Fault>,
    ) -> Result<Flow, Fault> {
        if !self.insn.has_rep_prefix() && !self.insn.has_repne_prefix() {
            body(self)?;
            return Ok(Flow::Next);
        }
        let mut left = self.numbered(number::RCX, shape.address);
        if left == 0 {
            return Ok(Flow::Next);
        }
        let single_step = self.cpu.state.rflags & Rflags::TF.bits() != 0;
        let mut budget = if single_step { 1 } else { REP_LIMIT };
        let mut first = true;
        while budget > 0 {
            let mut done = if first { 0 } else { bulk(self, left.min(budget)) };
            first = false;
            let mut go_on = true;
            if done == 0 {
                go_on = body(self)?;
                done = 1;
            }
            left -= done;
            budget -= done;
            self.set_numbered(number::RCX, shape.address, left);
            if left == 0 || !go_on {
                return Ok(Flow::Next);
            }
        }
        Ok(Flow::Again)
    }

    /// Where the next elements upwards from an index register lie in physical memory, and how many of them, `most` at
    /// the most, lie in that page and raise nothing. `None`: one at a time.
    #[inline]
    fn run_of_elements(
        &mut self,
        shape: Shape,
        segment: Register,
        register: usize,
        intent: Intent,
        most: u64,
    ) -> Option<(u64, u64)> {
        let state = &self.cpu.state;
        let width = shape.width.bytes();
        let up = shape.step == width;
        // Breakpoints and alignment are looked at access by access.
        if most < 2 || !up || state.dr7 & 0xff != 0 || state.rflags & Rflags::AC.bits() != 0 {
            return None;
        }
        let offset = self.numbered(register, shape.address);
        let before_wrap = (shape.address.mask() - offset) / width;
        let linear = state.linear(segment, offset, width, intent).ok()?;
        let in_page = (0x1000 - (linear & 0xfff)) / width;
        let count = most.min(before_wrap).min(in_page);
        // The element before has been in this page too: the walk that marks it accessed or dirty is done.
        if count < 2
            || linear & 0xfff < width
            || state.linear(segment, offset, count * width, intent).is_err()
        {
            return None;
        }
        let privilege = state.privilege();
        let gpa = self.cpu.translate(self.bus, self.at, linear, intent.purpose(), privilege).ok()?;
        // A store that changes translations or code has consequences of its own.
        if intent != Intent::Read && self.cpu.tlb.pages.tags(gpa) != 0 {
            return None;
        }
        Some((gpa, count))
    }

    /// The register after so many iterations upwards.
    fn skip(&mut self, register: usize, shape: Shape, count: u64) {
        let moved = self.cpu.state.gpr[register].wrapping_add(shape.step.wrapping_mul(count));
        self.set_numbered(register, shape.address, moved);
    }

    /// As many iterations of MOVS as are simple.
    #[inline]
    fn movs_in_bulk<const N: usize>(&mut self, shape: Shape, source: Register, most: u64) -> u64 {
        let Some((from, count)) = self.run_of_elements(shape, source, number::RSI, Intent::Read, most) else {
            return 0;
        };
        let Some((to, count)) = self.run_of_elements(shape, Register::ES, number::RDI, Intent::Write, count)
        else {
            return 0;
        };
        for i in 0..count {
            let element: [u8; N] = self.bus.read(self.at, Access::Data, from + i * N as u64);
            self.bus.write(self.at, Access::Data, to + i * N as u64, element);
        }
        self.cpu.follow_memory(self.bus);
        self.skip(number::RSI, shape, count);
        self.skip(number::RDI, shape, count);
        count
    }

    /// As many iterations of STOS as are simple.
    #[inline]
    fn stos_in_bulk<const N: usize>(&mut self, shape: Shape, value: u64, most: u64) -> u64 {
        let mut element = [0; N];
        element.copy_from_slice(&value.to_le_bytes()[..N]);
        let Some((to, count)) = self.run_of_elements(shape, Register::ES, number::RDI, Intent::Write, most)
        else {
            return 0;
        };
        for i in 0..count {
            self.bus.write(self.at, Access::Data, to + i * N as u64, element);
        }
        self.cpu.follow_memory(self.bus);
        self.skip(number::RDI, shape, count);
        count
    }

    /// MOVS.
    pub(crate) fn movs(&mut self) -> Result<Flow, Fault> {
        let shape = self.shape(1);
        let source = self.source_segment();
        let bulk = |exec: &mut Self, most| match shape.width {
            Width::Byte => exec.movs_in_bulk::<1>(shape, source, most),
            Width::Word => exec.movs_in_bulk::<2>(shape, source, most),
            Width::Dword => exec.movs_in_bulk::<4>(shape, source, most),
            Width::Qword => exec.movs_in_bulk::<8>(shape, source, most),
        };
        self.repeat_in_bulk(shape, bulk, |exec| {
            let from = exec.numbered(number::RSI, shape.address);
            let to = exec.numbered(number::RDI, shape.address);
            let value = exec.load_sized(source, from, shape.width, Intent::Read)?;
            exec.store_sized(Register::ES, to, shape.width, value)?;
            exec.advance(number::RSI, shape);
            exec.advance(number::RDI, shape);
            Ok(true)
        })
    }

    /// STOS.
    pub(crate) fn stos(&mut self) -> Result<Flow, Fault> {
        let shape = self.shape(0);
        let value = self.numbered(number::RAX, shape.width);
        let bulk = |exec: &mut Self, most| match shape.width {
            Width::Byte => exec.stos_in_bulk::<1>(shape, value, most),
            Width::Word => exec.stos_in_bulk::<2>(shape, value, most),
            Width::Dword => exec.stos_in_bulk::<4>(shape, value, most),
            Width::Qword => exec.stos_in_bulk::<8>(shape, value, most),
        };
        self.repeat_in_bulk(shape, bulk, |exec| {
            let to = exec.numbered(number::RDI, shape.address);
            exec.store_sized(Register::ES, to, shape.width, value)?;
            exec.advance(number::RDI, shape);
            Ok(true)
        })
    }

    /// LODS.
    pub(crate) fn lods(&mut self) -> Result<Flow, Fault> {
        let shape = self.shape(1);
        let source = self.source_segment();
        self.repeat(shape, |exec| {
            let from = exec.numbered(number::RSI, shape.address);
            let value = exec.load_sized(source, from, shape.width, Intent::Read)?;
            exec.set_numbered(number::RAX, shape.width, value);
            exec.advance(number::RSI, shape);
            Ok(true)
        })
    }

    /// Whether and while what a repeated comparison goes on.
    fn condition(&self) -> While {
        if self.insn.has_repne_prefix() { While::NotEqual } else { While::Equal }
    }

    /// CMPS.
    pub(crate) fn cmps(&mut self) -> Result<Flow, Fault> {
        let shape = self.shape(0);
        let (source, condition) = (self.source_segment(), self.condition());
        self.repeat(shape, |exec| {
            let first = exec.numbered(number::RSI, shape.address);
            let second = exec.numbered(number::RDI, shape.address);
            let a = exec.load_sized(source, first, shape.width, Intent::Read)?;
            let b = exec.load_sized(Register::ES, second, shape.width, Intent::Read)?;
            exec.advance(number::RSI, shape);
            exec.advance(number::RDI, shape);
            let outcome = flags::sub(shape.width, a, b, 0).1;
            exec.set_arithmetic(outcome);
            Ok((outcome & ZF != 0) == (condition == While::Equal))
        })
    }

    /// SCAS.
    pub(crate) fn scas(&mut self) -> Result<Flow, Fault> {
        let shape = self.shape(1);
        let condition = self.condition();
        let a = self.numbered(number::RAX, shape.width);
        self.repeat(shape, |exec| {
            let at = exec.numbered(number::RDI, shape.address);
            let b = exec.load_sized(Register::ES, at, shape.width, Intent::Read)?;
            exec.advance(number::RDI, shape);
            let outcome = flags::sub(shape.width, a, b, 0).1;
            exec.set_arithmetic(outcome);
            Ok((outcome & ZF != 0) == (condition == While::Equal))
        })
    }

    /// INS. That the element can be written is known before the port is read, since a device may forget what was read.
    pub(crate) fn ins(&mut self) -> Result<Flow, Fault> {
        let shape = self.shape(0);
        let port = self.numbered(number::RDX, Width::Word) as u16;
        let size = shape.width.bytes() as u8;
        // Checked even if RCX says that there is nothing to do.
        self.check_io(port, size)?;
        self.repeat(shape, |exec| {
            let to = exec.numbered(number::RDI, shape.address);
            exec.load_sized(Register::ES, to, shape.width, Intent::Modify)?;
            let value = exec.bus.io_read(exec.at, port, size);
            exec.store_sized(Register::ES, to, shape.width, u64::from(value))?;
            exec.advance(number::RDI, shape);
            Ok(true)
        })
    }

    /// OUTS.
    pub(crate) fn outs(&mut self) -> Result<Flow, Fault> {
        let shape = self.shape(1);
        let source = self.source_segment();
        let port = self.numbered(number::RDX, Width::Word) as u16;
        let size = shape.width.bytes() as u8;
        // Checked even if RCX says that there is nothing to do.
        self.check_io(port, size)?;
        self.repeat(shape, |exec| {
            let from = exec.numbered(number::RSI, shape.address);
            let value = exec.load_sized(source, from, shape.width, Intent::Read)?;
            exec.bus.io_write(exec.at, port, size, value as u32);
            exec.advance(number::RSI, shape);
            Ok(true)
        })
    }
}
