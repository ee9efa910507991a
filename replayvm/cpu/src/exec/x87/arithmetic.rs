//! Arithmetic on the register stack.

use iced_x86::{Mnemonic as M, OpKind};

use super::control::number;
use super::float::{
    Control, Extended, Outcome, Quotient, add, divide, extract, flag, multiply, remainder, round_to_integral,
    scale, square_root, subtract,
};
use super::stack::{C0, C1, C2, C3, StackFault};
use crate::bus::Bus;
use crate::exec::Exec;
use crate::fault::Fault;
use crate::state::CpuState;

type Operation = fn(&Control, Extended, Extended) -> Outcome;

impl<B: Bus> Exec<'_, B> {
    /// FADD, FSUB, FSUBR, FMUL, FDIV, FDIVR, with integers in memory, and popping; #UD for anything else.
    pub(super) fn x87_arithmetic(&mut self, mnemonic: M) -> Result<(), Fault> {
        let (operation, reversed): (Operation, bool) = match mnemonic {
            M::Fadd | M::Fiadd | M::Faddp => (add, false),
            M::Fmul | M::Fimul | M::Fmulp => (multiply, false),
            M::Fsub | M::Fisub | M::Fsubp => (subtract, false),
            M::Fsubr | M::Fisubr | M::Fsubrp => (subtract, true),
            M::Fdiv | M::Fidiv | M::Fdivp => (divide, false),
            M::Fdivr | M::Fidivr | M::Fdivrp => (divide, true),
            _ => return Err(Fault::UD),
        };
        let pops = matches!(mnemonic, M::Faddp | M::Fmulp | M::Fsubp | M::Fsubrp | M::Fdivp | M::Fdivrp);
        let (to, source, found) = if self.insn.op0_kind() == OpKind::Memory {
            let loaded = self.x87_operand()?;
            (0, Some(loaded.value), loaded.flags)
        } else {
            let source = number(self.insn.op1_register());
            (number(self.insn.op0_register()), self.cpu.state.st(source), 0)
        };
        let state = &mut self.cpu.state;
        let control = state.arithmetic_control();
        let done = match (state.st(to), source) {
            (Some(a), Some(b)) => {
                let mut outcome =
                    if reversed { operation(&control, b, a) } else { operation(&control, a, b) };
                // A denormal beside a NaN, or in an invalid operation, or divided by zero, is not noticed.
                let noticed = outcome.flags & (flag::INVALID | flag::ZERO_DIVIDE) == 0;
                if noticed && !a.is_nan() && !b.is_nan() {
                    outcome = outcome.with(found);
                }
                state.finish(to, outcome)
            }
            _ => state.underflow(to),
        };
        if done && pops {
            state.pop();
        }
        Ok(())
    }

    /// Instructions on ST(0), or ST(0) and ST(1), without operands.
    pub(super) fn x87_alone(&mut self, mnemonic: M) {
        let state = &mut self.cpu.state;
        let control = state.arithmetic_control();
        let Some(a) = state.st(0) else {
            match mnemonic {
                M::Fxtract => state.underflow_of_two(),
                M::Fprem | M::Fprem1 => {
                    state.underflow(0);
                    state.set_conditions(C2, 0);
                }
                _ => {
                    state.underflow(0);
                }
            }
            return;
        };
        let outcome = match mnemonic {
            M::Fchs => Outcome::exact(a.signed(!a.negative)),
            M::Fabs => Outcome::exact(a.signed(false)),
            M::Fsqrt => square_root(&control, a),
            M::Frndint => round_to_integral(&control, a),
            M::Fxtract => {
                let (exponent, significand) = extract(a);
                state.push_beside(exponent, significand);
                return;
            }
            _ => {
                let Some(b) = state.st(1) else {
                    state.underflow(0);
                    if mnemonic != M::Fscale {
                        state.set_conditions(C2, 0);
                    }
                    return;
                };
                if mnemonic == M::Fscale {
                    scale(&control, a, b)
                } else {
                    let found = remainder(&control, a, b, mnemonic == M::Fprem1);
                    let done = state.finish(0, found.outcome);
                    state.set_quotient(if done { found.quotient } else { Quotient::None });
                    return;
                }
            }
        };
        state.finish(0, outcome);
    }
}

impl CpuState {
    /// The condition codes of FPREM and FPREM1: the quotient's bits 2, 1 and 0 in C0, C3 and C1, or C2 if there is more to
    /// do. Where there is no quotient C0 and C3 stay as they are.
    fn set_quotient(&mut self, quotient: Quotient) {
        match quotient {
            Quotient::None => self.set_conditions(C1 | C2, 0),
            Quotient::Partial => self.set_conditions(C0 | C1 | C2 | C3, C2),
            Quotient::Low(low) => {
                let bit = |number: u8, code: u16| if low >> number & 1 != 0 { code } else { 0 };
                self.set_conditions(C0 | C1 | C2 | C3, bit(2, C0) | bit(1, C3) | bit(0, C1));
            }
        }
    }

    /// ST(0) becomes the outcome, and another value is pushed on it.
    pub(super) fn push_beside(&mut self, below: Outcome, above: Extended) {
        if !self.is_empty(7) {
            self.overflow_of_two();
        } else if self.finish(0, below) {
            self.rotate(7);
            self.set_st(0, above);
        }
    }

    /// The response of an instruction with two results to a full stack.
    pub(super) fn overflow_of_two(&mut self) {
        if self.stack_fault(StackFault::Overflow) {
            self.set_st(0, Extended::INDEFINITE);
            self.rotate(7);
            self.set_st(0, Extended::INDEFINITE);
        }
    }

    /// The response of an instruction with two results to an empty ST(0).
    pub(super) fn underflow_of_two(&mut self) {
        if self.underflow(0) {
            self.rotate(7);
            self.set_st(0, Extended::INDEFINITE);
        }
    }
}
