//! The vCPU as gdb's thread: there is one, and its name says in what mode it is and in whose address space.

use std::fmt::Write;

use gdbstub::common::Tid;
use gdbstub::target::ext::thread_extra_info::ThreadExtraInfo;
use replayvm::timeline::Timeline;

use crate::target::{ReplayTarget, TargetFailure};

/// The thread.
pub(crate) const VCPU: Tid = Tid::MIN;

impl ThreadExtraInfo for ReplayTarget<'_> {
    fn thread_extra_info(&self, _: Tid, buf: &mut [u8]) -> Result<usize, TargetFailure> {
        let text = description(self.timeline);
        let len = text.len().min(buf.len());
        buf[..len].copy_from_slice(&text.as_bytes()[..len]);
        Ok(len)
    }
}

/// What `info threads` shows.
fn description(timeline: &Timeline) -> String {
    const PE: u64 = 1;
    const VM: u64 = 1 << 17;
    let cpu = timeline.cpu();
    let mut text = format!("vCPU 0: ring {}, ", cpu.cpl());
    let _ = match (cpu.cr0 & PE, cpu.rflags & VM) {
        (0, _) => write!(text, "real mode"),
        (_, VM) => write!(text, "virtual-8086 mode"),
        _ => write!(text, "{}-bit", cpu.mode().bitness()),
    };
    let _ = write!(text, ", CR3 {:#x}", cpu.cr3);
    text
}
