//! SSE4.1 and SSSE3 beyond arithmetic on lanes: blends, insertion and extraction, widening, PTEST, MPSADBW, PHMINPOSUW.

use iced_x86::{Mnemonic as M, OpKind};

use super::lanes::{Lane, join, split};
use super::sums::lanes;
use crate::bus::Bus;
use crate::exec::{Exec, Flow};
use crate::fault::Fault;
use crate::flags::Rflags;

/// The source where `mask` is set, else the destination.
fn chosen(a: u128, b: u128, mask: u128) -> u128 {
    a & !mask | b & mask
}

pub(super) fn blendps(a: u128, b: u128, which: u8) -> u128 {
    chosen(a, b, lanes::<4>(which))
}

pub(super) fn blendpd(a: u128, b: u128, which: u8) -> u128 {
    chosen(a, b, lanes::<2>(which))
}

pub(super) fn pblendw(a: u128, b: u128, which: u8) -> u128 {
    chosen(a, b, lanes::<8>(which))
}

/// Lanes widened, as many as fit: PMOVSXxx and PMOVZXxx.
pub(super) fn widen(mnemonic: M) -> Option<fn(u128, u128) -> u128> {
    fn wide<T: Lane + Into<U>, U: Lane, const N: usize, const K: usize>(vector: u128) -> u128 {
        let from = split::<T, N>(vector);
        join::<U, K>(std::array::from_fn(|i| from[i].into()))
    }
    Some(match mnemonic {
        M::Pmovsxbw => |_, b| wide::<i8, i16, 16, 8>(b),
        M::Pmovsxbd => |_, b| wide::<i8, i32, 16, 4>(b),
        M::Pmovsxbq => |_, b| wide::<i8, i64, 16, 2>(b),
        M::Pmovsxwd => |_, b| wide::<i16, i32, 8, 4>(b),
        M::Pmovsxwq => |_, b| wide::<i16, i64, 8, 2>(b),
        M::Pmovsxdq => |_, b| wide::<i32, i64, 4, 2>(b),
        M::Pmovzxbw => |_, b| wide::<u8, u16, 16, 8>(b),
        M::Pmovzxbd => |_, b| wide::<u8, u32, 16, 4>(b),
        M::Pmovzxbq => |_, b| wide::<u8, u64, 16, 2>(b),
        M::Pmovzxwd => |_, b| wide::<u16, u32, 8, 4>(b),
        M::Pmovzxwq => |_, b| wide::<u16, u64, 8, 2>(b),
        M::Pmovzxdq => |_, b| wide::<u32, u64, 4, 2>(b),
        _ => return None,
    })
}

/// MPSADBW: eight sums of the absolute differences of four bytes of the source, which do not move, and four of the
/// destination, which move on by one byte a sum.
pub(super) fn mpsadbw(a: u128, b: u128, control: u8) -> u128 {
    let (a, b) = (split::<u8, 16>(a), split::<u8, 16>(b));
    let moving = usize::from(control >> 2 & 1) * 4;
    let fixed = usize::from(control & 3) * 4;
    join::<u16, 8>(std::array::from_fn(|sum| {
        (0..4).map(|i| u16::from(a[moving + sum + i].abs_diff(b[fixed + i]))).sum()
    }))
}

/// PHMINPOSUW: the least word, and above it the number of the first such one.
pub(super) fn phminposuw(b: u128) -> u128 {
    let words = split::<u16, 8>(b);
    let (at, least) = (0u32..).zip(words).min_by_key(|&(_, word)| word).unwrap_or_default();
    u128::from(least) | u128::from(at) << 16
}

/// INSERTPS, the element already taken: into the lane that bits 4 and 5 name, then zeros where bits 0 to 3 say so.
fn insertps(a: u128, element: u32, control: u8) -> u128 {
    let mut all = split::<u32, 4>(a);
    all[usize::from(control >> 4 & 3)] = element;
    join(all) & !lanes::<4>(control)
}

impl<B: Bus> Exec<'_, B> {
    /// PBLENDVB, BLENDVPS, BLENDVPD: by the top bits of the lanes of XMM0.
    pub(super) fn blend_variable(&mut self) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        let source = self.vector(1)?;
        let destination = self.insn.op0_register();
        let choice = self.cpu.state.xmm[0];
        let mask = match self.insn.mnemonic() {
            M::Pblendvb => join(split::<i8, 16>(choice).map(|x| x >> 7)),
            M::Blendvps => join(split::<i32, 4>(choice).map(|x| x >> 31)),
            _ => join(split::<i64, 2>(choice).map(|x| x >> 63)),
        };
        self.set_xmm(destination, chosen(self.xmm(destination), source, mask));
        Ok(Flow::Next)
    }

    /// PTEST.
    pub(super) fn test_vector(&mut self) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        let source = self.vector(1)?;
        let destination = self.xmm(self.insn.op0_register());
        let zero = if source & destination == 0 { Rflags::ZF.bits() } else { 0 };
        let carry = if source & !destination == 0 { Rflags::CF.bits() } else { 0 };
        self.set_arithmetic(zero | carry);
        Ok(Flow::Next)
    }

    /// INSERTPS.
    pub(super) fn insert_single(&mut self) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        let control = self.insn.immediate8();
        let mut source = self.vector(1)?;
        if self.insn.op1_kind() == OpKind::Register {
            source >>= 32 * u32::from(control >> 6);
        }
        let destination = self.insn.op0_register();
        self.set_xmm(destination, insertps(self.xmm(destination), source as u32, control));
        Ok(Flow::Next)
    }

    /// PINSRB, PINSRW, PINSRD, PINSRQ: a lane of so many bits.
    pub(super) fn insert(&mut self, lane_bits: u32) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        let lane = u128::MAX >> (128 - lane_bits);
        let value = self.vector(1)? & lane;
        let shift = u32::from(self.insn.immediate8()) % (128 / lane_bits) * lane_bits;
        let destination = self.insn.op0_register();
        let rest = self.xmm(destination) & !(lane << shift);
        self.set_xmm(destination, rest | value << shift);
        Ok(Flow::Next)
    }

    /// PEXTRB, PEXTRW, PEXTRD, PEXTRQ, EXTRACTPS: a lane of so many bits, zero-extended in a register.
    pub(super) fn extract(&mut self, lane_bits: u32) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        let shift = u32::from(self.insn.immediate8()) % (128 / lane_bits) * lane_bits;
        let value = (self.xmm(self.insn.op1_register()) >> shift) & (u128::MAX >> (128 - lane_bits));
        if self.insn.op0_kind() == OpKind::Memory {
            return self.store_low(value);
        }
        self.set_gpr(self.insn.op0_register(), value as u64);
        Ok(Flow::Next)
    }

    /// LDDQU: a load that need not be aligned.
    pub(super) fn load_unaligned(&mut self) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        let (segment, offset) = self.memory_operand();
        let value = self.load(segment, offset)?;
        self.set_xmm(self.insn.op0_register(), u128::from_le_bytes(value));
        Ok(Flow::Next)
    }
}
