//! Data movement: MOV and its relatives, exchanges, conversions, single flags.

use iced_x86::{OpKind, Register};

use crate::access::Intent;
use crate::bus::Bus;
use crate::exec::operand::{Place, number};
use crate::exec::{Exec, Flow};
use crate::fault::Fault;
use crate::flags::{self, CF, Rflags, Width};

impl<B: Bus> Exec<'_, B> {
    /// MOV between general registers, memory and immediates, and from a segment register. MOV to segment registers and
    /// with control and debug registers is elsewhere.
    #[inline]
    pub(crate) fn mov(&mut self) -> Result<Flow, Fault> {
        let value = self.read_operand(1)?;
        // A selector stored to memory is a word, whatever the operand size; in a register it is zero-extended.
        self.write_operand(0, value)?;
        Ok(Flow::Next)
    }

    /// Whether a MOV is one with a control or debug register.
    #[inline]
    pub(crate) fn touches_control(&self) -> bool {
        let (to, from) = (self.insn.op0_register(), self.insn.op1_register());
        let special = Register::CR0 as usize..=Register::DR15 as usize;
        special.contains(&(to as usize)) || special.contains(&(from as usize))
    }

    /// MOVZX.
    pub(crate) fn movzx(&mut self) -> Result<Flow, Fault> {
        let value = self.read_operand(1)?;
        self.set_gpr(self.insn.op0_register(), value);
        Ok(Flow::Next)
    }

    /// MOVSX and MOVSXD.
    pub(crate) fn movsx(&mut self) -> Result<Flow, Fault> {
        let value = self.read_operand_signed(1)?;
        self.set_gpr(self.insn.op0_register(), value as u64);
        Ok(Flow::Next)
    }

    /// MOVBE.
    pub(crate) fn movbe(&mut self) -> Result<Flow, Fault> {
        let width = self.width(0);
        let value = self.read_operand(1)?.swap_bytes() >> (64 - width.bits());
        self.write_operand(0, value)?;
        Ok(Flow::Next)
    }

    /// XCHG.
    pub(crate) fn xchg(&mut self) -> Result<Flow, Fault> {
        let width = self.width(0);
        let (first, second) = (self.place(0), self.place(1));
        let a = self.read_place(first, width, Intent::Modify)?;
        let b = self.read_place(second, width, Intent::Modify)?;
        // Memory, if any, first: a write to a register cannot fail.
        if matches!(second, Place::Memory(..)) {
            self.write_place(second, width, a)?;
            self.write_place(first, width, b)?;
        } else {
            self.write_place(first, width, b)?;
            self.write_place(second, width, a)?;
        }
        Ok(Flow::Next)
    }

    /// LEA: the offset, cut to the operand size.
    #[inline]
    pub(crate) fn lea(&mut self) -> Result<Flow, Fault> {
        let (_, offset) = self.memory_operand();
        self.set_gpr(self.insn.op0_register(), offset);
        Ok(Flow::Next)
    }

    /// CMOVcc. The source is read, and a 32-bit destination zero-extended, whether the condition holds or not.
    pub(crate) fn cmov(&mut self) -> Result<Flow, Fault> {
        let source = self.read_operand(1)?;
        let destination = self.insn.op0_register();
        let holds = flags::condition(self.cpu.state.rflags, self.insn.condition_code());
        let value = if holds { source } else { self.gpr(destination) };
        self.set_gpr(destination, value);
        Ok(Flow::Next)
    }

    /// SETcc.
    pub(crate) fn set(&mut self) -> Result<Flow, Fault> {
        let holds = flags::condition(self.cpu.state.rflags, self.insn.condition_code());
        self.write_operand(0, u64::from(holds))?;
        Ok(Flow::Next)
    }

    /// BSWAP. Of a 16-bit register, which the manual leaves undefined, the result is zero.
    pub(crate) fn bswap(&mut self) -> Result<Flow, Fault> {
        let register = self.insn.op0_register();
        let value = self.gpr(register);
        let swapped = match self.width(0) {
            Width::Qword => value.swap_bytes(),
            Width::Dword => u64::from((value as u32).swap_bytes()),
            Width::Word | Width::Byte => 0,
        };
        self.set_gpr(register, swapped);
        Ok(Flow::Next)
    }

    /// CBW, CWDE, CDQE: the accumulator of `from`, sign-extended to twice that.
    pub(crate) fn widen(&mut self, from: Width, to: Width) -> Result<Flow, Fault> {
        let value = from.sign_extend(self.numbered(number::RAX, from));
        self.set_numbered(number::RAX, to, value as u64);
        Ok(Flow::Next)
    }

    /// CWD, CDQ, CQO: the sign of the accumulator all over the data register.
    pub(crate) fn spread_sign(&mut self, width: Width) -> Result<Flow, Fault> {
        let value = width.sign_extend(self.numbered(number::RAX, width)) >> 63;
        self.set_numbered(number::RDX, width, value as u64);
        Ok(Flow::Next)
    }

    /// XLAT.
    pub(crate) fn xlat(&mut self) -> Result<Flow, Fault> {
        let value = self.read_operand(0)?;
        self.set_gpr(Register::AL, value);
        Ok(Flow::Next)
    }

    /// LAHF: bit 1 reads as set, bits 3 and 5 as clear.
    pub(crate) fn lahf(&mut self) -> Result<Flow, Fault> {
        let value = self.cpu.state.rflags & 0xd5 | 2;
        self.set_gpr(Register::AH, value);
        Ok(Flow::Next)
    }

    /// SAHF.
    pub(crate) fn sahf(&mut self) -> Result<Flow, Fault> {
        let value = self.gpr(Register::AH);
        self.set_flags(0xd5, value);
        Ok(Flow::Next)
    }

    /// SALC: AL = CF ? 0xff : 0, without a mention in Intel's manual and on every processor outside 64-bit mode.
    pub(crate) fn salc(&mut self) -> Result<Flow, Fault> {
        let value = self.carry().wrapping_neg();
        self.set_gpr(Register::AL, value);
        Ok(Flow::Next)
    }

    /// CLC, STC, CLD and STD.
    pub(crate) fn flag(&mut self, flag: Rflags, on: bool) -> Result<Flow, Fault> {
        self.set_flags(flag.bits(), if on { flag.bits() } else { 0 });
        Ok(Flow::Next)
    }

    /// CMC.
    pub(crate) fn cmc(&mut self) -> Result<Flow, Fault> {
        self.cpu.state.rflags ^= CF;
        Ok(Flow::Next)
    }

    /// BOUND: #BR unless the signed index lies within the two bounds in memory.
    pub(crate) fn bound(&mut self) -> Result<Flow, Fault> {
        const OUT_OF_BOUNDS: Fault =
            Fault { vector: crate::fault::Vector::BoundRange, error_code: None, detail: 0 };
        debug_assert!(self.insn.op1_kind() == OpKind::Memory, "decoder: BOUND has a memory operand");
        let width = self.width(0);
        let index = self.read_operand_signed(0)?;
        let (segment, offset) = self.memory_operand();
        let (lower, upper) = if width == Width::Word {
            let pair = u32::from_le_bytes(self.load(segment, offset)?);
            (width.sign_extend(u64::from(pair)), width.sign_extend(u64::from(pair >> 16)))
        } else {
            let pair = u64::from_le_bytes(self.load(segment, offset)?);
            (width.sign_extend(pair), width.sign_extend(pair >> 32))
        };
        if index < lower || index > upper { Err(OUT_OF_BOUNDS) } else { Ok(Flow::Next) }
    }
}
