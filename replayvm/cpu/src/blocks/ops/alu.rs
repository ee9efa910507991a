//! Addition, subtraction, logic and comparison.

use crate::blocks::lazy::{Lazy, mask};
use crate::blocks::op::{
    ABSOLUTE, ANY, BASE, Handler, INDEXED, Op, Outcome, address, get, load, load_to_modify, or_slow, set,
};
use crate::blocks::ops::{by_size, by_size_and_shape};
use crate::bus::Bus;
use crate::step::Cpu;

/// Numbers of the operations: the first eight as the instruction set has them.
pub(crate) const ADD: u8 = 0;
pub(crate) const OR: u8 = 1;
pub(crate) const ADC: u8 = 2;
pub(crate) const SBB: u8 = 3;
pub(crate) const AND: u8 = 4;
pub(crate) const SUB: u8 = 5;
pub(crate) const XOR: u8 = 6;
pub(crate) const CMP: u8 = 7;
pub(crate) const TEST: u8 = 8;

/// Whether the result is written.
const fn writes(kind: u8) -> bool {
    kind != CMP && kind != TEST
}

#[inline(always)]
fn compute<const K: u8, const W: usize>(lazy: Lazy, a: u64, b: u64) -> (u64, Lazy) {
    match K {
        ADD | ADC => {
            let carry = if K == ADC { u64::from(lazy.carry()) } else { 0 };
            let result = a.wrapping_add(b).wrapping_add(carry) & mask::<W>();
            (result, Lazy::sum::<W>(result, (a & b) | ((a | b) & !result)))
        }
        SUB | SBB | CMP => {
            let borrow = if K == SBB { u64::from(lazy.carry()) } else { 0 };
            let result = a.wrapping_sub(b).wrapping_sub(borrow) & mask::<W>();
            (result, Lazy::sum::<W>(result, (!a & b) | ((!a | b) & result)))
        }
        OR => (a | b, Lazy::logic::<W>(a | b)),
        XOR => (a ^ b, Lazy::logic::<W>(a ^ b)),
        _ => (a & b, Lazy::logic::<W>(a & b)),
    }
}

#[inline(always)]
fn to_register<B, const K: u8, const W: usize>(cpu: &mut Cpu, op: &Op<B>, b: u64) -> Outcome {
    let (result, lazy) = compute::<K, W>(cpu.fast.lazy, get::<W>(cpu, op.dst), b);
    if writes(K) {
        set::<W>(cpu, op.dst, result);
    }
    cpu.fast.lazy = lazy;
    Outcome::Next
}

fn registers<B: Bus, const K: u8, const W: usize>(cpu: &mut Cpu, _: &mut B, op: &Op<B>) -> Outcome {
    let b = get::<W>(cpu, op.src);
    to_register::<B, K, W>(cpu, op, b)
}

fn immediate<B: Bus, const K: u8, const W: usize>(cpu: &mut Cpu, _: &mut B, op: &Op<B>) -> Outcome {
    to_register::<B, K, W>(cpu, op, op.imm as u64 & mask::<W>())
}

fn from_memory<B: Bus, const K: u8, const W: usize, const S: u8>(
    cpu: &mut Cpu,
    bus: &mut B,
    op: &Op<B>,
) -> Outcome {
    let b = or_slow!(load::<B, W>(cpu, bus, address::<B, S>(cpu, op)));
    to_register::<B, K, W>(cpu, op, b)
}

#[inline(always)]
fn to_memory<B: Bus, const K: u8, const W: usize, const S: u8>(
    cpu: &mut Cpu,
    bus: &mut B,
    op: &Op<B>,
    b: u64,
) -> Outcome {
    let linear = address::<B, S>(cpu, op);
    if writes(K) {
        let (place, a) = or_slow!(load_to_modify::<B, W>(cpu, bus, linear));
        let (result, lazy) = compute::<K, W>(cpu.fast.lazy, a, b);
        if !place.store::<B, W>(bus, result) {
            return Outcome::Slow;
        }
        cpu.fast.lazy = lazy;
    } else {
        let a = or_slow!(load::<B, W>(cpu, bus, linear));
        cpu.fast.lazy = compute::<K, W>(cpu.fast.lazy, a, b).1;
    }
    Outcome::Next
}

fn memory_register<B: Bus, const K: u8, const W: usize, const S: u8>(
    cpu: &mut Cpu,
    bus: &mut B,
    op: &Op<B>,
) -> Outcome {
    let b = get::<W>(cpu, op.src);
    to_memory::<B, K, W, S>(cpu, bus, op, b)
}

fn memory_immediate<B: Bus, const K: u8, const W: usize, const S: u8>(
    cpu: &mut Cpu,
    bus: &mut B,
    op: &Op<B>,
) -> Outcome {
    to_memory::<B, K, W, S>(cpu, bus, op, op.imm as u64 & mask::<W>())
}

/// What the operands are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Registers,
    Immediate,
    FromMemory,
    MemoryRegister,
    MemoryImmediate,
}

fn of_kind<B: Bus, const K: u8>(form: Form, size: usize, shape: u8) -> Handler<B> {
    match form {
        Form::Registers => by_size!(registers, [K], size),
        Form::Immediate => by_size!(immediate, [K], size),
        Form::FromMemory => by_size_and_shape!(from_memory, [K], size, shape),
        Form::MemoryRegister => by_size_and_shape!(memory_register, [K], size, shape),
        Form::MemoryImmediate => by_size_and_shape!(memory_immediate, [K], size, shape),
    }
}

/// The handler of ADD to TEST.
pub(crate) fn arithmetic<B: Bus>(kind: u8, form: Form, size: usize, shape: u8) -> Handler<B> {
    match kind {
        ADD => of_kind::<B, ADD>(form, size, shape),
        OR => of_kind::<B, OR>(form, size, shape),
        ADC => of_kind::<B, ADC>(form, size, shape),
        SBB => of_kind::<B, SBB>(form, size, shape),
        AND => of_kind::<B, AND>(form, size, shape),
        SUB => of_kind::<B, SUB>(form, size, shape),
        XOR => of_kind::<B, XOR>(form, size, shape),
        CMP => of_kind::<B, CMP>(form, size, shape),
        _ => of_kind::<B, TEST>(form, size, shape),
    }
}

/// INC, DEC, NEG and NOT by number.
pub(crate) const INC: u8 = 0;
pub(crate) const DEC: u8 = 1;
pub(crate) const NEG: u8 = 2;
pub(crate) const NOT: u8 = 3;

#[inline(always)]
fn compute_one<const K: u8, const W: usize>(lazy: Lazy, a: u64) -> (u64, Lazy) {
    match K {
        INC | DEC => {
            let (result, flags) = compute_step::<K, W>(lazy, a);
            (result, flags.with_carry(u64::from(lazy.carry())))
        }
        NEG => compute::<SUB, W>(lazy, 0, a),
        _ => (!a & mask::<W>(), lazy),
    }
}

#[inline(always)]
fn compute_step<const K: u8, const W: usize>(lazy: Lazy, a: u64) -> (u64, Lazy) {
    if K == INC { compute::<ADD, W>(lazy, a, 1) } else { compute::<SUB, W>(lazy, a, 1) }
}

fn one_register<B: Bus, const K: u8, const W: usize>(cpu: &mut Cpu, _: &mut B, op: &Op<B>) -> Outcome {
    let (result, lazy) = compute_one::<K, W>(cpu.fast.lazy, get::<W>(cpu, op.dst));
    set::<W>(cpu, op.dst, result);
    cpu.fast.lazy = lazy;
    Outcome::Next
}

fn one_memory<B: Bus, const K: u8, const W: usize, const S: u8>(
    cpu: &mut Cpu,
    bus: &mut B,
    op: &Op<B>,
) -> Outcome {
    let (place, a) = or_slow!(load_to_modify::<B, W>(cpu, bus, address::<B, S>(cpu, op)));
    let (result, lazy) = compute_one::<K, W>(cpu.fast.lazy, a);
    if !place.store::<B, W>(bus, result) {
        return Outcome::Slow;
    }
    cpu.fast.lazy = lazy;
    Outcome::Next
}

fn one_of_kind<B: Bus, const K: u8>(size: usize, shape: Option<u8>) -> Handler<B> {
    match shape {
        None => by_size!(one_register, [K], size),
        Some(shape) => by_size_and_shape!(one_memory, [K], size, shape),
    }
}

/// The handler of INC to NOT, of a register or of memory of a shape.
pub(crate) fn one_operand<B: Bus>(kind: u8, size: usize, shape: Option<u8>) -> Handler<B> {
    match kind {
        INC => one_of_kind::<B, INC>(size, shape),
        DEC => one_of_kind::<B, DEC>(size, shape),
        NEG => one_of_kind::<B, NEG>(size, shape),
        _ => one_of_kind::<B, NOT>(size, shape),
    }
}
