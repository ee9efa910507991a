//! A stack while something of several words is put on it or taken from it: the pointer moves only when all has gone
//! well, and the stack need not be the current one.

use crate::access::canonical;
use crate::bus::{Access, Bus};
use crate::exec::Exec;
use crate::fault::Fault;
use crate::paging::{Privilege, Purpose};
use crate::segment::{Segment, SegmentName};
use crate::state::{CpuState, Mode};

/// A stack and a place on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    segment: Segment,
    /// The stack pointer, within `mask`.
    pub(crate) sp: u64,
    mask: u64,
    long: bool,
    privilege: Privilege,
    /// The error code of #SS.
    error: u32,
}

impl Frame {
    /// The current stack.
    pub(crate) fn current(state: &CpuState) -> Self {
        let segment = *state.segment(SegmentName::Ss);
        let long = state.mode() == Mode::Long64;
        let mask = stack_mask(long, &segment);
        Self { segment, sp: state.gpr[4] & mask, mask, long, privilege: state.privilege(), error: 0 }
    }

    /// A stack of privilege level `cpl` to be switched to.
    pub(crate) fn new(state: &CpuState, segment: Segment, sp: u64, long: bool, cpl: u8) -> Self {
        let mask = stack_mask(long, &segment);
        let privilege = if cpl == 3 {
            Privilege::User
        } else if state.cpl() == 3 {
            state.implicit()
        } else {
            state.privilege()
        };
        let error = if long { 0 } else { u32::from(segment.selector & !3) };
        Self { segment, sp: sp & mask, mask, long, privilege, error }
    }

    /// Moves the pointer up.
    pub(crate) fn skip(&mut self, bytes: u64) {
        self.sp = self.sp.wrapping_add(bytes) & self.mask;
    }

    /// Makes this the stack pointer.
    pub(crate) fn commit(&self, state: &mut CpuState) {
        let keep = if self.mask == 0xffff { !self.mask } else { 0 };
        state.gpr[4] = (state.gpr[4] & keep) | self.sp;
    }

    fn linear(&self, size: u64) -> Result<u64, Fault> {
        if self.long {
            if canonical(self.sp) && canonical(self.sp.wrapping_add(size - 1)) {
                return Ok(self.sp);
            }
        } else if self.segment.contains(self.sp, size) {
            return Ok(self.segment.base.wrapping_add(self.sp) & 0xffff_ffff);
        }
        Err(Fault::ss(self.error))
    }
}

fn stack_mask(long: bool, segment: &Segment) -> u64 {
    if long {
        u64::MAX
    } else if segment.attributes.big() {
        0xffff_ffff
    } else {
        0xffff
    }
}

impl<B: Bus> Exec<'_, B> {
    /// Pushes the low `size` bytes (2, 4 or 8).
    pub(crate) fn frame_push(&mut self, frame: &mut Frame, size: u64, value: u64) -> Result<(), Fault> {
        let old = frame.sp;
        frame.sp = frame.sp.wrapping_sub(size) & frame.mask;
        let result = frame.linear(size).and_then(|linear| {
            match size {
                2 => {
                    self.store_linear(linear, (value as u16).to_le_bytes(), frame.privilege, Access::Data)?
                }
                4 => {
                    self.store_linear(linear, (value as u32).to_le_bytes(), frame.privilege, Access::Data)?
                }
                _ => self.store_linear(linear, value.to_le_bytes(), frame.privilege, Access::Data)?,
            }
            if self.cpu.state.dr7 & 0xff != 0 {
                self.cpu.state.watch(linear, size, true);
            }
            Ok(())
        });
        if result.is_err() {
            frame.sp = old;
        }
        result
    }

    /// Pops `size` bytes (2, 4 or 8), zero-extended.
    pub(crate) fn frame_pop(&mut self, frame: &mut Frame, size: u64) -> Result<u64, Fault> {
        let linear = frame.linear(size)?;
        let (purpose, privilege, access) = (Purpose::Read, frame.privilege, Access::Data);
        let value = match size {
            2 => u64::from(u16::from_le_bytes(self.load_linear(linear, purpose, privilege, access)?)),
            4 => u64::from(u32::from_le_bytes(self.load_linear(linear, purpose, privilege, access)?)),
            _ => u64::from_le_bytes(self.load_linear(linear, purpose, privilege, access)?),
        };
        if self.cpu.state.dr7 & 0xff != 0 {
            self.cpu.state.watch(linear, size, false);
        }
        frame.skip(size);
        Ok(value)
    }
}
