//! Loading data and stack segment registers: MOV, POP, LDS and its kin (SDM vol. 2, MOV; vol. 3, 5.6).

use iced_x86::{Code, Mnemonic, OpKind, Register};

use crate::bus::Bus;
use crate::exec::descriptor::code_of;
use crate::exec::operand::segment_name;
use crate::exec::{Exec, Flow};
use crate::fault::Fault;
use crate::flags::Rflags;
use crate::segment::{Attributes, Segment, SegmentName};
use crate::state::{Mode, Shadow};

impl<B: Bus> Exec<'_, B> {
    /// What a data or stack segment register will hold after loading a selector.
    pub(crate) fn data_segment(&mut self, name: SegmentName, selector: u16) -> Result<Segment, Fault> {
        let state = &self.cpu.state;
        if state.plain_segments() {
            let old = state.segment(name);
            let base = u64::from(selector) << 4;
            return Ok(if state.rflags & Rflags::VM.bits() != 0 && state.cr0 & 1 != 0 {
                Segment { selector, base, limit: 0xffff, attributes: Attributes(0xf3) }
            } else {
                // Limit and size stay as protected mode has left them.
                let limit = if old.attributes.present() { old.limit } else { 0xffff };
                Segment { selector, base, limit, attributes: Attributes(old.attributes.0 & 0xc000 | 0x93) }
            });
        }
        let (cpl, rpl) = (state.cpl(), (selector & 3) as u8);
        if selector & !3 == 0 {
            if name != SegmentName::Ss {
                return Ok(Segment { selector, ..Segment::default() });
            }
            if state.mode() == Mode::Long64 && cpl != 3 && rpl == cpl {
                let attributes = Attributes(u16::from(cpl) << 5);
                return Ok(Segment { selector, attributes, ..Segment::default() });
            }
            return Err(Fault::gp(0));
        }
        let mut descriptor = self.descriptor(selector, Fault::gp)?;
        let rights = descriptor.attributes();
        let code = code_of(selector);
        if name == SegmentName::Ss {
            if rpl != cpl || rights.0 & 0x1a != 0x12 || rights.dpl() != cpl {
                return Err(Fault::gp(code));
            }
            if !rights.present() {
                return Err(Fault::ss(code));
            }
        } else {
            let conforming = rights.0 & 0x1c == 0x1c;
            if !rights.is_code_or_data() || rights.0 & 0xa == 8 || !conforming && rights.dpl() < rpl.max(cpl)
            {
                return Err(Fault::gp(code));
            }
            if !rights.present() {
                return Err(Fault::np(code));
            }
        }
        self.mark_descriptor(&mut descriptor, 1)?;
        Ok(descriptor.segment(selector))
    }

    /// MOV to a segment register.
    pub(crate) fn mov_to_segment(&mut self) -> Result<Flow, Fault> {
        let name = segment_name(self.insn.op0_register());
        if name == SegmentName::Cs {
            return Err(Fault::UD);
        }
        let selector = if self.insn.op1_kind() == OpKind::Memory {
            let (segment, offset) = self.memory_operand();
            u16::from_le_bytes(self.load(segment, offset)?)
        } else {
            self.gpr(self.insn.op1_register()) as u16
        };
        let segment = self.data_segment(name, selector)?;
        *self.cpu.state.segment_mut(name) = segment;
        if name == SegmentName::Ss {
            self.cpu.state.shadow = Shadow::MovSs;
        }
        Ok(Flow::Next)
    }

    /// POP into a segment register.
    pub(crate) fn pop_segment(&mut self) -> Result<Flow, Fault> {
        let name = segment_name(self.insn.op0_register());
        let size = match self.insn.code() {
            Code::Popw_ES | Code::Popw_SS | Code::Popw_DS | Code::Popw_FS | Code::Popw_GS => 2,
            Code::Popq_FS | Code::Popq_GS => 8,
            Code::Popw_CS => return Err(Fault::UD),
            _ => 4,
        };
        let selector = self.peek(0, size)? as u16;
        // The pointer moves on the stack that was popped from.
        let top = self.stack_pointer().wrapping_add(size as u64);
        let segment = self.data_segment(name, selector)?;
        self.set_stack_pointer(top);
        *self.cpu.state.segment_mut(name) = segment;
        if name == SegmentName::Ss {
            self.cpu.state.shadow = Shadow::MovSs;
        }
        Ok(Flow::Next)
    }

    /// LDS, LES, LSS, LFS, LGS.
    pub(crate) fn load_far_pointer(&mut self) -> Result<Flow, Fault> {
        let name = match self.insn.mnemonic() {
            Mnemonic::Lds => SegmentName::Ds,
            Mnemonic::Les => SegmentName::Es,
            Mnemonic::Lss => SegmentName::Ss,
            Mnemonic::Lfs => SegmentName::Fs,
            _ => SegmentName::Gs,
        };
        let register: Register = self.insn.op0_register();
        let (selector, offset) = self.load_far(register.size())?;
        let segment = self.data_segment(name, selector)?;
        *self.cpu.state.segment_mut(name) = segment;
        self.set_gpr(register, offset);
        Ok(Flow::Next)
    }
}
