//! Random values, biased towards the ones that break things.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// A source of biased values.
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The dice of one case: a function of seed and number, so that a case can be run alone.
    pub fn new(seed: u64, case: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(case);
        Self(rng)
    }

    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// 0 to `n` - 1.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// An integer with a bias to the edges.
    pub fn integer(&mut self) -> u64 {
        let random = self.bits();
        match self.below(16) {
            0 => 0,
            1 => 1,
            2 => u64::MAX,
            3 => self.pick(&[0x7f, 0x7fff, 0x7fff_ffff, i64::MAX as u64]),
            4 => self.pick(&[0x80, 0x8000, 0x8000_0000, 1 << 63]),
            5 => self.pick(&[0xff, 0xffff, 0xffff_ffff, 0xffff_ffff_0000_0000]),
            6 => 1 << (random & 63),
            7 => (1u64 << (random & 63)).wrapping_sub(1),
            8 => random & 0xff,
            9 => (random & 0xff).wrapping_neg(),
            10 => random >> (random & 63),
            11 => self.pick(&[0x8080_8080_8080_8080, 0x7f80_7f80_8000_7fff, 0x0102_0304_0506_0708]),
            _ => random,
        }
    }

    /// The image of a single-precision number.
    pub fn single(&mut self) -> u32 {
        let random = self.bits() as u32;
        let sign = random & 0x8000_0000;
        match self.below(20) {
            0 => sign,
            1 => sign | 0x7f80_0000,
            2 => sign | 0x7fc0_0000 | random & 0x3f_ffff,
            3 => sign | 0x7f80_0001 | random & 0x3f_ffff,
            4 | 5 => sign | random & 0x7f_ffff,
            6 => sign | 1,
            7 => sign | 0x0080_0000 | random & 3,
            8 => sign | 0x7f7f_fffc | random & 3,
            9 => sign | 0x3f80_0000,
            10 => sign | (127 + (random & 31)) << 23,
            11 => self.pick(&[0x4eff_ffff, 0x4f00_0000, 0xcf00_0000, 0xcf00_0001, 0x4f80_0000, 0x5f00_0000]),
            12 => ((random & 0xff) as f32 * 0.5).to_bits() | sign,
            13 | 14 => sign | (0x3f00_0000 + (random & 0x07ff_ffff)),
            15 => sign | (0x0040_0000 + (random & 0x01ff_ffff)),
            16 => sign | (0x7e00_0000 + (random & 0x017f_ffff)),
            _ => random,
        }
    }

    /// The image of a double-precision number.
    pub fn double(&mut self) -> u64 {
        let random = self.bits();
        let sign = random & 1 << 63;
        let fraction = random & 0xf_ffff_ffff_ffff;
        match self.below(20) {
            0 => sign,
            1 => sign | 0x7ff << 52,
            2 => sign | 0xfff << 51 | fraction >> 1,
            3 => sign | 0x7ff << 52 | (fraction >> 1).max(1),
            4 | 5 => sign | fraction,
            6 => sign | 1,
            7 => sign | 1 << 52 | random & 3,
            8 => sign | 0x7fef_ffff_ffff_fffc | random & 3,
            9 => sign | 0x3ff << 52,
            10 => sign | (1023 + (random & 63)) << 52,
            11 => self.pick(&[
                0x41df_ffff_ffc0_0000,
                0x41df_ffff_ffe0_0000,
                0x41e0_0000_0000_0000,
                0xc1e0_0000_0000_0000,
                0xc1e0_0000_0010_0000,
                0x43e0_0000_0000_0000,
                0xc3e0_0000_0000_0000,
                0x47ef_ffff_e000_0000,
                0x47ef_ffff_f000_0000,
                0x36a0_0000_0000_0000,
                0x3690_0000_0000_0000,
            ]),
            12 => ((random & 0xff) as f64 * 0.5).to_bits() | sign,
            13 | 14 => sign | (0x3fe0_0000_0000_0000 + (random & 0x007f_ffff_ffff_ffff)),
            15 => sign | (0x8_0000_0000_0000 + (random & 0x3f_ffff_ffff_ffff)),
            // Around the limits of single precision, for conversions.
            16 => sign | (0x47e0_0000_0000_0000 + (random & 0x1f_ffff_ffff_ffff)),
            17 => sign | (0x3690_0000_0000_0000 + (random & 0x1ff_ffff_ffff_ffff)),
            _ => random,
        }
    }

    /// The 80-bit image of an x87 register: of every class, those that no arithmetic makes included, numbers close to
    /// each other, integers, and the values at which conversions and roundings turn.
    pub fn extended(&mut self) -> u128 {
        const BIAS: u64 = 0x3fff;
        const INTEGER: u64 = 1 << 63;
        let (random, sign) = (self.bits(), self.bits() & 0x8000);
        let image = |exponent: u64, significand: u64| {
            u128::from(sign | exponent & 0x7fff) << 64 | u128::from(significand)
        };
        // Long runs of ones and zeros make carries and ties.
        let digits = match self.below(8) {
            0 | 1 => random & (!0 << self.below(64)),
            2 | 3 => random | !(!0 << self.below(64)),
            // At and beside the middle between two numbers of 53 and of 24 bits.
            4 => (random & !0x7ff | 0x400).wrapping_add(self.below(3)).wrapping_sub(1),
            5 => (random & !0xff_ffff_ffff | 0x80_0000_0000).wrapping_add(self.below(3)).wrapping_sub(1),
            _ => random,
        };
        match self.below(36) {
            0 => image(0, 0),
            1 => image(0x7fff, INTEGER),
            2 => image(0x7fff, 3 << 62 | digits),
            3 => image(0x7fff, INTEGER | digits & !(1 << 62) | 1),
            // Denormal, pseudo-denormal.
            4 => image(0, digits & !INTEGER),
            5 => image(0, 1 << (random & 63)),
            6 => image(0, digits | INTEGER),
            // Unnormal, pseudo-infinity, pseudo-NaN.
            7 => image(random >> 48, digits & !INTEGER),
            8 => image(0x7fff, digits & !INTEGER),
            9 => image(0x7fff, 0),
            // The ends of the range.
            10 => image(1 + (random & 3), digits | INTEGER),
            11 => image(0x7ffe - (random & 3), digits | INTEGER),
            12 => image(0x7ffe, u64::MAX - (random & 3)),
            13 => image(BIAS, INTEGER),
            // Integers, and halves of them.
            14..18 => {
                let value = self.integer() >> self.below(64) | 1;
                let zeros = value.leading_zeros();
                image(BIAS + 63 - u64::from(zeros) - self.below(3), value << zeros)
            }
            18 => image(0x7fff & random >> 40, digits | INTEGER),
            // About the ranges of single and double precision.
            19 => image(BIAS + 125 + (random & 3), digits | INTEGER),
            20 => image(BIAS - 150 + random % 26, digits | INTEGER),
            21 => image(BIAS + 1022 + (random & 3), digits | INTEGER),
            22 => image(BIAS - 1075 + random % 55, digits | INTEGER),
            // About those of the integers.
            23 => image(BIAS + [15, 31, 63, 14, 30, 62][random as usize % 6], digits | INTEGER),
            24 => image(BIAS + [15, 31, 63, 14, 30, 62][random as usize % 6], INTEGER | self.below(3)),
            // Tiny beside one, and huge.
            25 => image(BIAS - 80 + random % 80, digits | INTEGER),
            26 => image(BIAS + random % 80, digits | INTEGER),
            // Products and quotients of these lie at the ends of the range.
            27 => image(BIAS / 2 - 34 + random % 70, digits | INTEGER),
            28 => image(BIAS + BIAS / 2 - 2 + (random & 3), digits | INTEGER),
            // Powers that take a number out of the range, or nearly.
            29 => image(BIAS + 13 + (random & 1), digits | INTEGER),
            _ => image(BIAS - 4 + (random & 7), digits | INTEGER),
        }
    }

    /// A packed BCD number, most often a valid one.
    pub fn decimal(&mut self) -> u128 {
        let random = u128::from(self.bits()) | u128::from(self.bits()) << 64;
        let digits: u128 = (0..18).fold(0, |all, _| all << 4 | u128::from(self.below(10)));
        let sign = random & 0x80 << 72;
        match self.below(8) {
            0 => random & ((1 << 80) - 1),
            1 => sign,
            2 => sign | digits >> (4 * self.below(18)),
            _ => sign | digits,
        }
    }

    /// The image of an XMM register.
    pub fn vector(&mut self) -> u128 {
        let both = |low: u64, high: u64| u128::from(low) | u128::from(high) << 64;
        match self.below(8) {
            0..3 => {
                let lanes: [u32; 4] = std::array::from_fn(|_| self.single());
                lanes.iter().rev().fold(0, |all, &lane| all << 32 | u128::from(lane))
            }
            3..6 => both(self.double(), self.double()),
            6 => both(self.integer(), self.integer()),
            _ => both(self.bits(), self.bits()),
        }
    }

    /// MXCSR with reserved bits clear; most often with every exception masked.
    pub fn mxcsr(&mut self) -> u32 {
        let random = self.bits() as u32;
        match self.below(8) {
            0..4 => 0x1f80,
            4 => 0x1f80 | random & 0xe07f,
            5 => 0x1f80 | random & 0x6000,
            6 => random & 0xffff,
            _ => random & 0xffc0,
        }
    }
}
