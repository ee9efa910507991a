//! Descriptor tables and what can be asked of descriptors: LGDT to STR, LAR, LSL, VERR, VERW, ARPL.

use iced_x86::{Code, Mnemonic, Register};

use crate::access::{Intent, canonical};
use crate::bus::Bus;
use crate::exec::descriptor::{Descriptor, code_of};
use crate::exec::{Exec, Flow};
use crate::fault::{Fault, Vector};
use crate::flags::{Rflags, Width};
use crate::segment::{Attributes, Segment, Table};
use crate::state::Mode;

impl<B: Bus> Exec<'_, B> {
    /// LGDT, LIDT.
    pub(crate) fn load_table(&mut self) -> Result<Flow, Fault> {
        self.demand_cpl0()?;
        let (segment, offset) = self.memory_operand();
        let limit = u16::from_le_bytes(self.load(segment, offset)?);
        let at = offset.wrapping_add(2);
        let base = match self.insn.code() {
            Code::Lgdt_m1664 | Code::Lidt_m1664 => u64::from_le_bytes(self.load(segment, at)?),
            code => {
                let base = u64::from(u32::from_le_bytes(self.load(segment, at)?));
                let narrow = matches!(code, Code::Lgdt_m1632_16 | Code::Lidt_m1632_16);
                if narrow { base & 0xff_ffff } else { base }
            }
        };
        if !canonical(base) {
            return Err(Fault::gp(0));
        }
        let table = Table { base, limit };
        if self.insn.mnemonic() == Mnemonic::Lgdt {
            self.cpu.state.gdtr = table;
        } else {
            self.cpu.state.idtr = table;
        }
        Ok(Flow::Next)
    }

    /// SGDT, SIDT.
    pub(crate) fn store_table(&mut self) -> Result<Flow, Fault> {
        let state = &self.cpu.state;
        let table = if self.insn.mnemonic() == Mnemonic::Sgdt { state.gdtr } else { state.idtr };
        let width = if state.mode() == Mode::Long64 { Width::Qword } else { Width::Dword };
        let (segment, offset) = self.memory_operand();
        let at = offset.wrapping_add(2);
        // Both parts are checked before the first is written.
        self.load_sized(segment, at, width, Intent::Modify)?;
        self.store(segment, offset, table.limit.to_le_bytes())?;
        self.store_sized(segment, at, width, table.base)?;
        Ok(Flow::Next)
    }

    /// #UD in real and virtual-8086 mode.
    fn demand_descriptors(&self) -> Result<(), Fault> {
        if self.cpu.state.plain_segments() { Err(Fault::UD) } else { Ok(()) }
    }

    /// A system descriptor of the GDT, for LLDT and LTR.
    pub(crate) fn system_descriptor(&mut self, selector: u16, kinds: &[u8]) -> Result<Descriptor, Fault> {
        let wrong = Fault::gp(code_of(selector));
        if selector & 4 != 0 {
            return Err(wrong);
        }
        let descriptor = self.descriptor(selector, Fault::gp)?;
        let rights = descriptor.attributes();
        if rights.is_code_or_data() || !kinds.contains(&rights.kind()) || descriptor.high >> 40 & 0x1f != 0 {
            return Err(wrong);
        }
        if !rights.present() {
            return Err(Fault::np(code_of(selector)));
        }
        if !canonical(descriptor.base()) {
            return Err(wrong);
        }
        Ok(descriptor)
    }

    /// LLDT.
    pub(crate) fn load_local_table(&mut self) -> Result<Flow, Fault> {
        self.demand_descriptors()?;
        self.demand_cpl0()?;
        let selector = self.system_word(0)?;
        self.cpu.state.ldtr = if selector & !3 == 0 {
            Segment { selector, attributes: Attributes(0), ..Segment::default() }
        } else {
            self.system_descriptor(selector, &[2])?.segment(selector)
        };
        Ok(Flow::Next)
    }

    /// LTR.
    pub(crate) fn load_task(&mut self) -> Result<Flow, Fault> {
        self.demand_descriptors()?;
        self.demand_cpl0()?;
        let selector = self.system_word(0)?;
        if selector & !3 == 0 {
            return Err(Fault::gp(0));
        }
        let kinds: &[u8] = if self.cpu.state.long_mode() { &[9] } else { &[1, 9] };
        let mut descriptor = self.system_descriptor(selector, kinds)?;
        self.mark_descriptor(&mut descriptor, 2)?;
        self.cpu.state.tr = descriptor.segment(selector);
        Ok(Flow::Next)
    }

    /// SLDT, STR.
    pub(crate) fn store_selector(&mut self) -> Result<Flow, Fault> {
        self.demand_descriptors()?;
        let state = &self.cpu.state;
        let segment = if self.insn.mnemonic() == Mnemonic::Sldt { state.ldtr } else { state.tr };
        self.store_system_word(u64::from(segment.selector))
    }

    fn set_zero_flag(&mut self, on: bool) {
        let flags = &mut self.cpu.state.rflags;
        *flags = if on { *flags | Rflags::ZF.bits() } else { *flags & !Rflags::ZF.bits() };
    }

    /// The descriptor of a selector, if there is one that the current code may look at.
    fn visible_descriptor(&mut self, selector: u16) -> Result<Option<Descriptor>, Fault> {
        if selector & !3 == 0 {
            return Ok(None);
        }
        let descriptor = match self.descriptor(selector, Fault::gp) {
            Ok(descriptor) => descriptor,
            Err(fault) if fault.vector == Vector::GeneralProtection => return Ok(None),
            Err(fault) => return Err(fault),
        };
        let rights = descriptor.attributes();
        let conforming = rights.0 & 0x1c == 0x1c;
        let level = self.cpu.state.cpl().max((selector & 3) as u8);
        Ok((conforming || rights.dpl() >= level).then_some(descriptor))
    }

    /// LAR, LSL.
    pub(crate) fn describe(&mut self) -> Result<Flow, Fault> {
        self.demand_descriptors()?;
        let selector = self.system_word(1)?;
        let limit = self.insn.mnemonic() == Mnemonic::Lsl;
        let long = self.cpu.state.long_mode();
        let found = self.visible_descriptor(selector)?.filter(|descriptor| {
            let rights = descriptor.attributes();
            rights.is_code_or_data()
                || match rights.kind() {
                    2 | 9 | 11 => true,
                    1 | 3 => !long,
                    12 => !limit,
                    4 | 5 => !limit && !long,
                    _ => false,
                }
        });
        self.set_zero_flag(found.is_some());
        if let Some(descriptor) = found {
            let value =
                if limit { u64::from(descriptor.limit()) } else { descriptor.low >> 32 & 0x00f0_ff00 };
            self.set_gpr(self.insn.op0_register(), value);
        }
        Ok(Flow::Next)
    }

    /// VERR, VERW.
    pub(crate) fn verify(&mut self) -> Result<Flow, Fault> {
        self.demand_descriptors()?;
        let selector = self.system_word(0)?;
        let write = self.insn.mnemonic() == Mnemonic::Verw;
        let fine = self.visible_descriptor(selector)?.is_some_and(|descriptor| {
            let kind = descriptor.attributes().0 & 0x1a;
            if write { kind == 0x12 } else { kind & 0x10 != 0 && kind & 0xa != 8 }
        });
        self.set_zero_flag(fine);
        Ok(Flow::Next)
    }

    /// ARPL.
    pub(crate) fn adjust_level(&mut self) -> Result<Flow, Fault> {
        self.demand_descriptors()?;
        let place = self.place(0);
        let register: Register = self.insn.op1_register();
        let wanted = self.gpr(register) & 3;
        let selector = self.read_place(place, Width::Word, Intent::Modify)?;
        let raise = selector & 3 < wanted;
        if raise {
            self.write_place(place, Width::Word, selector & !3 | wanted)?;
        }
        self.set_zero_flag(raise);
        Ok(Flow::Next)
    }
}
