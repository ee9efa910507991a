//! Shuffles, unpacking and packing.

use super::lanes::{Lane, join, split};

/// Two bits of an order.
fn chosen(order: u8, i: usize) -> usize {
    usize::from(order >> (2 * i) & 3)
}

/// SHUFPS: the low half from the destination, the high half from the source.
pub(super) fn shufps(a: u128, b: u128, order: u8) -> u128 {
    let (a, b) = (split::<u32, 4>(a), split::<u32, 4>(b));
    join([a[chosen(order, 0)], a[chosen(order, 1)], b[chosen(order, 2)], b[chosen(order, 3)]])
}

/// SHUFPD.
pub(super) fn shufpd(a: u128, b: u128, order: u8) -> u128 {
    let (a, b) = (split::<u64, 2>(a), split::<u64, 2>(b));
    join([a[usize::from(order & 1)], b[usize::from(order >> 1 & 1)]])
}

/// PSHUFD.
pub(super) fn pshufd(b: u128, order: u8) -> u128 {
    shufps(b, b, order)
}

/// PSHUFLW: the words of the low half; the high half stays.
pub(super) fn pshuflw(b: u128, order: u8) -> u128 {
    let words = split::<u16, 8>(b);
    join::<u16, 8>(std::array::from_fn(|i| if i < 4 { words[chosen(order, i)] } else { words[i] }))
}

/// PSHUFHW: the words of the high half; the low half stays.
pub(super) fn pshufhw(b: u128, order: u8) -> u128 {
    let words = split::<u16, 8>(b);
    join::<u16, 8>(std::array::from_fn(|i| if i < 4 { words[i] } else { words[4 + chosen(order, i - 4)] }))
}

/// The lanes of the low halves, by turns.
pub(super) fn unpack_low<T: Lane, const N: usize>(a: u128, b: u128) -> u128 {
    let (a, b) = (split::<T, N>(a), split::<T, N>(b));
    join::<T, N>(std::array::from_fn(|i| if i % 2 == 0 { a[i / 2] } else { b[i / 2] }))
}

/// The lanes of the high halves, by turns.
pub(super) fn unpack_high<T: Lane, const N: usize>(a: u128, b: u128) -> u128 {
    unpack_low::<T, N>(a >> 64, b >> 64)
}

/// PACKSSWB: words to bytes, signed saturation.
pub(super) fn packsswb(a: u128, b: u128) -> u128 {
    let words = [split::<i16, 8>(a), split::<i16, 8>(b)];
    join::<i8, 16>(std::array::from_fn(|i| words[i / 8][i % 8].clamp(i8::MIN.into(), i8::MAX.into()) as i8))
}

/// PACKSSDW: doublewords to words, signed saturation.
pub(super) fn packssdw(a: u128, b: u128) -> u128 {
    let dwords = [split::<i32, 4>(a), split::<i32, 4>(b)];
    join::<i16, 8>(std::array::from_fn(|i| {
        dwords[i / 4][i % 4].clamp(i16::MIN.into(), i16::MAX.into()) as i16
    }))
}

/// PACKUSWB: signed words to unsigned bytes, saturating.
pub(super) fn packuswb(a: u128, b: u128) -> u128 {
    let words = [split::<i16, 8>(a), split::<i16, 8>(b)];
    join::<u8, 16>(std::array::from_fn(|i| words[i / 8][i % 8].clamp(0, 255) as u8))
}
