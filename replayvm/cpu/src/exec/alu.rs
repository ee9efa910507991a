//! Addition, subtraction, logic and comparison.

use crate::access::Intent;
use crate::bus::Bus;
use crate::exec::{Exec, Flow};
use crate::fault::Fault;
use crate::flags::{self, ARITHMETIC, CF, Width};

impl<B: Bus> Exec<'_, B> {
    /// Both operands read, the first one written with the result, the flags set.
    #[inline(always)]
    fn combine(&mut self, f: impl FnOnce(Width, u64, u64) -> (u64, u64)) -> Result<Flow, Fault> {
        let width = self.width(0);
        let b = self.read_operand(1)? & width.mask();
        let place = self.place(0);
        let a = self.read_place(place, width, Intent::Modify)?;
        let (result, flags) = f(width, a, b);
        self.write_place(place, width, result)?;
        self.set_arithmetic(flags);
        Ok(Flow::Next)
    }

    /// Both operands read, the flags set.
    #[inline(always)]
    fn compare(&mut self, f: impl FnOnce(Width, u64, u64) -> u64) -> Result<Flow, Fault> {
        let width = self.width(0);
        let a = self.read_operand(0)?;
        let b = self.read_operand(1)? & width.mask();
        self.set_arithmetic(f(width, a, b));
        Ok(Flow::Next)
    }

    /// The one operand read and written with the result, the flags in `which` set.
    #[inline(always)]
    fn replace(&mut self, which: u64, f: impl FnOnce(Width, u64) -> (u64, u64)) -> Result<Flow, Fault> {
        let width = self.width(0);
        let place = self.place(0);
        let a = self.read_place(place, width, Intent::Modify)?;
        let (result, flags) = f(width, a);
        self.write_place(place, width, result)?;
        self.set_flags(which, flags);
        Ok(Flow::Next)
    }

    pub(crate) fn add(&mut self) -> Result<Flow, Fault> {
        self.combine(|width, a, b| flags::add(width, a, b, 0))
    }

    pub(crate) fn adc(&mut self) -> Result<Flow, Fault> {
        let carry = self.carry();
        self.combine(|width, a, b| flags::add(width, a, b, carry))
    }

    pub(crate) fn sub(&mut self) -> Result<Flow, Fault> {
        self.combine(|width, a, b| flags::sub(width, a, b, 0))
    }

    pub(crate) fn sbb(&mut self) -> Result<Flow, Fault> {
        let borrow = self.carry();
        self.combine(|width, a, b| flags::sub(width, a, b, borrow))
    }

    pub(crate) fn and(&mut self) -> Result<Flow, Fault> {
        self.combine(|width, a, b| (a & b, flags::logic(width, a & b)))
    }

    pub(crate) fn or(&mut self) -> Result<Flow, Fault> {
        self.combine(|width, a, b| (a | b, flags::logic(width, a | b)))
    }

    pub(crate) fn xor(&mut self) -> Result<Flow, Fault> {
        self.combine(|width, a, b| (a ^ b, flags::logic(width, a ^ b)))
    }

    pub(crate) fn cmp(&mut self) -> Result<Flow, Fault> {
        self.compare(|width, a, b| flags::sub(width, a, b, 0).1)
    }

    pub(crate) fn test(&mut self) -> Result<Flow, Fault> {
        self.compare(|width, a, b| flags::logic(width, a & b))
    }

    pub(crate) fn inc(&mut self) -> Result<Flow, Fault> {
        self.replace(ARITHMETIC & !CF, |width, a| flags::add(width, a, 1, 0))
    }

    pub(crate) fn dec(&mut self) -> Result<Flow, Fault> {
        self.replace(ARITHMETIC & !CF, |width, a| flags::sub(width, a, 1, 0))
    }

    pub(crate) fn neg(&mut self) -> Result<Flow, Fault> {
        self.replace(ARITHMETIC, |width, a| flags::sub(width, 0, a, 0))
    }

    pub(crate) fn not(&mut self) -> Result<Flow, Fault> {
        self.replace(0, |width, a| (!a & width.mask(), 0))
    }
}
