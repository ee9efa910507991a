//! Data movement.

use crate::blocks::lazy::{extend, mask};
use crate::blocks::op::{
    ABSOLUTE, ANY, BASE, Handler, INDEXED, Op, Outcome, address, get, load, load_to_modify, or_slow, reg,
    set, store,
};
use crate::blocks::ops::{by_condition, by_size, by_size_and_shape};
use crate::bus::Bus;
use crate::step::Cpu;

fn copy<B: Bus, const W: usize>(cpu: &mut Cpu, _: &mut B, op: &Op<B>) -> Outcome {
    let value = get::<W>(cpu, op.src);
    set::<W>(cpu, op.dst, value);
    Outcome::Next
}

fn constant<B: Bus, const W: usize>(cpu: &mut Cpu, _: &mut B, op: &Op<B>) -> Outcome {
    set::<W>(cpu, op.dst, op.disp & mask::<W>());
    Outcome::Next
}

fn read<B: Bus, const W: usize, const S: u8>(cpu: &mut Cpu, bus: &mut B, op: &Op<B>) -> Outcome {
    let value = or_slow!(load::<B, W>(cpu, bus, address::<B, S>(cpu, op)));
    set::<W>(cpu, op.dst, value);
    Outcome::Next
}

fn write<B: Bus, const W: usize, const S: u8>(cpu: &mut Cpu, bus: &mut B, op: &Op<B>) -> Outcome {
    if store::<B, W>(cpu, bus, address::<B, S>(cpu, op), reg(cpu, op.src)) {
        Outcome::Next
    } else {
        Outcome::Slow
    }
}

fn write_constant<B: Bus, const W: usize, const S: u8>(cpu: &mut Cpu, bus: &mut B, op: &Op<B>) -> Outcome {
    if store::<B, W>(cpu, bus, address::<B, S>(cpu, op), op.imm as u64) {
        Outcome::Next
    } else {
        Outcome::Slow
    }
}

/// MOV between registers.
pub(crate) fn move_register<B: Bus>(size: usize) -> Handler<B> {
    by_size!(copy, [], size)
}

/// MOV of an immediate, which stands where the displacement does, to a register.
pub(crate) fn move_constant<B: Bus>(size: usize) -> Handler<B> {
    by_size!(constant, [], size)
}

/// MOV from memory.
pub(crate) fn move_from_memory<B: Bus>(size: usize, shape: u8) -> Handler<B> {
    by_size_and_shape!(read, [], size, shape)
}

/// MOV to memory.
pub(crate) fn move_to_memory<B: Bus>(size: usize, shape: u8) -> Handler<B> {
    by_size_and_shape!(write, [], size, shape)
}

/// MOV of an immediate to memory.
pub(crate) fn move_constant_to_memory<B: Bus>(size: usize, shape: u8) -> Handler<B> {
    by_size_and_shape!(write_constant, [], size, shape)
}

/// A value of `W` bytes for a destination of `D`, sign-extended or not.
#[inline(always)]
fn widened<const SIGNED: bool, const D: usize, const W: usize>(value: u64) -> u64 {
    if SIGNED { extend::<W>(value) & mask::<D>() } else { value }
}

fn extend_register<B: Bus, const SIGNED: bool, const D: usize, const W: usize>(
    cpu: &mut Cpu,
    _: &mut B,
    op: &Op<B>,
) -> Outcome {
    let value = widened::<SIGNED, D, W>(get::<W>(cpu, op.src));
    set::<D>(cpu, op.dst, value);
    Outcome::Next
}

fn extend_memory<B: Bus, const SIGNED: bool, const D: usize, const W: usize, const S: u8>(
    cpu: &mut Cpu,
    bus: &mut B,
    op: &Op<B>,
) -> Outcome {
    let value = or_slow!(load::<B, W>(cpu, bus, address::<B, S>(cpu, op)));
    set::<D>(cpu, op.dst, widened::<SIGNED, D, W>(value));
    Outcome::Next
}

fn extend_to<B: Bus, const SIGNED: bool, const D: usize>(size: usize, shape: Option<u8>) -> Handler<B> {
    match shape {
        None => by_size!(extend_register, [SIGNED, D], size),
        Some(shape) => by_size_and_shape!(extend_memory, [SIGNED, D], size, shape),
    }
}

/// MOVZX, MOVSX and MOVSXD from a source of `size` bytes to a register of `to` bytes.
pub(crate) fn widen<B: Bus>(signed: bool, to: usize, size: usize, shape: Option<u8>) -> Handler<B> {
    match (signed, to) {
        (false, 2) => extend_to::<B, false, 2>(size, shape),
        // Zero-extension to 32 and to 64 bits is the same.
        (false, _) => extend_to::<B, false, 8>(size, shape),
        (true, 2) => extend_to::<B, true, 2>(size, shape),
        (true, 4) => extend_to::<B, true, 4>(size, shape),
        (true, _) => extend_to::<B, true, 8>(size, shape),
    }
}

fn effective<B: Bus, const W: usize, const S: u8>(cpu: &mut Cpu, _: &mut B, op: &Op<B>) -> Outcome {
    // The segment has no part in it.
    let offset = if S == ANY { crate::blocks::op::offset(cpu, op) } else { address::<B, S>(cpu, op) };
    set::<W>(cpu, op.dst, offset & mask::<W>());
    Outcome::Next
}

/// LEA.
pub(crate) fn load_address<B: Bus>(size: usize, shape: u8) -> Handler<B> {
    by_size_and_shape!(effective, [], size, shape)
}

fn move_if<B: Bus, const CC: u8, const W: usize>(cpu: &mut Cpu, _: &mut B, op: &Op<B>) -> Outcome {
    let from = if cpu.fast.lazy.condition::<CC>() { op.src } else { op.dst };
    let value = get::<W>(cpu, from);
    set::<W>(cpu, op.dst, value);
    Outcome::Next
}

fn move_if_from_memory<B: Bus, const CC: u8, const W: usize>(
    cpu: &mut Cpu,
    bus: &mut B,
    op: &Op<B>,
) -> Outcome {
    // Read whether the condition holds or not.
    let source = or_slow!(load::<B, W>(cpu, bus, address::<B, ANY>(cpu, op)));
    let value = if cpu.fast.lazy.condition::<CC>() { source } else { get::<W>(cpu, op.dst) };
    set::<W>(cpu, op.dst, value);
    Outcome::Next
}

/// CMOVcc of 4 or 8 bytes.
pub(crate) fn conditional_move<B: Bus>(condition: u8, size: usize, memory: bool) -> Handler<B> {
    match (size, memory) {
        (4, false) => by_condition!(move_if, condition, 4),
        (4, true) => by_condition!(move_if_from_memory, condition, 4),
        (_, false) => by_condition!(move_if, condition, 8),
        (_, true) => by_condition!(move_if_from_memory, condition, 8),
    }
}

fn set_if<B: Bus, const CC: u8>(cpu: &mut Cpu, _: &mut B, op: &Op<B>) -> Outcome {
    let value = u64::from(cpu.fast.lazy.condition::<CC>());
    set::<1>(cpu, op.dst, value);
    Outcome::Next
}

fn set_memory_if<B: Bus, const CC: u8>(cpu: &mut Cpu, bus: &mut B, op: &Op<B>) -> Outcome {
    let value = u64::from(cpu.fast.lazy.condition::<CC>());
    if store::<B, 1>(cpu, bus, address::<B, ANY>(cpu, op), value) { Outcome::Next } else { Outcome::Slow }
}

/// SETcc.
pub(crate) fn conditional_set<B: Bus>(condition: u8, memory: bool) -> Handler<B> {
    if memory { by_condition!(set_memory_if, condition) } else { by_condition!(set_if, condition) }
}

/// CWDE and CDQE: the accumulator, sign-extended to `W` bytes from half of it.
fn widen_accumulator<B: Bus, const W: usize>(cpu: &mut Cpu, _: &mut B, _: &Op<B>) -> Outcome {
    let low = cpu.state.gpr[0];
    cpu.state.gpr[0] =
        if W == 8 { extend::<4>(low & mask::<4>()) } else { extend::<2>(low & mask::<2>()) & mask::<4>() };
    Outcome::Next
}

/// CDQ and CQO: the sign of the accumulator all over the data register.
fn spread_sign<B: Bus, const W: usize>(cpu: &mut Cpu, _: &mut B, _: &Op<B>) -> Outcome {
    let sign = (extend::<W>(get::<W>(cpu, 0)) as i64) >> 63;
    set::<W>(cpu, 2, sign as u64 & mask::<W>());
    Outcome::Next
}

/// CWDE (4) and CDQE (8).
pub(crate) fn accumulator<B: Bus>(size: usize) -> Handler<B> {
    if size == 8 { widen_accumulator::<B, 8> } else { widen_accumulator::<B, 4> }
}

/// CDQ (4) and CQO (8).
pub(crate) fn sign<B: Bus>(size: usize) -> Handler<B> {
    if size == 8 { spread_sign::<B, 8> } else { spread_sign::<B, 4> }
}

fn swap<B: Bus, const W: usize>(cpu: &mut Cpu, _: &mut B, op: &Op<B>) -> Outcome {
    let value = get::<W>(cpu, op.dst).swap_bytes() >> (64 - 8 * W);
    set::<W>(cpu, op.dst, value);
    Outcome::Next
}

/// BSWAP of 4 or 8 bytes.
pub(crate) fn byte_swap<B: Bus>(size: usize) -> Handler<B> {
    if size == 8 { swap::<B, 8> } else { swap::<B, 4> }
}

fn exchange_registers<B: Bus, const W: usize>(cpu: &mut Cpu, _: &mut B, op: &Op<B>) -> Outcome {
    let (a, b) = (get::<W>(cpu, op.dst), get::<W>(cpu, op.src));
    set::<W>(cpu, op.dst, b);
    set::<W>(cpu, op.src, a);
    Outcome::Next
}

fn exchange_memory<B: Bus, const W: usize>(cpu: &mut Cpu, bus: &mut B, op: &Op<B>) -> Outcome {
    let (place, old) = or_slow!(load_to_modify::<B, W>(cpu, bus, address::<B, ANY>(cpu, op)));
    if !place.store::<B, W>(bus, reg(cpu, op.src)) {
        return Outcome::Slow;
    }
    set::<W>(cpu, op.src, old);
    Outcome::Next
}

/// XCHG of two registers, or of memory and the source register.
pub(crate) fn exchange<B: Bus>(size: usize, memory: bool) -> Handler<B> {
    if memory { by_size!(exchange_memory, [], size) } else { by_size!(exchange_registers, [], size) }
}
