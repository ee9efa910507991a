//! Multiplication and division.

use crate::bus::Bus;
use crate::exec::operand::number;
use crate::exec::{Exec, Flow};
use crate::fault::Fault;
use crate::flags::{AF, CF, OF, PF, SF, Width, ZF};

impl<B: Bus> Exec<'_, B> {
    /// The double-width value in AX, DX:AX, EDX:EAX or RDX:RAX.
    fn wide_accumulator(&self, width: Width) -> u128 {
        if width == Width::Byte {
            return u128::from(self.numbered(number::RAX, Width::Word));
        }
        let high = u128::from(self.numbered(number::RDX, width));
        high << width.bits() | u128::from(self.numbered(number::RAX, width))
    }

    /// Writes the two halves: AL and AH for bytes, else the accumulator and the data register.
    fn set_halves(&mut self, width: Width, low: u64, high: u64) {
        if width == Width::Byte {
            self.set_numbered(number::RAX, Width::Word, low & 0xff | (high & 0xff) << 8);
        } else {
            self.set_numbered(number::RAX, width, low);
            self.set_numbered(number::RDX, width, high);
        }
    }

    /// MUL.
    pub(crate) fn mul(&mut self) -> Result<Flow, Fault> {
        let width = self.width(0);
        let source = self.read_operand(0)?;
        let product = u128::from(self.numbered(number::RAX, width)) * u128::from(source);
        let high = (product >> width.bits()) as u64;
        self.set_halves(width, product as u64, high);
        self.set_flags(CF | OF, if high == 0 { 0 } else { CF | OF });
        Ok(Flow::Next)
    }

    /// IMUL with one, two or three operands.
    pub(crate) fn imul(&mut self) -> Result<Flow, Fault> {
        let width = self.width(0);
        let (a, b) = match self.insn.op_count() {
            1 => (width.sign_extend(self.numbered(number::RAX, width)), self.read_operand_signed(0)?),
            2 => (width.sign_extend(self.gpr(self.insn.op0_register())), self.read_operand_signed(1)?),
            _ => (self.read_operand_signed(1)?, width.sign_extend(self.read_operand(2)?)),
        };
        let product = i128::from(a) * i128::from(b);
        if self.insn.op_count() == 1 {
            self.set_halves(width, product as u64, (product >> width.bits()) as u64);
        } else {
            self.set_gpr(self.insn.op0_register(), product as u64);
        }
        let fits = product == i128::from(width.sign_extend(product as u64));
        self.set_flags(CF | OF, if fits { 0 } else { CF | OF });
        Ok(Flow::Next)
    }

    /// DIV.
    pub(crate) fn div(&mut self) -> Result<Flow, Fault> {
        let width = self.width(0);
        let divisor = u128::from(self.read_operand(0)?);
        let dividend = self.wide_accumulator(width);
        // The quotient is too big exactly if the high half reaches the divisor; a divisor of zero is always reached.
        if dividend >> width.bits() >= divisor {
            return Err(Fault::DE);
        }
        let (quotient, remainder) = match (u64::try_from(dividend), divisor as u64) {
            (Ok(dividend), divisor) => (dividend / divisor, dividend % divisor),
            (Err(_), _) => ((dividend / divisor) as u64, (dividend % divisor) as u64),
        };
        self.finish_division(width, quotient, remainder);
        Ok(Flow::Next)
    }

    /// IDIV.
    pub(crate) fn idiv(&mut self) -> Result<Flow, Fault> {
        let width = self.width(0);
        let divisor = i128::from(self.read_operand_signed(0)?);
        let spare = 128 - 2 * width.bits();
        let dividend = ((self.wide_accumulator(width) << spare) as i128) >> spare;
        let (Some(quotient), Some(remainder)) =
            (dividend.checked_div(divisor), dividend.checked_rem(divisor))
        else {
            return Err(Fault::DE);
        };
        if quotient != i128::from(width.sign_extend(quotient as u64)) {
            return Err(Fault::DE);
        }
        self.finish_division(width, quotient as u64, remainder as u64);
        Ok(Flow::Next)
    }

    fn finish_division(&mut self, width: Width, quotient: u64, remainder: u64) {
        self.set_halves(width, quotient, remainder);
        self.set_flags(SF | ZF | AF | PF, AF);
    }
}
