//! Exponential and logarithms (SDM vol. 2: F2XM1, FYL2X, FYL2XP1).
//!
//! Series in 128-bit fixed point; the error before the one rounding is below 2^-40 units in the last place. Ours alone:
//! no processor is asked.

use super::arithmetic::{denormal, not_a_number, sum};
use super::format::{Class, Extended};
use super::round::{Control, Outcome, finish, flag};
use super::series::{EXPONENTIAL, ODD, ONE, alternating, positive};
use super::wide::Wide;

/// 2^x - 1. Where the manual leaves it undefined (beyond -1 to 1) it is x. It counts as inexact even where it is not.
pub(in crate::exec::x87) fn exponential(control: &Control, x: Extended) -> Outcome {
    if let Some(outcome) = not_a_number(x, x) {
        return outcome;
    }
    match x.class() {
        Class::Zero => return Outcome::exact(x),
        Class::Infinity if x.negative => return Outcome::exact(Extended::ONE.signed(true)),
        Class::Infinity => return Outcome::exact(x),
        _ => {}
    }
    let number = x.wide();
    if number.exponent >= 0 {
        let one = x.signed(false) == Extended::ONE;
        let half = Extended::pack(true, -1, 1 << 63);
        let value = if one && x.negative { half } else { x };
        return Outcome::exact(value).with(flag::PRECISION);
    }
    // e^y - 1 = y (1 + y/2 + y^2/6 + ...)
    let y = number.times(Wide::LN_2);
    let series = if x.negative { alternating } else { positive };
    let factor = series(&EXPONENTIAL, y.fixed(128));
    let result = match Wide::normalize(false, 0, factor) {
        Some(factor) => y.times(factor).inexact(),
        None => y,
    };
    finish(&control.full(), result).with(denormal(x, x))
}

/// The square root of 2, in units of 2^-127.
const SQRT_2: u128 = 0xb504_f333_f9de_6484 << 64;
/// Fraction bits of a logarithm that has an integral part.
const FRACTION: i32 = 112;

/// log2 of (1 + s) / (1 - s), small.
fn series_of(s: Wide) -> Wide {
    let sum = positive(&ODD, s.times(s).fixed(128));
    let twice = Wide { exponent: 1, ..Wide::LOG2_E };
    match Wide::normalize(false, 0, sum) {
        Some(sum) => s.times(sum).times(twice).inexact(),
        None => s,
    }
}

/// log2 of a positive number; `None` if it is zero.
fn log2(x: Wide) -> Option<Wide> {
    let m = x.significand;
    // m - 1, m + 1 and the integral part, with m between the square roots of 1/2 and of 2.
    let (less, more, whole) = if m > SQRT_2 {
        let less = Wide::normalize(true, -1, m.wrapping_neg());
        (less, Wide { negative: false, exponent: 0, significand: m >> 1 | ONE }, x.exponent + 1)
    } else {
        let less = Wide::normalize(false, 0, m - ONE);
        (less, Wide { negative: false, exponent: 1, significand: (m >> 1) + ONE / 2 }, x.exponent)
    };
    let integral = Wide::normalize(whole < 0, 127, u128::from(whole.unsigned_abs()));
    let Some(less) = less else { return integral };
    let fraction = series_of(less.over(more));
    let Some(integral) = integral else { return Some(fraction) };
    let (a, b) = (integral.fixed(FRACTION), fraction.fixed(FRACTION));
    let total = if integral.negative == fraction.negative { a + b } else { a - b };
    Wide::normalize(integral.negative, 127 - FRACTION, total).map(Wide::inexact)
}

/// y times a logarithm that is finite. It counts as inexact even where it is not.
fn product(control: &Control, y: Extended, log: Option<Wide>, negative_zero: bool) -> Outcome {
    match (log, y.class()) {
        (None, Class::Infinity) => Outcome::INVALID,
        (None, _) => Outcome::exact(Extended::zero(y.negative != negative_zero)),
        (Some(log), Class::Infinity) => Outcome::exact(Extended::infinity(y.negative != log.negative)),
        (Some(log), Class::Zero) => Outcome::exact(Extended::zero(y.negative != log.negative)),
        (Some(log), _) => {
            let result = y.wide().times(log);
            // The logarithm of a power of two has few bits; all others are marked.
            let exact = log.significand & 1 == 0;
            let outcome = finish(&control.full(), if exact { result } else { result.inexact() });
            let tiny = outcome.value.is_denormal();
            outcome.with(flag::PRECISION | if tiny { flag::UNDERFLOW } else { 0 })
        }
    }
}

/// y times an infinite logarithm.
fn infinite(y: Extended, negative: bool) -> Outcome {
    match y.class() {
        Class::Zero => Outcome::INVALID,
        _ => Outcome::exact(Extended::infinity(y.negative != negative)),
    }
}

/// y log2 x.
pub(in crate::exec::x87) fn logarithm(control: &Control, y: Extended, x: Extended) -> Outcome {
    if let Some(outcome) = not_a_number(y, x) {
        return outcome;
    }
    match (x.class(), y.class()) {
        (Class::Zero, Class::Infinity) => return infinite(y, true),
        (Class::Zero, Class::Zero) => return Outcome::INVALID,
        (Class::Zero, _) => return infinite(y, true).with(flag::ZERO_DIVIDE),
        _ if x.negative => return Outcome::INVALID,
        (Class::Infinity, _) => return infinite(y, false).with(denormal(y, y)),
        _ => {}
    }
    let outcome = product(control, y, log2(x.wide()), false);
    if outcome == Outcome::INVALID { outcome } else { outcome.with(denormal(y, x)) }
}

/// What FYL2XP1 leaves where its logarithm does not exist, which the manual leaves undefined.
fn beyond(y: Extended, x: Extended) -> Outcome {
    match y.class() {
        Class::Zero => Outcome::exact(Extended::zero(!y.negative)),
        Class::Infinity => Outcome::exact(Extended::infinity(!y.negative)),
        _ => Outcome::exact(x).with(flag::PRECISION | denormal(y, y)),
    }
}

/// y log2 (x + 1).
pub(in crate::exec::x87) fn logarithm_of_next(control: &Control, y: Extended, x: Extended) -> Outcome {
    if let Some(outcome) = not_a_number(y, x) {
        return outcome;
    }
    let log = match x.class() {
        Class::Zero => None,
        Class::Infinity if x.negative => return Outcome::INVALID,
        Class::Infinity => return infinite(y, false).with(denormal(y, y)),
        _ => {
            let number = x.wide();
            let one = Wide { negative: false, exponent: 0, significand: ONE };
            let two = Wide { exponent: 1, ..one };
            match number.exponent {
                // log2 (1 + x) = log2 ((1 + s) / (1 - s)) with s = x / (2 + x).
                ..-2 => sum(two, number).map(|more| series_of(number.over(more))),
                _ => match sum(one, number) {
                    Some(next) if !next.negative => log2(next),
                    _ => return beyond(y, x),
                },
            }
        }
    };
    let outcome = product(control, y, log, x.negative);
    if outcome == Outcome::INVALID { outcome } else { outcome.with(denormal(y, x)) }
}
