//! The x87 FPU (SDM vol. 1, chapter 8): which instruction is which, when it may run, and what it leaves in the status
//! word.
//!
//! All arithmetic is done in integers (`float`), the same on every host. FOP, FIP, FCS, FDP and FDS are always zero:
//! processors differ in when they keep them. What the manual leaves undefined is as in
//! [`FLAGS_PROFILE`](crate::FLAGS_PROFILE)'s processor.

/// Arithmetic on the register stack.
mod arithmetic;
/// Comparison, classification, conditional moves.
mod comparison;
/// Control and status words, the stack's administration.
mod control;
/// FSTENV, FSAVE and their inverses.
mod environment;
/// 80-bit floating point in integers.
mod float;
/// FXSAVE and FXRSTOR.
mod fxsave;
/// Constants, loads and stores.
mod memory;
/// The register stack, and exceptions.
mod stack;
/// Transcendental functions.
mod transcendental;

use iced_x86::Mnemonic as M;

use crate::bus::Bus;
use crate::exec::{Exec, Flow};
use crate::fault::{Fault, Vector};
use crate::state::cr0;

/// FSW: an unmasked exception is pending (ES and its copy B).
const PENDING: u16 = 0x8080;
/// #MF.
const MF: Fault = Fault { vector: Vector::X87, error_code: None, detail: 0 };

impl<B: Bus> Exec<'_, B> {
    /// Executes an x87 instruction, EMMS, FXSAVE or FXRSTOR.
    pub(super) fn x87(&mut self) -> Result<Flow, Fault> {
        let mnemonic = self.insn.mnemonic();
        self.x87_available(mnemonic)?;
        if !never_waits(mnemonic) {
            self.x87_wait()?;
        }
        match mnemonic {
            M::Wait | M::Fnop | M::Fneni | M::Fndisi | M::Fnsetpm => {}
            M::Fninit
            | M::Fnclex
            | M::Fldcw
            | M::Fnstcw
            | M::Fnstsw
            | M::Emms
            | M::Ffree
            | M::Ffreep
            | M::Fincstp
            | M::Fdecstp => self.x87_control(mnemonic)?,
            M::Fnstenv | M::Fldenv | M::Fnsave | M::Frstor => self.x87_environment(mnemonic)?,
            M::Fxsave | M::Fxsave64 => self.fxsave()?,
            M::Fxrstor | M::Fxrstor64 => self.fxrstor()?,
            M::Fld | M::Fild | M::Fbld => self.x87_load()?,
            M::Fst | M::Fstp | M::Fstpnce | M::Fist | M::Fistp | M::Fisttp | M::Fbstp => {
                self.x87_store(mnemonic)?;
            }
            M::Fld1 | M::Fldl2t | M::Fldl2e | M::Fldpi | M::Fldlg2 | M::Fldln2 | M::Fldz => {
                self.x87_constant(mnemonic);
            }
            M::Fxch => self.x87_exchange(),
            M::Fcom
            | M::Fcomp
            | M::Fcompp
            | M::Ficom
            | M::Ficomp
            | M::Fucom
            | M::Fucomp
            | M::Fucompp
            | M::Fcomi
            | M::Fcomip
            | M::Fucomi
            | M::Fucomip
            | M::Ftst => self.x87_compare(mnemonic)?,
            M::Fxam => self.x87_examine(),
            M::Fcmovb
            | M::Fcmove
            | M::Fcmovbe
            | M::Fcmovu
            | M::Fcmovnb
            | M::Fcmovne
            | M::Fcmovnbe
            | M::Fcmovnu => self.x87_move_if(mnemonic),
            M::F2xm1 | M::Fyl2x | M::Fyl2xp1 | M::Fptan | M::Fpatan | M::Fsin | M::Fcos | M::Fsincos => {
                self.x87_transcendental(mnemonic)
            }
            M::Fchs | M::Fabs | M::Fsqrt | M::Frndint | M::Fxtract | M::Fscale | M::Fprem | M::Fprem1 => {
                self.x87_alone(mnemonic)
            }
            _ => self.x87_arithmetic(mnemonic)?,
        }
        Ok(Flow::Next)
    }

    /// #NM by CR0 (SDM vol. 3, table 2-2 and 13.1.1).
    fn x87_available(&self, mnemonic: M) -> Result<(), Fault> {
        let cr0 = self.cpu.state.cr0;
        let absent = match mnemonic {
            M::Wait => cr0 & (cr0::MP | cr0::TS) == cr0::MP | cr0::TS,
            M::Emms if cr0 & cr0::EM != 0 => return Err(Fault::UD),
            _ => cr0 & (cr0::EM | cr0::TS) != 0,
        };
        if absent { Err(Fault::NM) } else { Ok(()) }
    }

    /// #MF if an unmasked exception is pending. With CR0.NE clear a processor would raise FERR# and wait for IRQ 13,
    /// unless IGNNE# is asserted: this machine has no such wires, and behaves as if it always were.
    pub(super) fn x87_wait(&self) -> Result<(), Fault> {
        let state = &self.cpu.state;
        if state.fsw & PENDING & 0xff != 0 && state.cr0 & cr0::NE != 0 { Err(MF) } else { Ok(()) }
    }
}

/// Whether an instruction does not look for pending exceptions (SDM vol. 1, 8.6).
fn never_waits(mnemonic: M) -> bool {
    matches!(
        mnemonic,
        M::Fninit
            | M::Fnclex
            | M::Fnstcw
            | M::Fnstsw
            | M::Fnstenv
            | M::Fnsave
            | M::Fneni
            | M::Fndisi
            | M::Fnsetpm
            | M::Fxsave
            | M::Fxsave64
            | M::Fxrstor
            | M::Fxrstor64
    )
}
