//! What gdb stands before: the timeline with gdb's breakpoints.
//!
//! This file says what the target can do and gives gdb its registers. Memory, breakpoints, running and `monitor` have files
//! of their own.

use std::sync::Arc;

use gdbstub::common::Tid;
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::multithread::{MultiThreadBase, MultiThreadResumeOps};
use gdbstub::target::ext::base::single_register_access::{SingleRegisterAccess, SingleRegisterAccessOps};
use gdbstub::target::ext::breakpoints::BreakpointsOps;
use gdbstub::target::ext::exec_file::ExecFileOps;
use gdbstub::target::ext::host_io::HostIoOps;
use gdbstub::target::ext::monitor_cmd::MonitorCmdOps;
use gdbstub::target::ext::section_offsets::SectionOffsetsOps;
use gdbstub::target::ext::target_description_xml_override::TargetDescriptionXmlOverrideOps;
use gdbstub::target::ext::thread_extra_info::ThreadExtraInfoOps;
use gdbstub::target::{Target, TargetError, TargetResult};
use recorder::Position;
use replayvm::timeline::Timeline;

use crate::arch::{RegisterFile, X86};
use crate::architecture::Shown;
use crate::files::Opened;
use crate::link::Link;
use crate::points::Points;
use crate::registers::{self, RegisterId};
use crate::resume::{Action, Unreported};
use crate::symbols::GuestSymbols;
use crate::thread::VCPU;
use crate::timing::{Begun, Timing};

/// What can end a session from the target's side: nothing. What fails is told to gdb, and gdb may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetFailure {}

/// A timeline that gdb debugs.
#[derive(Debug)]
pub struct ReplayTarget<'t> {
    pub(crate) timeline: &'t mut Timeline,
    pub(crate) link: Link,
    pub(crate) points: Points,
    /// The names of what is in the guest.
    pub(crate) symbols: Arc<GuestSymbols>,
    /// As what gdb is shown the machine.
    pub(crate) shown: Shown,
    /// The file that gdb may read.
    pub(crate) opened: Opened,
    /// Addresses are physical.
    pub(crate) physical: bool,
    /// What gdb has asked for and the session has not yet done.
    pub(crate) action: Option<Action>,
    /// When Ctrl-C came last while the machine stood.
    pub(crate) overtaken: Option<Begun>,
    /// Steps back go over interrupts.
    pub(crate) goes_back_over: bool,
    /// Watchpoints that the last step has hit beside the one that was told.
    pub(crate) unreported: Option<Unreported>,
    /// Bytes of memory that the packet at hand may still read.
    pub(crate) read_budget: usize,
    /// Where the machine stood before a command of `monitor` whose answer the client has not acknowledged yet.
    pub(crate) moved_from: Option<Position>,
    /// How long commands take.
    pub(crate) timing: Timing,
}

impl<'t> ReplayTarget<'t> {
    /// The timeline as a target. Whatever runs for long listens to `link` for Ctrl-C.
    #[must_use]
    pub fn new(timeline: &'t mut Timeline, symbols: Arc<GuestSymbols>, link: Link) -> Self {
        let shown = Shown::with_file(symbols.elf());
        Self {
            timeline,
            link,
            points: Points::default(),
            symbols,
            shown,
            opened: Opened::default(),
            physical: false,
            action: None,
            overtaken: None,
            goes_back_over: false,
            unreported: None,
            read_budget: crate::memory::READ_BYTES_MAX,
            moved_from: None,
            timing: Timing::default(),
        }
    }
}

impl Target for ReplayTarget<'_> {
    type Arch = X86;
    type Error = TargetFailure;

    fn base_ops(&mut self) -> BaseOps<'_, Self::Arch, Self::Error> {
        BaseOps::MultiThread(self)
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }

    fn support_target_description_xml_override(
        &mut self,
    ) -> Option<TargetDescriptionXmlOverrideOps<'_, Self>> {
        Some(self)
    }

    fn support_exec_file(&mut self) -> Option<ExecFileOps<'_, Self>> {
        if self.symbols.elf().is_some() { Some(self) } else { None }
    }

    fn support_host_io(&mut self) -> Option<HostIoOps<'_, Self>> {
        if self.symbols.elf().is_some() { Some(self) } else { None }
    }

    fn support_section_offsets(&mut self) -> Option<SectionOffsetsOps<'_, Self>> {
        // It is an answer about the file that gdb has had from here, and about no other.
        if self.opened.ever() && self.symbols.first_segment().is_some() { Some(self) } else { None }
    }

    // gdb gives up waiting for `monitor` at Ctrl-C and says so to nobody: the next answer that it reads is then that of the command
    // before. Where it acknowledges, it finds its place again by itself, and we see what it has not heard.
    fn use_no_ack_mode(&self) -> bool {
        false
    }

    // The guest has no processes that gdb could follow.
    fn use_fork_stop_reason(&self) -> bool {
        false
    }

    fn use_vfork_stop_reason(&self) -> bool {
        false
    }

    fn use_vforkdone_stop_reason(&self) -> bool {
        false
    }
}

impl MultiThreadBase for ReplayTarget<'_> {
    fn read_registers(&mut self, file: &mut RegisterFile, _: Tid) -> TargetResult<(), Self> {
        file.pc = self.timeline.cpu().linear_rip();
        file.bytes = registers::all(self.shown.now())
            .flat_map(|register| {
                registers::value(self.timeline, register).to_le_bytes().into_iter().take(register.bytes())
            })
            .collect();
        Ok(())
    }

    fn write_registers(&mut self, file: &RegisterFile, _: Tid) -> TargetResult<(), Self> {
        self.write_all(file)
    }

    fn support_single_register_access(&mut self) -> Option<SingleRegisterAccessOps<'_, Tid, Self>> {
        Some(self)
    }

    fn read_addrs(&mut self, start: u64, data: &mut [u8], _: Tid) -> TargetResult<usize, Self> {
        self.read_memory(start, data)
    }

    fn write_addrs(&mut self, start: u64, data: &[u8], _: Tid) -> TargetResult<(), Self> {
        self.write_memory(start, data)
    }

    fn list_active_threads(&mut self, thread_is_active: &mut dyn FnMut(Tid)) -> Result<(), TargetFailure> {
        thread_is_active(VCPU);
        Ok(())
    }

    fn support_resume(&mut self) -> Option<MultiThreadResumeOps<'_, Self>> {
        Some(self)
    }

    fn support_thread_extra_info(&mut self) -> Option<ThreadExtraInfoOps<'_, Self>> {
        Some(self)
    }
}

impl SingleRegisterAccess<Tid> for ReplayTarget<'_> {
    fn read_register(&mut self, _: Tid, id: RegisterId, buf: &mut [u8]) -> TargetResult<usize, Self> {
        let register = id.register(self.shown.now()).ok_or(TargetError::NonFatal)?;
        let value = registers::value(self.timeline, register).to_le_bytes();
        let bytes = register.bytes();
        match (buf.get_mut(..bytes), value.get(..bytes)) {
            (Some(buf), Some(value)) => buf.copy_from_slice(value),
            _ => return Err(TargetError::NonFatal),
        }
        Ok(bytes)
    }

    fn write_register(&mut self, _: Tid, id: RegisterId, value: &[u8]) -> TargetResult<(), Self> {
        let register = id.register(self.shown.now()).ok_or(TargetError::NonFatal)?;
        self.write_one(register, value)
    }
}
