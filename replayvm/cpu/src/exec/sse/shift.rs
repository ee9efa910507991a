//! Shifts: a count at or past the width gives zeros, or copies of the sign.

use iced_x86::Mnemonic as M;

use super::lanes::{Lane, map};

/// What a shift does with a vector and a count; `None` if it is not one.
pub(in crate::exec) fn operation(mnemonic: M) -> Option<fn(u128, u64) -> u128> {
    Some(match mnemonic {
        M::Psllw => psllw,
        M::Pslld => pslld,
        M::Psllq => psllq,
        M::Psrlw => psrlw,
        M::Psrld => psrld,
        M::Psrlq => psrlq,
        M::Psraw => psraw,
        M::Psrad => psrad,
        M::Pslldq => pslldq,
        M::Psrldq => psrldq,
        _ => return None,
    })
}

/// `f` with a count that is within the lane, else zero.
fn logical<T: Lane, const N: usize>(a: u128, count: u64, f: impl Fn(T, u32) -> T) -> u128 {
    if count < u64::from(T::BITS) { map::<T, N>(a, |lane| f(lane, count as u32)) } else { 0 }
}

fn psllw(a: u128, count: u64) -> u128 {
    logical::<u16, 8>(a, count, |lane, n| lane << n)
}

fn pslld(a: u128, count: u64) -> u128 {
    logical::<u32, 4>(a, count, |lane, n| lane << n)
}

fn psllq(a: u128, count: u64) -> u128 {
    logical::<u64, 2>(a, count, |lane, n| lane << n)
}

fn psrlw(a: u128, count: u64) -> u128 {
    logical::<u16, 8>(a, count, |lane, n| lane >> n)
}

fn psrld(a: u128, count: u64) -> u128 {
    logical::<u32, 4>(a, count, |lane, n| lane >> n)
}

fn psrlq(a: u128, count: u64) -> u128 {
    logical::<u64, 2>(a, count, |lane, n| lane >> n)
}

fn psraw(a: u128, count: u64) -> u128 {
    map::<i16, 8>(a, |lane| lane >> count.min(15))
}

fn psrad(a: u128, count: u64) -> u128 {
    map::<i32, 4>(a, |lane| lane >> count.min(31))
}

/// By bytes.
fn pslldq(a: u128, count: u64) -> u128 {
    if count < 16 { a << (count * 8) } else { 0 }
}

/// By bytes.
fn psrldq(a: u128, count: u64) -> u128 {
    if count < 16 { a >> (count * 8) } else { 0 }
}
