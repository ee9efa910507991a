//! SYSCALL, SYSRET, SYSENTER, SYSEXIT, as Intel has them (SDM vol. 2).

use iced_x86::Code;

use crate::access::canonical;
use crate::bus::Bus;
use crate::exec::{Exec, Flow};
use crate::fault::Fault;
use crate::flags::Rflags;
use crate::segment::{Attributes, Segment, SegmentName};
use crate::state::{CpuState, Mode, cr0, efer};

const CODE_64: u16 = 0xa09b;
const CODE_32: u16 = 0xc09b;
const DATA: u16 = 0xc093;

/// The flat segments that these instructions load without looking at a descriptor.
fn enter(state: &mut CpuState, code: u16, code_kind: u16, stack: u16, level: u16) {
    let flat = |selector: u16, kind: u16| Segment {
        selector: selector & !3 | level,
        base: 0,
        limit: u32::MAX,
        attributes: Attributes(kind | level << 5),
    };
    *state.segment_mut(SegmentName::Cs) = flat(code, code_kind);
    *state.segment_mut(SegmentName::Ss) = flat(stack, DATA);
}

impl<B: Bus> Exec<'_, B> {
    /// SYSCALL: in 64-bit mode only.
    pub(crate) fn syscall(&mut self) -> Result<Flow, Fault> {
        let state = &mut self.cpu.state;
        if state.mode() != Mode::Long64 || state.efer & efer::SCE == 0 {
            return Err(Fault::UD);
        }
        let selector = (state.star >> 32) as u16;
        state.gpr[1] = state.rip.wrapping_add(self.insn.len() as u64);
        state.gpr[11] = state.rflags & !Rflags::RF.bits();
        state.rip = state.lstar;
        state.rflags = state.rflags & !state.fmask & !Rflags::RF.bits() | Rflags::FIXED.bits();
        enter(state, selector, CODE_64, (selector & !3).wrapping_add(8), 0);
        Ok(Flow::Transferred)
    }

    /// SYSRET: from 64-bit mode, to 64-bit or compatibility mode.
    pub(crate) fn sysret(&mut self) -> Result<Flow, Fault> {
        let state = &mut self.cpu.state;
        if state.mode() != Mode::Long64 || state.efer & efer::SCE == 0 {
            return Err(Fault::UD);
        }
        let wide = self.insn.code() == Code::Sysretq;
        if state.cpl() != 0 || wide && !canonical(state.gpr[1]) {
            return Err(Fault::gp(0));
        }
        let selector = (state.star >> 48) as u16;
        state.rflags = state.gpr[11] & 0x003c_7fd7 | Rflags::FIXED.bits();
        let stack = selector.wrapping_add(8);
        if wide {
            state.rip = state.gpr[1];
            enter(state, selector.wrapping_add(16), CODE_64, stack, 3);
        } else {
            state.rip = state.gpr[1] & 0xffff_ffff;
            enter(state, selector, CODE_32, stack, 3);
        }
        Ok(Flow::Transferred)
    }

    /// SYSENTER.
    pub(crate) fn sysenter(&mut self) -> Result<Flow, Fault> {
        let state = &mut self.cpu.state;
        let selector = state.sysenter_cs as u16;
        if state.cr0 & cr0::PE == 0 || selector & !3 == 0 {
            return Err(Fault::gp(0));
        }
        let long = state.long_mode();
        let mask = if long { u64::MAX } else { 0xffff_ffff };
        state.rflags &= !(Rflags::VM | Rflags::IF | Rflags::RF).bits();
        state.gpr[4] = state.sysenter_esp & mask;
        state.rip = state.sysenter_eip & mask;
        let kind = if long { CODE_64 } else { CODE_32 };
        enter(state, selector, kind, (selector & !3).wrapping_add(8), 0);
        Ok(Flow::Transferred)
    }

    /// SYSEXIT.
    pub(crate) fn sysexit(&mut self) -> Result<Flow, Fault> {
        let state = &mut self.cpu.state;
        let selector = state.sysenter_cs as u16 & !3;
        if state.cr0 & cr0::PE == 0 || selector == 0 || state.cpl() != 0 {
            return Err(Fault::gp(0));
        }
        let (rip, rsp) = (state.gpr[2], state.gpr[1]);
        if self.insn.code() == Code::Sysexitq {
            if !canonical(rip) || !canonical(rsp) {
                return Err(Fault::gp(0));
            }
            (state.rip, state.gpr[4]) = (rip, rsp);
            enter(state, selector.wrapping_add(32), CODE_64, selector.wrapping_add(40), 3);
        } else {
            (state.rip, state.gpr[4]) = (rip & 0xffff_ffff, rsp & 0xffff_ffff);
            enter(state, selector.wrapping_add(16), CODE_32, selector.wrapping_add(24), 3);
        }
        Ok(Flow::Transferred)
    }
}
