//! FSTENV, FSAVE and their inverses (SDM vol. 1, 8.1.10).
//!
//! An image is seven fields of 2 or of 4 bytes, control, status and tag word first; FSAVE puts the eight registers behind
//! them, 10 bytes each. The other four fields are the pointers to the last instruction and its operand: zero.

use iced_x86::Mnemonic as M;

use super::control::STATUS_MASK;
use super::float::{Class, Extended};
use crate::access::Intent;
use crate::bus::{Access, Bus};
use crate::exec::Exec;
use crate::fault::Fault;
use crate::flags::Rflags;
use crate::state::{CpuState, Mode, cr0};

/// The size of the largest image, that of FSAVE with 32 bits.
const LARGEST: usize = 108;
/// Bytes of the eight registers.
const REGISTERS: usize = 80;

impl CpuState {
    /// The tag word in full, two bits a physical register (SDM vol. 1, 8.1.7).
    fn full_tags(&self) -> u16 {
        (0..8).rev().fold(0, |tags, i| {
            let tag = match Extended::from_image(self.st[i]).class() {
                _ if self.ftw >> i & 1 == 0 => 3,
                Class::Zero => 1,
                Class::Normal => 0,
                _ => 2,
            };
            tags << 2 | tag
        })
    }
}

impl<B: Bus> Exec<'_, B> {
    pub(super) fn x87_environment(&mut self, mnemonic: M) -> Result<(), Fault> {
        match self.insn.memory_size().size() {
            14 => self.environment::<14>(mnemonic),
            28 => self.environment::<28>(mnemonic),
            94 => self.environment::<94>(mnemonic),
            _ => self.environment::<LARGEST>(mnemonic),
        }
    }

    /// Saves or loads an image of `N` bytes.
    fn environment<const N: usize>(&mut self, mnemonic: M) -> Result<(), Fault> {
        // Bytes of a field.
        let field = if matches!(N, 14 | 94) { 2 } else { 4 };
        let with_registers = N > REGISTERS;
        if matches!(mnemonic, M::Fldenv | M::Frstor) {
            let image: [u8; N] = self.load_odd(field as u64)?;
            self.load_environment(&image, field);
            if with_registers {
                self.load_registers(&image, 7 * field);
            }
            return Ok(());
        }
        let image: [u8; N] = self.environment_image(field, with_registers);
        self.store_odd(image, field as u64)?;
        let state = &mut self.cpu.state;
        if with_registers {
            state.initialize_x87();
        } else {
            // FSTENV leaves all exceptions masked.
            state.set_control(state.fcw | 0x3f);
        }
        Ok(())
    }

    fn environment_image<const N: usize>(&self, field: usize, with_registers: bool) -> [u8; N] {
        let state = &self.cpu.state;
        let mut image = [0; N];
        let words = [state.fcw, state.fsw, state.full_tags()];
        for (part, word) in image.chunks_exact_mut(field).zip(words) {
            // What is above a word is ones, and so above what of the pointers has 16 bits.
            part.fill(0xff);
            if let Some(low) = part.get_mut(..2) {
                low.copy_from_slice(&word.to_le_bytes());
            }
        }
        if field == 4 {
            let above: &[usize] = match state.mode() {
                Mode::Real | Mode::Virtual8086 => &[14, 22],
                _ => &[26],
            };
            for &at in above {
                if let Some(high) = image.get_mut(at..at + 2) {
                    high.fill(0xff);
                }
            }
        }
        if with_registers {
            for (i, part) in image.iter_mut().skip(7 * field).enumerate() {
                let register = state.st[(state.top() + i / 10) & 7];
                *part = (register >> (8 * (i % 10))) as u8;
            }
        }
        image
    }

    fn load_environment(&mut self, image: &[u8], field: usize) {
        let word = |i: usize| {
            let byte = |at: usize| u16::from(image.get(field * i + at).copied().unwrap_or(0));
            byte(0) | byte(1) << 8
        };
        let state = &mut self.cpu.state;
        let tags = word(2);
        state.ftw = (0..8).fold(0, |all, i| all | u8::from(tags >> (2 * i) & 3 != 3) << i);
        state.fsw = word(1) & STATUS_MASK;
        state.set_control(word(0));
    }

    fn load_registers(&mut self, image: &[u8], from: usize) {
        let state = &mut self.cpu.state;
        let top = state.top();
        for (i, part) in image.get(from..).unwrap_or(&[]).chunks_exact(10).take(8).enumerate() {
            state.st[(top + i) & 7] = part.iter().rev().fold(0, |all, &byte| all << 8 | u128::from(byte));
        }
    }

    /// Loads an operand of a size that is not a power of two. `alignment` is what #AC asks of it.
    pub(super) fn load_odd<const N: usize>(&mut self, alignment: u64) -> Result<[u8; N], Fault> {
        self.load_odd_for(alignment, Intent::Read)
    }

    /// Loads such an operand with a stated intent.
    pub(super) fn load_odd_for<const N: usize>(
        &mut self,
        alignment: u64,
        intent: Intent,
    ) -> Result<[u8; N], Fault> {
        let linear = self.odd_address(N as u64, alignment, intent)?;
        let privilege = self.cpu.state.privilege();
        let bytes = self.load_linear(linear, intent.purpose(), privilege, Access::Data)?;
        if self.cpu.state.dr7 & 0xff != 0 {
            self.cpu.state.watch(linear, N as u64, intent != Intent::Read);
        }
        Ok(bytes)
    }

    /// Stores such an operand, all of it or nothing.
    pub(super) fn store_odd<const N: usize>(&mut self, bytes: [u8; N], alignment: u64) -> Result<(), Fault> {
        let linear = self.odd_address(N as u64, alignment, Intent::Write)?;
        let privilege = self.cpu.state.privilege();
        self.store_linear(linear, bytes, privilege, Access::Data)?;
        if self.cpu.state.dr7 & 0xff != 0 {
            self.cpu.state.watch(linear, N as u64, true);
        }
        Ok(())
    }

    fn odd_address(&self, size: u64, alignment: u64, intent: Intent) -> Result<u64, Fault> {
        let (segment, offset) = self.memory_operand();
        let state = &self.cpu.state;
        let linear = state.linear(segment, offset, size, intent)?;
        let checked = state.rflags & Rflags::AC.bits() != 0 && state.cr0 & cr0::AM != 0 && state.cpl() == 3;
        if checked && linear & (alignment - 1) != 0 { Err(Fault::AC) } else { Ok(linear) }
    }
}
