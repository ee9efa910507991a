//! Sine, cosine, tangent, arctangent (SDM vol. 1, 8.3.8 and 8.3.10).
//!
//! Series in 128-bit fixed point; the error before the one rounding is below 2^-40 units in the last place of the
//! argument as reduced. Arguments are reduced by the 66-bit pi of the 80387 and all processors since, exactly. Ours
//! alone: no processor is asked.

use super::arithmetic::{denormal, not_a_number};
use super::format::{Class, Extended};
use super::round::{Control, Outcome, finish};
use super::series::{COSINE, ODD, ONE, SINE, alternating, below_one};
use super::wide::Wide;

/// Half of the 66-bit pi, in units of 2^-65.
const HALF_PI: u128 = 0x3_243f_6a88_85a3_08d3;

/// Sine and cosine of a magnitude; both `None` from 2^63 on.
fn sine_and_cosine(x: Extended) -> Option<(Wide, Wide)> {
    let magnitude = x.wide().signed(false);
    let (quarter, rest) = match magnitude.exponent {
        63.. => return None,
        -1..63 => {
            let units = (magnitude.significand >> 64) << (magnitude.exponent + 2);
            let (quarter, rest) = (units / HALF_PI, units % HALF_PI);
            // To the nearest multiple. None is met: the constant is odd and has more bits than a significand.
            if rest > HALF_PI / 2 {
                (quarter + 1, Wide::normalize(true, 62, HALF_PI - rest)?)
            } else {
                (quarter, Wide::normalize(false, 62, rest)?)
            }
        }
        _ => (0, magnitude),
    };
    let square = rest.times(rest).fixed(128);
    let series = |table: &[u128]| Wide::normalize(false, 0, below_one(alternating(table, square)));
    let sine = rest.times(series(&SINE)?).inexact();
    let cosine = series(&COSINE)?.inexact();
    let minus = |number: Wide| number.signed(!number.negative);
    Some(match quarter & 3 {
        0 => (sine, cosine),
        1 => (cosine, minus(sine)),
        2 => (minus(sine), minus(cosine)),
        _ => (minus(cosine), sine),
    })
}

/// Sine and cosine; `None` if the argument is out of range.
pub(in crate::exec::x87) fn circular(control: &Control, x: Extended) -> Option<[Outcome; 2]> {
    if let Some(outcome) = not_a_number(x, x) {
        return Some([outcome; 2]);
    }
    match x.class() {
        Class::Zero => return Some([Outcome::exact(x), Outcome::exact(Extended::ONE)]),
        Class::Infinity => return Some([Outcome::INVALID; 2]),
        _ => {}
    }
    let (sine, cosine) = sine_and_cosine(x)?;
    let sine = sine.signed(sine.negative != x.negative);
    Some([sine, cosine].map(|number| finish(&control.full(), number).with(denormal(x, x))))
}

/// The tangent; `None` if the argument is out of range.
pub(in crate::exec::x87) fn tangent(control: &Control, x: Extended) -> Option<Outcome> {
    if let Some(outcome) = not_a_number(x, x) {
        return Some(outcome);
    }
    match x.class() {
        Class::Zero => return Some(Outcome::exact(x)),
        Class::Infinity => return Some(Outcome::INVALID),
        _ => {}
    }
    let (sine, cosine) = sine_and_cosine(x)?;
    let quotient = sine.over(cosine).inexact();
    let quotient = quotient.signed(quotient.negative != x.negative);
    Some(finish(&control.full(), quotient).with(denormal(x, x)))
}

/// Fraction bits of an angle.
const FRACTION: i32 = 125;
/// atan(i / 8), in units of 2^-125.
static EIGHTHS: [u128; 9] = {
    let mut table = [0; 9];
    let mut i = 0;
    while i < 8 {
        // atan((i + 1) / 8) - atan(i / 8) = atan(8 / (64 + i (i + 1)))
        let below = 64 + i * (i + 1);
        let step = Wide { negative: false, exponent: 3, significand: ONE };
        let denominator = match Wide::normalize(false, 127, below as u128) {
            Some(number) => number,
            None => step,
        };
        table[i + 1] = table[i] + small_arctangent(step.over(denominator)).fixed(FRACTION);
        i += 1;
    }
    table
};

/// The arctangent of a number of at most 1/8.
const fn small_arctangent(u: Wide) -> Wide {
    let sum = alternating(&ODD, u.times(u).fixed(128));
    match Wide::normalize(false, 0, below_one(sum)) {
        Some(sum) => u.times(sum).inexact(),
        None => u,
    }
}

/// The arctangent of a positive number of at most 1.
fn arctangent_of_ratio(t: Wide) -> Wide {
    if t.exponent < -4 {
        return small_arctangent(t);
    }
    // The nearest eighth c, and atan t = atan c + atan((t - c) / (1 + t c)), times 8 above and below.
    const BITS: i32 = 120;
    let eight_t = t.fixed(BITS + 3);
    let i = ((eight_t + (1 << (BITS - 1))) >> BITS).min(8);
    let near = i << BITS;
    let above = Wide::normalize(eight_t < near, 127 - BITS, eight_t.abs_diff(near));
    let below = Wide::normalize(false, 127 - BITS, (8 << BITS) + i * (eight_t >> 3));
    let base = EIGHTHS.get(i as usize).copied().unwrap_or(0);
    let angle = match (above, below) {
        (Some(above), Some(below)) => {
            let rest = small_arctangent(above.over(below));
            if i == 0 {
                return rest;
            }
            let rest_fixed = rest.fixed(FRACTION);
            if rest.negative { base - rest_fixed } else { base + rest_fixed }
        }
        _ => base,
    };
    Wide::normalize(false, 127 - FRACTION, angle).map_or(t, Wide::inexact)
}

/// Quarters of pi as a result.
fn part_of_pi(control: &Control, quarters: u128, negative: bool) -> Outcome {
    let quarter = Wide { exponent: -1, ..Wide::PI };
    let number = Wide::normalize(false, 127, quarters).map_or(quarter, |count| quarter.times(count));
    finish(&control.full(), number.signed(negative).inexact())
}

/// The angle of the point (x, y).
pub(in crate::exec::x87) fn arctangent(control: &Control, y: Extended, x: Extended) -> Outcome {
    if let Some(outcome) = not_a_number(y, x) {
        return outcome;
    }
    let outcome = match (y.class(), x.class()) {
        (Class::Infinity, Class::Infinity) => part_of_pi(control, if x.negative { 3 } else { 1 }, y.negative),
        (Class::Infinity, _) => part_of_pi(control, 2, y.negative),
        (Class::Zero, _) | (_, Class::Infinity) if x.negative => part_of_pi(control, 4, y.negative),
        (Class::Zero, _) | (_, Class::Infinity) => Outcome::exact(Extended::zero(y.negative)),
        (_, Class::Zero) => part_of_pi(control, 2, y.negative),
        _ => {
            let angle = angle(y.wide().signed(false), x.wide());
            finish(&control.full(), angle.signed(y.negative))
        }
    };
    outcome.with(denormal(y, x))
}

/// The angle of the point (x, y) with y above zero.
fn angle(y: Wide, x: Wide) -> Wide {
    let width = x.signed(false);
    let steep = (y.exponent, y.significand) > (width.exponent, width.significand);
    let ratio = if steep { width.over(y) } else { y.over(width) };
    let acute = arctangent_of_ratio(ratio);
    if !steep && !x.negative {
        return acute;
    }
    let half_pi = Wide { exponent: 0, ..Wide::PI }.fixed(FRACTION);
    let acute = acute.fixed(FRACTION);
    let total = match (steep, x.negative) {
        (false, _) => 2 * half_pi - acute,
        (true, false) => half_pi - acute,
        (true, true) => half_pi + acute,
    };
    Wide::normalize(false, 127 - FRACTION, total).map_or(ratio, Wide::inexact)
}
