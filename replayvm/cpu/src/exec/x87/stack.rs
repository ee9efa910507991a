//! The register stack, and exceptions: what is in the status and tag words.

use super::PENDING;
use super::float::{Control, Extended, Outcome, flag};
use crate::state::CpuState;

/// FSW: condition codes.
pub(super) const C0: u16 = 1 << 8;
pub(super) const C1: u16 = 1 << 9;
pub(super) const C2: u16 = 1 << 10;
pub(super) const C3: u16 = 1 << 14;
/// FSW: the top of the stack.
pub(super) const TOP: u16 = 7 << 11;
/// FCW: the six masks. FSW: the six exceptions.
const EXCEPTIONS: u16 = 0x3f;
/// The control word's bits that can be written; bit 6 is always set.
const CONTROL_MASK: u16 = 0x1f3f;
const CONTROL_FIXED: u16 = 0x40;

/// A register was empty that should not have been, or the other way round; C1 tells which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StackFault {
    Underflow,
    Overflow,
}

impl CpuState {
    /// Number of the physical register that is ST(0).
    pub(super) fn top(&self) -> usize {
        usize::from(self.fsw >> 11 & 7)
    }

    fn set_top(&mut self, top: usize) {
        self.fsw = self.fsw & !TOP | (top as u16 & 7) << 11;
    }

    /// Moves the top of the stack without a look at tags.
    pub(super) fn rotate(&mut self, by: usize) {
        self.set_top(self.top() + by);
    }

    fn physical(&self, i: usize) -> usize {
        (self.top() + i) & 7
    }

    pub(super) fn is_empty(&self, i: usize) -> bool {
        self.ftw >> self.physical(i) & 1 == 0
    }

    /// ST(`i`), or `None` if it is empty.
    pub(super) fn st(&self, i: usize) -> Option<Extended> {
        let register = self.st[self.physical(i)];
        if self.is_empty(i) { None } else { Some(Extended::from_image(register)) }
    }

    /// Writes ST(`i`), which is no longer empty.
    pub(super) fn set_st(&mut self, i: usize, value: Extended) {
        let physical = self.physical(i);
        self.st[physical] = value.image();
        self.ftw |= 1 << physical;
    }

    /// Makes ST(`i`) empty.
    pub(super) fn free(&mut self, i: usize) {
        self.ftw &= !(1 << self.physical(i));
    }

    pub(super) fn pop(&mut self) {
        self.free(0);
        self.rotate(1);
    }

    /// Pushes what an instruction has found. A full stack is a fault, and takes a QNaN if that is masked.
    pub(super) fn push(&mut self, outcome: Outcome) {
        if !self.is_empty(7) {
            if self.stack_fault(StackFault::Overflow) {
                self.rotate(7);
                self.set_st(0, Extended::INDEFINITE);
            }
        } else if self.report(outcome.flags, outcome.up) || outcome.flags & flag::INVALID == 0 {
            // A denormal is loaded even if that is not masked.
            self.rotate(7);
            self.set_st(0, outcome.value);
        }
    }

    /// What of the control word arithmetic depends on.
    pub(super) fn arithmetic_control(&self) -> Control {
        Control::new(self.fcw)
    }

    /// Sets the control word, and in the status word whether an exception is now unmasked.
    pub(crate) fn set_control(&mut self, value: u16) {
        self.fcw = value & CONTROL_MASK | CONTROL_FIXED;
        self.fsw &= !PENDING;
        if self.fsw & !self.fcw & EXCEPTIONS != 0 {
            self.fsw |= PENDING;
        }
    }

    /// The condition codes in `which` become those given.
    pub(super) fn set_conditions(&mut self, which: u16, codes: u16) {
        self.fsw = self.fsw & !which | codes & which;
    }

    /// Raises exceptions; C1 says whether the result was rounded away from zero. Whether the instruction completes: it
    /// does not if its operands are refused, and then what a result would have raised is not raised.
    pub(super) fn report(&mut self, flags: u16, up: bool) -> bool {
        let unmasked = flags & !self.fcw & EXCEPTIONS;
        let refused = unmasked & flag::BEFORE != 0;
        let flags = if refused { flags & (flag::BEFORE | flag::STACK) } else { flags };
        self.set_conditions(C1, if up && !refused { C1 } else { 0 });
        self.fsw |= flags;
        if unmasked != 0 {
            self.fsw |= PENDING;
        }
        !refused
    }

    /// Raises a stack fault; whether it is masked.
    pub(super) fn stack_fault(&mut self, fault: StackFault) -> bool {
        let go_on = self.report(flag::INVALID | flag::STACK, false);
        self.set_conditions(C1, if fault == StackFault::Overflow { C1 } else { 0 });
        go_on
    }

    /// Writes what an instruction has found to ST(`i`). Whether it has completed.
    pub(super) fn finish(&mut self, i: usize, outcome: Outcome) -> bool {
        let done = self.report(outcome.flags, outcome.up);
        if done {
            self.set_st(i, outcome.value);
        }
        done
    }

    /// The response to an empty register: ST(`i`) becomes a QNaN. Whether the instruction has completed.
    pub(super) fn underflow(&mut self, i: usize) -> bool {
        let done = self.stack_fault(StackFault::Underflow);
        if done {
            self.set_st(i, Extended::INDEFINITE);
        }
        done
    }
}
