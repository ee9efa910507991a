//! Decimal adjustment. The flags that the manual leaves undefined: [`crate::FLAGS_PROFILE`].

use iced_x86::Register;

use crate::bus::Bus;
use crate::exec::operand::number;
use crate::exec::{Exec, Flow};
use crate::fault::Fault;
use crate::flags::{self, AF, CF, Width};

impl<B: Bus> Exec<'_, B> {
    fn al(&self) -> u64 {
        self.numbered(number::RAX, Width::Byte)
    }

    /// Whether the low digit of AL needs adjustment.
    fn low_digit_off(&self) -> bool {
        self.al() & 15 > 9 || self.cpu.state.rflags & AF != 0
    }

    /// AAA and AAS: an addition or subtraction on AX, of which the high digit of AL is dropped.
    fn ascii_adjust(&mut self, f: fn(Width, u64, u64, u64) -> (u64, u64)) -> Result<Flow, Fault> {
        let (step, carries) = if self.low_digit_off() { (0x106, AF | CF) } else { (0, 0) };
        let (result, flags) = f(Width::Word, self.numbered(number::RAX, Width::Word), step, 0);
        self.set_numbered(number::RAX, Width::Word, result & 0xff0f);
        self.set_arithmetic(flags & !(AF | CF) | carries);
        Ok(Flow::Next)
    }

    pub(crate) fn aaa(&mut self) -> Result<Flow, Fault> {
        self.ascii_adjust(flags::add)
    }

    pub(crate) fn aas(&mut self) -> Result<Flow, Fault> {
        self.ascii_adjust(flags::sub)
    }

    /// DAA and DAS.
    fn decimal_adjust(
        &mut self,
        borrows: bool,
        f: fn(Width, u64, u64, u64) -> (u64, u64),
    ) -> Result<Flow, Fault> {
        let al = self.al();
        let (mut step, mut carries) = (0, 0);
        if self.low_digit_off() {
            step += 6;
            carries |= AF;
            if borrows && al < 6 {
                carries |= CF;
            }
        }
        if al > 0x99 || self.carry() != 0 {
            step += 0x60;
            carries |= CF;
        }
        let (result, flags) = f(Width::Byte, al, step, 0);
        self.set_gpr(Register::AL, result);
        self.set_arithmetic(flags & !(AF | CF) | carries);
        Ok(Flow::Next)
    }

    pub(crate) fn daa(&mut self) -> Result<Flow, Fault> {
        self.decimal_adjust(false, flags::add)
    }

    pub(crate) fn das(&mut self) -> Result<Flow, Fault> {
        self.decimal_adjust(true, flags::sub)
    }

    /// AAM: #DE for a base of zero.
    pub(crate) fn aam(&mut self) -> Result<Flow, Fault> {
        let base = self.read_operand(0)? & 0xff;
        let al = self.al();
        let (Some(high), Some(low)) = (al.checked_div(base), al.checked_rem(base)) else {
            return Err(Fault::DE);
        };
        self.set_numbered(number::RAX, Width::Word, high << 8 | low);
        self.set_arithmetic(flags::logic(Width::Byte, low));
        Ok(Flow::Next)
    }

    /// AAD.
    pub(crate) fn aad(&mut self) -> Result<Flow, Fault> {
        let base = self.read_operand(0)? & 0xff;
        let product = self.gpr(Register::AH).wrapping_mul(base) & 0xff;
        let (result, flags) = flags::add(Width::Byte, self.al(), product, 0);
        self.set_numbered(number::RAX, Width::Word, result);
        self.set_arithmetic(flags);
        Ok(Flow::Next)
    }
}
