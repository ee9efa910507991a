//! MMX: vectors of 64 bits in the x87's registers (SDM vol. 1, chapter 9; vol. 3, chapter 12), with what SSE, SSE2 and
//! SSSE3 have added to it. EMMS is with the x87.
//!
//! MM0 to MM7 are the fractions of R0 to R7, whatever TOP is. Every instruction here sets TOP to 0 and marks all
//! registers as in use; one that writes an MMX register sets its exponent and sign to ones.

/// Conversions between integers in MMX registers and floating-point numbers in XMM registers.
mod convert;

use iced_x86::{Mnemonic, OpKind, Register};

use super::sse::{integer, pairs, shift, shuffle};
use crate::access::Intent;
use crate::bus::Bus;
use crate::exec::{Exec, Flow};
use crate::fault::Fault;
use crate::state::cr0;

/// FSW: the top of the stack.
const TOP: u16 = 0x3800;
/// Sign and exponent of a register that MMX has written.
const ABOVE: u128 = 0xffff << 64;

impl<B: Bus> Exec<'_, B> {
    /// Executes an instruction that has an MMX operand; #UD for one that is not of MMX.
    pub(super) fn mmx(&mut self) -> Result<Flow, Fault> {
        use Mnemonic as M;
        match self.insn.mnemonic() {
            M::Movd | M::Movq | M::Movntq => self.move_mm(),
            M::Maskmovq => self.masked_store_mm(),
            M::Movq2dq => self.move_to_xmm(),
            M::Movdq2q => self.move_from_xmm(),
            M::Pmovmskb => self.mask_of_mm(),
            M::Pinsrw => self.insert_word_mm(),
            M::Pextrw => self.extract_word_mm(),

            M::Pand => self.binary_mm(|a, b| a & b),
            M::Pandn => self.binary_mm(|a, b| !a & b),
            M::Por => self.binary_mm(|a, b| a | b),
            M::Pxor => self.binary_mm(|a, b| a ^ b),
            M::Punpcklbw => self.binary_mm(|a, b| shuffle::unpack_low::<u8, 16>(a.into(), b.into()) as u64),
            M::Punpcklwd => self.binary_mm(|a, b| shuffle::unpack_low::<u16, 8>(a.into(), b.into()) as u64),
            M::Punpckldq => self.binary_mm(|a, b| shuffle::unpack_low::<u32, 4>(a.into(), b.into()) as u64),
            M::Punpckhbw => {
                self.binary_mm(|a, b| (shuffle::unpack_low::<u8, 16>(a.into(), b.into()) >> 64) as u64)
            }
            M::Punpckhwd => {
                self.binary_mm(|a, b| (shuffle::unpack_low::<u16, 8>(a.into(), b.into()) >> 64) as u64)
            }
            M::Punpckhdq => {
                self.binary_mm(|a, b| (shuffle::unpack_low::<u32, 4>(a.into(), b.into()) >> 64) as u64)
            }
            M::Pshufb => self.binary_mm(|a, b| {
                // Of an index four bits count elsewhere, three here.
                shuffle::pshufb(a.into(), u128::from(b & 0x8787_8787_8787_8787)) as u64
            }),
            M::Pshufw => {
                let order = self.insn.immediate8();
                self.binary_mm(|_, b| shuffle::pshuflw(b.into(), order) as u64)
            }
            M::Palignr => {
                let bits = u32::from(self.insn.immediate8()) * 8;
                self.binary_mm(|a, b| {
                    (u128::from(b) | u128::from(a) << 64).checked_shr(bits).unwrap_or(0) as u64
                })
            }

            M::Cvtpi2ps => self.convert_to_singles(),
            M::Cvtpi2pd => self.convert_to_doubles(),
            M::Cvtps2pi | M::Cvttps2pi | M::Cvtpd2pi | M::Cvttpd2pi => self.convert_to_integers(),

            mnemonic => {
                if let Some(operation) = shift::operation(mnemonic) {
                    self.shift_mm(operation)
                } else if let Some(operation) = integer::operation(mnemonic) {
                    self.binary_mm(|a, b| operation(a.into(), b.into()) as u64)
                } else if let Some(operation) = pairs::operation(mnemonic) {
                    self.binary_mm(|a, b| pairs::short(operation, a, b))
                } else {
                    Err(Fault::UD)
                }
            }
        }
    }

    /// An MMX register; zero for any other.
    pub(super) fn mm(&self, register: Register) -> u64 {
        let number = (register as usize).wrapping_sub(Register::MM0 as usize);
        self.cpu.state.st.get(number).map_or(0, |&image| image as u64)
    }

    /// Writes an MMX register.
    fn set_mm(&mut self, register: Register, value: u64) {
        let number = (register as usize).wrapping_sub(Register::MM0 as usize);
        if let Some(image) = self.cpu.state.st.get_mut(number) {
            *image = ABOVE | u128::from(value);
        }
    }

    /// #UD, #NM or #MF unless MMX may be used.
    fn mmx_enabled(&self) -> Result<(), Fault> {
        let state = &self.cpu.state;
        if state.cr0 & cr0::EM != 0 {
            Err(Fault::UD)
        } else if state.cr0 & cr0::TS != 0 {
            Err(Fault::NM)
        } else {
            self.x87_wait()
        }
    }

    /// From x87 to MMX mode: what every MMX instruction does when it completes.
    fn enter_mmx(&mut self) -> Result<Flow, Fault> {
        self.cpu.state.fsw &= !TOP;
        self.cpu.state.ftw = 0xff;
        Ok(Flow::Next)
    }

    /// Operand `i`: a register, or as many bytes of memory as the instruction reads.
    fn short_vector(&mut self, i: u32) -> Result<u64, Fault> {
        self.vector(i).map(|value| value as u64)
    }

    /// Destination becomes `f` of destination and source.
    fn binary_mm(&mut self, f: impl FnOnce(u64, u64) -> u64) -> Result<Flow, Fault> {
        self.mmx_enabled()?;
        let source = self.short_vector(1)?;
        let destination = self.insn.op0_register();
        self.set_mm(destination, f(self.mm(destination), source));
        self.enter_mmx()
    }

    /// A shift, its count in a register, in memory or in an immediate.
    fn shift_mm(&mut self, f: fn(u128, u64) -> u128) -> Result<Flow, Fault> {
        self.mmx_enabled()?;
        let count = match self.insn.op1_kind() {
            OpKind::Immediate8 => u64::from(self.insn.immediate8()),
            _ => self.short_vector(1)?,
        };
        let destination = self.insn.op0_register();
        self.set_mm(destination, f(self.mm(destination).into(), count) as u64);
        self.enter_mmx()
    }

    /// MOVD, MOVQ, MOVNTQ.
    fn move_mm(&mut self) -> Result<Flow, Fault> {
        self.mmx_enabled()?;
        let destination = self.insn.op0_register();
        if self.insn.op0_kind() == OpKind::Memory {
            self.store_low(self.mm(self.insn.op1_register()).into())?;
        } else {
            let value = self.short_vector(1)?;
            if destination.is_mm() {
                self.set_mm(destination, value);
            } else {
                self.set_gpr(destination, value);
            }
        }
        self.enter_mmx()
    }

    /// MOVQ2DQ.
    fn move_to_xmm(&mut self) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        self.mmx_enabled()?;
        self.set_xmm(self.insn.op0_register(), self.mm(self.insn.op1_register()).into());
        self.enter_mmx()
    }

    /// MOVDQ2Q.
    fn move_from_xmm(&mut self) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        self.mmx_enabled()?;
        self.set_mm(self.insn.op0_register(), self.xmm(self.insn.op1_register()) as u64);
        self.enter_mmx()
    }

    /// MASKMOVQ: the bytes whose mask has its top bit set. The profile's processor is in MMX mode
    /// even if the store faults.
    fn masked_store_mm(&mut self) -> Result<Flow, Fault> {
        self.mmx_enabled()?;
        // To the decoder the memory is the first operand.
        let source = self.mm(self.insn.op1_register()).to_le_bytes();
        let mask = self.mm(self.insn.op2_register()).to_le_bytes();
        let (segment, offset) = self.effective_address(0);
        self.enter_mmx()?;
        let mut bytes: [u8; 8] = self.load_for(segment, offset, Intent::Modify)?;
        for (byte, (source, mask)) in bytes.iter_mut().zip(source.iter().zip(mask)) {
            if mask & 0x80 != 0 {
                *byte = *source;
            }
        }
        self.store(segment, offset, bytes)?;
        Ok(Flow::Next)
    }

    /// PMOVMSKB.
    fn mask_of_mm(&mut self) -> Result<Flow, Fault> {
        self.mmx_enabled()?;
        let bytes = self.mm(self.insn.op1_register()).to_le_bytes();
        let mask = bytes.iter().rev().fold(0, |mask, byte| mask << 1 | u64::from(byte >> 7));
        self.set_gpr(self.insn.op0_register(), mask);
        self.enter_mmx()
    }

    /// PINSRW.
    fn insert_word_mm(&mut self) -> Result<Flow, Fault> {
        self.mmx_enabled()?;
        let word = self.short_vector(1)? & 0xffff;
        let shift = u32::from(self.insn.immediate8() & 3) * 16;
        let destination = self.insn.op0_register();
        let rest = self.mm(destination) & !(0xffff << shift);
        self.set_mm(destination, rest | word << shift);
        self.enter_mmx()
    }

    /// PEXTRW.
    fn extract_word_mm(&mut self) -> Result<Flow, Fault> {
        self.mmx_enabled()?;
        let shift = u32::from(self.insn.immediate8() & 3) * 16;
        let word = self.mm(self.insn.op1_register()) >> shift & 0xffff;
        self.set_gpr(self.insn.op0_register(), word);
        self.enter_mmx()
    }
}
