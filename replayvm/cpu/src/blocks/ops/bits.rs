//! Single bits, and multiplication.

use crate::blocks::lazy::{Lazy, extend, mask};
use crate::blocks::op::{ANY, Handler, Op, Outcome, address, get, load, or_slow, set};
use crate::blocks::ops::by_size;
use crate::bus::Bus;
use crate::flags::{PF, ZF, parity};
use crate::step::Cpu;

/// BT, BTS, BTR and BTC by number.
pub(crate) const BT: u8 = 0;
pub(crate) const BTS: u8 = 1;
pub(crate) const BTR: u8 = 2;
pub(crate) const BTC: u8 = 3;

#[inline(always)]
fn test_bit<B, const K: u8, const W: usize>(cpu: &mut Cpu, op: &Op<B>, number: u64) -> Outcome {
    let value = get::<W>(cpu, op.dst);
    let number = number & (8 * W as u64 - 1);
    let bit = 1 << number;
    match K {
        BTS => set::<W>(cpu, op.dst, value | bit),
        BTR => set::<W>(cpu, op.dst, value & !bit),
        BTC => set::<W>(cpu, op.dst, value ^ bit),
        _ => {}
    }
    cpu.fast.lazy = cpu.fast.lazy.with_carry((value >> number) & 1);
    Outcome::Next
}

fn bit_by_immediate<B: Bus, const K: u8, const W: usize>(cpu: &mut Cpu, _: &mut B, op: &Op<B>) -> Outcome {
    test_bit::<B, K, W>(cpu, op, op.imm as u64)
}

fn bit_by_register<B: Bus, const K: u8, const W: usize>(cpu: &mut Cpu, _: &mut B, op: &Op<B>) -> Outcome {
    let number = get::<W>(cpu, op.src);
    test_bit::<B, K, W>(cpu, op, number)
}

/// BT to BTC of a register, of the bit in the immediate or in the source register.
pub(crate) fn bit_of_register<B: Bus>(kind: u8, size: usize, by_register: bool) -> Handler<B> {
    match (kind, by_register) {
        (BT, false) => by_size!(bit_by_immediate, [BT], size),
        (BT, true) => by_size!(bit_by_register, [BT], size),
        (BTS, false) => by_size!(bit_by_immediate, [BTS], size),
        (BTS, true) => by_size!(bit_by_register, [BTS], size),
        (BTR, false) => by_size!(bit_by_immediate, [BTR], size),
        (BTR, true) => by_size!(bit_by_register, [BTR], size),
        (_, false) => by_size!(bit_by_immediate, [BTC], size),
        (_, true) => by_size!(bit_by_register, [BTC], size),
    }
}

#[inline(always)]
fn scan<B, const REVERSE: bool, const W: usize>(cpu: &mut Cpu, op: &Op<B>, value: u64) -> Outcome {
    if value == 0 {
        cpu.fast.lazy = Lazy::of(ZF | PF);
    } else {
        let number = u64::from(if REVERSE { 63 - value.leading_zeros() } else { value.trailing_zeros() });
        set::<W>(cpu, op.dst, number);
        cpu.fast.lazy = Lazy::of(parity(number));
    }
    Outcome::Next
}

fn scan_register<B: Bus, const REVERSE: bool, const W: usize>(
    cpu: &mut Cpu,
    _: &mut B,
    op: &Op<B>,
) -> Outcome {
    let value = get::<W>(cpu, op.src);
    scan::<B, REVERSE, W>(cpu, op, value)
}

/// BSF and BSR between registers.
pub(crate) fn scan_bits<B: Bus>(reverse: bool, size: usize) -> Handler<B> {
    if reverse { by_size!(scan_register, [true], size) } else { by_size!(scan_register, [false], size) }
}

#[inline(always)]
fn multiply<B, const W: usize>(cpu: &mut Cpu, op: &Op<B>, a: u64, b: u64) -> Outcome {
    let (a, b) = (extend::<W>(a) as i64, extend::<W>(b) as i64);
    let (product, overflow) = if W == 8 {
        a.overflowing_mul(b)
    } else {
        let product = a.wrapping_mul(b);
        (product, product as u64 != extend::<W>(product as u64))
    };
    set::<W>(cpu, op.dst, product as u64 & mask::<W>());
    let overflow = u64::from(overflow);
    cpu.fast.lazy = cpu.fast.lazy.with_carry_and_overflow(overflow, overflow);
    Outcome::Next
}

fn multiply_registers<B: Bus, const W: usize>(cpu: &mut Cpu, _: &mut B, op: &Op<B>) -> Outcome {
    let (a, b) = (get::<W>(cpu, op.dst), get::<W>(cpu, op.src));
    multiply::<B, W>(cpu, op, a, b)
}

fn multiply_memory<B: Bus, const W: usize>(cpu: &mut Cpu, bus: &mut B, op: &Op<B>) -> Outcome {
    let b = or_slow!(load::<B, W>(cpu, bus, address::<B, ANY>(cpu, op)));
    let a = get::<W>(cpu, op.dst);
    multiply::<B, W>(cpu, op, a, b)
}

fn multiply_by_constant<B: Bus, const W: usize>(cpu: &mut Cpu, _: &mut B, op: &Op<B>) -> Outcome {
    let a = get::<W>(cpu, op.src);
    multiply::<B, W>(cpu, op, a, op.imm as u64)
}

fn multiply_memory_by_constant<B: Bus, const W: usize>(cpu: &mut Cpu, bus: &mut B, op: &Op<B>) -> Outcome {
    let a = or_slow!(load::<B, W>(cpu, bus, address::<B, ANY>(cpu, op)));
    multiply::<B, W>(cpu, op, a, op.imm as u64)
}

/// IMUL with two operands, or with three, the last one an immediate.
pub(crate) fn signed_multiply<B: Bus>(size: usize, memory: bool, by_constant: bool) -> Handler<B> {
    match (memory, by_constant) {
        (false, false) => by_size!(multiply_registers, [], size),
        (true, false) => by_size!(multiply_memory, [], size),
        (false, true) => by_size!(multiply_by_constant, [], size),
        (true, true) => by_size!(multiply_memory_by_constant, [], size),
    }
}
