//! Loads, stores, moves between registers, and MXCSR.

use iced_x86::{Code, OpKind, Register};

use crate::access::Intent;
use crate::bus::Bus;
use crate::exec::{Exec, Flow};
use crate::fault::Fault;
use crate::flags::Width;

const LOW: u128 = u64::MAX as u128;
/// The bits of MXCSR that exist.
pub(crate) const MXCSR_MASK: u32 = 0xffff;

/// Two quadwords as one vector.
pub(super) fn both(low: u128, high: u128) -> u128 {
    low & LOW | high << 64
}

impl<B: Bus> Exec<'_, B> {
    /// MOVAPS, MOVAPD, MOVDQA, their unaligned and their non-temporal forms.
    pub(super) fn move_vector(&mut self) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        let aligned = !self.is_code(&[
            Code::Movups_xmm_xmmm128,
            Code::Movups_xmmm128_xmm,
            Code::Movupd_xmm_xmmm128,
            Code::Movupd_xmmm128_xmm,
            Code::Movdqu_xmm_xmmm128,
            Code::Movdqu_xmmm128_xmm,
        ]);
        let (segment, offset) = self.memory_operand();
        if self.insn.op0_kind() == OpKind::Memory {
            let value = self.xmm(self.insn.op1_register());
            if aligned {
                self.store_aligned(segment, offset, value)?;
            } else {
                self.store(segment, offset, value.to_le_bytes())?;
            }
            return Ok(Flow::Next);
        }
        let value = match self.insn.op1_kind() {
            OpKind::Memory if aligned => self.load_aligned(segment, offset)?,
            OpKind::Memory => u128::from_le_bytes(self.load(segment, offset)?),
            _ => self.xmm(self.insn.op1_register()),
        };
        self.set_xmm(self.insn.op0_register(), value);
        Ok(Flow::Next)
    }

    /// Stores the low bytes of a vector where the memory operand says, as many as it has.
    pub(in crate::exec) fn store_low(&mut self, value: u128) -> Result<Flow, Fault> {
        let (segment, offset) = self.memory_operand();
        let width = Width::of_bytes(self.insn.memory_size().size());
        self.store_sized(segment, offset, width, value as u64)?;
        Ok(Flow::Next)
    }

    /// MOVSS and MOVSD: from memory the rest is cleared, from a register it stays.
    pub(super) fn move_scalar(&mut self) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        if self.insn.op0_kind() == OpKind::Memory {
            return self.store_low(self.xmm(self.insn.op1_register()));
        }
        let mut value = self.vector(1)?;
        let destination = self.insn.op0_register();
        if self.insn.op1_kind() == OpKind::Register {
            let single = self.is_code(&[Code::Movss_xmm_xmmm32, Code::Movss_xmmm32_xmm]);
            let mask = if single { u128::from(u32::MAX) } else { LOW };
            value = self.xmm(destination) & !mask | value & mask;
        }
        self.set_xmm(destination, value);
        Ok(Flow::Next)
    }

    /// MOVD and MOVQ: the rest of an XMM destination is cleared.
    pub(super) fn move_integer(&mut self) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        if self.insn.op0_kind() == OpKind::Memory {
            return self.store_low(self.xmm(self.insn.op1_register()));
        }
        let value = self.vector(1)?;
        let destination = self.insn.op0_register();
        if destination.is_xmm() {
            self.set_xmm(destination, value & LOW);
        } else {
            self.set_gpr(destination, value as u64);
        }
        Ok(Flow::Next)
    }

    /// MOVLPS and MOVLPD.
    pub(super) fn move_low(&mut self) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        if self.insn.op0_kind() == OpKind::Memory {
            return self.store_low(self.xmm(self.insn.op1_register()));
        }
        let value = self.vector(1)?;
        let destination = self.insn.op0_register();
        self.set_xmm(destination, both(value, self.xmm(destination) >> 64));
        Ok(Flow::Next)
    }

    /// MOVHPS and MOVHPD.
    pub(super) fn move_high(&mut self) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        if self.insn.op0_kind() == OpKind::Memory {
            return self.store_low(self.xmm(self.insn.op1_register()) >> 64);
        }
        let value = self.vector(1)?;
        let destination = self.insn.op0_register();
        self.set_xmm(destination, both(self.xmm(destination), value));
        Ok(Flow::Next)
    }

    /// MOVMSKPS, MOVMSKPD and PMOVMSKB: the top bit of each lane.
    pub(super) fn mask_of(&mut self, lane_bits: u32) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        let value = self.vector(1)?;
        let mask = (0..128 / lane_bits)
            .fold(0, |all, i| all | ((value >> (lane_bits * (i + 1) - 1)) as u64 & 1) << i);
        self.set_gpr(self.insn.op0_register(), mask);
        Ok(Flow::Next)
    }

    /// MASKMOVDQU: the bytes whose mask has its top bit set.
    pub(super) fn masked_store(&mut self) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        // To the decoder the memory is the first operand.
        let source = self.xmm(self.insn.op1_register()).to_le_bytes();
        let mask = self.xmm(self.insn.op2_register()).to_le_bytes();
        let (segment, offset) = self.effective_address(0);
        let mut bytes: [u8; 16] = self.load_for(segment, offset, Intent::Modify)?;
        for (byte, (source, mask)) in bytes.iter_mut().zip(source.iter().zip(mask)) {
            if mask & 0x80 != 0 {
                *byte = *source;
            }
        }
        self.store(segment, offset, bytes)?;
        Ok(Flow::Next)
    }

    /// LDMXCSR: #GP for a bit that does not exist.
    pub(super) fn load_mxcsr(&mut self) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        let value = self.vector(0)? as u32;
        if value & !MXCSR_MASK != 0 {
            return Err(Fault::gp(0));
        }
        self.cpu.state.mxcsr = value;
        Ok(Flow::Next)
    }

    /// STMXCSR.
    pub(super) fn store_mxcsr(&mut self) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        let value = self.cpu.state.mxcsr;
        let (segment, offset): (Register, u64) = self.memory_operand();
        self.store(segment, offset, value.to_le_bytes())?;
        Ok(Flow::Next)
    }
}
