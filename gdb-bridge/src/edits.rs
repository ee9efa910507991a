//! Changing registers and memory: in a branch, and refused in words elsewhere.
//!
//! What the CPU can hold is the timeline's to say. Here is only what gdb means by a register. The registers that tell where the machine
//! stands are no part of it: a value written to them is taken and changes nothing, since gdb puts back every register after it has
//! made the guest call a function.

use gdbstub::target::{TargetError, TargetResult};
use replayvm::timeline::EditError;

use crate::arch::RegisterFile;
use crate::monitor::chain;
use crate::refusal;
use crate::registers::{self, Fpu, Register, Source};
use crate::target::ReplayTarget;

const NO_SELECTOR: EditError = EditError::Cpu(
    "a selector is loaded together with its descriptor: only the guest's own instructions do that",
);
const TOO_WIDE: EditError = EditError::Cpu("the register has not that many bits");

impl ReplayTarget<'_> {
    /// Writes memory: physical or by the guest's page tables, as it is read.
    pub(crate) fn write_memory(&mut self, start: u64, data: &[u8]) -> TargetResult<(), Self> {
        let written = if self.physical {
            self.timeline.write_physical(start, data)
        } else {
            self.timeline.write_linear(start, data)
        };
        written.map_err(|error| self.refused(&error))
    }

    /// Writes one register, given as gdb sends it.
    pub(crate) fn write_one(&mut self, register: &'static Register, value: &[u8]) -> TargetResult<(), Self> {
        if value.len() != register.bytes() {
            return Err(TargetError::NonFatal);
        }
        self.write(&[(register, number(value))]).map_err(|error| self.refused(&error))
    }

    /// Writes all registers, of which gdb has changed some.
    pub(crate) fn write_all(&mut self, file: &RegisterFile) -> TargetResult<(), Self> {
        let mut rest = file.bytes.as_slice();
        let mut given = Vec::new();
        for register in registers::all(self.shown.now()) {
            let (value, after) = rest.split_at_checked(register.bytes()).ok_or(TargetError::NonFatal)?;
            given.push((register, number(value)));
            rest = after;
        }
        // Where the x87 stack begins says which register each of its places is.
        let moved = given.iter().any(|(register, value)| {
            register.source() == Source::Fpu(Fpu::Status) && *value != self.shown_value(register)
        });
        given.retain(|(register, value)| {
            moved && matches!(register.source(), Source::St(_)) || *value != self.shown_value(register)
        });
        self.write(&given).map_err(|error| self.refused(&error))
    }

    /// What gdb is shown of a register.
    fn shown_value(&self, register: &Register) -> u128 {
        registers::value(self.timeline, register) & mask(register)
    }

    /// All of these, or none.
    fn write(&mut self, changes: &[(&'static Register, u128)]) -> Result<(), EditError> {
        let long = self.timeline.cpu().mode().bitness() == 64;
        let mut priority = None;
        for (register, value) in changes {
            if *value == self.shown_value(register) {
                continue;
            }
            let bits = match register.source() {
                Source::Selector(_) | Source::Tr => return Err(NO_SELECTOR),
                Source::CodeBits => {
                    return Err(EditError::Cpu("how wide code is follows from CS and the mode"));
                }
                Source::Fpu(Fpu::NotKept) => {
                    return Err(EditError::Cpu("this CPU keeps no x87 pointers: they are always 0"));
                }
                Source::Rip if !long => 32,
                Source::Fpu(_) | Source::GdtLimit | Source::IdtLimit => 16,
                Source::Cr8 => 4,
                _ => u32::from(register.bits),
            };
            if bits < 128 && value >> bits != 0 {
                return Err(TOO_WIDE);
            }
            if register.source() == Source::Cr8 {
                priority = Some(*value as u8);
            }
        }
        let is_status = |change: &&(&Register, u128)| change.0.source() == Source::Fpu(Fpu::Status);
        let status = changes.iter().filter(is_status);
        let ordered: Vec<_> = status.chain(changes.iter().filter(|change| !is_status(change))).collect();
        self.timeline.edit_cpu(|cpu| {
            for (register, wide) in ordered {
                // What gdb is not shown of a register stays as it is.
                let hidden = !(mask(register) as u64);
                let put = |place: &mut u64| *place = *place & hidden | *wide as u64;
                let value = *wide as u64;
                match register.source() {
                    Source::Gpr(number) => put(&mut cpu.gpr[usize::from(number & 15)]),
                    Source::Rip if long => put(&mut cpu.rip),
                    // gdb has been given the linear address.
                    Source::Rip => {
                        let base = cpu.segments[registers::Segment::Cs as usize].base;
                        cpu.rip = value.wrapping_sub(base) & 0xffff_ffff;
                    }
                    Source::Rflags => cpu.rflags = value,
                    Source::Base(name) => put(&mut cpu.segments[name as usize].base),
                    Source::St(distance) => {
                        cpu.st[usize::from(distance + registers::top(cpu.fsw)) & 7] = *wide;
                    }
                    Source::Fpu(Fpu::Control) => cpu.fcw = value as u16,
                    Source::Fpu(Fpu::Status) => cpu.fsw = value as u16,
                    Source::Fpu(Fpu::Tags) => cpu.ftw = abridged_tags(value as u16),
                    Source::Xmm(number) => cpu.xmm[usize::from(number & 15)] = *wide,
                    Source::Mxcsr => cpu.mxcsr = value as u32,
                    Source::KernelGsBase => put(&mut cpu.kernel_gs_base),
                    Source::Cr0 => put(&mut cpu.cr0),
                    Source::Cr2 => put(&mut cpu.cr2),
                    Source::Cr3 => put(&mut cpu.cr3),
                    Source::Cr4 => put(&mut cpu.cr4),
                    Source::Efer => put(&mut cpu.efer),
                    Source::GdtBase => put(&mut cpu.gdtr.base),
                    Source::GdtLimit => cpu.gdtr.limit = value as u16,
                    Source::IdtBase => put(&mut cpu.idtr.base),
                    Source::IdtLimit => cpu.idtr.limit = value as u16,
                    // These have been found not to change, or are not the CPU's.
                    Source::Selector(_)
                    | Source::Tr
                    | Source::CodeBits
                    | Source::Fpu(Fpu::NotKept)
                    | Source::Cr8
                    | Source::Tick
                    | Source::Offset
                    | Source::Instructions => {}
                }
            }
        })?;
        priority.map_or(Ok(()), |priority| self.timeline.set_task_priority(priority))
    }

    fn refused(&self, error: &EditError) -> TargetError<<Self as gdbstub::target::Target>::Error> {
        let text = match error {
            EditError::Recording => refusal::RECORDING.to_owned(),
            error => chain(error),
        };
        self.link.refuse(&text);
        TargetError::Errno(refusal::REFUSED)
    }
}

/// A value as packets have it, little-endian.
fn number(bytes: &[u8]) -> u128 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u128::from(*byte))
}

/// The bits of a register that gdb is shown.
fn mask(register: &Register) -> u128 {
    u128::MAX >> (128 - u32::from(register.bits))
}

/// The abridged x87 tag word (SDM vol. 1, 10.5.1) of a full one: whether each register is in use.
fn abridged_tags(full: u16) -> u8 {
    (0..8).fold(0, |tags, number| tags | u8::from(full >> (2 * number) & 3 != 3) << number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abridged_tags_tell_the_empty_from_the_rest() {
        assert_eq!(abridged_tags(0xffff), 0);
        assert_eq!(abridged_tags(0), 0xff);
        assert_eq!(abridged_tags(0b11_11_11_11_10_01_11_00), 0b0000_1101);
    }
}
