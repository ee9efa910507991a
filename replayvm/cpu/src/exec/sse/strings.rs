//! PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM: comparing strings of bytes or words (SDM vol. 2, 4.1).

use iced_x86::{Mnemonic as M, OpKind};

use super::lanes::{Lane, join, split};
use crate::bus::Bus;
use crate::exec::operand::number::{RAX, RCX, RDX};
use crate::exec::{Exec, Flow};
use crate::fault::Fault;
use crate::flags::Rflags;

/// What the immediate byte says.
#[derive(Clone, Copy)]
struct Control(u8);

impl Control {
    fn words(self) -> bool {
        self.0 & 1 != 0
    }

    fn signed(self) -> bool {
        self.0 & 2 != 0
    }

    fn aggregation(self) -> u8 {
        self.0 >> 2 & 3
    }

    fn negative(self) -> bool {
        self.0 & 0x10 != 0
    }

    /// Only the elements that the second string has are inverted.
    fn masked(self) -> bool {
        self.0 & 0x20 != 0
    }

    /// The most significant index, or a mask of whole elements.
    fn upper(self) -> bool {
        self.0 & 0x40 != 0
    }

    fn elements(self) -> usize {
        if self.words() { 8 } else { 16 }
    }
}

/// The elements of a vector by value.
fn elements(vector: u128, control: Control) -> [i32; 16] {
    fn wide<T: Lane + Into<i32>, const N: usize>(vector: u128) -> [i32; 16] {
        let lanes = split::<T, N>(vector);
        std::array::from_fn(|i| lanes.get(i).map_or(0, |&lane| lane.into()))
    }
    match (control.words(), control.signed()) {
        (false, false) => wide::<u8, 16>(vector),
        (false, true) => wide::<i8, 16>(vector),
        (true, false) => wide::<u16, 8>(vector),
        (true, true) => wide::<i16, 8>(vector),
    }
}

/// A string: its elements, and how many of them count.
#[derive(Clone, Copy)]
struct Text {
    elements: [i32; 16],
    length: usize,
}

impl Text {
    /// Up to the first zero.
    fn implicit(vector: u128, control: Control) -> Self {
        let elements = elements(vector, control);
        let all = control.elements();
        let length = elements.iter().take(all).position(|&e| e == 0).unwrap_or(all);
        Self { elements, length }
    }

    /// As long as a register says, whatever its sign.
    fn explicit(vector: u128, control: Control, length: i64) -> Self {
        let length = length.unsigned_abs().min(control.elements() as u64) as usize;
        Self { elements: elements(vector, control), length }
    }
}

/// A bit for each element of the second string: IntRes2.
fn compare(a: &Text, b: &Text, control: Control) -> u16 {
    let all = control.elements();
    let same = |i: usize, j: usize| a.elements[i] == b.elements[j];
    let found = |j: usize| match control.aggregation() {
        // Equal to any.
        0 => j < b.length && (0..a.length).any(|i| same(i, j)),
        // Within any of the ranges.
        1 => {
            j < b.length
                && (0..a.length / 2)
                    .any(|i| (a.elements[2 * i]..=a.elements[2 * i + 1]).contains(&b.elements[j]))
        }
        // Equal to the element of the same number, or both beyond their ends.
        2 => {
            if j < a.length && j < b.length {
                same(j, j)
            } else {
                j >= a.length && j >= b.length
            }
        }
        // The first string begins here, as far as the vector goes.
        _ => (0..a.length.min(all - j)).all(|i| j + i < b.length && same(i, j + i)),
    };
    let bits = (0..all).fold(0, |bits, j| bits | u16::from(found(j)) << j);
    let inverted = match (control.negative(), control.masked()) {
        (false, _) => 0,
        (true, false) => u16::MAX >> (16 - all),
        (true, true) => u16::MAX.checked_shr(16 - b.length as u32).unwrap_or(0),
    };
    bits ^ inverted
}

impl<B: Bus> Exec<'_, B> {
    /// PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM. A string in memory need not be aligned.
    pub(super) fn compare_strings(&mut self) -> Result<Flow, Fault> {
        self.xmm_enabled()?;
        let second = if self.insn.op1_kind() == OpKind::Memory {
            let (segment, offset) = self.memory_operand();
            u128::from_le_bytes(self.load(segment, offset)?)
        } else {
            self.xmm(self.insn.op1_register())
        };
        let first = self.xmm(self.insn.op0_register());
        let control = Control(self.insn.immediate8());
        let gpr = &self.cpu.state.gpr;
        let lengths = match self.insn.mnemonic() {
            M::Pcmpestri | M::Pcmpestrm => Some([RAX, RDX].map(|r| i64::from(gpr[r] as i32))),
            M::Pcmpestri64 | M::Pcmpestrm64 => Some([RAX, RDX].map(|r| gpr[r].cast_signed())),
            _ => None,
        };
        let (a, b) = match lengths {
            Some([a, b]) => (Text::explicit(first, control, a), Text::explicit(second, control, b)),
            None => (Text::implicit(first, control), Text::implicit(second, control)),
        };
        let all = control.elements();
        let bits = compare(&a, &b, control);
        if matches!(self.insn.mnemonic(), M::Pcmpestri | M::Pcmpestri64 | M::Pcmpistri) {
            let index = match (bits, control.upper()) {
                (0, _) => all as u32,
                (_, false) => bits.trailing_zeros(),
                (_, true) => bits.ilog2(),
            };
            self.cpu.state.gpr[RCX] = u64::from(index);
        } else {
            let mask = |i: usize| if bits >> i & 1 != 0 { u16::MAX } else { 0 };
            self.cpu.state.xmm[0] = match (control.upper(), control.words()) {
                (false, _) => u128::from(bits),
                (true, false) => join::<u8, 16>(std::array::from_fn(|i| mask(i) as u8)),
                (true, true) => join::<u16, 8>(std::array::from_fn(mask)),
            };
        }
        let flags = [
            (Rflags::CF, bits != 0),
            (Rflags::ZF, b.length < all),
            (Rflags::SF, a.length < all),
            (Rflags::OF, bits & 1 != 0),
        ];
        let flags = flags.iter().filter(|(_, is)| *is).fold(0, |all, (flag, _)| all | flag.bits());
        self.set_arithmetic(flags);
        Ok(Flow::Next)
    }
}
