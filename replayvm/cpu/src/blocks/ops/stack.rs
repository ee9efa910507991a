//! The stack, in 64-bit mode and by quadwords.

use crate::blocks::op::{ANY, Handler, Op, Outcome, address, load, or_slow, reg, store};
use crate::bus::Bus;
use crate::step::Cpu;

const RSP: usize = 4;
const RBP: usize = 5;

/// Pushes a quadword, if nothing needs looking after; says whether it has.
#[inline(always)]
pub(crate) fn push<B: Bus>(cpu: &mut Cpu, bus: &mut B, value: u64) -> bool {
    let top = cpu.state.gpr[RSP].wrapping_sub(8);
    let done = store::<B, 8>(cpu, bus, top, value);
    if done {
        cpu.state.gpr[RSP] = top;
    }
    done
}

fn push_register<B: Bus>(cpu: &mut Cpu, bus: &mut B, op: &Op<B>) -> Outcome {
    let value = reg(cpu, op.src);
    if push(cpu, bus, value) { Outcome::Next } else { Outcome::Slow }
}

fn push_constant<B: Bus>(cpu: &mut Cpu, bus: &mut B, op: &Op<B>) -> Outcome {
    if push(cpu, bus, op.imm as u64) { Outcome::Next } else { Outcome::Slow }
}

fn push_memory<B: Bus>(cpu: &mut Cpu, bus: &mut B, op: &Op<B>) -> Outcome {
    let value = or_slow!(load::<B, 8>(cpu, bus, address::<B, ANY>(cpu, op)));
    if push(cpu, bus, value) { Outcome::Next } else { Outcome::Slow }
}

fn pop_register<B: Bus>(cpu: &mut Cpu, bus: &mut B, op: &Op<B>) -> Outcome {
    let top = cpu.state.gpr[RSP];
    let value = or_slow!(load::<B, 8>(cpu, bus, top));
    cpu.state.gpr[RSP] = top.wrapping_add(8);
    // A stack pointer that is popped into keeps what was popped.
    cpu.state.gpr[usize::from(op.dst & 15)] = value;
    Outcome::Next
}

fn leave_frame<B: Bus>(cpu: &mut Cpu, bus: &mut B, _: &Op<B>) -> Outcome {
    let frame = cpu.state.gpr[RBP];
    let value = or_slow!(load::<B, 8>(cpu, bus, frame));
    cpu.state.gpr[RSP] = frame.wrapping_add(8);
    cpu.state.gpr[RBP] = value;
    Outcome::Next
}

/// PUSH of the source register.
pub(crate) fn of_register<B: Bus>() -> Handler<B> {
    push_register::<B>
}

/// PUSH of the immediate.
pub(crate) fn of_constant<B: Bus>() -> Handler<B> {
    push_constant::<B>
}

/// PUSH of memory.
pub(crate) fn of_memory<B: Bus>() -> Handler<B> {
    push_memory::<B>
}

/// POP to the destination register.
pub(crate) fn pop<B: Bus>() -> Handler<B> {
    pop_register::<B>
}

/// LEAVE.
pub(crate) fn leave<B: Bus>() -> Handler<B> {
    leave_frame::<B>
}
