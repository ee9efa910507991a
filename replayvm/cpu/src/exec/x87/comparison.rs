//! Comparison, classification, conditional moves.

use std::cmp::Ordering;

use iced_x86::{Mnemonic as M, OpKind};

use super::control::number;
use super::float::{Class, Extended, compare};
use super::memory::Loaded;
use super::stack::{C0, C1, C2, C3, StackFault};
use crate::bus::Bus;
use crate::exec::Exec;
use crate::fault::Fault;
use crate::flags::{ARITHMETIC, CF, PF, ZF};

/// C3, C2 and C0 of an order (SDM vol. 2, FCOM).
fn codes(order: Option<Ordering>) -> u16 {
    match order {
        Some(Ordering::Greater) => 0,
        Some(Ordering::Less) => C0,
        Some(Ordering::Equal) => C3,
        None => C3 | C2 | C0,
    }
}

/// ZF, PF and CF of an order (SDM vol. 2, FCOMI).
fn flags(order: Option<Ordering>) -> u64 {
    match order {
        Some(Ordering::Greater) => 0,
        Some(Ordering::Less) => CF,
        Some(Ordering::Equal) => ZF,
        None => ZF | PF | CF,
    }
}

impl<B: Bus> Exec<'_, B> {
    /// FCOM, FUCOM, FICOM, FTST, FCOMI, FUCOMI and their popping forms.
    pub(super) fn x87_compare(&mut self, mnemonic: M) -> Result<(), Fault> {
        let quiet = matches!(mnemonic, M::Fucom | M::Fucomp | M::Fucompp | M::Fucomi | M::Fucomip);
        let in_flags = matches!(mnemonic, M::Fcomi | M::Fcomip | M::Fucomi | M::Fucomip);
        let pops = match mnemonic {
            M::Fcompp | M::Fucompp => 2,
            M::Fcomp | M::Ficomp | M::Fucomp | M::Fcomip | M::Fucomip => 1,
            _ => 0,
        };
        let other = match mnemonic {
            M::Ftst => Some(Loaded { value: Extended::ZERO, flags: 0 }),
            _ if self.insn.op0_kind() == OpKind::Memory => Some(self.x87_operand()?),
            _ => {
                let other = if pops == 2 { 1 } else { number(self.insn.op1_register()) };
                self.cpu.state.st(other).map(|value| Loaded { value, flags: 0 })
            }
        };
        let state = &mut self.cpu.state;
        let (order, done) = match (state.st(0), other) {
            (Some(a), Some(b)) => {
                let (order, mut raised) = compare(a, b.value, quiet);
                if order.is_some() {
                    raised |= b.flags;
                }
                let c1 = state.fsw & C1;
                let done = state.report(raised, false);
                if in_flags {
                    // Not touched by these.
                    state.set_conditions(C1, c1);
                }
                (order, done)
            }
            _ => (None, state.stack_fault(StackFault::Underflow)),
        };
        // The codes are set even if the exception is unmasked; nothing is popped then.
        if !in_flags {
            state.set_conditions(C0 | C2 | C3, codes(order));
        }
        if done {
            for _ in 0..pops {
                state.pop();
            }
        }
        if in_flags {
            self.set_flags(ARITHMETIC, flags(order));
        }
        Ok(())
    }

    /// FXAM.
    pub(super) fn x87_examine(&mut self) {
        let state = &mut self.cpu.state;
        let register = Extended::from_image(state.st[state.top()]);
        let class = match register.class() {
            _ if state.is_empty(0) => C3 | C0,
            Class::Unsupported => 0,
            Class::Quiet | Class::Signaling => C0,
            Class::Normal => C2,
            Class::Infinity => C2 | C0,
            Class::Zero => C3,
            Class::Denormal => C3 | C2,
        };
        let sign = if register.negative { C1 } else { 0 };
        state.set_conditions(C0 | C1 | C2 | C3, class | sign);
    }

    /// FCMOVcc.
    pub(super) fn x87_move_if(&mut self, mnemonic: M) {
        let rflags = self.cpu.state.rflags;
        let any = |bits: u64| rflags & bits != 0;
        let moves = match mnemonic {
            M::Fcmovb => any(CF),
            M::Fcmove => any(ZF),
            M::Fcmovbe => any(CF | ZF),
            M::Fcmovu => any(PF),
            M::Fcmovnb => !any(CF),
            M::Fcmovne => !any(ZF),
            M::Fcmovnbe => !any(CF | ZF),
            _ => !any(PF),
        };
        let state = &mut self.cpu.state;
        match (state.st(0), state.st(number(self.insn.op1_register()))) {
            (Some(_), Some(b)) if moves => state.set_st(0, b),
            (Some(_), Some(_)) => {}
            _ => {
                state.underflow(0);
            }
        }
    }
}
