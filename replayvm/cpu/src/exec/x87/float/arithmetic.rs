//! Addition, subtraction, multiplication, division, square root, comparison (SDM vol. 1, 4.8.3 and 8.5).

use std::cmp::Ordering;

use super::format::{Class, Extended};
use super::round::{Control, Outcome, Rounding, finish, flag};
use super::wide::Wide;

/// `DENORMAL` if one of the operands is one.
pub(super) fn denormal(a: Extended, b: Extended) -> u16 {
    if a.is_denormal() || b.is_denormal() { flag::DENORMAL } else { 0 }
}

/// The result where an operand is a NaN or unsupported (SDM vol. 1, table 4-7).
pub(super) fn not_a_number(a: Extended, b: Extended) -> Option<Outcome> {
    let (left, right) = (a.class(), b.class());
    if left == Class::Unsupported || right == Class::Unsupported {
        return Some(Outcome::INVALID);
    }
    if !a.is_nan() && !b.is_nan() {
        return None;
    }
    let signaling = left == Class::Signaling || right == Class::Signaling;
    let flags = if signaling { flag::INVALID } else { 0 };
    let value = match (left, right) {
        (Class::Quiet, Class::Signaling) => a,
        (Class::Signaling, Class::Quiet) => b,
        _ if !b.is_nan() => a,
        _ if !a.is_nan() => b,
        _ => match a.quieted().significand.cmp(&b.quieted().significand) {
            Ordering::Greater => a,
            Ordering::Less => b,
            // The positive one.
            Ordering::Equal if a.negative => b,
            Ordering::Equal => a,
        },
    };
    Some(Outcome { value: value.quieted(), flags, up: false })
}

/// The sum.
pub(in crate::exec::x87) fn add(control: &Control, a: Extended, b: Extended) -> Outcome {
    if let Some(outcome) = not_a_number(a, b) {
        return outcome;
    }
    let denormal = denormal(a, b);
    let outcome = match (a.class(), b.class()) {
        (Class::Infinity, Class::Infinity) if a.negative != b.negative => return Outcome::INVALID,
        (Class::Infinity, _) => Outcome::exact(a),
        (_, Class::Infinity) => Outcome::exact(b),
        (Class::Zero, Class::Zero) if a.negative == b.negative => Outcome::exact(a),
        (Class::Zero, Class::Zero) => zero_sum(control),
        (Class::Zero, _) => finish(control, b.wide()),
        (_, Class::Zero) => finish(control, a.wide()),
        _ => match sum(a.wide(), b.wide()) {
            Some(sum) => finish(control, sum),
            None => zero_sum(control),
        },
    };
    outcome.with(denormal)
}

/// The difference.
pub(in crate::exec::x87) fn subtract(control: &Control, a: Extended, b: Extended) -> Outcome {
    if let Some(outcome) = not_a_number(a, b) {
        return outcome;
    }
    add(control, a, b.signed(!b.negative))
}

/// The zero that two unlike terms make.
fn zero_sum(control: &Control) -> Outcome {
    Outcome::exact(Extended::zero(control.rounding == Rounding::Down))
}

/// The sum of two numbers of 64 bits each, with a sticky bit; `None` for zero.
pub(super) fn sum(a: Wide, b: Wide) -> Option<Wide> {
    let larger = (a.exponent, a.significand) >= (b.exponent, b.significand);
    let (large, small) = if larger { (a, b) } else { (b, a) };
    // A bit of room at the top.
    let first = large.significand >> 1;
    let second = small.significand >> 1;
    let second = match (large.exponent - small.exponent) as u32 {
        distance @ 0..127 => {
            let kept = second >> distance;
            kept | u128::from(kept << distance != second)
        }
        _ => 1,
    };
    let total = if a.negative == b.negative { first + second } else { first - second };
    Wide::normalize(large.negative, large.exponent + 1, total)
}

/// The product.
pub(in crate::exec::x87) fn multiply(control: &Control, a: Extended, b: Extended) -> Outcome {
    if let Some(outcome) = not_a_number(a, b) {
        return outcome;
    }
    let negative = a.negative != b.negative;
    let outcome = match (a.class(), b.class()) {
        (Class::Infinity, Class::Zero) | (Class::Zero, Class::Infinity) => return Outcome::INVALID,
        (Class::Infinity, _) | (_, Class::Infinity) => Outcome::exact(Extended::infinity(negative)),
        (Class::Zero, _) | (_, Class::Zero) => Outcome::exact(Extended::zero(negative)),
        _ => finish(control, a.wide().times(b.wide())),
    };
    outcome.with(denormal(a, b))
}

/// The quotient.
pub(in crate::exec::x87) fn divide(control: &Control, a: Extended, b: Extended) -> Outcome {
    if let Some(outcome) = not_a_number(a, b) {
        return outcome;
    }
    let negative = a.negative != b.negative;
    let outcome = match (a.class(), b.class()) {
        (Class::Infinity, Class::Infinity) | (Class::Zero, Class::Zero) => return Outcome::INVALID,
        (Class::Infinity, _) => Outcome::exact(Extended::infinity(negative)),
        (_, Class::Infinity) | (Class::Zero, _) => Outcome::exact(Extended::zero(negative)),
        // Here a denormal is not noticed.
        (_, Class::Zero) => {
            return Outcome::exact(Extended::infinity(negative)).with(flag::ZERO_DIVIDE);
        }
        _ => finish(control, quotient(a, b)),
    };
    outcome.with(denormal(a, b))
}

/// The quotient of two finite numbers that are not zero: 126 bits or so, and a sticky bit.
fn quotient(a: Extended, b: Extended) -> Wide {
    let ((a_exponent, a_significand), (b_exponent, b_significand)) = (a.parts(), b.parts());
    let divisor = u128::from(b_significand);
    let dividend = u128::from(a_significand) << 63;
    let (first, rest) = (dividend / divisor, dividend % divisor);
    let (second, rest) = ((rest << 62) / divisor, (rest << 62) % divisor);
    let quotient = first << 62 | second | u128::from(rest != 0);
    // 2^125 stands for 1.
    let exponent = a_exponent - b_exponent + 2;
    let normal = Wide::normalize(a.negative != b.negative, exponent, quotient);
    normal.unwrap_or(Wide { negative: false, exponent, significand: 1 << 127 })
}

/// The square root.
pub(in crate::exec::x87) fn square_root(control: &Control, a: Extended) -> Outcome {
    if let Some(outcome) = not_a_number(a, a) {
        return outcome;
    }
    match a.class() {
        Class::Zero => return Outcome::exact(a),
        _ if a.negative => return Outcome::INVALID,
        Class::Infinity => return Outcome::exact(a),
        _ => {}
    }
    let (exponent, significand) = a.parts();
    // An even exponent, and a radicand of 127 or 128 bits: a root of 64.
    let odd = exponent & 1;
    let radicand = u128::from(significand) << 63 << odd;
    let root = radicand.isqrt();
    let rest = radicand - root * root;
    // The root's next bit: half a unit more is still not too much if rest > root. It is never just that.
    let tail = u128::from(rest > root) << 63 | u128::from(rest != 0);
    let root = Wide { negative: false, exponent: (exponent - odd) / 2, significand: root << 64 | tail };
    finish(control, root).with(denormal(a, a))
}

/// How two numbers compare, and the exceptions; `None` is unordered. `quiet` is the comparison that takes QNaNs.
pub(in crate::exec::x87) fn compare(a: Extended, b: Extended, quiet: bool) -> (Option<Ordering>, u16) {
    if let Some(outcome) = not_a_number(a, b) {
        return (None, if quiet { outcome.flags } else { flag::INVALID });
    }
    let key = |value: Extended| match value.class() {
        Class::Zero => (0, 0),
        Class::Infinity => (i32::MAX, 0),
        // No exponent is below -16445.
        _ => {
            let (exponent, significand) = value.parts();
            (exponent + 0x8000, significand)
        }
    };
    let order = match (a.negative, b.negative) {
        (false, false) => key(a).cmp(&key(b)),
        (true, true) => key(b).cmp(&key(a)),
        _ if key(a) == (0, 0) && key(b) == (0, 0) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
    };
    (Some(order), denormal(a, b))
}
