//! The register format, its classes, and the memory formats (SDM vol. 1, 4.2 and 8.2).

use super::round::{Control, Target, flag, round};
use super::wide::Wide;

/// What the exponent field of 0 lies above 2^0 by, and the field of infinities and NaNs.
const BIAS: i32 = 0x3fff;
const SPECIAL: u16 = 0x7fff;
const INTEGER_BIT: u64 = 1 << 63;
const QUIET_BIT: u64 = 1 << 62;

/// A register: sign, biased exponent (15 bits), significand with its integer bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::exec::x87) struct Extended {
    pub negative: bool,
    pub exponent: u16,
    pub significand: u64,
}

/// What a register holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::exec::x87) enum Class {
    Zero,
    /// Denormals and pseudo-denormals.
    Denormal,
    Normal,
    Infinity,
    Quiet,
    Signaling,
    /// Pseudo-NaNs, pseudo-infinities and unnormals: refused since the 80387.
    Unsupported,
}

impl Extended {
    /// The QNaN that stands for an invalid result.
    pub const INDEFINITE: Self =
        Self { negative: true, exponent: SPECIAL, significand: INTEGER_BIT | QUIET_BIT };
    pub const ZERO: Self = Self::zero(false);
    pub const ONE: Self = Self { negative: false, exponent: BIAS as u16, significand: INTEGER_BIT };

    pub const fn zero(negative: bool) -> Self {
        Self { negative, exponent: 0, significand: 0 }
    }

    pub const fn infinity(negative: bool) -> Self {
        Self { negative, exponent: SPECIAL, significand: INTEGER_BIT }
    }

    /// From the low 80 bits of an image.
    pub const fn from_image(image: u128) -> Self {
        Self {
            negative: image >> 79 & 1 != 0,
            exponent: (image >> 64) as u16 & SPECIAL,
            significand: image as u64,
        }
    }

    /// The image, in 80 bits.
    pub const fn image(self) -> u128 {
        (self.negative as u128) << 79 | (self.exponent as u128) << 64 | self.significand as u128
    }

    /// With another sign.
    pub const fn signed(self, negative: bool) -> Self {
        Self { negative, ..self }
    }

    pub const fn class(self) -> Class {
        let integer = self.significand & INTEGER_BIT != 0;
        match self.exponent {
            0 if self.significand == 0 => Class::Zero,
            0 => Class::Denormal,
            _ if !integer => Class::Unsupported,
            SPECIAL if self.significand == INTEGER_BIT => Class::Infinity,
            SPECIAL if self.significand & QUIET_BIT != 0 => Class::Quiet,
            SPECIAL => Class::Signaling,
            _ => Class::Normal,
        }
    }

    pub const fn is_denormal(self) -> bool {
        matches!(self.class(), Class::Denormal)
    }

    pub const fn is_nan(self) -> bool {
        matches!(self.class(), Class::Quiet | Class::Signaling)
    }

    /// A NaN made quiet.
    pub const fn quieted(self) -> Self {
        Self { significand: self.significand | QUIET_BIT, ..self }
    }

    /// The exponent of the leading bit, and the significand with its leading bit at 63. For finite numbers that are
    /// not zero.
    pub const fn parts(self) -> (i32, u64) {
        // The exponent field 0 means what 1 does.
        let exponent = if self.exponent == 0 { 1 } else { self.exponent as i32 } - BIAS;
        let shift = self.significand.leading_zeros();
        let significand = if shift < 64 { self.significand << shift } else { 0 };
        (exponent - shift as i32, significand)
    }

    /// A finite number that is not zero, exactly.
    pub const fn wide(self) -> Wide {
        let (exponent, significand) = self.parts();
        Wide { negative: self.negative, exponent, significand: (significand as u128) << 64 }
    }

    /// From what rounding leaves: `exponent` is that of bit 63; a clear bit 63 is a denormal.
    pub const fn pack(negative: bool, exponent: i32, significand: u64) -> Self {
        let field = if significand & INTEGER_BIT == 0 { 0 } else { (exponent + BIAS) as u16 };
        Self { negative, exponent: field, significand }
    }
}

/// A memory format with fewer bits.
struct Small {
    fraction_bits: u32,
    exponent_bits: u32,
}

const SINGLE: Small = Small { fraction_bits: 23, exponent_bits: 8 };
const DOUBLE: Small = Small { fraction_bits: 52, exponent_bits: 11 };

impl Small {
    const fn special(&self) -> u64 {
        (1 << self.exponent_bits) - 1
    }

    const fn bias(&self) -> i32 {
        (1 << (self.exponent_bits - 1)) - 1
    }

    /// A number in this format as a register, exactly; a signaling NaN stays one.
    const fn widen(&self, bits: u64) -> Extended {
        let negative = bits >> (self.fraction_bits + self.exponent_bits) & 1 != 0;
        let field = bits >> self.fraction_bits & self.special();
        let fraction = bits << (63 - self.fraction_bits) & (INTEGER_BIT - 1);
        if field == self.special() {
            Extended { negative, exponent: SPECIAL, significand: INTEGER_BIT | fraction }
        } else if field != 0 {
            Extended::pack(negative, field as i32 - self.bias(), INTEGER_BIT | fraction)
        } else if fraction == 0 {
            Extended::zero(negative)
        } else {
            let shift = fraction.leading_zeros();
            Extended::pack(negative, 1 - self.bias() - shift as i32, fraction << shift)
        }
    }

    /// Whether `bits` is a denormal of this format.
    const fn is_denormal(&self, bits: u64) -> bool {
        let fraction = bits & ((1 << self.fraction_bits) - 1);
        bits >> self.fraction_bits & self.special() == 0 && fraction != 0
    }

    /// The nearest number in this format, and the exceptions. A result that is trapped is meaningless.
    fn narrow(&self, control: &Control, value: Extended) -> (u64, u16, bool) {
        let top = self.fraction_bits + self.exponent_bits;
        let sign = u64::from(value.negative) << top;
        let infinity = self.special() << self.fraction_bits;
        let indefinite = 1 << top | infinity | 1 << (self.fraction_bits - 1);
        match value.class() {
            Class::Zero => (sign, 0, false),
            Class::Infinity => (sign | infinity, 0, false),
            Class::Unsupported => (indefinite, flag::INVALID, false),
            Class::Quiet | Class::Signaling => {
                let invalid = if value.class() == Class::Signaling { flag::INVALID } else { 0 };
                let fraction = value.quieted().significand << 1 >> (64 - self.fraction_bits);
                (sign | infinity | fraction, invalid, false)
            }
            Class::Denormal | Class::Normal => {
                let target = Target {
                    precision: self.fraction_bits + 1,
                    lowest: 1 - self.bias(),
                    highest: self.bias(),
                };
                let rounded = round(control, &target, value.wide());
                let bits = match rounded.finite {
                    None => infinity,
                    Some((exponent, significand)) => {
                        let fraction = significand << 1 >> (64 - self.fraction_bits);
                        let normal = significand & INTEGER_BIT != 0;
                        let field = if normal { (exponent + self.bias()) as u64 } else { 0 };
                        (field & self.special()) << self.fraction_bits | fraction
                    }
                };
                (sign | bits, rounded.flags, rounded.up)
            }
        }
    }
}

/// A number in memory, exactly; a signaling NaN stays one. With `DENORMAL` if it is a denormal of its format.
fn load(small: &Small, bits: u64) -> (Extended, u16) {
    (small.widen(bits), if small.is_denormal(bits) { flag::DENORMAL } else { 0 })
}

/// A single-precision number.
pub(in crate::exec::x87) fn from_single(bits: u32) -> (Extended, u16) {
    load(&SINGLE, bits.into())
}

/// A double-precision number.
pub(in crate::exec::x87) fn from_double(bits: u64) -> (Extended, u16) {
    load(&DOUBLE, bits)
}

/// A register for FST m32: the bits, the exceptions, and whether rounding went away from zero.
pub(in crate::exec::x87) fn to_single(control: &Control, value: Extended) -> (u32, u16, bool) {
    let (bits, flags, up) = SINGLE.narrow(control, value);
    (bits as u32, flags, up)
}

/// A register for FST m64.
pub(in crate::exec::x87) fn to_double(control: &Control, value: Extended) -> (u64, u16, bool) {
    DOUBLE.narrow(control, value)
}
