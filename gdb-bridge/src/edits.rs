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
        let mut wide = [0; 16];
        match wide.get_mut(..register.bytes()) {
            Some(place) if place.len() == value.len() => place.copy_from_slice(value),
            _ => return Err(TargetError::NonFatal),
        }
        self.write(&[(register, u128::from_le_bytes(wide))]).map_err(|error| self.refused(&error))
    }

    /// Writes all registers, of which gdb has changed some.
    pub(crate) fn write_all(&mut self, file: &RegisterFile) -> TargetResult<(), Self> {
        let given: Vec<_> = registers::all().zip(file.values.iter().copied()).collect();
        // Where the x87 stack begins says which register each of its places is.
        let moved = given.iter().any(|(register, value)| {
            register.source() == Source::Fpu(Fpu::Status)
                && *value != registers::value(self.timeline, register)
        });
        let changed: Vec<_> = given
            .into_iter()
            .filter(|(register, value)| {
                moved && matches!(register.source(), Source::St(_))
                    || *value != registers::value(self.timeline, register)
            })
            .collect();
        self.write(&changed).map_err(|error| self.refused(&error))
    }

    /// All of these, or none.
    fn write(&mut self, changes: &[(&'static Register, u128)]) -> Result<(), EditError> {
        let long = self.timeline.cpu().mode().bitness() == 64;
        let mut priority = None;
        for (register, value) in changes {
            if *value == registers::value(self.timeline, register) {
                continue;
            }
            let bits = match register.source() {
                Source::Selector(_) | Source::Tr => return Err(NO_SELECTOR),
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
        let status_first = |(register, _): &&(&Register, u128)| register.source() == Source::Fpu(Fpu::Status);
        let rest = changes.iter().filter(|change| !status_first(change));
        let ordered: Vec<_> = changes.iter().filter(status_first).chain(rest).collect();
        self.timeline.edit_cpu(|cpu| {
            for (register, value) in ordered {
                let (value, wide) = (*value as u64, *value);
                match register.source() {
                    Source::Gpr(number) => cpu.gpr[usize::from(number & 15)] = value,
                    Source::Rip if long => cpu.rip = value,
                    // gdb has been given the linear address.
                    Source::Rip => {
                        let base = cpu.segments[registers::Segment::Cs as usize].base;
                        cpu.rip = value.wrapping_sub(base) & 0xffff_ffff;
                    }
                    Source::Rflags => cpu.rflags = value,
                    Source::Base(name) => cpu.segments[name as usize].base = value,
                    Source::St(distance) => {
                        cpu.st[usize::from(distance + registers::top(cpu.fsw)) & 7] = wide;
                    }
                    Source::Fpu(Fpu::Control) => cpu.fcw = value as u16,
                    Source::Fpu(Fpu::Status) => cpu.fsw = value as u16,
                    Source::Fpu(Fpu::Tags) => cpu.ftw = abridged_tags(value as u16),
                    Source::Xmm(number) => cpu.xmm[usize::from(number & 15)] = wide,
                    Source::Mxcsr => cpu.mxcsr = value as u32,
                    Source::KernelGsBase => cpu.kernel_gs_base = value,
                    Source::Cr0 => cpu.cr0 = value,
                    Source::Cr2 => cpu.cr2 = value,
                    Source::Cr3 => cpu.cr3 = value,
                    Source::Cr4 => cpu.cr4 = value,
                    Source::Efer => cpu.efer = value,
                    Source::GdtBase => cpu.gdtr.base = value,
                    Source::GdtLimit => cpu.gdtr.limit = value as u16,
                    Source::IdtBase => cpu.idtr.base = value,
                    Source::IdtLimit => cpu.idtr.limit = value as u16,
                    // These have been found not to change, or are not the CPU's.
                    Source::Selector(_)
                    | Source::Tr
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
