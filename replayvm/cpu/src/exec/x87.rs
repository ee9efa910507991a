//! x87: control instructions, and FXSAVE and FXRSTOR. Arithmetic and MMX are not here yet (#UD).
//!
//! FOP, FIP and FDP are always zero: processors differ in when they keep them.

use iced_x86::{Mnemonic as M, OpKind, Register};

use crate::access::Intent;
use crate::bus::Bus;
use crate::exec::sse::MXCSR_MASK;
use crate::exec::{Exec, Flow};
use crate::fault::{Fault, Vector};
use crate::state::Mode;

/// CR0.MP.
const CR0_MP: u64 = 1 << 1;
/// CR0.EM.
const CR0_EM: u64 = 1 << 2;
/// CR0.TS.
const CR0_TS: u64 = 1 << 3;
/// CR4.OSFXSR.
const CR4_OSFXSR: u64 = 1 << 9;
/// FSW: an unmasked exception is pending (ES and B).
const PENDING: u16 = 0x8080;
/// FSW: the top of the stack.
const TOP: u16 = 0x3800;
/// #MF.
const MF: Fault = Fault { vector: Vector::X87, error_code: None, detail: 0 };
/// The control word's bits that can be written; bit 6 is always set.
const CONTROL_MASK: u16 = 0x1f3f;
const CONTROL_FIXED: u16 = 0x40;

impl<B: Bus> Exec<'_, B> {
    /// Executes an x87 control instruction.
    pub(super) fn x87(&mut self) -> Result<Flow, Fault> {
        let cr0 = self.cpu.state.cr0;
        let mnemonic = self.insn.mnemonic();
        let absent = match mnemonic {
            M::Wait => cr0 & (CR0_MP | CR0_TS) == CR0_MP | CR0_TS,
            M::Emms if cr0 & CR0_EM != 0 => return Err(Fault::UD),
            _ => cr0 & (CR0_EM | CR0_TS) != 0,
        };
        if absent {
            return Err(Fault::NM);
        }
        if matches!(mnemonic, M::Wait | M::Fldcw | M::Emms) && self.cpu.state.fsw & PENDING & 0xff != 0 {
            return Err(MF);
        }
        match mnemonic {
            M::Fninit => {
                let state = &mut self.cpu.state;
                (state.fcw, state.fsw, state.ftw) = (0x37f, 0, 0);
            }
            M::Fnclex => self.cpu.state.fsw &= 0x7f00,
            M::Fldcw => {
                let (segment, offset) = self.memory_operand();
                let value = u16::from_le_bytes(self.load(segment, offset)?);
                self.set_control(value);
            }
            M::Fnstcw => self.store_word(self.cpu.state.fcw)?,
            M::Fnstsw => self.store_word(self.cpu.state.fsw)?,
            M::Emms => {
                // As all of MMX does, it sets TOP to 0.
                self.cpu.state.fsw &= !TOP;
                self.cpu.state.ftw = 0;
            }
            M::Fxsave | M::Fxsave64 => self.fxsave()?,
            M::Fxrstor | M::Fxrstor64 => self.fxrstor()?,
            _ => {}
        }
        Ok(Flow::Next)
    }

    /// Sets the control word, and in the status word whether an exception is now unmasked.
    fn set_control(&mut self, value: u16) {
        let state = &mut self.cpu.state;
        state.fcw = value & CONTROL_MASK | CONTROL_FIXED;
        state.fsw &= !PENDING;
        if state.fsw & !state.fcw & 0x3f != 0 {
            state.fsw |= PENDING;
        }
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

    /// How many XMM registers the mode and CR4 let FXSAVE see.
    fn saved_vectors(&self) -> usize {
        let state = &self.cpu.state;
        match state.mode() {
            _ if state.cr4 & CR4_OSFXSR == 0 => 0,
            Mode::Long64 => 16,
            _ => 8,
        }
    }

    /// FXSAVE (SDM vol. 1, 10.5.1).
    fn fxsave(&mut self) -> Result<(), Fault> {
        let state = &self.cpu.state;
        let top = usize::from(state.fsw >> 11 & 7);
        let vectors = self.saved_vectors();
        let mut image = [0u128; 10 + 16];
        image[0] = u128::from(state.fcw) | u128::from(state.fsw) << 16 | u128::from(state.ftw) << 32;
        image[1] = u128::from(state.mxcsr) << 64 | u128::from(MXCSR_MASK) << 96;
        for i in 0..8 {
            image[2 + i] = state.st[(top + i) & 7] & ((1 << 80) - 1);
        }
        image[10..].copy_from_slice(&state.xmm);
        let (segment, offset) = self.memory_operand();
        self.cpu.state.linear(segment, offset, 1, Intent::Write)?;
        self.check_aligned(segment, offset, 16)?;
        // All of it must be writable before any of it is written.
        for i in [0, 31].into_iter().chain(1..31) {
            let (segment, offset) = self.memory_operand_plus(16 * i);
            self.load_for::<16>(segment, offset, Intent::Modify)?;
        }
        for (i, part) in image.iter().take(10 + vectors).enumerate() {
            let (segment, offset) = self.memory_operand_plus(16 * i as u64);
            self.store(segment, offset, part.to_le_bytes())?;
        }
        Ok(())
    }

    /// FXRSTOR.
    fn fxrstor(&mut self) -> Result<(), Fault> {
        let (segment, offset) = self.memory_operand();
        self.cpu.state.linear(segment, offset, 1, Intent::Read)?;
        self.check_aligned(segment, offset, 16)?;
        let mut image = [0u128; 32];
        for (i, part) in image.iter_mut().enumerate() {
            let (segment, offset) = self.memory_operand_plus(16 * i as u64);
            *part = u128::from_le_bytes(self.load(segment, offset)?);
        }
        let vectors = self.saved_vectors();
        let mxcsr = (image[1] >> 64) as u32;
        if vectors != 0 {
            if mxcsr & !MXCSR_MASK != 0 {
                return Err(Fault::gp(0));
            }
            self.cpu.state.mxcsr = mxcsr;
            self.cpu.state.xmm[..vectors].copy_from_slice(&image[10..10 + vectors]);
        }
        let state = &mut self.cpu.state;
        state.fsw = (image[0] >> 16) as u16;
        state.ftw = (image[0] >> 32) as u8;
        let top = usize::from(state.fsw >> 11 & 7);
        for i in 0..8 {
            state.st[(top + i) & 7] = image[2 + i] & ((1 << 80) - 1);
        }
        self.set_control(image[0] as u16);
        Ok(())
    }
}
