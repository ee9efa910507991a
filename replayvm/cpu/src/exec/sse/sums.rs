//! Floating-point sums across a vector: ADDSUBPx, HADDPx, HSUBPx (SSE3), DPPS and DPPD (SSE4.1). Each is made of the
//! packed operations of SSE2.

use iced_x86::Mnemonic as M;

use super::float::{self, Shape};
use super::host::{self, Operation};
use super::lanes::join;
use super::shuffle::{shufpd, shufps};
use crate::bus::Bus;
use crate::exec::{Exec, Flow};
use crate::fault::Fault;

/// 1.0 in every lane.
const ONES: u128 = 0x3f80_0000_3f80_0000_3f80_0000_3f80_0000;
const ONES_DOUBLE: u128 = 0x3ff0_0000_0000_0000_3ff0_0000_0000_0000;
/// Lanes of even number.
const EVEN: u128 = 0x0000_0000_ffff_ffff_0000_0000_ffff_ffff;
const EVEN_DOUBLE: u128 = 0x0000_0000_0000_0000_ffff_ffff_ffff_ffff;

impl<B: Bus> Exec<'_, B> {
    /// ADDSUBPS, ADDSUBPD: lanes of even number are subtracted, the others added.
    pub(super) fn add_and_subtract(&mut self) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        let source = self.vector(1)?;
        let destination = self.insn.op0_register();
        let first = self.xmm(destination);
        let (subtract, add, shape, even, ones): (Operation, Operation, Shape, u128, u128) =
            if self.insn.mnemonic() == M::Addsubps {
                (host::subps, host::addps, float::SUM_PS, EVEN, ONES)
            } else {
                (host::subpd, host::addpd, float::SUM_PD, EVEN_DOUBLE, ONES_DOUBLE)
            };
        // Ones raise nothing.
        let only = |vector: u128, lanes: u128| vector & lanes | ones & !lanes;
        let (differences, below) = self.computed(subtract, shape, only(first, even), only(source, even));
        let (sums, above) = self.computed(add, shape, only(first, !even), only(source, !even));
        self.note_or_raise(below | above)?;
        self.set_xmm(destination, differences & even | sums & !even);
        Ok(Flow::Next)
    }

    /// HADDPS, HADDPD, HSUBPS, HSUBPD: neighbours, those of the destination in the low half.
    pub(super) fn horizontal(&mut self) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        let source = self.vector(1)?;
        let destination = self.insn.op0_register();
        let first = self.xmm(destination);
        let (operation, shape): (Operation, Shape) = match self.insn.mnemonic() {
            M::Haddps => (host::addps, float::SUM_PS),
            M::Haddpd => (host::addpd, float::SUM_PD),
            M::Hsubps => (host::subps, float::SUM_PS),
            _ => (host::subpd, float::SUM_PD),
        };
        let (even, odd) = if shape == float::SUM_PS {
            (shufps(first, source, 0b10_00_10_00), shufps(first, source, 0b11_01_11_01))
        } else {
            (shufpd(first, source, 0b00), shufpd(first, source, 0b11))
        };
        let (result, flags) = self.computed(operation, shape, even, odd);
        self.note_or_raise(flags)?;
        self.set_xmm(destination, result);
        Ok(Flow::Next)
    }

    /// DPPS, DPPD: the sum of the products that the high half of the immediate names, in the lanes that its low half
    /// names. Each step may raise its exceptions before the next one begins.
    pub(super) fn dot_product(&mut self) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        let source = self.vector(1)?;
        let destination = self.insn.op0_register();
        let first = self.xmm(destination);
        let control = self.insn.immediate8();
        let result = if self.insn.mnemonic() == M::Dpps {
            let factors: u128 = lanes::<4>(control >> 4);
            let only = |vector: u128| vector & factors | ONES & !factors;
            let (products, flags) = self.computed(host::mulps, float::PRODUCT_PS, only(first), only(source));
            self.note_or_raise(flags)?;
            let products = products & factors;
            let (sums, flags) = self.computed(
                host::addps,
                float::SUM_PS,
                shufps(products, 0, 0b00_00_10_00),
                shufps(products, 0, 0b00_00_11_01),
            );
            self.note_or_raise(flags)?;
            let (sum, flags) = self.computed(host::addss, float::SUM_SS, sums, sums >> 32);
            self.note_or_raise(flags)?;
            join([sum as u32; 4]) & lanes::<4>(control)
        } else {
            let factors: u128 = lanes::<2>(control >> 4);
            let only = |vector: u128| vector & factors | ONES_DOUBLE & !factors;
            let (products, flags) = self.computed(host::mulpd, float::PRODUCT_PD, only(first), only(source));
            self.note_or_raise(flags)?;
            let products = products & factors;
            let (sum, flags) = self.computed(host::addsd, float::SUM_SD, products, products >> 64);
            self.note_or_raise(flags)?;
            join([sum as u64; 2]) & lanes::<2>(control)
        };
        self.set_xmm(destination, result);
        Ok(Flow::Next)
    }
}

/// All ones in the lanes whose bits are set, of `N` in a vector.
pub(super) fn lanes<const N: usize>(bits: u8) -> u128 {
    let width = 128 / N as u32;
    let lane = u128::MAX >> (128 - width);
    (0..N as u32).filter(|i| bits >> i & 1 != 0).fold(0, |all, i| all | lane << (i * width))
}
