//! 128-bit numbers, for what cannot be exact.

/// A number that is not zero: significand (bit 127 set) times 2^(exponent - 127). Where it stands for a number with more
/// bits, bit 0 is set if any of those is (it is sticky).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::exec::x87) struct Wide {
    pub negative: bool,
    pub exponent: i32,
    pub significand: u128,
}

/// The high half of a product.
pub(super) const fn high(a: u128, b: u128) -> u128 {
    let low = u64::MAX as u128;
    let (a1, a0, b1, b0) = (a >> 64, a & low, b >> 64, b & low);
    let (cross, other) = (a1 * b0, a0 * b1);
    let middle = ((a0 * b0) >> 64) + (cross & low) + (other & low);
    a1 * b1 + (cross >> 64) + (other >> 64) + (middle >> 64)
}

impl Wide {
    /// Pi, ln 2, log2 e, log2 10 and log10 2, cut off after 128 bits.
    pub const PI: Self = Self::constant(1, 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1);
    pub const LN_2: Self = Self::constant(-1, 0xb172_17f7_d1cf_79ab_c9e3_b398_03f2_f6af);
    pub const LOG2_E: Self = Self::constant(0, 0xb8aa_3b29_5c17_f0bb_be87_fed0_691d_3e88);
    pub const LOG2_10: Self = Self::constant(1, 0xd49a_784b_cd1b_8afe_492b_f6ff_4daf_db4c);
    pub const LOG10_2: Self = Self::constant(-2, 0x9a20_9a84_fbcf_f798_8f89_59ac_0b7c_9178);

    const fn constant(exponent: i32, significand: u128) -> Self {
        Self { negative: false, exponent, significand }
    }

    /// `value` times 2^(exponent - 127), its leading bit moved to the top. `None` for zero.
    pub const fn normalize(negative: bool, exponent: i32, value: u128) -> Option<Self> {
        if value == 0 {
            return None;
        }
        let shift = value.leading_zeros();
        Some(Self { negative, exponent: exponent - shift as i32, significand: value << shift })
    }

    /// With another sign.
    pub const fn signed(self, negative: bool) -> Self {
        Self { negative, ..self }
    }

    /// With the mark that bits are missing.
    pub const fn inexact(self) -> Self {
        Self { significand: self.significand | 1, ..self }
    }

    /// The product, cut off. Exact if the significands have 128 bits together.
    pub const fn times(self, other: Self) -> Self {
        let product = high(self.significand, other.significand);
        let low = self.significand.wrapping_mul(other.significand);
        let negative = self.negative != other.negative;
        let exponent = self.exponent + other.exponent;
        if product >> 127 != 0 {
            Self { negative, exponent: exponent + 1, significand: product }
        } else {
            Self { negative, exponent, significand: product << 1 | low >> 127 }
        }
    }

    /// The quotient, with a sticky bit.
    pub const fn over(self, other: Self) -> Self {
        let divisor = other.significand;
        // The first digit is 1, if need be after a doubling that carries out of the top.
        let smaller = self.significand < divisor;
        let exponent = self.exponent - other.exponent - smaller as i32;
        let mut rest = (self.significand << smaller as u32).wrapping_sub(divisor);
        let mut quotient: u128 = 1;
        let mut i = 0;
        while i < 127 {
            let carry = rest >> 127 != 0;
            rest <<= 1;
            quotient <<= 1;
            if carry || rest >= divisor {
                rest = rest.wrapping_sub(divisor);
                quotient |= 1;
            }
            i += 1;
        }
        let significand = quotient | (rest != 0) as u128;
        Self { negative: self.negative != other.negative, exponent, significand }
    }

    /// The magnitude in units of 2^-`fraction_bits`, cut off. It must fit.
    pub const fn fixed(self, fraction_bits: i32) -> u128 {
        let shift = 127 - fraction_bits - self.exponent;
        if shift <= 0 {
            self.significand << (-shift & 127)
        } else if shift < 128 {
            self.significand >> shift
        } else {
            0
        }
    }
}
