//! Jumps, calls and returns between code segments, and through call gates (SDM vol. 2, JMP, CALL, RET; vol. 3, 5.8).

use iced_x86::{Code, OpKind};

use crate::access::canonical;
use crate::bus::Bus;
use crate::exec::descriptor::{Descriptor, code_of};
use crate::exec::frame::Frame;
use crate::exec::{Exec, Flow};
use crate::fault::Fault;
use crate::flags::{Rflags, Width};
use crate::segment::{Attributes, Segment, SegmentName};
use crate::state::{CpuState, cr0};

impl CpuState {
    /// Whether segment registers are loaded without descriptors.
    pub(crate) fn plain_segments(&self) -> bool {
        self.cr0 & cr0::PE == 0 || self.rflags & Rflags::VM.bits() != 0
    }

    /// Loads CS in real or virtual-8086 mode.
    pub(crate) fn set_plain_code(&mut self, selector: u16) {
        let virtual8086 = self.rflags & Rflags::VM.bits() != 0;
        let cs = self.segment_mut(SegmentName::Cs);
        cs.selector = selector;
        cs.base = u64::from(selector) << 4;
        if virtual8086 {
            cs.limit = 0xffff;
            cs.attributes = Attributes(0xf3);
        } else {
            // The limit stays as protected mode has left it, and the granularity with it.
            cs.attributes = Attributes(cs.attributes.0 & 0x8000 | 0x9b);
        }
    }

    /// The highest address of a code segment that is about to be entered, and whether `target` is one that it has.
    pub(crate) fn check_entry(&self, code: &Segment, target: u64) -> Result<(), Fault> {
        let fine = if self.long_mode() && code.attributes.long() {
            canonical(target)
        } else {
            target <= u64::from(code.limit)
        };
        if fine { Ok(()) } else { Err(Fault::gp(0)) }
    }
}

/// What a far transfer found at its selector.
enum Target {
    Code(Descriptor),
    CallGate(Descriptor),
    Task(Descriptor),
    TaskGate(Descriptor),
}

impl<B: Bus> Exec<'_, B> {
    /// Runs `f`; if it fails, registers are as before.
    pub(crate) fn whole<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        let before = self.cpu.state.clone();
        let result = f(self);
        if result.is_err() {
            self.cpu.state = before;
        }
        result
    }

    /// Selector, offset and operand size of a far pointer operand.
    fn far_pointer(&mut self) -> Result<(u16, u64, usize), Fault> {
        match self.insn.op0_kind() {
            OpKind::FarBranch16 => {
                Ok((self.insn.far_branch_selector(), u64::from(self.insn.far_branch16()), 2))
            }
            OpKind::FarBranch32 => {
                Ok((self.insn.far_branch_selector(), u64::from(self.insn.far_branch32()), 4))
            }
            _ => {
                let size = match self.insn.code() {
                    Code::Jmp_m1616 | Code::Call_m1616 => 2,
                    Code::Jmp_m1632 | Code::Call_m1632 => 4,
                    _ => 8,
                };
                let (selector, offset) = self.load_far(size)?;
                Ok((selector, offset, size))
            }
        }
    }

    /// The far pointer in memory operand: an offset of `size` bytes, then a selector.
    pub(crate) fn load_far(&mut self, size: usize) -> Result<(u16, u64), Fault> {
        let (segment, at) = self.memory_operand();
        let offset = self.load_sized(segment, at, Width::of_bytes(size), crate::access::Intent::Read)?;
        let selector = u16::from_le_bytes(self.load(segment, at.wrapping_add(size as u64))?);
        Ok((selector, offset))
    }

    /// What a selector in a far JMP or CALL stands for, with the checks that are common to both.
    fn far_target(&mut self, selector: u16) -> Result<Target, Fault> {
        if selector & !3 == 0 {
            return Err(Fault::gp(0));
        }
        let descriptor = self.descriptor(selector, Fault::gp)?;
        let state = &self.cpu.state;
        let (rights, cpl, rpl) = (descriptor.attributes(), state.cpl(), (selector & 3) as u8);
        let wrong = Err(Fault::gp(code_of(selector)));
        let long = state.long_mode();
        let absent = Err(Fault::np(code_of(selector)));
        if rights.is_code() {
            let conforming = rights.0 & 4 != 0;
            let allowed = if conforming { rights.dpl() <= cpl } else { rights.dpl() == cpl && rpl <= cpl };
            if !allowed || long && rights.long() && rights.big() {
                return wrong;
            }
            return if rights.present() { Ok(Target::Code(descriptor)) } else { absent };
        }
        if rights.is_code_or_data() || rights.dpl() < cpl.max(rpl) {
            return wrong;
        }
        let target = match rights.kind() {
            12 => Target::CallGate(descriptor),
            4 if !long => Target::CallGate(descriptor),
            5 if !long => Target::TaskGate(descriptor),
            1 | 9 if !long => Target::Task(descriptor),
            _ => return wrong,
        };
        if rights.present() { Ok(target) } else { absent }
    }

    /// JMP far.
    pub(crate) fn far_jump(&mut self) -> Result<Flow, Fault> {
        let (selector, offset, _) = self.far_pointer()?;
        if self.cpu.state.plain_segments() {
            self.cpu.state.check_target(offset)?;
            self.cpu.state.set_plain_code(selector);
            self.cpu.state.rip = offset;
            return Ok(Flow::Transferred);
        }
        match self.far_target(selector)? {
            Target::Code(code) => self.enter_code(code, selector, offset)?,
            Target::CallGate(gate) => {
                let (code, selector) = self.gate_code(&gate)?;
                let rights = code.attributes();
                if rights.0 & 4 == 0 && rights.dpl() != self.cpu.state.cpl() {
                    return Err(Fault::gp(code_of(selector)));
                }
                let offset = gate_offset(&gate);
                self.enter_code(code, selector, offset)?;
            }
            Target::Task(task) => self.whole(|exec| exec.jump_to_task(task, selector))?,
            Target::TaskGate(gate) => self.whole(|exec| exec.jump_to_task_gate(&gate))?,
        }
        Ok(Flow::Transferred)
    }

    /// Enters a code segment at the same privilege level.
    fn enter_code(&mut self, mut code: Descriptor, selector: u16, offset: u64) -> Result<(), Fault> {
        let cpl = self.cpu.state.cpl();
        let selector = selector & !3 | u16::from(cpl);
        self.cpu.state.check_entry(&code.segment(selector), offset)?;
        self.mark_descriptor(&mut code, 1)?;
        *self.cpu.state.segment_mut(SegmentName::Cs) = code.segment(selector);
        self.cpu.state.rip = offset;
        Ok(())
    }

    /// The code segment behind a call gate, and its selector.
    fn gate_code(&mut self, gate: &Descriptor) -> Result<(Descriptor, u16), Fault> {
        let selector = gate.gate_selector();
        if selector & !3 == 0 {
            return Err(Fault::gp(0));
        }
        if self.cpu.state.long_mode() && gate.high >> 40 & 0x1f != 0 {
            return Err(Fault::gp(code_of(selector)));
        }
        let code = self.descriptor(selector, Fault::gp)?;
        let rights = code.attributes();
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
        Ok((code, selector))
    }

    /// CALL far.
    pub(crate) fn far_call(&mut self) -> Result<Flow, Fault> {
        let (selector, offset, size) = self.far_pointer()?;
        let size = size as u64;
        let next = self.cpu.state.next_rip(self.insn);
        let cs = u64::from(self.cpu.state.segment(SegmentName::Cs).selector);
        if self.cpu.state.plain_segments() {
            self.cpu.state.check_target(offset)?;
            let mut frame = Frame::current(&self.cpu.state);
            self.frame_push(&mut frame, size, cs)?;
            self.frame_push(&mut frame, size, next)?;
            frame.commit(&mut self.cpu.state);
            self.cpu.state.set_plain_code(selector);
            self.cpu.state.rip = offset;
            return Ok(Flow::Transferred);
        }
        match self.far_target(selector)? {
            Target::Code(code) => self.whole(|exec| {
                // The stack is that of the segment being left; only its width in 64-bit mode differs.
                exec.cpu.state.check_entry(&code.segment(selector), offset)?;
                let mut frame = Frame::current(&exec.cpu.state);
                exec.frame_push(&mut frame, size, cs)?;
                exec.frame_push(&mut frame, size, next)?;
                frame.commit(&mut exec.cpu.state);
                exec.enter_code(code, selector, offset)
            })?,
            Target::CallGate(gate) => self.whole(|exec| exec.call_gate(&gate, cs, next))?,
            Target::Task(task) => self.whole(|exec| exec.call_task(task, selector))?,
            Target::TaskGate(gate) => self.whole(|exec| exec.call_task_gate(&gate))?,
        }
        Ok(Flow::Transferred)
    }

    /// CALL through a call gate, to the same privilege level or an inner one.
    fn call_gate(&mut self, gate: &Descriptor, cs: u64, next: u64) -> Result<(), Fault> {
        let (mut code, selector) = self.gate_code(gate)?;
        let rights = code.attributes();
        let long = self.cpu.state.long_mode();
        let size = if long {
            8
        } else if gate.attributes().kind() & 8 != 0 {
            4
        } else {
            2
        };
        let target = gate_offset(gate);
        let cpl = self.cpu.state.cpl();
        if rights.0 & 4 != 0 || rights.dpl() == cpl {
            self.cpu.state.check_entry(&code.segment(selector), target)?;
            let mut frame = Frame::current(&self.cpu.state);
            self.frame_push(&mut frame, size, cs)?;
            self.frame_push(&mut frame, size, next)?;
            frame.commit(&mut self.cpu.state);
            return self.enter_code(code, selector, target);
        }
        let level = rights.dpl();
        let old_ss = u64::from(self.cpu.state.segment(SegmentName::Ss).selector);
        let old_sp = self.cpu.state.gpr[4];
        let (sp, stack) = if long {
            let null = Segment {
                selector: u16::from(level),
                attributes: Attributes(u16::from(level) << 5),
                ..Segment::default()
            };
            (self.long_stack(4 + 8 * u32::from(level))?, null)
        } else {
            self.inner_stack(level)?
        };
        let mut frame = Frame::new(&self.cpu.state, stack, sp, long, level);
        self.cpu.state.check_entry(&code.segment(selector), target)?;
        self.frame_push(&mut frame, size, old_ss)?;
        self.frame_push(&mut frame, size, old_sp)?;
        if !long {
            // Parameters, in the order they lie in: the last pushed ends up lowest.
            let count = gate.low >> 32 & 0x1f;
            let base = Frame::current(&self.cpu.state);
            for i in (0..count).rev() {
                let mut from = base;
                from.skip(i * size);
                let word = self.frame_pop(&mut from, size)?;
                self.frame_push(&mut frame, size, word)?;
            }
        }
        self.frame_push(&mut frame, size, cs)?;
        self.frame_push(&mut frame, size, next)?;
        self.mark_descriptor(&mut code, 1)?;
        let state = &mut self.cpu.state;
        *state.segment_mut(SegmentName::Ss) = stack;
        state.gpr[4] = 0;
        frame.commit(state);
        *state.segment_mut(SegmentName::Cs) = code.segment(selector & !3 | u16::from(level));
        state.rip = target;
        Ok(())
    }

    /// RET far.
    pub(crate) fn far_return(&mut self) -> Result<Flow, Fault> {
        let size = match self.insn.code() {
            Code::Retfw | Code::Retfw_imm16 => 2,
            Code::Retfd | Code::Retfd_imm16 => 4,
            _ => 8,
        };
        let release = if self.insn.op_count() == 0 { 0 } else { u64::from(self.insn.immediate16()) };
        self.whole(|exec| {
            let mut frame = Frame::current(&exec.cpu.state);
            let rip = exec.frame_pop(&mut frame, size)?;
            let selector = exec.frame_pop(&mut frame, size)? as u16;
            if exec.cpu.state.plain_segments() {
                exec.cpu.state.check_target(rip)?;
                frame.skip(release);
                frame.commit(&mut exec.cpu.state);
                exec.cpu.state.set_plain_code(selector);
                exec.cpu.state.rip = rip;
                return Ok(());
            }
            frame.skip(release);
            exec.return_to(frame, selector, rip, false, release, |exec, frame| {
                let sp = exec.frame_pop(frame, size)?;
                Ok((sp, exec.frame_pop(frame, size)? as u16))
            })
        })?;
        Ok(Flow::Transferred)
    }

    /// The common end of RET far and IRET in protected mode: to `selector:rip`, at the same level or an outer one. For
    /// an outer one, or `always`, `stack` pops the pointer and selector of the stack to go back to. Registers may be half changed on a
    /// fault: to be called within [`Exec::whole`].
    pub(crate) fn return_to(
        &mut self,
        mut frame: Frame,
        selector: u16,
        rip: u64,
        always: bool,
        release: u64,
        stack: impl FnOnce(&mut Self, &mut Frame) -> Result<(u64, u16), Fault>,
    ) -> Result<(), Fault> {
        let cpl = self.cpu.state.cpl();
        let level = (selector & 3) as u8;
        if selector & !3 == 0 {
            return Err(Fault::gp(0));
        }
        let mut code = self.descriptor(selector, Fault::gp)?;
        let rights = code.attributes();
        let conforming = rights.0 & 4 != 0;
        let long = self.cpu.state.long_mode();
        if level < cpl
            || !rights.is_code()
            || if conforming { rights.dpl() > level } else { rights.dpl() != level }
            || long && rights.long() && rights.big()
        {
            return Err(Fault::gp(code_of(selector)));
        }
        if !rights.present() {
            return Err(Fault::np(code_of(selector)));
        }
        let to_long = long && rights.long();
        if level == cpl && !always {
            self.cpu.state.check_entry(&code.segment(selector), rip)?;
            self.mark_descriptor(&mut code, 1)?;
            frame.commit(&mut self.cpu.state);
        } else {
            let (sp, ss) = stack(self, &mut frame)?;
            let segment = self.outer_stack(ss, level, to_long)?;
            self.cpu.state.check_entry(&code.segment(selector), rip)?;
            self.mark_descriptor(&mut code, 1)?;
            let mut outer = Frame::new(&self.cpu.state, segment, sp, to_long, level);
            outer.skip(release);
            let state = &mut self.cpu.state;
            *state.segment_mut(SegmentName::Ss) = segment;
            // A 16-bit stack gets the whole of the popped pointer, as IRET gives it.
            state.gpr[4] = if to_long { sp } else { sp & 0xffff_ffff };
            outer.commit(state);
            for name in [SegmentName::Es, SegmentName::Ds, SegmentName::Fs, SegmentName::Gs] {
                let segment = state.segment_mut(name);
                let rights = segment.attributes;
                if rights.present() && rights.dpl() < level && rights.0 & 0x1c != 0x1c {
                    *segment = Segment::default();
                }
            }
        }
        let state = &mut self.cpu.state;
        *state.segment_mut(SegmentName::Cs) = code.segment(selector);
        state.rip = rip;
        Ok(())
    }

    /// The stack segment of an outer level that a return goes to.
    pub(crate) fn outer_stack(&mut self, selector: u16, level: u8, to_long: bool) -> Result<Segment, Fault> {
        if selector & !3 == 0 {
            if to_long && level != 3 && selector & 3 == u16::from(level) {
                let attributes = Attributes(u16::from(level) << 5);
                return Ok(Segment { selector, attributes, ..Segment::default() });
            }
            return Err(Fault::gp(0));
        }
        let mut descriptor = self.descriptor(selector, Fault::gp)?;
        let rights = descriptor.attributes();
        if selector & 3 != u16::from(level) || rights.dpl() != level || rights.0 & 0x1a != 0x12 {
            return Err(Fault::gp(code_of(selector)));
        }
        if !rights.present() {
            return Err(Fault::ss(code_of(selector)));
        }
        self.mark_descriptor(&mut descriptor, 1)?;
        Ok(descriptor.segment(selector))
    }
}

/// The offset of a call gate, as wide as its kind has it.
fn gate_offset(gate: &Descriptor) -> u64 {
    if gate.attributes().kind() & 8 == 0 { gate.gate_offset() & 0xffff } else { gate.gate_offset() }
}
