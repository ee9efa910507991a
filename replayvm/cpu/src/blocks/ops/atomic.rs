//! Exchanges with memory, compared or added.

use crate::blocks::lazy::{Lazy, mask};
use crate::blocks::op::{ANY, Handler, Op, Outcome, address, get, load_to_modify, or_slow, set};
use crate::blocks::ops::by_size;
use crate::bus::Bus;
use crate::step::Cpu;

fn compare_exchange<B: Bus, const W: usize>(cpu: &mut Cpu, bus: &mut B, op: &Op<B>) -> Outcome {
    let (place, old) = or_slow!(load_to_modify::<B, W>(cpu, bus, address::<B, ANY>(cpu, op)));
    let expected = get::<W>(cpu, 0);
    let result = expected.wrapping_sub(old) & mask::<W>();
    // Memory is written in either case.
    let new = if result == 0 { get::<W>(cpu, op.src) } else { old };
    if !place.store::<B, W>(bus, new) {
        return Outcome::Slow;
    }
    if result != 0 {
        set::<W>(cpu, 0, old);
    }
    cpu.fast.lazy = Lazy::sum::<W>(result, (!expected & old) | ((!expected | old) & result));
    Outcome::Next
}

fn exchange_add<B: Bus, const W: usize>(cpu: &mut Cpu, bus: &mut B, op: &Op<B>) -> Outcome {
    let (place, old) = or_slow!(load_to_modify::<B, W>(cpu, bus, address::<B, ANY>(cpu, op)));
    let b = get::<W>(cpu, op.src);
    let sum = old.wrapping_add(b) & mask::<W>();
    if !place.store::<B, W>(bus, sum) {
        return Outcome::Slow;
    }
    set::<W>(cpu, op.src, old);
    cpu.fast.lazy = Lazy::sum::<W>(sum, (old & b) | ((old | b) & !sum));
    Outcome::Next
}

/// CMPXCHG of memory and the source register.
pub(crate) fn compare_and_exchange<B: Bus>(size: usize) -> Handler<B> {
    by_size!(compare_exchange, [], size)
}

/// XADD of memory and the source register.
pub(crate) fn exchange_and_add<B: Bus>(size: usize) -> Handler<B> {
    by_size!(exchange_add, [], size)
}
