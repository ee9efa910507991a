//! Exceptions and interrupts: from an event to its handler (SDM vol. 3, chapter 6; vol. 2, INT n).

use crate::access::canonical;
use crate::bus::{Bus, Observation};
use crate::exec::Exec;
use crate::exec::descriptor::{Descriptor, code_of};
use crate::exec::frame::Frame;
use crate::fault::{Fault, Vector};
use crate::flags::Rflags;
use crate::segment::{Attributes, Segment, SegmentName};
use crate::state::dr6;

/// Where an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The interrupt controller.
    External,
    Nmi,
    /// A fault, or a debug trap.
    Exception,
    /// INT n, INT3 or INTO: the gate's DPL counts.
    Software,
    /// INT1: like a software interrupt, but privileged.
    IceBreakpoint,
}

/// Something to be delivered through the interrupt table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub(crate) vector: u8,
    pub(crate) error_code: Option<u32>,
    pub(crate) source: Source,
    /// Where the handler returns to.
    pub(crate) rip: u64,
    /// CR2, or the bits to set in DR6.
    pub(crate) detail: u64,
}

impl Event {
    pub(crate) fn external(vector: u8, rip: u64) -> Self {
        Self { vector, error_code: None, source: Source::External, rip, detail: 0 }
    }

    pub(crate) fn nmi(rip: u64) -> Self {
        Self { vector: 2, error_code: None, source: Source::Nmi, rip, detail: 0 }
    }

    pub(crate) fn exception(fault: &Fault, rip: u64) -> Self {
        Self {
            vector: fault.vector as u8,
            error_code: fault.error_code,
            source: Source::Exception,
            rip,
            detail: fault.detail,
        }
    }

    pub(crate) fn software(vector: u8, source: Source, rip: u64) -> Self {
        Self { vector, error_code: None, source, rip, detail: 0 }
    }

    /// Whether the saved flags get RF: faults do, so that an instruction breakpoint does not strike twice; a debug fault
    /// itself does not (SDM vol. 3, 17.3.1.1).
    fn sets_resume(&self) -> bool {
        self.source == Source::Exception
            && (!matches!(self.vector, 1 | 3 | 4 | 8 | 18) || self.vector == 1 && self.detail & dr6::BD != 0)
    }

    /// The EXT bit of the error codes of faults on the way.
    fn external_bit(&self) -> u32 {
        u32::from(self.source != Source::Software)
    }

    /// The error code that names this entry of the interrupt table.
    fn code(&self) -> u32 {
        u32::from(self.vector) << 3 | 2
    }
}

impl<B: Bus> Exec<'_, B> {
    /// Goes to the handler of an event. On a fault nothing has changed (but for memory under the new stack pointer).
    pub(crate) fn deliver(&mut self, event: Event) -> Result<(), Fault> {
        let before = self.cpu.state.clone();
        let state = &mut self.cpu.state;
        if event.source == Source::Exception && event.vector == Vector::Debug as u8 {
            state.dr6 = (state.dr6 & !0xf) | (event.detail & 0xe00f);
            state.dr7 &= !(1 << 13);
        }
        let result = if state.cr0 & 1 == 0 {
            self.deliver_real(event)
        } else if state.long_mode() {
            self.deliver_long(event)
        } else {
            self.deliver_protected(event)
        };
        match result {
            Ok(()) => {
                self.cpu.state.halted = false;
                self.cpu.state.idle_loop_rip = 0;
                self.cpu.state.idle_loop_jumps = 0;
                self.bus.observe(self.at, observation(&event));
                Ok(())
            }
            Err(mut fault) => {
                let (dr6, dr7) = (self.cpu.state.dr6, self.cpu.state.dr7);
                self.cpu.state = before;
                (self.cpu.state.dr6, self.cpu.state.dr7) = (dr6, dr7);
                if fault.vector != Vector::PageFault
                    && let Some(code) = &mut fault.error_code
                {
                    *code |= event.external_bit();
                }
                Err(fault)
            }
        }
    }

    /// Through the vector table of real mode.
    fn deliver_real(&mut self, event: Event) -> Result<(), Fault> {
        let offset = u64::from(event.vector) * 4;
        let table = self.cpu.state.idtr;
        if offset + 3 > u64::from(table.limit) {
            return Err(Fault::gp(event.code()));
        }
        let entry = u32::from_le_bytes(self.system_load(table.base.wrapping_add(offset))?);
        let mut frame = Frame::current(&self.cpu.state);
        let state = &self.cpu.state;
        let (flags, cs) = (state.rflags, u64::from(state.segment(SegmentName::Cs).selector));
        self.frame_push(&mut frame, 2, flags)?;
        self.frame_push(&mut frame, 2, cs)?;
        self.frame_push(&mut frame, 2, event.rip)?;
        let state = &mut self.cpu.state;
        frame.commit(state);
        state.rflags &= !(Rflags::IF | Rflags::TF | Rflags::AC | Rflags::RF).bits();
        let cs = state.segment_mut(SegmentName::Cs);
        cs.selector = (entry >> 16) as u16;
        cs.base = u64::from(cs.selector) << 4;
        state.rip = u64::from(entry & 0xffff);
        Ok(())
    }

    /// The gate of an event; `size` bytes in the table.
    fn interrupt_gate(&mut self, event: &Event, size: u64) -> Result<Descriptor, Fault> {
        let offset = u64::from(event.vector) * size;
        let table = self.cpu.state.idtr;
        if offset + size - 1 > u64::from(table.limit) {
            return Err(Fault::gp(event.code()));
        }
        let linear = table.base.wrapping_add(offset);
        let low = u64::from_le_bytes(self.system_load(linear)?);
        let high = if size == 16 { u64::from_le_bytes(self.system_load(linear.wrapping_add(8))?) } else { 0 };
        let gate = Descriptor { linear, low, high: high & 0xffff_ffff };
        let rights = gate.attributes();
        let known = match rights.0 & 0x1f {
            0xe | 0xf => true,
            5..=7 => size == 8,
            _ => false,
        };
        if !known || event.source == Source::Software && rights.dpl() < self.cpu.state.cpl() {
            return Err(Fault::gp(event.code()));
        }
        if !rights.present() {
            return Err(Fault::np(event.code()));
        }
        Ok(gate)
    }

    /// The code segment that a gate names: at most as privileged as now.
    fn handler_segment(&mut self, selector: u16) -> Result<Descriptor, Fault> {
        if selector & !3 == 0 {
            return Err(Fault::gp(0));
        }
        let descriptor = self.descriptor(selector, Fault::gp)?;
        let rights = descriptor.attributes();
        let long = self.cpu.state.long_mode();
        if !rights.is_code()
            || rights.dpl() > self.cpu.state.cpl()
            || long && (!rights.long() || rights.big())
        {
            return Err(Fault::gp(code_of(selector)));
        }
        if !rights.present() {
            return Err(Fault::np(code_of(selector)));
        }
        Ok(descriptor)
    }

    /// Through an interrupt, trap or task gate in protected or virtual-8086 mode.
    fn deliver_protected(&mut self, event: Event) -> Result<(), Fault> {
        let gate = self.interrupt_gate(&event, 8)?;
        if gate.attributes().kind() == 5 {
            return self.task_gate(&gate, &event);
        }
        let size = if gate.attributes().kind() & 8 != 0 { 4 } else { 2 };
        let mut code = self.handler_segment(gate.gate_selector())?;
        let selector = gate.gate_selector();
        let rights = code.attributes();
        let cpl = self.cpu.state.cpl();
        let conforming = rights.0 & 4 != 0;
        let inner = !conforming && rights.dpl() < cpl;
        let virtual8086 = self.cpu.state.rflags & Rflags::VM.bits() != 0;
        if virtual8086 && (!inner || rights.dpl() != 0) {
            return Err(Fault::gp(code_of(selector)));
        }
        let flags = self.saved_flags(&event);
        let old = self.cpu.state.segments;
        let old_sp = self.cpu.state.gpr[4];
        let selector_of = |name: SegmentName| u64::from(old[name as usize].selector);

        let (mut frame, stack) = if inner {
            let (sp, stack) = self.inner_stack(rights.dpl())?;
            (Frame::new(&self.cpu.state, stack, sp, false, rights.dpl()), Some(stack))
        } else {
            (Frame::current(&self.cpu.state), None)
        };
        if virtual8086 {
            for name in [SegmentName::Gs, SegmentName::Fs, SegmentName::Ds, SegmentName::Es] {
                self.frame_push(&mut frame, size, selector_of(name))?;
            }
        }
        if inner {
            self.frame_push(&mut frame, size, selector_of(SegmentName::Ss))?;
            self.frame_push(&mut frame, size, old_sp)?;
        }
        self.frame_push(&mut frame, size, flags)?;
        self.frame_push(&mut frame, size, selector_of(SegmentName::Cs))?;
        self.frame_push(&mut frame, size, event.rip)?;
        if let Some(code) = event.error_code {
            self.frame_push(&mut frame, size, u64::from(code))?;
        }
        let target = if size == 4 { gate.gate_offset() } else { gate.gate_offset() & 0xffff };
        if target > u64::from(code.limit()) {
            return Err(Fault::gp(0));
        }
        self.mark_descriptor(&mut code, 1)?;

        let state = &mut self.cpu.state;
        if let Some(stack) = stack {
            *state.segment_mut(SegmentName::Ss) = stack;
            // A 16-bit stack keeps the upper half of ESP; there is none to keep from another stack.
            state.gpr[4] = 0;
        }
        frame.commit(state);
        if virtual8086 {
            for name in [SegmentName::Gs, SegmentName::Fs, SegmentName::Ds, SegmentName::Es] {
                *state.segment_mut(name) = Segment::default();
            }
        }
        let level = if inner { rights.dpl() } else { cpl };
        *state.segment_mut(SegmentName::Cs) = code.segment(selector & !3 | u16::from(level));
        self.enter_handler(&gate, target);
        Ok(())
    }

    /// Through an interrupt or trap gate in long mode.
    fn deliver_long(&mut self, event: Event) -> Result<(), Fault> {
        let gate = self.interrupt_gate(&event, 16)?;
        let selector = gate.gate_selector();
        let mut code = self.handler_segment(selector)?;
        let rights = code.attributes();
        let cpl = self.cpu.state.cpl();
        let inner = rights.0 & 4 == 0 && rights.dpl() < cpl;
        let level = if inner { rights.dpl() } else { cpl };
        let ist = (gate.low >> 32 & 7) as u32;
        let sp = if ist != 0 {
            self.long_stack(28 + 8 * ist)?
        } else if inner {
            self.long_stack(4 + 8 * u32::from(level))?
        } else {
            self.cpu.state.gpr[4]
        };
        let null = Segment {
            selector: u16::from(level),
            attributes: Attributes(u16::from(level) << 5),
            ..Segment::default()
        };
        let mut frame = Frame::new(&self.cpu.state, null, sp & !0xf, true, level);
        let flags = self.saved_flags(&event);
        let state = &self.cpu.state;
        let words = [
            u64::from(state.segment(SegmentName::Ss).selector),
            state.gpr[4],
            flags,
            u64::from(state.segment(SegmentName::Cs).selector),
            event.rip,
        ];
        for word in words {
            self.frame_push(&mut frame, 8, word)?;
        }
        if let Some(code) = event.error_code {
            self.frame_push(&mut frame, 8, u64::from(code))?;
        }
        let target = gate.gate_offset();
        if !canonical(target) {
            return Err(Fault::gp(0));
        }
        self.mark_descriptor(&mut code, 1)?;
        let state = &mut self.cpu.state;
        if inner {
            *state.segment_mut(SegmentName::Ss) = null;
        }
        frame.commit(state);
        *state.segment_mut(SegmentName::Cs) = code.segment(selector & !3 | u16::from(level));
        self.enter_handler(&gate, target);
        Ok(())
    }

    fn saved_flags(&self, event: &Event) -> u64 {
        let resume = if event.sets_resume() { Rflags::RF.bits() } else { 0 };
        self.cpu.state.rflags | resume
    }

    /// What interrupt and trap gates do to the flags, and the jump.
    fn enter_handler(&mut self, gate: &Descriptor, target: u64) {
        let state = &mut self.cpu.state;
        state.rflags &= !(Rflags::TF | Rflags::NT | Rflags::RF | Rflags::VM).bits();
        if gate.attributes().kind() & 1 == 0 {
            state.rflags &= !Rflags::IF.bits();
        }
        state.rip = target;
    }
}

fn observation(event: &Event) -> Observation {
    let Event { vector, error_code, .. } = *event;
    match event.source {
        Source::External => Observation::Interrupt { vector },
        Source::Nmi => Observation::Nmi,
        Source::Exception => Observation::Exception {
            vector,
            error_code,
            address: if vector == Vector::PageFault as u8 { event.detail } else { 0 },
        },
        Source::Software | Source::IceBreakpoint => Observation::SoftwareInterrupt { vector },
    }
}
