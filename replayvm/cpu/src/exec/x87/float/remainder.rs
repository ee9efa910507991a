//! Partial remainders, scaling by powers of two, taking apart (SDM vol. 2: FPREM, FPREM1, FSCALE, FXTRACT).

use super::arithmetic::{denormal, not_a_number};
use super::format::{Class, Extended};
use super::round::{Control, Outcome, WRAP, finish, flag};
use super::wide::Wide;

/// What FPREM or FPREM1 has found.
pub(in crate::exec::x87) struct Remainder {
    pub outcome: Outcome,
    pub quotient: Quotient,
}

/// What there is to say about the quotient.
pub(in crate::exec::x87) enum Quotient {
    /// Nothing: an operand is a NaN, or the operation invalid.
    None,
    /// The exponents are still too far apart.
    Partial,
    /// Its low three bits.
    Low(u8),
}

/// The remainder of `a` by `b`: with a quotient cut off, or (FPREM1) rounded to nearest even.
pub(in crate::exec::x87) fn remainder(
    control: &Control,
    a: Extended,
    b: Extended,
    nearest: bool,
) -> Remainder {
    let simple = |outcome| Remainder { outcome, quotient: Quotient::Low(0) };
    let nothing = |outcome| Remainder { outcome, quotient: Quotient::None };
    if let Some(outcome) = not_a_number(a, b) {
        return nothing(outcome);
    }
    let denormal = denormal(a, b);
    match (a.class(), b.class()) {
        (Class::Infinity, _) | (_, Class::Zero) => return nothing(Outcome::INVALID),
        (Class::Zero, _) => return simple(Outcome::exact(a).with(denormal)),
        (_, Class::Infinity) => return simple(exactly(control, a).with(denormal)),
        _ => {}
    }
    let ((a_exponent, dividend), (b_exponent, divisor)) = (a.parts(), b.parts());
    let (dividend, divisor) = (u128::from(dividend), u128::from(divisor));
    let distance = a_exponent - b_exponent;
    let (negative, exponent, rest, quotient) = match distance {
        // In units of the dividend's last place: the quotient is 1 if it is more than a half.
        -1 if nearest && dividend > divisor => {
            (!a.negative, a_exponent, 2 * divisor - dividend, Quotient::Low(1))
        }
        ..0 => (a.negative, a_exponent, dividend, Quotient::Low(0)),
        0..64 => {
            let whole = dividend << distance;
            let (quotient, rest) = (whole / divisor, whole % divisor);
            let low = quotient as u8 & 7;
            let above = 2 * rest > divisor || 2 * rest == divisor && quotient & 1 != 0;
            if nearest && above {
                (!a.negative, b_exponent, divisor - rest, Quotient::Low((low + 1) & 7))
            } else {
                (a.negative, b_exponent, rest, Quotient::Low(low))
            }
        }
        // As many bits of the quotient at once as leave the distance a multiple of 32.
        _ => {
            let step = distance & 31 | 32;
            (a.negative, b_exponent + distance - step, (dividend << step) % divisor, Quotient::Partial)
        }
    };
    // `rest` counts units of 2^(exponent - 63).
    let outcome = match Wide::normalize(negative, exponent + 64, rest) {
        Some(number) => finish(&control.full(), number),
        None => Outcome::exact(Extended::zero(a.negative)),
    };
    Remainder { outcome: outcome.with(denormal), quotient }
}

/// A value as a result: itself, but for an underflow that is trapped.
fn exactly(control: &Control, a: Extended) -> Outcome {
    match a.class() {
        Class::Denormal | Class::Normal => finish(&control.full(), a.wide()),
        _ => Outcome::exact(a),
    }
}

/// `a` times two to the power of `b`, cut to an integer.
pub(in crate::exec::x87) fn scale(control: &Control, a: Extended, b: Extended) -> Outcome {
    if let Some(outcome) = not_a_number(a, b) {
        return outcome;
    }
    let denormal = denormal(a, b);
    let outcome = match (a.class(), b.class()) {
        (Class::Infinity, Class::Infinity) if b.negative => return Outcome::INVALID,
        (Class::Zero, Class::Infinity) if !b.negative => return Outcome::INVALID,
        (Class::Infinity | Class::Zero, _) => Outcome::exact(a),
        (_, Class::Infinity) if b.negative => Outcome::exact(Extended::zero(a.negative)),
        (_, Class::Infinity) => Outcome::exact(Extended::infinity(a.negative)),
        (_, Class::Zero) => exactly(control, a),
        _ => {
            let (exponent, significand) = b.parts();
            // Beyond 2^17 all is lost either way.
            let power = match exponent {
                ..0 => 0,
                0..17 => (significand >> (63 - exponent)) as i32,
                _ => 1 << 17,
            };
            let number = a.wide();
            let exponent = number.exponent + if b.negative { -power } else { power };
            scaled(control, Wide { exponent, ..number })
        }
    };
    outcome.with(denormal)
}

/// Rounds what may lie so far outside the range that wrapping the exponent does not bring it back (SDM vol. 2, FSCALE).
fn scaled(control: &Control, number: Wide) -> Outcome {
    let trapped = |exception| control.trapped & exception != 0;
    if number.exponent > 16383 + WRAP && trapped(flag::OVERFLOW) {
        let value = Extended::infinity(number.negative);
        return Outcome { value, flags: flag::OVERFLOW | flag::PRECISION, up: true };
    }
    if number.exponent < -16382 - WRAP && trapped(flag::UNDERFLOW) {
        let value = Extended::zero(number.negative);
        return Outcome { value, flags: flag::UNDERFLOW | flag::PRECISION, up: false };
    }
    finish(&control.full(), number)
}

/// Exponent and significand of a number, each as a number.
pub(in crate::exec::x87) fn extract(a: Extended) -> (Outcome, Extended) {
    if let Some(outcome) = not_a_number(a, a) {
        return (outcome, outcome.value);
    }
    match a.class() {
        Class::Zero => (Outcome::exact(Extended::infinity(true)).with(flag::ZERO_DIVIDE), a),
        Class::Infinity => (Outcome::exact(Extended::infinity(false)), a),
        _ => {
            let (exponent, significand) = a.parts();
            let number = super::convert::from_integer(i64::from(exponent));
            (Outcome::exact(number).with(denormal(a, a)), Extended::pack(a.negative, 0, significand))
        }
    }
}
