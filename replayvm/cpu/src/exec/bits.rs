//! Single bits, and counting them.

use iced_x86::OpKind;

use crate::access::Intent;
use crate::bus::Bus;
use crate::exec::operand::Place;
use crate::exec::{Exec, Flow};
use crate::fault::Fault;
use crate::flags::{AF, ARITHMETIC, CF, OF, PF, SF, Width, ZF, parity};

impl<B: Bus> Exec<'_, B> {
    /// The place that holds the bit, and which bit of it. A register offset to memory reaches, signed, beyond the operand.
    #[inline]
    fn bit_place(&mut self, width: Width) -> Result<(Place, u32), Fault> {
        let offset = self.read_operand(1)?;
        let bit = offset as u32 & (width.bits() - 1);
        let place = match (self.insn.op0_kind(), self.insn.op1_kind()) {
            (OpKind::Register, _) => Place::Register(self.insn.op0_register()),
            (_, OpKind::Register) => {
                let operands = width.sign_extend(offset) >> width.bits().trailing_zeros();
                let (segment, offset) =
                    self.memory_operand_plus((operands as u64).wrapping_mul(width.bytes()));
                Place::Memory(segment, offset)
            }
            _ => self.place(0),
        };
        Ok((place, bit))
    }

    /// BT.
    pub(crate) fn bt(&mut self) -> Result<Flow, Fault> {
        let width = self.width(0);
        let (place, bit) = self.bit_place(width)?;
        let value = self.read_place(place, width, Intent::Read)?;
        self.set_flags(CF, (value >> bit) & 1);
        Ok(Flow::Next)
    }

    #[inline(always)]
    fn change_bit(&mut self, f: impl FnOnce(u64, u64) -> u64) -> Result<Flow, Fault> {
        let width = self.width(0);
        let (place, bit) = self.bit_place(width)?;
        let value = self.read_place(place, width, Intent::Modify)?;
        self.write_place(place, width, f(value, 1 << bit))?;
        self.set_flags(CF, (value >> bit) & 1);
        Ok(Flow::Next)
    }

    pub(crate) fn bts(&mut self) -> Result<Flow, Fault> {
        self.change_bit(|value, bit| value | bit)
    }

    pub(crate) fn btr(&mut self) -> Result<Flow, Fault> {
        self.change_bit(|value, bit| value & !bit)
    }

    pub(crate) fn btc(&mut self) -> Result<Flow, Fault> {
        self.change_bit(|value, bit| value ^ bit)
    }

    /// BSF and BSR: the number of a bit, which the closure finds in a value that is not zero.
    #[inline(always)]
    fn scan(&mut self, f: impl FnOnce(u64) -> u32) -> Result<Flow, Fault> {
        let value = self.read_operand(1)?;
        if value == 0 {
            self.set_arithmetic(ZF | PF);
        } else {
            let number = u64::from(f(value));
            self.set_gpr(self.insn.op0_register(), number);
            self.set_arithmetic(parity(number));
        }
        Ok(Flow::Next)
    }

    pub(crate) fn bsf(&mut self) -> Result<Flow, Fault> {
        self.scan(u64::trailing_zeros)
    }

    pub(crate) fn bsr(&mut self) -> Result<Flow, Fault> {
        self.scan(|value| 63 - value.leading_zeros())
    }

    /// TZCNT.
    pub(crate) fn tzcnt(&mut self) -> Result<Flow, Fault> {
        let width = self.width(0);
        let value = self.read_operand(1)?;
        self.finish_count(width, value.trailing_zeros().min(width.bits()))
    }

    /// LZCNT.
    pub(crate) fn lzcnt(&mut self) -> Result<Flow, Fault> {
        let width = self.width(0);
        let value = self.read_operand(1)?;
        self.finish_count(width, value.leading_zeros() + width.bits() - 64)
    }

    fn finish_count(&mut self, width: Width, count: u32) -> Result<Flow, Fault> {
        self.set_gpr(self.insn.op0_register(), u64::from(count));
        let carry = if count == width.bits() { CF } else { 0 };
        let zero = if count == 0 { ZF } else { 0 };
        self.set_flags(ARITHMETIC & !OF, carry | zero);
        Ok(Flow::Next)
    }

    /// POPCNT.
    pub(crate) fn popcnt(&mut self) -> Result<Flow, Fault> {
        let value = self.read_operand(1)?;
        self.set_gpr(self.insn.op0_register(), u64::from(value.count_ones()));
        self.set_flags(CF | PF | AF | ZF | SF | OF, if value == 0 { ZF } else { 0 });
        Ok(Flow::Next)
    }
}
