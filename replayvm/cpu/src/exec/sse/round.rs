//! ROUNDPS, ROUNDPD, ROUNDSS, ROUNDSD: to an integer of the same format (SDM vol. 2).

use iced_x86::Mnemonic as M;

use super::float::{INEXACT, INVALID};
use super::lanes::{join, split};
use crate::bus::Bus;
use crate::exec::{Exec, Flow};
use crate::fault::Fault;

/// MXCSR.DAZ.
const DENORMALS_ARE_ZEROS: u32 = 1 << 6;

/// One rounding function for one format: the number and the exceptions it raises. Denormals raise nothing.
macro_rules! rounding {
    ($name:ident, $float:ty, $bits:ty, $exponent:literal) => {
        fn $name(image: $bits, mode: u8, zeros: bool) -> ($bits, u32) {
            const EXPONENT: $bits = $exponent;
            const FRACTION: $bits = (EXPONENT & EXPONENT.wrapping_neg()) - 1;
            const QUIET: $bits = (FRACTION + 1) >> 1;
            const SIGN: $bits = 1 << (<$bits>::BITS - 1);
            if image & EXPONENT == EXPONENT {
                let signals = image & FRACTION != 0 && image & QUIET == 0;
                let quiet = if image & FRACTION == 0 { 0 } else { QUIET };
                return (image | quiet, if signals { INVALID } else { 0 });
            }
            if zeros && image & EXPONENT == 0 {
                return (image & SIGN, 0);
            }
            let number = <$float>::from_bits(image);
            let rounded = match mode {
                0 => number.round_ties_even(),
                1 => number.floor(),
                2 => number.ceil(),
                _ => number.trunc(),
            };
            (rounded.to_bits(), if rounded == number { 0 } else { INEXACT })
        }
    };
}
rounding!(single, f32, u32, 0x7f80_0000);
rounding!(double, f64, u64, 0x7ff0_0000_0000_0000);

impl<B: Bus> Exec<'_, B> {
    /// ROUNDPS, ROUNDPD, ROUNDSS, ROUNDSD.
    pub(super) fn round(&mut self) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        let source = self.vector(1)?;
        let destination = self.insn.op0_register();
        let old = self.xmm(destination);
        let control = self.insn.immediate8();
        let mxcsr = self.cpu.state.mxcsr;
        let zeros = mxcsr & DENORMALS_ARE_ZEROS != 0;
        let mode = if control & 4 != 0 { (mxcsr >> 13 & 3) as u8 } else { control & 3 };
        let mnemonic = self.insn.mnemonic();
        let mut flags = 0;
        let result = if matches!(mnemonic, M::Roundps | M::Roundss) {
            let lanes = if mnemonic == M::Roundps { 4 } else { 1 };
            let (mut new, from) = (split::<u32, 4>(old), split::<u32, 4>(source));
            for (new, from) in new.iter_mut().zip(from).take(lanes) {
                let (rounded, raised) = single(from, mode, zeros);
                *new = rounded;
                flags |= raised;
            }
            join(new)
        } else {
            let lanes = if mnemonic == M::Roundpd { 2 } else { 1 };
            let (mut new, from) = (split::<u64, 2>(old), split::<u64, 2>(source));
            for (new, from) in new.iter_mut().zip(from).take(lanes) {
                let (rounded, raised) = double(from, mode, zeros);
                *new = rounded;
                flags |= raised;
            }
            join(new)
        };
        if control & 8 != 0 {
            flags &= !INEXACT;
        }
        self.note_or_raise(flags)?;
        self.set_xmm(destination, result);
        Ok(Flow::Next)
    }
}
