//! Task switches through 32-bit task states (SDM vol. 3, chapter 7): JMP and CALL to a task state or task gate, events
//! through a task gate, IRET with NT. Long mode has none of them.
//!
//! Not supported: 16-bit task states (#TS). A fault found while the new task is being loaded is raised in the old one,
//! where hardware raises some of them in the new.

use crate::bus::Bus;
use crate::deliver::Event;
use crate::exec::Exec;
use crate::exec::descriptor::{Descriptor, code_of};
use crate::exec::frame::Frame;
use crate::fault::{Fault, Vector};
use crate::flags::Rflags;
use crate::paging::Purpose;
use crate::segment::{Attributes, Segment, SegmentName};
use crate::state::{cr0, dr6};

/// Words of a task state.
const WORDS: usize = 26;
/// The type bit of a task state that says busy.
const BUSY: u64 = 2;
const SEGMENTS: [SegmentName; 6] =
    [SegmentName::Es, SegmentName::Cs, SegmentName::Ss, SegmentName::Ds, SegmentName::Fs, SegmentName::Gs];

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Jump,
    /// CALL or an event: the new task is nested in the old one.
    Nest,
    Return,
}

impl<B: Bus> Exec<'_, B> {
    /// Delivers an event through a task gate.
    pub(crate) fn task_gate(&mut self, gate: &Descriptor, event: &Event) -> Result<(), Fault> {
        let (task, selector) = self.gate_task(gate)?;
        self.switch_task(&task, selector, How::Nest, event.rip)?;
        if let Some(code) = event.error_code {
            let mut frame = Frame::current(&self.cpu.state);
            self.frame_push(&mut frame, 4, u64::from(code))?;
            frame.commit(&mut self.cpu.state);
        }
        Ok(())
    }

    /// JMP far to a task state.
    pub(crate) fn jump_to_task(&mut self, task: Descriptor, selector: u16) -> Result<(), Fault> {
        let next = self.cpu.state.next_rip(self.insn);
        self.switch_task(&task, selector, How::Jump, next)
    }

    /// JMP far to a task gate.
    pub(crate) fn jump_to_task_gate(&mut self, gate: &Descriptor) -> Result<(), Fault> {
        let (task, selector) = self.gate_task(gate)?;
        self.jump_to_task(task, selector)
    }

    /// CALL far to a task state.
    pub(crate) fn call_task(&mut self, task: Descriptor, selector: u16) -> Result<(), Fault> {
        let next = self.cpu.state.next_rip(self.insn);
        self.switch_task(&task, selector, How::Nest, next)
    }

    /// CALL far to a task gate.
    pub(crate) fn call_task_gate(&mut self, gate: &Descriptor) -> Result<(), Fault> {
        let (task, selector) = self.gate_task(gate)?;
        self.call_task(task, selector)
    }

    /// IRET with NT set: to the task that the current one is nested in.
    pub(crate) fn return_from_task(&mut self) -> Result<(), Fault> {
        let selector = u16::from_le_bytes(self.system_load(self.cpu.state.tr.base)?);
        if selector & !3 == 0 || selector & 4 != 0 {
            return Err(Fault::ts(code_of(selector)));
        }
        let task = self.descriptor(selector, Fault::ts)?;
        let next = self.cpu.state.next_rip(self.insn);
        self.switch_task(&task, selector, How::Return, next)
    }

    fn gate_task(&mut self, gate: &Descriptor) -> Result<(Descriptor, u16), Fault> {
        let selector = gate.gate_selector();
        if selector & !3 == 0 || selector & 4 != 0 {
            return Err(Fault::gp(code_of(selector)));
        }
        Ok((self.descriptor(selector, Fault::gp)?, selector))
    }

    fn switch_task(&mut self, task: &Descriptor, selector: u16, how: How, next: u64) -> Result<(), Fault> {
        let code = code_of(selector);
        let rights = task.attributes();
        let old = self.cpu.state.tr;
        match (how, rights.0 & 0x1f) {
            (How::Return, 11) | (How::Jump | How::Nest, 9) => {}
            (How::Return, _) | (_, 1) => return Err(Fault::ts(code)),
            _ => return Err(Fault::gp(code)),
        }
        if !rights.present() {
            return Err(Fault::np(code));
        }
        if task.limit() < 0x67 || old.attributes.0 & 0x1d != 9 || old.limit < 0x67 {
            return Err(Fault::ts(code));
        }
        let mut words = [0; WORDS];
        for (i, word) in words.iter_mut().enumerate() {
            *word = u32::from_le_bytes(self.system_load(task.base().wrapping_add(4 * i as u64))?);
        }
        self.save_task(&old, how, next)?;
        if how != How::Nest {
            // The old task is free again.
            let mut descriptor = self.descriptor(old.selector, Fault::ts)?;
            descriptor.low &= !(BUSY << 40);
            let byte = (descriptor.low >> 40) as u8;
            self.system_store(descriptor.linear.wrapping_add(5), [byte])?;
        } else {
            self.system_store(task.base(), u32::from(old.selector).to_le_bytes())?;
        }
        let mut task = *task;
        self.mark_descriptor(&mut task, BUSY)?;
        let result = self.load_task_state(&task, selector, how, &words);
        if result.is_err() {
            // The registers go back to the old page tables.
            self.cpu.tlb.flush();
        }
        result
    }

    /// Writes the current task into its task state.
    fn save_task(&mut self, old: &Segment, how: How, next: u64) -> Result<(), Fault> {
        let privilege = self.cpu.state.implicit();
        for at in [0x20, 0x5c] {
            let linear = self.cpu.state.wrap_linear(old.base.wrapping_add(at));
            self.cpu.translate(self.bus, self.at, linear, Purpose::Write, privilege)?;
        }
        let state = &self.cpu.state;
        let mut flags = state.rflags;
        if how == How::Return {
            flags &= !Rflags::NT.bits();
        }
        let mut image = [0; 16];
        (image[0], image[1]) = (next as u32, flags as u32);
        for i in 0..8 {
            image[2 + i] = state.gpr[i] as u32;
        }
        for (i, segment) in state.segments.iter().enumerate() {
            image[10 + i] = u32::from(segment.selector);
        }
        for (i, word) in image.into_iter().enumerate() {
            self.system_store(old.base.wrapping_add(0x20 + 4 * i as u64), word.to_le_bytes())?;
        }
        Ok(())
    }

    /// Takes up the new task.
    fn load_task_state(
        &mut self,
        task: &Descriptor,
        selector: u16,
        how: How,
        words: &[u32; WORDS],
    ) -> Result<(), Fault> {
        let state = &mut self.cpu.state;
        state.tr = task.segment(selector);
        state.cr0 |= cr0::TS;
        if state.cr0 & cr0::PG != 0 {
            state.cr3 = u64::from(words[7]);
            self.cpu.select_space();
        }
        let state = &mut self.cpu.state;
        let nested = if how == How::Nest { Rflags::NT.bits() } else { 0 };
        state.rflags = u64::from(words[9]) & 0x003f_7fd5 | Rflags::FIXED.bits() | nested;
        for i in 0..8 {
            state.gpr[i] = u64::from(words[10 + i]);
        }
        let invalid = |fault: Fault| match fault.vector {
            Vector::GeneralProtection => Fault { vector: Vector::InvalidTss, ..fault },
            _ => fault,
        };
        let ldt = words[24] as u16;
        state.ldtr = Segment { selector: ldt, ..Segment::default() };
        if ldt & !3 != 0 {
            self.cpu.state.ldtr = self.system_descriptor(ldt, &[2]).map_err(invalid)?.segment(ldt);
        }
        let cs = words[19] as u16;
        let level = if self.cpu.state.plain_segments() { 3 } else { cs & 3 };
        // The level of the new task, for the checks that follow.
        self.cpu.state.segment_mut(SegmentName::Ss).attributes = Attributes(level << 5 | 0x93);
        for (i, name) in SEGMENTS.into_iter().enumerate() {
            let selector = words[18 + i] as u16;
            let segment = if name == SegmentName::Cs && !self.cpu.state.plain_segments() {
                self.task_code(selector)?
            } else {
                self.data_segment(name, selector).map_err(invalid)?
            };
            *self.cpu.state.segment_mut(name) = segment;
        }
        let rip = u64::from(words[8]);
        self.cpu.state.check_target(rip)?;
        self.cpu.state.rip = rip;
        if words[25] & 1 != 0 {
            self.cpu.state.pending_debug |= dr6::BT;
        }
        Ok(())
    }

    /// The code segment of a new task.
    fn task_code(&mut self, selector: u16) -> Result<Segment, Fault> {
        let wrong = Fault::ts(code_of(selector));
        if selector & !3 == 0 {
            return Err(wrong);
        }
        let mut code = self.descriptor(selector, Fault::ts)?;
        let (rights, rpl) = (code.attributes(), (selector & 3) as u8);
        let level = if rights.0 & 4 != 0 { rights.dpl() <= rpl } else { rights.dpl() == rpl };
        if !rights.is_code() || !level {
            return Err(wrong);
        }
        if !rights.present() {
            return Err(Fault::np(code_of(selector)));
        }
        self.mark_descriptor(&mut code, 1)?;
        Ok(code.segment(selector))
    }
}
