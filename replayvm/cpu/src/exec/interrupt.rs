//! Software interrupts, and IRET in every combination of modes (SDM vol. 2, INT n, IRET).

use iced_x86::Mnemonic;

use crate::bus::Bus;
use crate::deliver::{Event, Source};
use crate::exec::frame::Frame;
use crate::exec::{Exec, Flow};
use crate::fault::Fault;
use crate::flags::Rflags;
use crate::segment::{Attributes, Segment, SegmentName};
use crate::state::{Mode, cr0};

impl<B: Bus> Exec<'_, B> {
    /// INT n, INT3, INTO, INT1.
    pub(crate) fn software_interrupt(&mut self) -> Result<Flow, Fault> {
        let state = &self.cpu.state;
        let (vector, source) = match self.insn.mnemonic() {
            Mnemonic::Int3 => (3, Source::Software),
            Mnemonic::Int1 => (1, Source::IceBreakpoint),
            Mnemonic::Into => {
                if state.rflags & Rflags::OF.bits() == 0 {
                    return Ok(Flow::Next);
                }
                (4, Source::Software)
            }
            _ => {
                if state.mode() == Mode::Virtual8086 && !state.iopl_allows() {
                    return Err(Fault::gp(0));
                }
                (self.insn.immediate8(), Source::Software)
            }
        };
        let next = state.next_rip(self.insn);
        self.deliver(Event::software(vector, source, next))?;
        Ok(Flow::Transferred)
    }

    /// IRET.
    pub(crate) fn iret(&mut self) -> Result<Flow, Fault> {
        let size = match self.insn.mnemonic() {
            Mnemonic::Iret => 2,
            Mnemonic::Iretd => 4,
            _ => 8,
        };
        self.whole(|exec| exec.interrupt_return(size))?;
        self.cpu.state.nmi_blocked = false;
        Ok(Flow::Transferred)
    }

    fn interrupt_return(&mut self, size: u64) -> Result<(), Fault> {
        let state = &self.cpu.state;
        let (cpl, mode) = (state.cpl(), state.mode());
        let may_set_if = state.iopl_allows();
        if mode == Mode::Virtual8086 && !may_set_if {
            return Err(Fault::gp(0));
        }
        let nested = state.rflags & Rflags::NT.bits() != 0;
        if nested && !state.plain_segments() {
            if state.long_mode() {
                return Err(Fault::gp(0));
            }
            return self.return_from_task();
        }
        let mut frame = Frame::current(state);
        let rip = self.frame_pop(&mut frame, size)?;
        let selector = self.frame_pop(&mut frame, size)? as u16;
        let flags = self.frame_pop(&mut frame, size)?;
        let mut which = (Rflags::ARITHMETIC | Rflags::TF | Rflags::DF | Rflags::NT).bits();
        if size > 2 {
            which |= (Rflags::RF | Rflags::AC | Rflags::ID).bits();
        }
        if may_set_if {
            which |= Rflags::IF.bits();
        }
        if cpl == 0 {
            which |= Rflags::IOPL.bits();
            if size > 2 {
                which |= (Rflags::VIF | Rflags::VIP).bits();
            }
        }
        if self.cpu.state.plain_segments() {
            self.cpu.state.check_target(rip)?;
            frame.commit(&mut self.cpu.state);
            self.cpu.state.set_plain_code(selector);
            self.cpu.state.rip = rip;
        } else if size == 4
            && cpl == 0
            && mode != Mode::Long64
            && flags & Rflags::VM.bits() != 0
            && !self.cpu.state.long_mode()
        {
            return self.return_to_virtual8086(frame, rip, selector, flags);
        } else {
            let always = mode == Mode::Long64;
            self.return_to(frame, selector, rip, always, 0, |exec, frame| {
                let sp = exec.frame_pop(frame, size)?;
                Ok((sp, exec.frame_pop(frame, size)? as u16))
            })?;
        }
        let state = &mut self.cpu.state;
        state.rflags = (state.rflags & !which) | (flags & which);
        if which & Rflags::RF.bits() == 0 {
            state.rflags &= !Rflags::RF.bits();
        }
        Ok(())
    }

    fn return_to_virtual8086(
        &mut self,
        mut frame: Frame,
        rip: u64,
        selector: u16,
        flags: u64,
    ) -> Result<(), Fault> {
        let sp = self.frame_pop(&mut frame, 4)?;
        let mut selectors = [(SegmentName::Cs, selector); 6];
        let order = [SegmentName::Ss, SegmentName::Es, SegmentName::Ds, SegmentName::Fs, SegmentName::Gs];
        for (place, name) in selectors[1..].iter_mut().zip(order) {
            *place = (name, self.frame_pop(&mut frame, 4)? as u16);
        }
        if rip > 0xffff {
            return Err(Fault::gp(0));
        }
        let state = &mut self.cpu.state;
        for (name, selector) in selectors {
            *state.segment_mut(name) = Segment {
                selector,
                base: u64::from(selector) << 4,
                limit: 0xffff,
                attributes: Attributes(0xf3),
            };
        }
        state.gpr[4] = sp;
        state.rip = rip;
        state.rflags = flags & 0x003f_7fd5 | Rflags::FIXED.bits();
        Ok(())
    }
}

impl crate::state::CpuState {
    /// Whether IOPL lets the current code touch IF and all ports.
    pub(crate) fn iopl_allows(&self) -> bool {
        self.cr0 & cr0::PE == 0 || u64::from(self.cpl()) <= self.rflags >> 12 & 3
    }
}
