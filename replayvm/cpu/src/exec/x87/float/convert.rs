//! From and to integers and packed decimals (SDM vol. 1, 4.2.1 and 4.7).

use super::arithmetic::not_a_number;
use super::format::{Class, Extended};
use super::round::{Control, Outcome, flag};

/// An integer, exactly.
pub(in crate::exec::x87) fn from_integer(value: i64) -> Extended {
    from_magnitude(value < 0, value.unsigned_abs())
}

fn from_magnitude(negative: bool, magnitude: u64) -> Extended {
    if magnitude == 0 {
        return Extended::zero(negative);
    }
    let shift = magnitude.leading_zeros();
    Extended::pack(negative, 63 - shift as i32, magnitude << shift)
}

/// A finite number's magnitude rounded to an integer, whether that is inexact, and whether it was rounded up. `None` from
/// 2^64 on.
fn integral(control: &Control, value: Extended) -> Option<(u64, bool, bool)> {
    if value.class() == Class::Zero {
        return Some((0, false, false));
    }
    let (exponent, significand) = value.parts();
    let (whole, half, rest) = match exponent {
        64.. => return None,
        63 => (significand, false, false),
        0..63 => {
            let drop = 63 - exponent as u32;
            let fraction = significand << (64 - drop);
            (significand >> drop, fraction >> 63 != 0, fraction << 1 != 0)
        }
        -1 => (0, true, significand << 1 != 0),
        _ => (0, false, true),
    };
    let up = control.rounds_up(value.negative, whole & 1 != 0, half, rest);
    Some((whole.checked_add(u64::from(up))?, half || rest, up))
}

fn lost(inexact: bool) -> u16 {
    if inexact { flag::PRECISION } else { 0 }
}

/// FRNDINT.
pub(in crate::exec::x87) fn round_to_integral(control: &Control, value: Extended) -> Outcome {
    if let Some(outcome) = not_a_number(value, value) {
        return outcome;
    }
    let denormal = if value.is_denormal() { flag::DENORMAL } else { 0 };
    match value.class() {
        Class::Zero | Class::Infinity => return Outcome::exact(value),
        _ if value.parts().0 >= 63 => return Outcome::exact(value),
        _ => {}
    }
    let Some((magnitude, inexact, up)) = integral(control, value) else { return Outcome::exact(value) };
    let rounded = from_magnitude(value.negative, magnitude);
    Outcome { value: rounded, flags: lost(inexact) | denormal, up }
}

/// A signed integer of so many bits, the exceptions, and whether it was rounded away from zero. What does not fit is the
/// most negative one.
pub(in crate::exec::x87) fn to_integer(control: &Control, value: Extended, bits: u32) -> (i64, u16, bool) {
    let indefinite = (i64::MIN >> (64 - bits), flag::INVALID, false);
    if !matches!(value.class(), Class::Zero | Class::Denormal | Class::Normal) {
        return indefinite;
    }
    let Some((magnitude, inexact, up)) = integral(control, value) else { return indefinite };
    let limit = (1u64 << (bits - 1)) - u64::from(!value.negative);
    if magnitude > limit {
        return indefinite;
    }
    let magnitude = magnitude as i64;
    let signed = if value.negative { magnitude.wrapping_neg() } else { magnitude };
    (signed, lost(inexact), up)
}

/// The largest magnitude of a packed decimal.
const DECIMAL_LIMIT: u64 = 999_999_999_999_999_999;

/// A packed decimal of 18 digits, the exceptions, and whether it was rounded away from zero.
pub(in crate::exec::x87) fn to_decimal(control: &Control, value: Extended) -> ([u8; 10], u16, bool) {
    let indefinite = ([0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff], flag::INVALID, false);
    if !matches!(value.class(), Class::Zero | Class::Denormal | Class::Normal) {
        return indefinite;
    }
    let Some((mut rest, inexact, up)) = integral(control, value) else { return indefinite };
    if rest > DECIMAL_LIMIT {
        return indefinite;
    }
    let mut bytes = [0; 10];
    for byte in bytes.iter_mut().take(9) {
        let two = (rest % 100) as u8;
        *byte = ((two / 10) << 4) | (two % 10);
        rest /= 100;
    }
    bytes[9] = u8::from(value.negative) << 7;
    (bytes, lost(inexact), up)
}

/// A packed decimal; digits above nine count for what they are.
pub(in crate::exec::x87) fn from_decimal(bytes: [u8; 10]) -> Extended {
    let digits = bytes.iter().take(9).rev();
    let magnitude = digits.fold(0u64, |all, &byte| {
        all.wrapping_mul(100).wrapping_add(u64::from(byte >> 4) * 10).wrapping_add(u64::from(byte & 15))
    });
    from_magnitude(bytes[9] & 0x80 != 0, magnitude)
}
