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

/// What handles an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// Does nothing but to look for pending exceptions.
    Wait,
    Control,
    /// As `Control` or `Environment`, without a look at pending exceptions.
    ControlAtOnce,
    EnvironmentAtOnce,
    Environment,
    Save,
    Load,
    Store,
    Constant,
    Exchange,
    Compare,
    Examine,
    MoveIf,
    Transcendental,
    /// Without operands: ST(0), or ST(0) and ST(1).
    Alone,
    Arithmetic,
}

/// The family of an x87 instruction, of EMMS, FXSAVE or FXRSTOR; `None` for anything else.
pub(super) const fn family(mnemonic: M) -> Option<Family> {
    Some(match mnemonic {
        M::Wait | M::Fnop => Family::Wait,
        M::Fldcw | M::Emms | M::Ffree | M::Ffreep | M::Fincstp | M::Fdecstp => Family::Control,
        // The last three of the 80287 do nothing.
        M::Fninit | M::Fnclex | M::Fnstcw | M::Fnstsw | M::Fneni | M::Fndisi | M::Fnsetpm => {
            Family::ControlAtOnce
        }
        M::Fnstenv | M::Fnsave => Family::EnvironmentAtOnce,
        M::Fldenv | M::Frstor => Family::Environment,
        M::Fxsave | M::Fxsave64 | M::Fxrstor | M::Fxrstor64 => Family::Save,
        M::Fld | M::Fild | M::Fbld => Family::Load,
        M::Fst | M::Fstp | M::Fstpnce | M::Fist | M::Fistp | M::Fisttp | M::Fbstp => Family::Store,
        M::Fld1 | M::Fldl2t | M::Fldl2e | M::Fldpi | M::Fldlg2 | M::Fldln2 | M::Fldz => Family::Constant,
        M::Fxch => Family::Exchange,
        M::Fcom | M::Fcomp | M::Fcompp | M::Ficom | M::Ficomp | M::Ftst => Family::Compare,
        M::Fucom | M::Fucomp | M::Fucompp => Family::Compare,
        M::Fcomi | M::Fcomip | M::Fucomi | M::Fucomip => Family::Compare,
        M::Fxam => Family::Examine,
        M::Fcmovb | M::Fcmove | M::Fcmovbe | M::Fcmovu => Family::MoveIf,
        M::Fcmovnb | M::Fcmovne | M::Fcmovnbe | M::Fcmovnu => Family::MoveIf,
        M::F2xm1 | M::Fyl2x | M::Fyl2xp1 | M::Fptan | M::Fpatan | M::Fsin | M::Fcos | M::Fsincos => {
            Family::Transcendental
        }
        M::Fchs | M::Fabs | M::Fsqrt | M::Frndint | M::Fxtract | M::Fscale | M::Fprem | M::Fprem1 => {
            Family::Alone
        }
        M::Fadd | M::Fsub | M::Fsubr | M::Fmul | M::Fdiv | M::Fdivr => Family::Arithmetic,
        M::Faddp | M::Fsubp | M::Fsubrp | M::Fmulp | M::Fdivp | M::Fdivrp => Family::Arithmetic,
        M::Fiadd | M::Fisub | M::Fisubr | M::Fimul | M::Fidiv | M::Fidivr => Family::Arithmetic,
        _ => return None,
    })
}

impl<B: Bus> Exec<'_, B> {
    /// Executes an instruction of a family.
    pub(super) fn x87(&mut self, family: Family) -> Result<Flow, Fault> {
        let mnemonic = self.insn.mnemonic();
        self.x87_available(mnemonic)?;
        if !matches!(family, Family::ControlAtOnce | Family::EnvironmentAtOnce | Family::Save) {
            self.x87_wait()?;
        }
        match family {
            Family::Wait => {}
            Family::Control | Family::ControlAtOnce => self.x87_control(mnemonic)?,
            Family::Environment | Family::EnvironmentAtOnce => self.x87_environment(mnemonic)?,
            Family::Save if matches!(mnemonic, M::Fxsave | M::Fxsave64) => self.fxsave()?,
            Family::Save => self.fxrstor()?,
            Family::Load => self.x87_load()?,
            Family::Store => self.x87_store(mnemonic)?,
            Family::Constant => self.x87_constant(mnemonic),
            Family::Exchange => self.x87_exchange(),
            Family::Compare => self.x87_compare(mnemonic)?,
            Family::Examine => self.x87_examine(),
            Family::MoveIf => self.x87_move_if(mnemonic),
            Family::Transcendental => self.x87_transcendental(mnemonic),
            Family::Alone => self.x87_alone(mnemonic),
            Family::Arithmetic => self.x87_arithmetic(mnemonic)?,
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
