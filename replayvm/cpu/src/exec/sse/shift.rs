//! Shifts: a count at or past the width gives zeros, or copies of the sign.

use super::lanes::{Lane, map};

/// `f` with a count that is within the lane, else zero.
fn logical<T: Lane, const N: usize>(a: u128, count: u64, f: impl Fn(T, u32) -> T) -> u128 {
    if count < u64::from(T::BITS) { map::<T, N>(a, |lane| f(lane, count as u32)) } else { 0 }
}

pub(super) fn psllw(a: u128, count: u64) -> u128 {
    logical::<u16, 8>(a, count, |lane, n| lane << n)
}

pub(super) fn pslld(a: u128, count: u64) -> u128 {
    logical::<u32, 4>(a, count, |lane, n| lane << n)
}

pub(super) fn psllq(a: u128, count: u64) -> u128 {
    logical::<u64, 2>(a, count, |lane, n| lane << n)
}

pub(super) fn psrlw(a: u128, count: u64) -> u128 {
    logical::<u16, 8>(a, count, |lane, n| lane >> n)
}

pub(super) fn psrld(a: u128, count: u64) -> u128 {
    logical::<u32, 4>(a, count, |lane, n| lane >> n)
}

pub(super) fn psrlq(a: u128, count: u64) -> u128 {
    logical::<u64, 2>(a, count, |lane, n| lane >> n)
}

pub(super) fn psraw(a: u128, count: u64) -> u128 {
    map::<i16, 8>(a, |lane| lane >> count.min(15))
}

pub(super) fn psrad(a: u128, count: u64) -> u128 {
    map::<i32, 4>(a, |lane| lane >> count.min(31))
}

/// By bytes.
pub(super) fn pslldq(a: u128, count: u64) -> u128 {
    if count < 16 { a << (count * 8) } else { 0 }
}

/// By bytes.
pub(super) fn psrldq(a: u128, count: u64) -> u128 {
    if count < 16 { a >> (count * 8) } else { 0 }
}
