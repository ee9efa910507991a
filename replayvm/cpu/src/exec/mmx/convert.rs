//! Conversions between integers in MMX registers and floating-point numbers in XMM registers, by the packed conversions
//! of SSE2. The lanes that do not take part hold zeros, which convert without exceptions.
//!
//! As the profile's processor has it, an exception of MXCSR is raised in MMX mode already, and with the source in memory
//! the conversions to XMM registers have nothing to do with MMX.

use iced_x86::{Mnemonic as M, OpKind};

use super::super::sse::{float, host};
use crate::bus::Bus;
use crate::exec::{Exec, Flow};
use crate::fault::Fault;

const LOW: u128 = u64::MAX as u128;

impl<B: Bus> Exec<'_, B> {
    /// CVTPI2PS: the high half of the destination stays.
    pub(super) fn convert_to_singles(&mut self) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        let in_memory = self.insn.op1_kind() == OpKind::Memory;
        if !in_memory {
            self.mmx_enabled()?;
        }
        let source = self.short_vector(1)?;
        let destination = self.insn.op0_register();
        let (result, flags) = self.computed(host::cvtdq2ps, float::KEPT, 0, source.into());
        if !in_memory {
            self.enter_mmx()?;
        }
        self.note_or_raise(flags)?;
        self.set_xmm(destination, self.xmm(destination) & !LOW | result & LOW);
        Ok(Flow::Next)
    }

    /// CVTPI2PD: exact.
    pub(super) fn convert_to_doubles(&mut self) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        let in_memory = self.insn.op1_kind() == OpKind::Memory;
        if !in_memory {
            self.mmx_enabled()?;
        }
        let source = self.short_vector(1)?;
        let (result, _) = self.computed(host::cvtdq2pd, float::KEPT, 0, source.into());
        self.set_xmm(self.insn.op0_register(), result);
        if in_memory { Ok(Flow::Next) } else { self.enter_mmx() }
    }

    /// CVTPS2PI, CVTTPS2PI, CVTPD2PI, CVTTPD2PI.
    pub(super) fn convert_to_integers(&mut self) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        self.mmx_enabled()?;
        let source = self.vector(1)?;
        let (operation, source): (host::Operation, u128) = match self.insn.mnemonic() {
            M::Cvtps2pi => (host::cvtps2dq, source & LOW),
            M::Cvttps2pi => (host::cvttps2dq, source & LOW),
            M::Cvtpd2pi => (host::cvtpd2dq, source),
            _ => (host::cvttpd2dq, source),
        };
        let (result, flags) = self.computed(operation, float::KEPT, 0, source);
        self.enter_mmx()?;
        self.note_or_raise(flags)?;
        self.set_mm(self.insn.op0_register(), result as u64);
        Ok(Flow::Next)
    }
}
