//! FXSAVE and FXRSTOR (SDM vol. 1, 10.5).

use crate::access::Intent;
use crate::bus::Bus;
use crate::exec::Exec;
use crate::exec::sse::MXCSR_MASK;
use crate::fault::Fault;
use crate::state::{Mode, cr4};

impl<B: Bus> Exec<'_, B> {
    /// How many XMM registers the mode and CR4 let FXSAVE see.
    fn saved_vectors(&self) -> usize {
        let state = &self.cpu.state;
        match state.mode() {
            _ if state.cr4 & cr4::OSFXSR == 0 => 0,
            Mode::Long64 => 16,
            _ => 8,
        }
    }

    /// FXSAVE (SDM vol. 1, 10.5.1).
    pub(super) fn fxsave(&mut self) -> Result<(), Fault> {
        let state = &self.cpu.state;
        let top = state.top();
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
    pub(super) fn fxrstor(&mut self) -> Result<(), Fault> {
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
        let top = state.top();
        for i in 0..8 {
            state.st[(top + i) & 7] = image[2 + i] & ((1 << 80) - 1);
        }
        state.set_control(image[0] as u16);
        Ok(())
    }
}
