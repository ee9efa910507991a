//! Constants, loads and stores.

use iced_x86::{MemorySize, Mnemonic as M, OpKind};

use super::control::number;
use super::float::{
    Class, Control, Extended, Outcome, Rounding, Wide, constant, flag, from_decimal, from_double,
    from_integer, from_single, to_decimal, to_double, to_integer, to_single,
};
use super::stack::{C1, StackFault};
use crate::access::Intent;
use crate::bus::Bus;
use crate::exec::Exec;
use crate::fault::Fault;

/// What #AC asks of an operand of ten bytes.
const ALIGNMENT_OF_TEN: u64 = 8;

/// A memory operand as a register, and the exception of finding a denormal.
pub(super) struct Loaded {
    pub value: Extended,
    pub flags: u16,
}

impl<B: Bus> Exec<'_, B> {
    /// The memory operand of an arithmetic or load instruction.
    pub(super) fn x87_operand(&mut self) -> Result<Loaded, Fault> {
        let (segment, offset) = self.memory_operand();
        let integer = |value| Loaded { value: from_integer(value), flags: 0 };
        let floating = |(value, flags)| Loaded { value, flags };
        Ok(match self.insn.memory_size() {
            MemorySize::Float32 => floating(from_single(u32::from_le_bytes(self.load(segment, offset)?))),
            MemorySize::Float64 => floating(from_double(u64::from_le_bytes(self.load(segment, offset)?))),
            MemorySize::Int16 => integer(i16::from_le_bytes(self.load(segment, offset)?).into()),
            MemorySize::Int32 => integer(i32::from_le_bytes(self.load(segment, offset)?).into()),
            MemorySize::Int64 => integer(i64::from_le_bytes(self.load(segment, offset)?)),
            MemorySize::Bcd => Loaded { value: from_decimal(self.load_odd(ALIGNMENT_OF_TEN)?), flags: 0 },
            _ => {
                let bytes: [u8; 10] = self.load_odd(ALIGNMENT_OF_TEN)?;
                let image = bytes.iter().rev().fold(0, |all, &byte| all << 8 | u128::from(byte));
                Loaded { value: Extended::from_image(image), flags: 0 }
            }
        })
    }

    /// FLD, FILD, FBLD.
    pub(super) fn x87_load(&mut self) -> Result<(), Fault> {
        if self.insn.op0_kind() == OpKind::Register {
            let state = &mut self.cpu.state;
            match state.st(number(self.insn.op0_register())) {
                Some(value) => state.push(Outcome::exact(value)),
                None => {
                    if state.stack_fault(StackFault::Underflow) {
                        state.rotate(7);
                        state.set_st(0, Extended::INDEFINITE);
                    }
                }
            }
            return Ok(());
        }
        let loaded = self.x87_operand()?;
        let small = matches!(self.insn.memory_size(), MemorySize::Float32 | MemorySize::Float64);
        let outcome = if small && loaded.value.class() == Class::Signaling {
            Outcome { value: loaded.value.quieted(), flags: flag::INVALID, up: false }
        } else {
            Outcome { value: loaded.value, flags: loaded.flags, up: false }
        };
        self.cpu.state.push(outcome);
        Ok(())
    }

    /// FLD1 to FLDZ.
    pub(super) fn x87_constant(&mut self, mnemonic: M) {
        let control = self.cpu.state.arithmetic_control();
        let value = match mnemonic {
            M::Fldl2t => constant(&control, Wide::LOG2_10),
            M::Fldl2e => constant(&control, Wide::LOG2_E),
            M::Fldpi => constant(&control, Wide::PI),
            M::Fldlg2 => constant(&control, Wide::LOG10_2),
            M::Fldln2 => constant(&control, Wide::LN_2),
            M::Fld1 => Extended::ONE,
            _ => Extended::ZERO,
        };
        self.cpu.state.push(Outcome::exact(value));
    }

    /// FXCH. Empty registers become QNaNs first.
    pub(super) fn x87_exchange(&mut self) {
        let other = if self.insn.op1_kind() == OpKind::Register {
            self.insn.op1_register()
        } else {
            self.insn.op0_register()
        };
        let other = number(other);
        let state = &mut self.cpu.state;
        let (a, b) = (state.st(0), state.st(other));
        if a.is_none() || b.is_none() {
            if !state.stack_fault(StackFault::Underflow) {
                return;
            }
        } else {
            state.set_conditions(C1, 0);
        }
        state.set_st(0, b.unwrap_or(Extended::INDEFINITE));
        state.set_st(other, a.unwrap_or(Extended::INDEFINITE));
    }

    /// FST, FIST, FISTTP, FBSTP and their popping forms.
    pub(super) fn x87_store(&mut self, mnemonic: M) -> Result<(), Fault> {
        let pops = !matches!(mnemonic, M::Fst | M::Fist);
        if self.insn.op0_kind() == OpKind::Register {
            let to = number(self.insn.op0_register());
            let state = &mut self.cpu.state;
            let done = match state.st(0) {
                Some(value) => state.finish(to, Outcome::exact(value)),
                // This one never faults: there is nothing to copy.
                None if mnemonic == M::Fstpnce => {
                    state.set_conditions(C1, 0);
                    true
                }
                None => state.underflow(to),
            };
            if done && pops {
                state.pop();
            }
            return Ok(());
        }
        let mut control = self.cpu.state.arithmetic_control();
        if mnemonic == M::Fisttp {
            control.rounding = Rounding::Zero;
        }
        let value = self.cpu.state.st(0);
        let (operand, mut flags, mut up) = self.stored(&control, value.unwrap_or(Extended::INDEFINITE));
        if value.is_none() {
            (flags, up) = (flag::INVALID | flag::STACK, false);
        }
        // Chopping is no rounding away.
        up &= mnemonic != M::Fisttp;
        // Of an unmasked exception only that of inexactness lets the store happen.
        let refused = flags & control.trapped & !flag::PRECISION != 0;
        if refused {
            self.probe_operand(operand)?;
        } else {
            self.store_operand(operand)?;
        }
        let state = &mut self.cpu.state;
        if refused {
            // Nothing has been rounded.
            state.report(flags & !flag::PRECISION, false);
        } else {
            state.report(flags, up);
            if pops {
                state.pop();
            }
        }
        Ok(())
    }

    /// What a value is in the format of the memory operand, with its exceptions.
    fn stored(&self, control: &Control, value: Extended) -> (Operand, u16, bool) {
        let integer = |bits| {
            let (value, flags, up) = to_integer(control, value, bits);
            (value, flags, up)
        };
        match self.insn.memory_size() {
            MemorySize::Float32 => {
                let (bits, flags, up) = to_single(control, value);
                (Operand::Dword(bits), flags, up)
            }
            MemorySize::Float64 => {
                let (bits, flags, up) = to_double(control, value);
                (Operand::Qword(bits), flags, up)
            }
            MemorySize::Int16 => {
                let (value, flags, up) = integer(16);
                (Operand::Word(value as u16), flags, up)
            }
            MemorySize::Int32 => {
                let (value, flags, up) = integer(32);
                (Operand::Dword(value as u32), flags, up)
            }
            MemorySize::Int64 => {
                let (value, flags, up) = integer(64);
                (Operand::Qword(value as u64), flags, up)
            }
            MemorySize::Bcd => {
                let (bytes, flags, up) = to_decimal(control, value);
                (Operand::Ten(bytes), flags, up)
            }
            _ => {
                let mut bytes = [0; 10];
                for (byte, image) in bytes.iter_mut().zip(value.image().to_le_bytes()) {
                    *byte = image;
                }
                (Operand::Ten(bytes), 0, false)
            }
        }
    }

    fn store_operand(&mut self, operand: Operand) -> Result<(), Fault> {
        let (segment, offset) = self.memory_operand();
        match operand {
            Operand::Word(value) => self.store(segment, offset, value.to_le_bytes()),
            Operand::Dword(value) => self.store(segment, offset, value.to_le_bytes()),
            Operand::Qword(value) => self.store(segment, offset, value.to_le_bytes()),
            Operand::Ten(bytes) => self.store_odd(bytes, ALIGNMENT_OF_TEN),
        }
    }

    /// What a store would fault with, without the store.
    fn probe_operand(&mut self, operand: Operand) -> Result<(), Fault> {
        let (segment, offset) = self.memory_operand();
        match operand {
            Operand::Word(_) => self.load_for::<2>(segment, offset, Intent::Modify).map(drop),
            Operand::Dword(_) => self.load_for::<4>(segment, offset, Intent::Modify).map(drop),
            Operand::Qword(_) => self.load_for::<8>(segment, offset, Intent::Modify).map(drop),
            Operand::Ten(_) => self.load_odd_for::<10>(ALIGNMENT_OF_TEN, Intent::Modify).map(drop),
        }
    }
}

/// Something to store.
#[derive(Clone, Copy)]
enum Operand {
    Word(u16),
    Dword(u32),
    Qword(u64),
    Ten([u8; 10]),
}
