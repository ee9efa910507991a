//! Jumps, calls and returns within the code segment of 64-bit mode. Targets that are computed are checked; those that
//! are written in the instruction the builder has checked.

use crate::access::canonical;
use crate::blocks::op::{ANY, Handler, Op, Outcome, address, load, or_slow, reg};
use crate::blocks::ops::by_condition;
use crate::blocks::ops::stack::push;
use crate::bus::Bus;
use crate::step::Cpu;

/// The address after the instruction.
#[inline(always)]
fn next<B>(cpu: &Cpu, op: &Op<B>) -> u64 {
    cpu.state.rip.wrapping_add(u64::from(op.end))
}

fn branch<B: Bus, const CC: u8>(cpu: &mut Cpu, _: &mut B, op: &Op<B>) -> Outcome {
    if cpu.fast.lazy.condition::<CC>() {
        cpu.state.rip = op.disp;
        Outcome::Taken
    } else {
        cpu.state.rip = next(cpu, op);
        Outcome::NotTaken
    }
}

/// Jcc.
pub(crate) fn jump_if<B: Bus>(condition: u8) -> Handler<B> {
    by_condition!(branch, condition)
}

/// JMP to a target in the instruction.
pub(crate) fn jump<B: Bus>(cpu: &mut Cpu, _: &mut B, op: &Op<B>) -> Outcome {
    cpu.state.rip = op.disp;
    Outcome::Jump
}

/// CALL of a target in the instruction.
pub(crate) fn call<B: Bus>(cpu: &mut Cpu, bus: &mut B, op: &Op<B>) -> Outcome {
    let back = next(cpu, op);
    if !push(cpu, bus, back) {
        return Outcome::Slow;
    }
    cpu.state.rip = op.disp;
    Outcome::Call
}

#[inline(always)]
fn jump_to(cpu: &mut Cpu, target: u64) -> Outcome {
    if !canonical(target) {
        return Outcome::Slow;
    }
    cpu.state.rip = target;
    Outcome::Indirect
}

/// JMP to the address in the source register.
pub(crate) fn jump_register<B: Bus>(cpu: &mut Cpu, _: &mut B, op: &Op<B>) -> Outcome {
    let target = reg(cpu, op.src);
    jump_to(cpu, target)
}

/// JMP to the address in memory.
pub(crate) fn jump_memory<B: Bus>(cpu: &mut Cpu, bus: &mut B, op: &Op<B>) -> Outcome {
    let target = or_slow!(load::<B, 8>(cpu, bus, address::<B, ANY>(cpu, op)));
    jump_to(cpu, target)
}

#[inline(always)]
fn call_to<B: Bus>(cpu: &mut Cpu, bus: &mut B, op: &Op<B>, target: u64) -> Outcome {
    let back = next(cpu, op);
    if !canonical(target) || !push(cpu, bus, back) {
        return Outcome::Slow;
    }
    cpu.state.rip = target;
    Outcome::Indirect
}

/// CALL of the address in the source register.
pub(crate) fn call_register<B: Bus>(cpu: &mut Cpu, bus: &mut B, op: &Op<B>) -> Outcome {
    let target = reg(cpu, op.src);
    call_to(cpu, bus, op, target)
}

/// CALL of the address in memory.
pub(crate) fn call_memory<B: Bus>(cpu: &mut Cpu, bus: &mut B, op: &Op<B>) -> Outcome {
    let target = or_slow!(load::<B, 8>(cpu, bus, address::<B, ANY>(cpu, op)));
    call_to(cpu, bus, op, target)
}

/// RET; the immediate says how much more than the address is released.
pub(crate) fn ret<B: Bus>(cpu: &mut Cpu, bus: &mut B, op: &Op<B>) -> Outcome {
    let top = cpu.state.gpr[4];
    let target = or_slow!(load::<B, 8>(cpu, bus, top));
    if !canonical(target) {
        return Outcome::Slow;
    }
    cpu.state.gpr[4] = top.wrapping_add(8).wrapping_add(op.imm as u64);
    cpu.state.rip = target;
    Outcome::Indirect
}
