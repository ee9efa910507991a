//! Shifts and rotations of registers. What each does to the flags: [`crate::FLAGS_PROFILE`].

use crate::blocks::lazy::{Lazy, extend, mask};
use crate::blocks::op::{Handler, Op, Outcome, get, set};
use crate::blocks::ops::by_size;
use crate::bus::Bus;
use crate::step::Cpu;

/// Numbers of the operations, as the instruction set has them.
pub(crate) const ROL: u8 = 0;
pub(crate) const ROR: u8 = 1;
pub(crate) const SHL: u8 = 4;
pub(crate) const SHR: u8 = 5;
pub(crate) const SAR: u8 = 7;

#[inline(always)]
const fn bit(value: u64, i: u32) -> u64 {
    if i < 64 { (value >> i) & 1 } else { 0 }
}

/// `count` is masked to the operand size, and not 0.
#[inline(always)]
fn compute<const K: u8, const W: usize>(lazy: Lazy, a: u64, count: u32) -> (u64, Lazy) {
    let bits = 8 * W as u32;
    match K {
        ROL => {
            let turn = count % bits;
            let result = if turn == 0 { a } else { (a << turn | a >> (bits - turn)) & mask::<W>() };
            let carry = result & 1;
            (result, lazy.with_carry_and_overflow(carry, bit(result, bits - 1) ^ carry))
        }
        ROR => {
            let turn = count % bits;
            let result = if turn == 0 { a } else { (a >> turn | a << (bits - turn)) & mask::<W>() };
            let top = bit(result, bits - 1);
            (result, lazy.with_carry_and_overflow(top, top ^ bit(result, bits - 2)))
        }
        SHL => {
            let result = (a << count) & mask::<W>();
            let carry = if count <= bits { bit(a, bits - count) } else { 0 };
            (result, Lazy::with::<W>(result, carry, bit(result, bits - 1) ^ carry, true))
        }
        SHR => {
            let result = a >> count;
            let overflow = bit(result, bits - 1) ^ bit(result, bits - 2);
            (result, Lazy::with::<W>(result, bit(a, count - 1), overflow, true))
        }
        _ => {
            let signed = extend::<W>(a) as i64;
            let result = (signed >> count) as u64 & mask::<W>();
            (result, Lazy::with::<W>(result, bit(signed as u64, count - 1), 0, true))
        }
    }
}

#[inline(always)]
fn shift<B, const K: u8, const W: usize>(cpu: &mut Cpu, op: &Op<B>, count: u64) -> Outcome {
    let count = (count & if W == 8 { 63 } else { 31 }) as u32;
    let a = get::<W>(cpu, op.dst);
    if count == 0 {
        // A register of 32 bits is written, and so zero-extended, all the same.
        set::<W>(cpu, op.dst, a);
        return Outcome::Next;
    }
    let (result, lazy) = compute::<K, W>(cpu.fast.lazy, a, count);
    set::<W>(cpu, op.dst, result);
    cpu.fast.lazy = lazy;
    Outcome::Next
}

fn by_immediate<B: Bus, const K: u8, const W: usize>(cpu: &mut Cpu, _: &mut B, op: &Op<B>) -> Outcome {
    shift::<B, K, W>(cpu, op, op.imm as u64)
}

fn by_register<B: Bus, const K: u8, const W: usize>(cpu: &mut Cpu, _: &mut B, op: &Op<B>) -> Outcome {
    let count = cpu.state.gpr[1];
    shift::<B, K, W>(cpu, op, count)
}

fn of_kind<B: Bus, const K: u8>(size: usize, by_cl: bool) -> Handler<B> {
    if by_cl { by_size!(by_register, [K], size) } else { by_size!(by_immediate, [K], size) }
}

/// The handler of ROL to SAR (RCL and RCR are not among them).
pub(crate) fn shift_register<B: Bus>(kind: u8, size: usize, by_cl: bool) -> Handler<B> {
    match kind {
        ROL => of_kind::<B, ROL>(size, by_cl),
        ROR => of_kind::<B, ROR>(size, by_cl),
        SHL => of_kind::<B, SHL>(size, by_cl),
        SHR => of_kind::<B, SHR>(size, by_cl),
        _ => of_kind::<B, SAR>(size, by_cl),
    }
}
