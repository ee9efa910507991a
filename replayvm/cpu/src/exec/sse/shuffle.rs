//! Shuffles, unpacking, alignment.

use super::lanes::{Lane, join, split};

/// Two bits of an order.
fn chosen(order: u8, i: usize) -> usize {
    usize::from(order >> (2 * i) & 3)
}

/// SHUFPS: the low half from the destination, the high half from the source.
pub(in crate::exec) fn shufps(a: u128, b: u128, order: u8) -> u128 {
    let (a, b) = (split::<u32, 4>(a), split::<u32, 4>(b));
    join([a[chosen(order, 0)], a[chosen(order, 1)], b[chosen(order, 2)], b[chosen(order, 3)]])
}

/// SHUFPD.
pub(in crate::exec) fn shufpd(a: u128, b: u128, order: u8) -> u128 {
    let (a, b) = (split::<u64, 2>(a), split::<u64, 2>(b));
    join([a[usize::from(order & 1)], b[usize::from(order >> 1 & 1)]])
}

/// PSHUFD.
pub(in crate::exec) fn pshufd(b: u128, order: u8) -> u128 {
    shufps(b, b, order)
}

/// PSHUFLW: the words of the low half; the high half stays.
pub(in crate::exec) fn pshuflw(b: u128, order: u8) -> u128 {
    let words = split::<u16, 8>(b);
    join::<u16, 8>(std::array::from_fn(|i| if i < 4 { words[chosen(order, i)] } else { words[i] }))
}

/// PSHUFHW: the words of the high half; the low half stays.
pub(in crate::exec) fn pshufhw(b: u128, order: u8) -> u128 {
    let words = split::<u16, 8>(b);
    join::<u16, 8>(std::array::from_fn(|i| if i < 4 { words[i] } else { words[4 + chosen(order, i - 4)] }))
}

/// The lanes of the low halves, by turns.
pub(in crate::exec) fn unpack_low<T: Lane, const N: usize>(a: u128, b: u128) -> u128 {
    let (a, b) = (split::<T, N>(a), split::<T, N>(b));
    join::<T, N>(std::array::from_fn(|i| if i % 2 == 0 { a[i / 2] } else { b[i / 2] }))
}

/// The lanes of the high halves, by turns.
pub(in crate::exec) fn unpack_high<T: Lane, const N: usize>(a: u128, b: u128) -> u128 {
    unpack_low::<T, N>(a >> 64, b >> 64)
}

/// PSHUFB: bytes by index, zero where the index has its top bit set.
pub(in crate::exec) fn pshufb(a: u128, order: u128) -> u128 {
    let bytes = a.to_le_bytes();
    u128::from_le_bytes(
        order.to_le_bytes().map(|i| if i & 0x80 == 0 { bytes[usize::from(i & 15)] } else { 0 }),
    )
}

/// PALIGNR: source and, above it, destination, shifted right by bytes.
pub(super) fn palignr(a: u128, b: u128, count: u8) -> u128 {
    let bits = u32::from(count) * 8;
    match count {
        0 => b,
        1..16 => b >> bits | a << (128 - bits),
        16..32 => a >> (bits - 128),
        _ => 0,
    }
}

/// MOVSLDUP: each doubleword of even number twice.
pub(super) fn movsldup(b: u128) -> u128 {
    pshufd(b, 0b10_10_00_00)
}

/// MOVSHDUP: each doubleword of odd number twice.
pub(super) fn movshdup(b: u128) -> u128 {
    pshufd(b, 0b11_11_01_01)
}
