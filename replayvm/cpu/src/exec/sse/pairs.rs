//! What makes one lane of two neighbours: packing, horizontal addition and subtraction. The low half of the result is
//! made of the destination, the high half of the source.

use iced_x86::Mnemonic as M;

use super::lanes::{Lane, join, split};

/// What such an instruction does with destination and source; `None` if it is not one.
pub(in crate::exec) fn operation(mnemonic: M) -> Option<fn(u128, u128) -> u128> {
    Some(match mnemonic {
        M::Packsswb => packsswb,
        M::Packssdw => packssdw,
        M::Packuswb => packuswb,
        M::Packusdw => packusdw,
        M::Phaddw => |a, b| fold::<u16, 8>(a, b, u16::wrapping_add),
        M::Phaddd => |a, b| fold::<u32, 4>(a, b, u32::wrapping_add),
        M::Phaddsw => |a, b| fold::<i16, 8>(a, b, i16::saturating_add),
        M::Phsubw => |a, b| fold::<u16, 8>(a, b, u16::wrapping_sub),
        M::Phsubd => |a, b| fold::<u32, 4>(a, b, u32::wrapping_sub),
        M::Phsubsw => |a, b| fold::<i16, 8>(a, b, i16::saturating_sub),
        _ => return None,
    })
}

/// The same of 64-bit vectors.
pub(in crate::exec) fn short(operation: fn(u128, u128) -> u128, a: u64, b: u64) -> u64 {
    operation(u128::from(a) | u128::from(b) << 64, 0) as u64
}

/// `f` of each lane of even number and the next one.
fn fold<T: Lane, const N: usize>(a: u128, b: u128, f: impl Fn(T, T) -> T) -> u128 {
    let lanes = [split::<T, N>(a), split::<T, N>(b)];
    join::<T, N>(std::array::from_fn(|i| {
        let (lanes, at) = (lanes[2 * i / N], 2 * i % N);
        f(lanes[at], lanes[at + 1])
    }))
}

/// PACKSSWB: words to bytes, signed saturation.
fn packsswb(a: u128, b: u128) -> u128 {
    let words = [split::<i16, 8>(a), split::<i16, 8>(b)];
    join::<i8, 16>(std::array::from_fn(|i| words[i / 8][i % 8].clamp(i8::MIN.into(), i8::MAX.into()) as i8))
}

/// PACKSSDW: doublewords to words, signed saturation.
fn packssdw(a: u128, b: u128) -> u128 {
    let dwords = [split::<i32, 4>(a), split::<i32, 4>(b)];
    join::<i16, 8>(std::array::from_fn(|i| {
        dwords[i / 4][i % 4].clamp(i16::MIN.into(), i16::MAX.into()) as i16
    }))
}

/// PACKUSWB: signed words to unsigned bytes, saturating.
fn packuswb(a: u128, b: u128) -> u128 {
    let words = [split::<i16, 8>(a), split::<i16, 8>(b)];
    join::<u8, 16>(std::array::from_fn(|i| words[i / 8][i % 8].clamp(0, 255) as u8))
}

/// PACKUSDW: signed doublewords to unsigned words, saturating.
fn packusdw(a: u128, b: u128) -> u128 {
    let dwords = [split::<i32, 4>(a), split::<i32, 4>(b)];
    join::<u16, 8>(std::array::from_fn(|i| dwords[i / 4][i % 4].clamp(0, 0xffff) as u16))
}
