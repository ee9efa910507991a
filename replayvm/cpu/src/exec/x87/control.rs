//! Control and status words, the stack's administration.

use iced_x86::{Mnemonic as M, OpKind, Register};

use super::PENDING;
use super::stack::{C1, TOP};
use crate::bus::Bus;
use crate::exec::Exec;
use crate::fault::Fault;
use crate::state::CpuState;

impl CpuState {
    /// The state that FINIT and FSAVE leave; registers keep their contents.
    pub(super) fn initialize_x87(&mut self) {
        (self.fcw, self.fsw, self.ftw) = (0x37f, 0, 0);
    }
}

/// Number of a stack register; 0 for anything else.
pub(super) fn number(register: Register) -> usize {
    if register.is_st() { register.number() } else { 0 }
}

impl<B: Bus> Exec<'_, B> {
    pub(super) fn x87_control(&mut self, mnemonic: M) -> Result<(), Fault> {
        let first = number(self.insn.op0_register());
        match mnemonic {
            M::Fninit => self.cpu.state.initialize_x87(),
            M::Fnclex => self.cpu.state.fsw &= 0x7f00,
            M::Fldcw => {
                let (segment, offset) = self.memory_operand();
                let value = u16::from_le_bytes(self.load(segment, offset)?);
                self.cpu.state.set_control(value);
            }
            M::Fnstcw => self.store_word(self.cpu.state.fcw)?,
            M::Fnstsw => self.store_word(self.cpu.state.fsw)?,
            M::Fneni | M::Fndisi | M::Fnsetpm => {}
            M::Emms => {
                // As all of MMX does, it sets TOP to 0.
                self.cpu.state.fsw &= !TOP;
                self.cpu.state.ftw = 0;
            }
            _ => {
                let state = &mut self.cpu.state;
                match mnemonic {
                    M::Ffree => state.free(first),
                    M::Ffreep => {
                        state.free(first);
                        state.pop();
                    }
                    M::Fincstp => state.rotate(1),
                    _ => state.rotate(7),
                }
                state.set_conditions(C1, 0);
            }
        }
        Ok(())
    }

    /// To memory or AX.
    fn store_word(&mut self, value: u16) -> Result<(), Fault> {
        if self.insn.op0_kind() == OpKind::Register {
            self.set_gpr(Register::AX, u64::from(value));
            return Ok(());
        }
        let (segment, offset) = self.memory_operand();
        self.store(segment, offset, value.to_le_bytes())
    }
}

/// The bits of the status word that an image may set; those that say that an exception is pending follow from the rest.
pub(super) const STATUS_MASK: u16 = !PENDING;
