//! The one rounding: an exact (or sticky) number of 128 bits to a format (SDM vol. 1, 4.8.4 and 4.9.1).

use super::format::Extended;
use super::wide::Wide;

/// Exception flags, as in the status word; their masks in the control word have the same bits.
pub(in crate::exec::x87) mod flag {
    pub const INVALID: u16 = 1;
    pub const DENORMAL: u16 = 2;
    pub const ZERO_DIVIDE: u16 = 4;
    pub const OVERFLOW: u16 = 8;
    pub const UNDERFLOW: u16 = 0x10;
    pub const PRECISION: u16 = 0x20;
    /// Found before anything is computed.
    pub const BEFORE: u16 = INVALID | DENORMAL | ZERO_DIVIDE;
    /// Stack fault; comes with `INVALID`.
    pub const STACK: u16 = 0x40;
}

/// What an unmasked overflow takes from the exponent, and an unmasked underflow adds.
pub(super) const WRAP: i32 = 24576;

/// The rounding control's four directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::exec::x87) enum Rounding {
    Nearest,
    Down,
    Up,
    Zero,
}

/// What of the control word an operation depends on.
#[derive(Debug, Clone, Copy)]
pub(in crate::exec::x87) struct Control {
    pub rounding: Rounding,
    /// Bits of a result's significand.
    pub precision: u32,
    /// Exceptions that are not masked.
    pub trapped: u16,
}

impl Control {
    /// From the control word (SDM vol. 1, 8.1.5).
    pub fn new(fcw: u16) -> Self {
        let rounding = match fcw >> 10 & 3 {
            0 => Rounding::Nearest,
            1 => Rounding::Down,
            2 => Rounding::Up,
            _ => Rounding::Zero,
        };
        let precision = match fcw >> 8 & 3 {
            0 => 24,
            2 => 53,
            _ => 64,
        };
        Self { rounding, precision, trapped: !fcw & 0x3f }
    }

    /// With all 64 bits.
    pub fn full(self) -> Self {
        Self { precision: 64, ..self }
    }

    /// Whether a discarded part makes the kept part one larger. `half` is its first bit, `rest` whether more follow.
    pub(super) fn rounds_up(&self, negative: bool, odd: bool, half: bool, rest: bool) -> bool {
        match self.rounding {
            Rounding::Nearest => half && (rest || odd),
            Rounding::Down => negative && (half || rest),
            Rounding::Up => !negative && (half || rest),
            Rounding::Zero => false,
        }
    }
}

/// A value, the exceptions of finding it, and whether it was rounded away from zero (C1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::exec::x87) struct Outcome {
    pub value: Extended,
    pub flags: u16,
    pub up: bool,
}

impl Outcome {
    pub const INVALID: Self = Self { value: Extended::INDEFINITE, flags: flag::INVALID, up: false };

    pub const fn exact(value: Extended) -> Self {
        Self { value, flags: 0, up: false }
    }

    /// With more exceptions.
    pub const fn with(self, flags: u16) -> Self {
        Self { flags: self.flags | flags, ..self }
    }
}

/// A format to round to: bits of the significand, exponents of the smallest and of the largest normal numbers.
pub(super) struct Target {
    pub precision: u32,
    pub lowest: i32,
    pub highest: i32,
}

/// A rounded magnitude.
pub(super) struct Rounded {
    /// Exponent of bit 63, and the significand; bit 63 is clear in a denormal or zero. `None` is infinity.
    pub finite: Option<(i32, u64)>,
    pub flags: u16,
    pub up: bool,
}

/// Cuts a significand to its highest `keep` bits (may be 0 or less): those bits, whether something was lost, and whether
/// they were made one larger.
fn cut(control: &Control, number: &Wide, keep: i32) -> (u128, bool, bool) {
    let significand = number.significand;
    let (kept, half, rest) = match keep {
        1..128 => {
            let drop = 128 - keep as u32;
            (significand >> drop, significand >> (drop - 1) & 1 != 0, significand << keep << 1 != 0)
        }
        // All the leading zeros, then the half.
        0 => (0, true, significand << 1 != 0),
        _ => (0, false, true),
    };
    let up = control.rounds_up(number.negative, kept & 1 != 0, half, rest);
    (kept + u128::from(up), half || rest, up)
}

/// Rounds a number to a format. Where overflow or underflow is trapped the exponent is wrapped.
pub(super) fn round(control: &Control, target: &Target, number: Wide) -> Rounded {
    let precision = target.precision;
    let align = 64 - precision;
    let (mut kept, inexact, up) = cut(control, &number, precision as i32);
    let mut exponent = number.exponent;
    if kept >> precision != 0 {
        kept >>= 1;
        exponent += 1;
    }
    let lost = if inexact { flag::PRECISION } else { 0 };
    let finite = Some((exponent, (kept as u64) << align));
    if exponent > target.highest {
        if control.trapped & flag::OVERFLOW != 0 {
            let finite = Some((exponent - WRAP, (kept as u64) << align));
            return Rounded { finite, flags: flag::OVERFLOW | lost, up };
        }
        let to_infinity = match control.rounding {
            Rounding::Nearest => true,
            Rounding::Down => number.negative,
            Rounding::Up => !number.negative,
            Rounding::Zero => false,
        };
        let largest = (target.highest, u64::MAX << align);
        let finite = if to_infinity { None } else { Some(largest) };
        return Rounded { finite, flags: flag::OVERFLOW | flag::PRECISION, up: to_infinity };
    }
    if exponent >= target.lowest {
        return Rounded { finite, flags: lost, up };
    }
    // Tiny, as seen after rounding with an exponent without bounds.
    if control.trapped & flag::UNDERFLOW != 0 {
        let finite = Some((exponent + WRAP, (kept as u64) << align));
        return Rounded { finite, flags: flag::UNDERFLOW | lost, up };
    }
    let keep = precision as i32 - (target.lowest - number.exponent);
    let (kept, inexact, up) = cut(control, &number, keep);
    let flags = if inexact { flag::UNDERFLOW | flag::PRECISION } else { 0 };
    Rounded { finite: Some((target.lowest, (kept as u64) << align)), flags, up }
}

/// Rounds a number to a register under the control word's precision.
pub(super) fn finish(control: &Control, number: Wide) -> Outcome {
    let target = Target { precision: control.precision, lowest: -16382, highest: 16383 };
    let rounded = round(control, &target, number);
    let value = match rounded.finite {
        None => Extended::infinity(number.negative),
        Some((exponent, significand)) => Extended::pack(number.negative, exponent, significand),
    };
    Outcome { value, flags: rounded.flags, up: rounded.up }
}

/// The constants of FLDL2T to FLDLN2 have no exceptions.
pub(in crate::exec::x87) fn constant(control: &Control, number: Wide) -> Extended {
    finish(&control.full(), number).value
}
