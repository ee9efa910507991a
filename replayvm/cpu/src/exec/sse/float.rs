//! Floating-point arithmetic, compares and conversions: choosing the host operation, and the exceptions of MXCSR.

use iced_x86::Mnemonic as M;

use super::host::{self, MASKS, Operation};
use crate::bus::Bus;
use crate::exec::{Exec, Flow};
use crate::fault::Fault;

/// MXCSR: exception flags, in the order of their masks at bit 7.
const FLAGS: u32 = 0x3f;
/// IE, DE and ZE: found before an operation computes anything.
const BEFORE: u32 = 0x07;
pub(super) const INVALID: u32 = 1;
const DENORMAL: u32 = 1 << 1;
const OVERFLOW: u32 = 1 << 3;
const UNDERFLOW: u32 = 1 << 4;
pub(super) const INEXACT: u32 = 1 << 5;
const UNDERFLOW_MASK: u32 = 1 << 11;
const FLUSH_TO_ZERO: u32 = 1 << 15;
/// DAZ, rounding control and FTZ: what a result depends on.
const CONTROL: u32 = 0xe040;

/// Whether a result can leave the range of its format, and how.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::exec) enum Range {
    /// It cannot, or its operation does not say so.
    Kept,
    /// Addition and subtraction: too large, or too small but exact.
    Sum,
    /// Multiplication and division: exact or not whatever the exponents are.
    Product,
    /// Double to single precision.
    Narrowed,
}

/// The lanes of an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::exec) struct Shape {
    range: Range,
    /// How many.
    lanes: u32,
    /// Bits of a lane of the source, and of the result.
    source: u32,
    result: u32,
}

const fn shape(range: Range, lanes: u32, source: u32, result: u32) -> Shape {
    Shape { range, lanes, source, result }
}

pub(super) const SUM_SS: Shape = shape(Range::Sum, 1, 32, 32);
pub(super) const SUM_SD: Shape = shape(Range::Sum, 1, 64, 64);
pub(super) const SUM_PS: Shape = shape(Range::Sum, 4, 32, 32);
pub(super) const SUM_PD: Shape = shape(Range::Sum, 2, 64, 64);
const PRODUCT_SS: Shape = shape(Range::Product, 1, 32, 32);
const PRODUCT_SD: Shape = shape(Range::Product, 1, 64, 64);
pub(super) const PRODUCT_PS: Shape = shape(Range::Product, 4, 32, 32);
pub(super) const PRODUCT_PD: Shape = shape(Range::Product, 2, 64, 64);
/// What stays within its range.
pub(in crate::exec) const KEPT: Shape = shape(Range::Kept, 0, 32, 32);

/// Where a result goes.
#[derive(Clone, Copy)]
enum To {
    Vector,
    Integer,
    Flags,
}

impl<B: Bus> Exec<'_, B> {
    /// The operation of a floating-point instruction. `None` if it is not one.
    fn float_operation(&self) -> Option<(Operation, Shape, To)> {
        let kept = KEPT;
        let predicate = usize::from(self.insn.immediate8() & 7);
        // Conversions from and to general registers: whether the register, or the integer in memory, has 64 bits.
        let wide_source = self.operand_size(1) == 8;
        let wide_result = self.insn.op0_register().size() == 8;
        let vector = |operation: Operation| (operation, kept, To::Vector);
        let either = |wide: bool, long: Operation, short: Operation| if wide { long } else { short };
        Some(match self.insn.mnemonic() {
            M::Addss => (host::addss, SUM_SS, To::Vector),
            M::Addsd => (host::addsd, SUM_SD, To::Vector),
            M::Addps => (host::addps, SUM_PS, To::Vector),
            M::Addpd => (host::addpd, SUM_PD, To::Vector),
            M::Subss => (host::subss, SUM_SS, To::Vector),
            M::Subsd => (host::subsd, SUM_SD, To::Vector),
            M::Subps => (host::subps, SUM_PS, To::Vector),
            M::Subpd => (host::subpd, SUM_PD, To::Vector),
            M::Mulss => (host::mulss, PRODUCT_SS, To::Vector),
            M::Mulsd => (host::mulsd, PRODUCT_SD, To::Vector),
            M::Mulps => (host::mulps, PRODUCT_PS, To::Vector),
            M::Mulpd => (host::mulpd, PRODUCT_PD, To::Vector),
            M::Divss => (host::divss, PRODUCT_SS, To::Vector),
            M::Divsd => (host::divsd, PRODUCT_SD, To::Vector),
            M::Divps => (host::divps, PRODUCT_PS, To::Vector),
            M::Divpd => (host::divpd, PRODUCT_PD, To::Vector),
            M::Minss => vector(host::minss),
            M::Minsd => vector(host::minsd),
            M::Minps => vector(host::minps),
            M::Minpd => vector(host::minpd),
            M::Maxss => vector(host::maxss),
            M::Maxsd => vector(host::maxsd),
            M::Maxps => vector(host::maxps),
            M::Maxpd => vector(host::maxpd),
            M::Sqrtss => vector(host::sqrtss),
            M::Sqrtsd => vector(host::sqrtsd),
            M::Sqrtps => vector(host::sqrtps),
            M::Sqrtpd => vector(host::sqrtpd),
            M::Cmpss => vector(host::CMPSS[predicate]),
            M::Cmpsd => vector(host::CMPSD[predicate]),
            M::Cmpps => vector(host::CMPPS[predicate]),
            M::Cmppd => vector(host::CMPPD[predicate]),
            M::Cvtss2sd => vector(host::cvtss2sd),
            M::Cvtps2pd => vector(host::cvtps2pd),
            M::Cvtsd2ss => (host::cvtsd2ss, shape(Range::Narrowed, 1, 64, 32), To::Vector),
            M::Cvtpd2ps => (host::cvtpd2ps, shape(Range::Narrowed, 2, 64, 32), To::Vector),
            M::Cvtdq2ps => vector(host::cvtdq2ps),
            M::Cvtdq2pd => vector(host::cvtdq2pd),
            M::Cvtps2dq => vector(host::cvtps2dq),
            M::Cvttps2dq => vector(host::cvttps2dq),
            M::Cvtpd2dq => vector(host::cvtpd2dq),
            M::Cvttpd2dq => vector(host::cvttpd2dq),
            M::Cvtsi2ss => vector(either(wide_source, host::cvtsi2ss_64, host::cvtsi2ss_32)),
            M::Cvtsi2sd => vector(either(wide_source, host::cvtsi2sd_64, host::cvtsi2sd_32)),
            M::Cvtss2si => (either(wide_result, host::cvtss2si_64, host::cvtss2si_32), kept, To::Integer),
            M::Cvttss2si => (either(wide_result, host::cvttss2si_64, host::cvttss2si_32), kept, To::Integer),
            M::Cvtsd2si => (either(wide_result, host::cvtsd2si_64, host::cvtsd2si_32), kept, To::Integer),
            M::Cvttsd2si => (either(wide_result, host::cvttsd2si_64, host::cvttsd2si_32), kept, To::Integer),
            M::Comiss => (host::comiss, kept, To::Flags),
            M::Comisd => (host::comisd, kept, To::Flags),
            M::Ucomiss => (host::ucomiss, kept, To::Flags),
            M::Ucomisd => (host::ucomisd, kept, To::Flags),
            _ => return None,
        })
    }

    /// Executes a floating-point instruction; #UD for anything else. An unmasked exception sets its flag in MXCSR and
    /// changes nothing else.
    pub(super) fn float(&mut self) -> Result<Flow, Fault> {
        let Some((operation, shape, to)) = self.float_operation() else { return Err(Fault::UD) };
        self.xmm_enabled()?;
        let source = self.vector(1)?;
        let destination = self.insn.op0_register();
        let first = self.xmm(destination);
        let (result, flags) = self.computed(operation, shape, first, source);
        self.note_or_raise(flags)?;
        match to {
            To::Vector => self.set_xmm(destination, result),
            To::Integer => self.set_gpr(destination, result as u64),
            To::Flags => self.set_arithmetic(result as u64),
        }
        Ok(Flow::Next)
    }

    /// What an operation gives, and the exceptions it raises, as the guest's masks have it.
    pub(in crate::exec) fn computed(
        &self,
        operation: Operation,
        shape: Shape,
        a: u128,
        b: u128,
    ) -> (u128, u32) {
        let (result, mut flags) = self.under_mxcsr(operation, a, b);
        let trapped = !(self.cpu.state.mxcsr >> 7);
        if shape.range != Range::Kept && trapped & (OVERFLOW | UNDERFLOW) != 0 {
            flags = self.flags_lane_by_lane(operation, shape, a, b);
        }
        (result, flags)
    }

    /// Sets exception flags in MXCSR. If one of them is not masked it is to be raised.
    pub(in crate::exec) fn note_or_raise(&mut self, flags: u32) -> Result<(), Fault> {
        let unmasked = flags & !(self.cpu.state.mxcsr >> 7);
        // Nothing was computed if the operands were refused.
        self.cpu.state.mxcsr |= if unmasked & BEFORE != 0 { flags & BEFORE } else { flags };
        if unmasked != 0 { Err(self.simd_exception()) } else { Ok(()) }
    }

    /// Operates as the guest's MXCSR says, with all exceptions masked: the result, and the exception flags raised.
    fn under_mxcsr(&self, operation: Operation, a: u128, b: u128) -> (u128, u32) {
        let guest = self.cpu.state.mxcsr;
        let mut control = guest & CONTROL | MASKS;
        if guest & UNDERFLOW_MASK == 0 {
            // FTZ is for masked underflow alone.
            control &= !FLUSH_TO_ZERO;
        }
        let (result, after) = operation(a, b, control);
        (result, after & FLAGS)
    }

    /// The exception flags where overflow or underflow is unmasked. They differ from the masked ones in two ways: a
    /// result that is too small is an underflow even if it is exact, and whether it is exact (PE) is asked of the result
    /// with an exponent without bounds (SDM vol. 1, 4.9.1.4 and 4.9.1.5).
    fn flags_lane_by_lane(&self, operation: Operation, shape: Shape, a: u128, b: u128) -> u32 {
        let trapped = !(self.cpu.state.mxcsr >> 7);
        (0..shape.lanes).fold(0, |all, lane| {
            let [a, b] = [a, b].map(|v| shape.only(v >> (lane * shape.source)));
            let (result, mut flags) = self.under_mxcsr(operation, a, b);
            let is_tiny = shape.is_denormal(result) && flags & BEFORE & !DENORMAL == 0;
            if is_tiny && trapped & UNDERFLOW != 0 {
                flags |= UNDERFLOW;
            }
            if flags & trapped & (OVERFLOW | UNDERFLOW) != 0 {
                let [a, b] = [a, b].map(|v| shape.scaled(v));
                let inexact = match shape.range {
                    Range::Sum if flags & UNDERFLOW != 0 => 0,
                    _ => self.under_mxcsr(operation, a, b).1 & INEXACT,
                };
                flags = flags & !INEXACT | inexact;
            }
            all | flags
        })
    }
}

impl Shape {
    /// Bits of the fraction of a source lane.
    fn fraction_bits(self) -> u32 {
        if self.source == 32 { 23 } else { 52 }
    }

    /// The lowest lane alone, ones in the others: no operation here raises anything on ones.
    fn only(self, vector: u128) -> u128 {
        if self.source == 32 {
            0x3f80_0000_3f80_0000_3f80_0000 << 32 | vector & 0xffff_ffff
        } else {
            0x3ff0_0000_0000_0000 << 64 | vector & 0xffff_ffff_ffff_ffff
        }
    }

    /// Whether the lowest lane of a result is denormal.
    fn is_denormal(self, vector: u128) -> bool {
        if self.result == 32 {
            vector & 0x7f80_0000 == 0 && vector & 0x7f_ffff != 0
        } else {
            vector & 0x7ff0_0000_0000_0000 == 0 && vector & 0xf_ffff_ffff_ffff != 0
        }
    }

    /// The lowest lane, finite and not zero, with an exponent at which nothing leaves the range and the result has the
    /// same digits.
    fn scaled(self, vector: u128) -> u128 {
        let fraction_bits = self.fraction_bits();
        let lane = vector & (u128::MAX >> (128 - self.source));
        let one: u128 = 1 << fraction_bits;
        let exponents = (1u128 << (self.source - 1)) - one;
        let (sign, exponent, fraction) = (lane >> (self.source - 1), lane & exponents, lane & (one - 1));
        let magnitude = if self.range == Range::Sum {
            // Far below its neighbour it stays what it was: lost in rounding either way.
            let less = exponent.wrapping_sub(64 * one);
            (if exponent > 80 * one { less } else { exponent }) | fraction
        } else {
            let mut digits = fraction | if exponent == 0 { 0 } else { one };
            while digits != 0 && digits & one == 0 {
                digits <<= 1;
            }
            let bias = (exponents >> 1) & exponents;
            bias | digits & (one - 1)
        };
        let others = vector & !(u128::MAX >> (128 - self.source));
        others | sign << (self.source - 1) | magnitude
    }
}
