//! Transcendental functions on the register stack.

use iced_x86::Mnemonic as M;

use super::float::{
    Class, Extended, Outcome, arctangent, circular, exponential, logarithm, logarithm_of_next, tangent,
};
use super::stack::{C1, C2, StackFault};
use crate::bus::Bus;
use crate::exec::Exec;
use crate::state::CpuState;

impl<B: Bus> Exec<'_, B> {
    pub(super) fn x87_transcendental(&mut self, mnemonic: M) {
        let state = &mut self.cpu.state;
        let control = state.arithmetic_control();
        let two = matches!(mnemonic, M::Fsincos | M::Fptan);
        let Some(x) = state.st(0) else {
            match mnemonic {
                _ if two => state.underflow_of_two(),
                M::Fyl2x | M::Fyl2xp1 | M::Fpatan => state.replace_two(None),
                _ => {
                    state.underflow(0);
                }
            }
            return;
        };
        match mnemonic {
            M::F2xm1 => {
                state.finish(0, exponential(&control, x));
            }
            M::Fyl2x | M::Fyl2xp1 | M::Fpatan => {
                let outcome = state.st(1).map(|y| match mnemonic {
                    M::Fyl2x => logarithm(&control, y, x),
                    M::Fyl2xp1 => logarithm_of_next(&control, y, x),
                    _ => arctangent(&control, y, x),
                });
                state.replace_two(outcome);
            }
            _ if two && !state.is_empty(7) => {
                if state.stack_fault(StackFault::Overflow) {
                    state.set_st(0, Extended::INDEFINITE);
                    state.rotate(7);
                    state.set_st(0, Extended::INDEFINITE);
                }
            }
            M::Fptan => match tangent(&control, x) {
                Some(outcome) => {
                    let nan = !matches!(
                        outcome.value.class(),
                        Class::Zero | Class::Denormal | Class::Normal | Class::Infinity
                    );
                    state.push_beside(outcome, if nan { outcome.value } else { Extended::ONE });
                    state.set_conditions(C2, 0);
                }
                None => state.set_conditions(C1 | C2, C2),
            },
            _ => match circular(&control, x) {
                Some([sine, cosine]) => {
                    match mnemonic {
                        M::Fsin => {
                            state.finish(0, sine);
                        }
                        M::Fcos => {
                            state.finish(0, cosine);
                        }
                        _ => state.push_beside(sine.with(cosine.flags), cosine.value),
                    }
                    state.set_conditions(C2, 0);
                }
                None => state.set_conditions(C1 | C2, C2),
            },
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
