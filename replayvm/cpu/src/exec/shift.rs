//! Shifts and rotations. What each does to the flags at counts above one: [`crate::FLAGS_PROFILE`].

use crate::access::Intent;
use crate::bus::Bus;
use crate::exec::{Exec, Flow};
use crate::fault::Fault;
use crate::flags::{AF, ARITHMETIC, CF, OF, Width, sign_zero_parity};

/// Bit `i` of a value, 0 or 1; 0 beyond the end.
#[inline]
const fn bit(value: u64, i: u32) -> u64 {
    if i < 64 { (value >> i) & 1 } else { 0 }
}

/// OF of what moves left: whether the highest bit and CF differ.
#[inline]
const fn left_overflow(width: Width, result: u64, carry: u64) -> u64 {
    (bit(result, width.bits() - 1) ^ carry) << 11
}

/// OF of what moves right: whether the two highest bits differ.
#[inline]
const fn right_overflow(width: Width, result: u64) -> u64 {
    (bit(result, width.bits() - 1) ^ bit(result, width.bits() - 2)) << 11
}

// Each of these takes an operand without bits above its width, and a masked count that is not 0.

fn rol(width: Width, a: u64, count: u32, _carry: u64) -> (u64, u64) {
    let turn = count % width.bits();
    let result = if turn == 0 { a } else { (a << turn | a >> (width.bits() - turn)) & width.mask() };
    (result, result & 1 | left_overflow(width, result, result & 1))
}

fn ror(width: Width, a: u64, count: u32, _carry: u64) -> (u64, u64) {
    let turn = count % width.bits();
    let result = if turn == 0 { a } else { (a >> turn | a << (width.bits() - turn)) & width.mask() };
    (result, bit(result, width.bits() - 1) | right_overflow(width, result))
}

fn rcl(width: Width, a: u64, count: u32, carry: u64) -> (u64, u64) {
    let turn = count % (width.bits() + 1);
    let whole = u128::from(a) | u128::from(carry) << width.bits();
    // A zero turn leaves the shift to the right at one less than the number of bits that there are: all shifted out.
    let turned = whole << turn | whole >> (width.bits() + 1 - turn);
    let result = turned as u64 & width.mask();
    let carry = (turned >> width.bits()) as u64 & 1;
    (result, carry | left_overflow(width, result, carry))
}

fn rcr(width: Width, a: u64, count: u32, carry: u64) -> (u64, u64) {
    let turn = count % (width.bits() + 1);
    let (result, flags) = rcl(width, a, width.bits() + 1 - turn, carry);
    (result, flags & CF | right_overflow(width, result))
}

fn shl(width: Width, a: u64, count: u32, _carry: u64) -> (u64, u64) {
    // A count is 63 at the most, and 31 for the narrower widths.
    let result = (a << count) & width.mask();
    let carry = if count <= width.bits() { bit(a, width.bits() - count) } else { 0 };
    (result, sign_zero_parity(width, result) | carry | AF | left_overflow(width, result, carry))
}

fn shr(width: Width, a: u64, count: u32, _carry: u64) -> (u64, u64) {
    let result = a >> count;
    (result, sign_zero_parity(width, result) | bit(a, count - 1) | AF | right_overflow(width, result))
}

fn sar(width: Width, a: u64, count: u32, _carry: u64) -> (u64, u64) {
    let signed = width.sign_extend(a);
    let result = (signed >> count) as u64 & width.mask();
    (result, sign_zero_parity(width, result) | bit(signed as u64, count - 1) | AF)
}

fn shld(width: Width, a: u64, b: u64, count: u32) -> (u64, u64) {
    let bits = width.bits();
    let (a_wide, source) = (u128::from(a), u128::from(b));
    let (whole, low) = if width == Width::Word {
        (a_wide << 32 | source << 16 | source, 32)
    } else {
        (a_wide << bits | source, bits)
    };
    let result = (whole >> (low - count)) as u64 & width.mask();
    let carry = if count <= bits { bit(a, bits - count) } else { 0 };
    let alone = (a << count) & width.mask();
    (result, sign_zero_parity(width, result) | carry | AF | left_overflow(width, alone, carry))
}

fn shrd(width: Width, a: u64, b: u64, count: u32) -> (u64, u64) {
    let bits = width.bits();
    let source = u128::from(b);
    let above = if width == Width::Word { source << bits | source } else { source };
    let result = ((above << bits | u128::from(a)) >> count) as u64 & width.mask();
    let carry = bit(a, count - 1);
    (result, sign_zero_parity(width, result) | carry | AF | right_overflow(width, result))
}

/// What is masked out of a count.
#[inline]
const fn masked(width: Width, count: u64) -> u32 {
    (count & if matches!(width, Width::Qword) { 63 } else { 31 }) as u32
}

impl<B: Bus> Exec<'_, B> {
    #[inline(always)]
    fn shift(&mut self, which: u64, f: fn(Width, u64, u32, u64) -> (u64, u64)) -> Result<Flow, Fault> {
        let width = self.width(0);
        let count = masked(width, self.read_operand(1)?);
        let place = self.place(0);
        let a = self.read_place(place, width, Intent::Modify)?;
        if count == 0 {
            // A 32-bit register is zero-extended all the same.
            self.write_place(place, width, a)?;
            return Ok(Flow::Next);
        }
        let (result, flags) = f(width, a, count, self.carry());
        self.write_place(place, width, result)?;
        self.set_flags(which, flags);
        Ok(Flow::Next)
    }

    #[inline(always)]
    fn double_shift(&mut self, f: fn(Width, u64, u64, u32) -> (u64, u64)) -> Result<Flow, Fault> {
        let width = self.width(0);
        let b = self.read_operand(1)?;
        let count = masked(width, self.read_operand(2)?);
        let place = self.place(0);
        let a = self.read_place(place, width, Intent::Modify)?;
        if count == 0 {
            self.write_place(place, width, a)?;
            return Ok(Flow::Next);
        }
        let (result, flags) = f(width, a, b, count);
        self.write_place(place, width, result)?;
        self.set_arithmetic(flags);
        Ok(Flow::Next)
    }

    pub(crate) fn rol(&mut self) -> Result<Flow, Fault> {
        self.shift(CF | OF, rol)
    }

    pub(crate) fn ror(&mut self) -> Result<Flow, Fault> {
        self.shift(CF | OF, ror)
    }

    pub(crate) fn rcl(&mut self) -> Result<Flow, Fault> {
        self.shift(CF | OF, rcl)
    }

    pub(crate) fn rcr(&mut self) -> Result<Flow, Fault> {
        self.shift(CF | OF, rcr)
    }

    pub(crate) fn shl(&mut self) -> Result<Flow, Fault> {
        self.shift(ARITHMETIC, shl)
    }

    pub(crate) fn shr(&mut self) -> Result<Flow, Fault> {
        self.shift(ARITHMETIC, shr)
    }

    pub(crate) fn sar(&mut self) -> Result<Flow, Fault> {
        self.shift(ARITHMETIC, sar)
    }

    pub(crate) fn shld(&mut self) -> Result<Flow, Fault> {
        self.double_shift(shld)
    }

    pub(crate) fn shrd(&mut self) -> Result<Flow, Fault> {
        self.double_shift(shrd)
    }
}
