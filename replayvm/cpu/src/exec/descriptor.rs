//! Descriptors in memory: reading, checking, marking; and the stacks that a task state holds for inner levels.

use crate::bus::Bus;
use crate::exec::Exec;
use crate::fault::Fault;
use crate::segment::{Attributes, Segment};

/// Eight bytes of a descriptor table (SDM vol. 3, 3.4.5), with the upper eight of a system descriptor in long mode.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Descriptor {
    /// Where it lies.
    pub(crate) linear: u64,
    pub(crate) low: u64,
    /// Zero for all but system descriptors in long mode.
    pub(crate) high: u64,
}

impl Descriptor {
    pub(crate) const fn attributes(&self) -> Attributes {
        Attributes((self.low >> 40 & 0xf0ff) as u16)
    }

    /// The limit in bytes.
    pub(crate) const fn limit(&self) -> u32 {
        let limit = (self.low & 0xffff | self.low >> 32 & 0xf_0000) as u32;
        if self.attributes().granular() { limit << 12 | 0xfff } else { limit }
    }

    pub(crate) const fn base(&self) -> u64 {
        self.low >> 16 & 0xff_ffff | self.low >> 32 & 0xff00_0000 | self.high << 32
    }

    /// The segment that a register holds after loading this.
    pub(crate) const fn segment(&self, selector: u16) -> Segment {
        Segment { selector, base: self.base(), limit: self.limit(), attributes: self.attributes() }
    }

    /// Of a gate: the selector.
    pub(crate) const fn gate_selector(&self) -> u16 {
        (self.low >> 16) as u16
    }

    /// Of a gate: the offset, as wide as the kind of gate has it.
    pub(crate) const fn gate_offset(&self) -> u64 {
        self.low & 0xffff | self.low >> 32 & 0xffff_0000 | self.high << 32
    }
}

/// The error code that names a selector.
pub(crate) fn code_of(selector: u16) -> u32 {
    u32::from(selector & !3)
}

impl<B: Bus> Exec<'_, B> {
    /// The descriptor of a selector that is not null. `beyond` is raised where the table ends before it.
    pub(crate) fn descriptor(
        &mut self,
        selector: u16,
        beyond: fn(u32) -> Fault,
    ) -> Result<Descriptor, Fault> {
        let state = &self.cpu.state;
        let (base, limit) = if selector & 4 == 0 {
            (state.gdtr.base, u32::from(state.gdtr.limit))
        } else if state.ldtr.attributes.present() {
            (state.ldtr.base, state.ldtr.limit)
        } else {
            return Err(beyond(code_of(selector)));
        };
        let offset = u32::from(selector & !7);
        if offset + 7 > limit {
            return Err(beyond(code_of(selector)));
        }
        let linear = base.wrapping_add(u64::from(offset));
        let mut descriptor =
            Descriptor { linear, low: u64::from_le_bytes(self.system_load(linear)?), high: 0 };
        if self.cpu.state.long_mode() && !descriptor.attributes().is_code_or_data() {
            if offset + 15 > limit {
                // LDT, TSS and call gates take two places; anything else is refused by its kind.
                if matches!(descriptor.attributes().kind(), 2 | 9 | 11 | 12) {
                    return Err(beyond(code_of(selector)));
                }
            } else {
                descriptor.high = u64::from_le_bytes(self.system_load(linear.wrapping_add(8))?);
            }
        }
        Ok(descriptor)
    }

    /// Sets the accessed bit of a code or data descriptor, or the busy bit of a task state: `bit` of the type.
    pub(crate) fn mark_descriptor(&mut self, descriptor: &mut Descriptor, bit: u64) -> Result<(), Fault> {
        let bit = bit << 40;
        if descriptor.low & bit == 0 {
            descriptor.low |= bit;
            let byte = (descriptor.low >> 40) as u8;
            self.system_store(descriptor.linear.wrapping_add(5), [byte])?;
        }
        Ok(())
    }

    /// The stack pointer and the stack segment that the task state holds for privilege level `level` (0 to 2), outside
    /// long mode. Checked as for a switch to that level.
    pub(crate) fn inner_stack(&mut self, level: u8) -> Result<(u64, Segment), Fault> {
        let tr = self.cpu.state.tr;
        let wide = tr.attributes.kind() & 8 != 0;
        let (offset, size) = if wide { (4 + u32::from(level) * 8, 8) } else { (2 + u32::from(level) * 4, 4) };
        if offset + size - 1 > tr.limit {
            return Err(Fault::ts(code_of(tr.selector)));
        }
        let at = tr.base.wrapping_add(u64::from(offset));
        let (sp, selector) = if wide {
            let sp = u64::from(u32::from_le_bytes(self.system_load(at)?));
            (sp, u16::from_le_bytes(self.system_load(at.wrapping_add(4))?))
        } else {
            let sp = u64::from(u16::from_le_bytes(self.system_load(at)?));
            (sp, u16::from_le_bytes(self.system_load(at.wrapping_add(2))?))
        };
        if selector & !3 == 0 {
            return Err(Fault::ts(0));
        }
        let mut descriptor = self.descriptor(selector, Fault::ts)?;
        let rights = descriptor.attributes();
        if selector & 3 != u16::from(level) || rights.dpl() != level || rights.0 & 0x1a != 0x12 {
            return Err(Fault::ts(code_of(selector)));
        }
        if !rights.present() {
            return Err(Fault::ss(code_of(selector)));
        }
        self.mark_descriptor(&mut descriptor, 1)?;
        Ok((sp, descriptor.segment(selector)))
    }

    /// In long mode: the stack pointer at an offset of the task state.
    pub(crate) fn long_stack(&mut self, offset: u32) -> Result<u64, Fault> {
        let tr = self.cpu.state.tr;
        if offset + 7 > tr.limit {
            return Err(Fault::ts(code_of(tr.selector)));
        }
        Ok(u64::from_le_bytes(self.system_load(tr.base.wrapping_add(u64::from(offset)))?))
    }
}
