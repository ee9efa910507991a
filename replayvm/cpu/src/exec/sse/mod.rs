//! SSE to SSE4.2 on XMM registers: which instruction is which, when it may run, and where its operands come from.
//!
//! What names an MMX register is in `mmx`. Prefetches, MOVNTI, POPCNT and CRC32 are with the integer instructions.

/// Blends, insertion, extraction, widening, and what else SSE4.1 has.
mod blend;
/// Floating-point arithmetic, compares and conversions, and the exceptions of MXCSR.
pub(super) mod float;
/// Floating-point operations by the host's own SSE2 under a given MXCSR.
pub(super) mod host;
/// Lanewise integer arithmetic.
pub(super) mod integer;
/// A vector as an array of lanes.
pub(super) mod lanes;
/// Loads, stores and moves between registers.
mod moves;
/// Two neighbours become one: packing, horizontal sums.
pub(super) mod pairs;
/// RCPPS, RSQRTPS and their scalar forms, by an algorithm of our own.
mod reciprocal;
/// Rounding to integers.
mod round;
/// Shifts.
pub(super) mod shift;
/// Shuffles, unpacking, alignment.
pub(super) mod shuffle;
/// Comparing strings.
mod strings;
/// Floating-point sums across a vector.
mod sums;

pub(crate) use moves::MXCSR_MASK;

use iced_x86::{Code, Mnemonic, OpKind, Register};

use crate::bus::Bus;
use crate::exec::{Exec, Flow};
use crate::fault::Fault;

/// CR0.EM.
const CR0_EM: u64 = 1 << 2;
/// CR0.TS.
const CR0_TS: u64 = 1 << 3;
/// CR4.OSFXSR.
const CR4_OSFXSR: u64 = 1 << 9;
/// CR4.OSXMMEXCPT.
const CR4_OSXMMEXCPT: u64 = 1 << 10;

impl<B: Bus> Exec<'_, B> {
    /// Executes an SSE or MMX instruction; #UD for anything else.
    pub(crate) fn sse(&mut self) -> Result<Flow, Fault> {
        use Mnemonic as M;
        match self.insn.mnemonic() {
            M::Lfence | M::Sfence | M::Mfence => return Ok(Flow::Next),
            M::Clflush => {
                let (segment, offset) = self.memory_operand();
                self.load::<1>(segment, offset)?;
                return Ok(Flow::Next);
            }
            _ => {}
        }
        if self.insn.op0_register().is_mm() || self.insn.op1_register().is_mm() {
            return self.mmx();
        }
        match self.insn.mnemonic() {
            M::Movaps | M::Movapd | M::Movdqa | M::Movups | M::Movupd | M::Movdqu => self.move_vector(),
            M::Movntps | M::Movntpd | M::Movntdq | M::Movntdqa => self.move_vector(),
            M::Movss | M::Movsd => self.move_scalar(),
            M::Movd | M::Movq => self.move_integer(),
            M::Movlps | M::Movlpd => self.move_low(),
            M::Movhps | M::Movhpd => self.move_high(),
            M::Movhlps => self.binary(|a, b| moves::both(b >> 64, a >> 64)),
            M::Movlhps => self.binary(moves::both),
            M::Movmskps => self.mask_of(32),
            M::Movmskpd => self.mask_of(64),
            M::Pmovmskb => self.mask_of(8),
            M::Maskmovdqu => self.masked_store(),
            M::Pinsrb => self.insert(8),
            M::Pinsrw => self.insert(16),
            M::Pinsrd => self.insert(32),
            M::Pinsrq => self.insert(64),
            M::Pextrb => self.extract(8),
            M::Pextrw => self.extract(16),
            M::Pextrd | M::Extractps => self.extract(32),
            M::Pextrq => self.extract(64),
            M::Insertps => self.insert_single(),
            M::Lddqu => self.load_unaligned(),
            M::Movddup => self.binary(|_, b| moves::both(b, b)),
            M::Movsldup => self.binary(|_, b| shuffle::movsldup(b)),
            M::Movshdup => self.binary(|_, b| shuffle::movshdup(b)),
            M::Ldmxcsr => self.load_mxcsr(),
            M::Stmxcsr => self.store_mxcsr(),

            M::Andps | M::Andpd | M::Pand => self.binary(|a, b| a & b),
            M::Andnps | M::Andnpd | M::Pandn => self.binary(|a, b| !a & b),
            M::Orps | M::Orpd | M::Por => self.binary(|a, b| a | b),
            M::Xorps | M::Xorpd | M::Pxor => self.binary(|a, b| a ^ b),

            M::Shufps => self.binary_immediate(shuffle::shufps),
            M::Shufpd => self.binary_immediate(shuffle::shufpd),
            M::Pshufd => self.binary_immediate(|_, b, order| shuffle::pshufd(b, order)),
            M::Pshuflw => self.binary_immediate(|_, b, order| shuffle::pshuflw(b, order)),
            M::Pshufhw => self.binary_immediate(|_, b, order| shuffle::pshufhw(b, order)),
            M::Unpcklps | M::Punpckldq => self.binary(shuffle::unpack_low::<u32, 4>),
            M::Unpckhps | M::Punpckhdq => self.binary(shuffle::unpack_high::<u32, 4>),
            M::Unpcklpd | M::Punpcklqdq => self.binary(shuffle::unpack_low::<u64, 2>),
            M::Unpckhpd | M::Punpckhqdq => self.binary(shuffle::unpack_high::<u64, 2>),
            M::Punpcklbw => self.binary(shuffle::unpack_low::<u8, 16>),
            M::Punpckhbw => self.binary(shuffle::unpack_high::<u8, 16>),
            M::Punpcklwd => self.binary(shuffle::unpack_low::<u16, 8>),
            M::Punpckhwd => self.binary(shuffle::unpack_high::<u16, 8>),
            M::Pshufb => self.binary(shuffle::pshufb),
            M::Palignr => self.binary_immediate(shuffle::palignr),
            M::Blendps => self.binary_immediate(blend::blendps),
            M::Blendpd => self.binary_immediate(blend::blendpd),
            M::Pblendw => self.binary_immediate(blend::pblendw),
            M::Pblendvb | M::Blendvps | M::Blendvpd => self.blend_variable(),
            M::Ptest => self.test_vector(),
            M::Mpsadbw => self.binary_immediate(blend::mpsadbw),
            M::Phminposuw => self.binary(|_, b| blend::phminposuw(b)),
            M::Pcmpestri | M::Pcmpestri64 | M::Pcmpistri => self.compare_strings(),
            M::Pcmpestrm | M::Pcmpestrm64 | M::Pcmpistrm => self.compare_strings(),

            M::Addsubps | M::Addsubpd => self.add_and_subtract(),
            M::Haddps | M::Haddpd | M::Hsubps | M::Hsubpd => self.horizontal(),
            M::Dpps | M::Dppd => self.dot_product(),
            M::Roundps | M::Roundpd | M::Roundss | M::Roundsd => self.round(),
            M::Cvtpi2ps | M::Cvtpi2pd => self.mmx(),

            M::Rcpps => self.binary(|_, b| reciprocal::each(b, reciprocal::reciprocal)),
            M::Rsqrtps => self.binary(|_, b| reciprocal::each(b, reciprocal::reciprocal_root)),
            M::Rcpss => self.binary(|a, b| reciprocal::lowest(a, b, reciprocal::reciprocal)),
            M::Rsqrtss => self.binary(|a, b| reciprocal::lowest(a, b, reciprocal::reciprocal_root)),

            mnemonic => {
                let lanewise = integer::operation(mnemonic).or_else(|| pairs::operation(mnemonic));
                if let Some(operation) = lanewise.or_else(|| blend::widen(mnemonic)) {
                    self.binary(operation)
                } else if let Some(operation) = shift::operation(mnemonic) {
                    self.vector_shift(operation)
                } else {
                    self.float()
                }
            }
        }
    }

    /// #UD or #NM unless XMM registers may be used (SDM vol. 3, 13.1 and 2.5).
    pub(super) fn xmm_enabled(&self) -> Result<(), Fault> {
        let state = &self.cpu.state;
        if state.cr0 & CR0_EM != 0 || state.cr4 & CR4_OSFXSR == 0 {
            Err(Fault::UD)
        } else if state.cr0 & CR0_TS != 0 {
            Err(Fault::NM)
        } else {
            Ok(())
        }
    }

    /// #XM, or #UD if the operating system has not asked for it.
    fn simd_exception(&self) -> Fault {
        if self.cpu.state.cr4 & CR4_OSXMMEXCPT == 0 { Fault::UD } else { Fault::XM }
    }

    /// Loads a vector; #GP unless it is aligned.
    pub(super) fn load_aligned(&mut self, segment: Register, offset: u64) -> Result<u128, Fault> {
        self.check_aligned(segment, offset, 16)?;
        self.load(segment, offset).map(u128::from_le_bytes)
    }

    /// Stores a vector; #GP unless it is aligned.
    pub(super) fn store_aligned(&mut self, segment: Register, offset: u64, value: u128) -> Result<(), Fault> {
        self.check_aligned(segment, offset, 16)?;
        self.store(segment, offset, value.to_le_bytes())
    }

    /// Operand `i`: a register, or as many bytes of memory as the instruction reads, zero-extended. A whole vector in
    /// memory must be aligned.
    pub(super) fn vector(&mut self, i: u32) -> Result<u128, Fault> {
        if self.insn.op_kind(i) == OpKind::Register {
            let register = self.insn.op_register(i);
            return Ok(if register.is_xmm() {
                self.xmm(register)
            } else if register.is_mm() {
                u128::from(self.mm(register))
            } else {
                u128::from(self.gpr(register))
            });
        }
        let (segment, offset) = self.memory_operand();
        match self.insn.memory_size().size() {
            16 => self.load_aligned(segment, offset),
            8 => self.load(segment, offset).map(|b| u128::from(u64::from_le_bytes(b))),
            4 => self.load(segment, offset).map(|b| u128::from(u32::from_le_bytes(b))),
            2 => self.load(segment, offset).map(|b| u128::from(u16::from_le_bytes(b))),
            _ => self.load(segment, offset).map(|b| u128::from(u8::from_le_bytes(b))),
        }
    }

    /// Destination becomes `f` of destination and source.
    fn binary(&mut self, f: fn(u128, u128) -> u128) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        let source = self.vector(1)?;
        let destination = self.insn.op0_register();
        self.set_xmm(destination, f(self.xmm(destination), source));
        Ok(Flow::Next)
    }

    /// The same with an immediate byte.
    fn binary_immediate(&mut self, f: fn(u128, u128, u8) -> u128) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        let source = self.vector(1)?;
        let destination = self.insn.op0_register();
        self.set_xmm(destination, f(self.xmm(destination), source, self.insn.immediate8()));
        Ok(Flow::Next)
    }

    /// A shift, its count in a vector's low quadword or in an immediate.
    fn vector_shift(&mut self, f: fn(u128, u64) -> u128) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        let count = match self.insn.op1_kind() {
            OpKind::Immediate8 => u64::from(self.insn.immediate8()),
            _ => self.vector(1)? as u64,
        };
        let destination = self.insn.op0_register();
        self.set_xmm(destination, f(self.xmm(destination), count));
        Ok(Flow::Next)
    }

    /// Whether this is one of the codes given; for mnemonics that later extensions share.
    fn is_code(&self, codes: &[Code]) -> bool {
        codes.contains(&self.insn.code())
    }
}
