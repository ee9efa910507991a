//! Lanewise integer arithmetic: portable, exact, no flags.

use iced_x86::Mnemonic as M;

use super::lanes::{Lane, join, map, split, zip};

/// What an integer instruction does with destination and source; `None` if it is not one of these. Nothing moves from
/// one quadword to another: MMX is the low one.
pub(in crate::exec) fn operation(mnemonic: M) -> Option<fn(u128, u128) -> u128> {
    Some(match mnemonic {
        M::Paddb => |a, b| zip::<u8, 16>(a, b, u8::wrapping_add),
        M::Paddw => |a, b| zip::<u16, 8>(a, b, u16::wrapping_add),
        M::Paddd => |a, b| zip::<u32, 4>(a, b, u32::wrapping_add),
        M::Paddq => |a, b| zip::<u64, 2>(a, b, u64::wrapping_add),
        M::Psubb => |a, b| zip::<u8, 16>(a, b, u8::wrapping_sub),
        M::Psubw => |a, b| zip::<u16, 8>(a, b, u16::wrapping_sub),
        M::Psubd => |a, b| zip::<u32, 4>(a, b, u32::wrapping_sub),
        M::Psubq => |a, b| zip::<u64, 2>(a, b, u64::wrapping_sub),
        M::Paddsb => |a, b| zip::<i8, 16>(a, b, i8::saturating_add),
        M::Paddsw => |a, b| zip::<i16, 8>(a, b, i16::saturating_add),
        M::Paddusb => |a, b| zip::<u8, 16>(a, b, u8::saturating_add),
        M::Paddusw => |a, b| zip::<u16, 8>(a, b, u16::saturating_add),
        M::Psubsb => |a, b| zip::<i8, 16>(a, b, i8::saturating_sub),
        M::Psubsw => |a, b| zip::<i16, 8>(a, b, i16::saturating_sub),
        M::Psubusb => |a, b| zip::<u8, 16>(a, b, u8::saturating_sub),
        M::Psubusw => |a, b| zip::<u16, 8>(a, b, u16::saturating_sub),
        M::Pmullw => |a, b| zip::<u16, 8>(a, b, u16::wrapping_mul),
        M::Pmulhw => |a, b| zip::<i16, 8>(a, b, |x, y| ((i32::from(x) * i32::from(y)) >> 16) as i16),
        M::Pmulhuw => |a, b| zip::<u16, 8>(a, b, |x, y| ((u32::from(x) * u32::from(y)) >> 16) as u16),
        M::Pmuludq => |a, b| zip::<u64, 2>(a, b, |x, y| (x & 0xffff_ffff) * (y & 0xffff_ffff)),
        M::Pmaddwd => multiply_add,
        M::Psadbw => sum_of_differences,
        M::Pavgb => |a, b| zip::<u8, 16>(a, b, |x, y| (u16::from(x) + u16::from(y)).div_ceil(2) as u8),
        M::Pavgw => |a, b| zip::<u16, 8>(a, b, |x, y| (u32::from(x) + u32::from(y)).div_ceil(2) as u16),
        M::Pminub => |a, b| zip::<u8, 16>(a, b, Ord::min),
        M::Pmaxub => |a, b| zip::<u8, 16>(a, b, Ord::max),
        M::Pminsw => |a, b| zip::<i16, 8>(a, b, Ord::min),
        M::Pmaxsw => |a, b| zip::<i16, 8>(a, b, Ord::max),
        M::Pcmpeqb => |a, b| zip::<u8, 16>(a, b, |x, y| truth(x == y)),
        M::Pcmpeqw => |a, b| zip::<u16, 8>(a, b, |x, y| truth(x == y)),
        M::Pcmpeqd => |a, b| zip::<u32, 4>(a, b, |x, y| truth(x == y)),
        M::Pcmpgtb => |a, b| zip::<i8, 16>(a, b, |x, y| truth(x > y)),
        M::Pcmpgtw => |a, b| zip::<i16, 8>(a, b, |x, y| truth(x > y)),
        M::Pcmpgtd => |a, b| zip::<i32, 4>(a, b, |x, y| truth(x > y)),
        // SSSE3.
        M::Pabsb => |_, b| map::<u8, 16>(b, |x| x.cast_signed().unsigned_abs()),
        M::Pabsw => |_, b| map::<u16, 8>(b, |x| x.cast_signed().unsigned_abs()),
        M::Pabsd => |_, b| map::<u32, 4>(b, |x| x.cast_signed().unsigned_abs()),
        M::Psignb => |a, b| zip::<i8, 16>(a, b, |x, y| x.wrapping_mul(y.signum())),
        M::Psignw => |a, b| zip::<i16, 8>(a, b, |x, y| x.wrapping_mul(y.signum())),
        M::Psignd => |a, b| zip::<i32, 4>(a, b, |x, y| x.wrapping_mul(y.signum())),
        M::Pmulhrsw => {
            |a, b| zip::<i16, 8>(a, b, |x, y| ((((i32::from(x) * i32::from(y)) >> 14) + 1) >> 1) as i16)
        }
        M::Pmaddubsw => multiply_add_bytes,

        // SSE4.1 and SSE4.2.
        M::Pmulld => |a, b| zip::<u32, 4>(a, b, u32::wrapping_mul),
        M::Pmuldq => |a, b| zip::<i64, 2>(a, b, |x, y| i64::from(x as i32) * i64::from(y as i32)),
        M::Pminsb => |a, b| zip::<i8, 16>(a, b, Ord::min),
        M::Pmaxsb => |a, b| zip::<i8, 16>(a, b, Ord::max),
        M::Pminuw => |a, b| zip::<u16, 8>(a, b, Ord::min),
        M::Pmaxuw => |a, b| zip::<u16, 8>(a, b, Ord::max),
        M::Pminsd => |a, b| zip::<i32, 4>(a, b, Ord::min),
        M::Pmaxsd => |a, b| zip::<i32, 4>(a, b, Ord::max),
        M::Pminud => |a, b| zip::<u32, 4>(a, b, Ord::min),
        M::Pmaxud => |a, b| zip::<u32, 4>(a, b, Ord::max),
        M::Pcmpeqq => |a, b| zip::<u64, 2>(a, b, |x, y| truth(x == y)),
        M::Pcmpgtq => |a, b| zip::<i64, 2>(a, b, |x, y| truth(x > y)),
        _ => return None,
    })
}

/// All ones or all zeros.
fn truth<T: Lane>(is: bool) -> T {
    T::cut(if is { u128::MAX } else { 0 })
}

/// PMADDWD: products of words, pairs of them added.
fn multiply_add(a: u128, b: u128) -> u128 {
    let (a, b) = (split::<i16, 8>(a), split::<i16, 8>(b));
    let product = |i: usize| i32::from(a[i]) * i32::from(b[i]);
    join::<i32, 4>(std::array::from_fn(|i| product(2 * i).wrapping_add(product(2 * i + 1))))
}

/// PSADBW: sums of absolute differences of bytes, one for each half.
fn sum_of_differences(a: u128, b: u128) -> u128 {
    let (a, b) = (split::<u8, 16>(a), split::<u8, 16>(b));
    join::<u64, 2>(std::array::from_fn(|half| {
        (8 * half..8 * half + 8).map(|i| u64::from(a[i].abs_diff(b[i]))).sum()
    }))
}

/// PMADDUBSW: products of unsigned bytes (destination) and signed ones (source), pairs of them added with saturation.
fn multiply_add_bytes(a: u128, b: u128) -> u128 {
    let (a, b) = (split::<u8, 16>(a), split::<i8, 16>(b));
    let product = |i: usize| i32::from(a[i]) * i32::from(b[i]);
    join::<i16, 8>(std::array::from_fn(|i| {
        (product(2 * i) + product(2 * i + 1)).clamp(i16::MIN.into(), i16::MAX.into()) as i16
    }))
}
