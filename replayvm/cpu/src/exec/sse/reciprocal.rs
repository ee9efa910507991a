//! RCPPS, RCPSS, RSQRTPS, RSQRTSS.
//!
//! Processors differ in these, so that ours is an algorithm of its own, the same on every host. The upper 11 bits of the
//! fraction choose an interval; the result is that of the interval's midpoint, rounded to 15 bits of fraction. The
//! relative error is at most 2^-12 for half an interval and 2^-16 for the rounding, which is within the 1.5 * 2^-12 that
//! the manual promises. MXCSR is neither read nor written: denormal arguments count as zero, denormal results become
//! zero (SDM vol. 2, RCPPS and RSQRTPS).

use super::lanes::map;

const SIGN: u32 = 0x8000_0000;
const INFINITY: u32 = 0x7f80_0000;
const QUIET: u32 = 0x0040_0000;
/// The NaN that an invalid operation gives.
const DEFAULT_NAN: u32 = 0xffc0_0000;

/// `f` of each lane.
pub(super) fn each(b: u128, f: fn(u32) -> u32) -> u128 {
    map::<u32, 4>(b, f)
}

/// `f` of the lowest lane of `b`, the rest from `a`.
pub(super) fn lowest(a: u128, b: u128, f: fn(u32) -> u32) -> u128 {
    a & !u128::from(u32::MAX) | u128::from(f(b as u32))
}

/// The midpoint of the interval in which a fraction lies, as 1.xxx with 12 bits behind the point.
fn midpoint(x: u32) -> u64 {
    let index = u64::from(x >> 12 & 0x7ff);
    1 << 12 | index << 1 | 1
}

/// About 1 / x.
pub(super) fn reciprocal(x: u32) -> u32 {
    let (sign, exponent) = (x & SIGN, x >> 23 & 0xff);
    match exponent {
        0 => sign | INFINITY,
        0xff if x & 0x7f_ffff != 0 => x | QUIET,
        0xff => sign,
        // 2^126 and beyond: the result would be denormal.
        253.. => sign,
        _ => {
            // 1 / m lies in (1/2, 1): 16 bits of it, the first one set.
            let middle = midpoint(x);
            let quotient = ((1u64 << 28) + middle / 2) / middle;
            sign | (253 - exponent) << 23 | ((quotient as u32) << 8 & 0x7f_ffff)
        }
    }
}

/// About 1 / sqrt(x).
pub(super) fn reciprocal_root(x: u32) -> u32 {
    let (sign, exponent) = (x & SIGN, x >> 23 & 0xff);
    match exponent {
        0 => sign | INFINITY,
        0xff if x & 0x7f_ffff != 0 => x | QUIET,
        _ if sign != 0 => DEFAULT_NAN,
        0xff => 0,
        _ => {
            // x = m * 4^k with m in [1, 4): 1 / sqrt(m) lies in (1/2, 1), or is just below 1.
            let odd = exponent % 2 == 0;
            let middle = midpoint(x) << u32::from(odd);
            // round(2^16 / sqrt(middle / 2^12)), by the integer square root of 2^46 / middle with two bits to spare.
            let root = ((1u64 << 46) / middle).isqrt().div_ceil(2).min(0xffff);
            (190 - exponent.div_ceil(2)) << 23 | ((root as u32) << 8 & 0x7f_ffff)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: f64 = 1.5 / 4096.0;

    /// Every fraction, with an exponent that is even and one that is odd: the rest only scales.
    fn fractions() -> impl Iterator<Item = u32> {
        0x3f80_0000..0x4080_0000
    }

    fn samples() -> impl Iterator<Item = u32> {
        (0x0080_0000..0x7e80_0000).step_by(4099)
    }

    #[test]
    fn reciprocals_are_as_exact_as_the_manual_promises() {
        for x in fractions().chain(samples()) {
            let (value, result) = (f64::from(f32::from_bits(x)), f64::from(f32::from_bits(reciprocal(x))));
            assert!((result * value - 1.0).abs() < BOUND, "{x:#x}: {value:e} {result:e}");
            assert_eq!(reciprocal(x | SIGN), reciprocal(x) | SIGN);
        }
    }

    #[test]
    fn reciprocal_roots_are_as_exact_as_the_manual_promises() {
        for x in fractions().chain(samples()) {
            let (value, result) =
                (f64::from(f32::from_bits(x)), f64::from(f32::from_bits(reciprocal_root(x))));
            assert!((result * value.sqrt() - 1.0).abs() < BOUND, "{x:#x}: {value:e} {result:e}");
        }
    }

    #[test]
    fn the_edges_are_as_the_manual_says() {
        assert_eq!(reciprocal(0), INFINITY);
        assert_eq!(reciprocal(SIGN | 1), SIGN | INFINITY);
        assert_eq!(reciprocal(SIGN | INFINITY), SIGN);
        assert_eq!(reciprocal(0x7f7f_ffff), 0);
        assert_eq!(reciprocal(0x7f80_0001), 0x7fc0_0001);
        assert_eq!(reciprocal_root(SIGN), SIGN | INFINITY);
        assert_eq!(reciprocal_root(INFINITY), 0);
        assert_eq!(reciprocal_root(0xbf80_0000), DEFAULT_NAN);
    }

    /// The values are part of what a recording means: this digest changes only with the format.
    #[test]
    fn the_results_never_change() {
        let fold = |f: fn(u32) -> u32| {
            samples()
                .fold(0u64, |sum, x| sum.rotate_left(5).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(f(x)))
        };
        assert_eq!((fold(reciprocal), fold(reciprocal_root)), (0x71a9_2770_20f4_71f0, 0x573a_8b15_0e51_e1a0));
    }
}
