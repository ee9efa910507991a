//! Transcendental functions on the register stack.

use iced_x86::Mnemonic as M;

use super::float::{
    Class, Control, Extended, Outcome, arctangent, circular, exponential, logarithm, logarithm_of_next,
    tangent,
};
use super::stack::{C1, C2};
use crate::bus::Bus;
use crate::exec::Exec;
use crate::state::CpuState;

impl<B: Bus> Exec<'_, B> {
    pub(super) fn x87_transcendental(&mut self, mnemonic: M) {
        let state = &mut self.cpu.state;
        let control = state.arithmetic_control();
        match mnemonic {
            M::F2xm1 => match state.st(0) {
                Some(x) => {
                    state.finish(0, exponential(&control, x));
                }
                None => {
                    state.underflow(0);
                }
            },
            M::Fyl2x | M::Fyl2xp1 | M::Fpatan => {
                let outcome = state.st(0).zip(state.st(1)).map(|(x, y)| match mnemonic {
                    M::Fyl2x => logarithm(&control, y, x),
                    M::Fyl2xp1 => logarithm_of_next(&control, y, x),
                    _ => arctangent(&control, y, x),
                });
                state.replace_two(outcome);
            }
            _ => self.x87_trigonometry(mnemonic, &control),
        }
    }

    /// FSIN, FCOS, FSINCOS, FPTAN. C2 says that the argument is out of range, and then nothing is done.
    fn x87_trigonometry(&mut self, mnemonic: M, control: &Control) {
        let state = &mut self.cpu.state;
        let two = matches!(mnemonic, M::Fsincos | M::Fptan);
        state.set_conditions(C2, 0);
        let Some(x) = state.st(0) else {
            if two {
                state.underflow_of_two();
            } else {
                state.underflow(0);
            }
            return;
        };
        if two && !state.is_empty(7) {
            state.overflow_of_two();
        } else if mnemonic == M::Fptan {
            match tangent(control, x) {
                Some(outcome) => {
                    let is_number = matches!(
                        outcome.value.class(),
                        Class::Zero | Class::Denormal | Class::Normal | Class::Infinity
                    );
                    state.push_beside(outcome, if is_number { Extended::ONE } else { outcome.value });
                }
                None => state.set_conditions(C1 | C2, C2),
            }
        } else {
            match circular(control, x) {
                Some([sine, cosine]) => match mnemonic {
                    M::Fsin => {
                        state.finish(0, sine);
                    }
                    M::Fcos => {
                        state.finish(0, cosine);
                    }
                    _ => state.push_beside(sine.with(cosine.flags), cosine.value),
                },
                None => state.set_conditions(C1 | C2, C2),
            }
        }
    }
}

impl CpuState {
    /// ST(1) becomes a result of ST(0) and ST(1), and ST(0) is popped. `None`: one of them is empty.
    fn replace_two(&mut self, outcome: Option<Outcome>) {
        let done = match outcome {
            Some(outcome) => self.finish(1, outcome),
            None => self.underflow(1),
        };
        if done {
            self.pop();
        }
    }
}
