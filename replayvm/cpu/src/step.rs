//! One step: boundary, interrupt, instruction, tick.
//!
//! At a boundary, in this order (SDM vol. 3, table 6-2): debug traps of the instruction before, NMI, external interrupt,
//! code breakpoints, faults of fetching and decoding, execution.

use iced_x86::{Instruction, Mnemonic};

use crate::blocks::Fast;
use crate::bus::{Bus, Moment, Observation};
use crate::cpuid::CpuModel;
use crate::decode::DecodeCache;
use crate::deliver::Event;
use crate::exec::{Exec, Flow};
use crate::fault::{Fault, Vector};
use crate::flags::Rflags;
use crate::state::{CpuState, Shadow, dr6};
use crate::tlb::Tlb;

/// Steps without a tick after which code at CPL 0 to 2 counts as stalled.
pub const STALL_STEPS_KERNEL: u32 = 65_536;
/// Steps without a tick after which code at CPL 3 counts as stalled.
pub const STALL_STEPS_USER: u32 = 16_777_216;
/// Iterations that a REP string instruction does in one step at the most; the next step goes on with it.
pub const REP_LIMIT: u64 = 1 << 20;

/// The software CPU.
#[derive(Debug)]
pub struct Cpu {
    /// The architectural state. After changing it from outside call [`Cpu::state_changed`].
    pub state: CpuState,
    pub(crate) model: CpuModel,
    pub(crate) decoded: DecodeCache,
    pub(crate) tlb: Tlb,
    /// The version of memory that `tlb` knows of.
    memory_version: u64,
    /// What blocks in execution keep apart from the state.
    pub(crate) fast: Fast,
}

/// What a call of [`Cpu::step`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// One instruction retired, or one event was delivered.
    Done,
    /// The CPU is halted or stalled and a tick has passed: virtual time must now jump to the next device deadline.
    Idle,
    /// The CPU is in shutdown after a triple fault and does nothing any more.
    Shutdown,
}

/// What a step did to the clock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passed {
    /// A step like any other.
    Step,
    /// A conditional branch.
    Tick,
    /// Nothing will ever happen here but for an interrupt.
    Stall,
}

impl Cpu {
    /// A CPU in the given state, of the model as it is.
    #[must_use]
    pub fn new(state: CpuState) -> Self {
        Self::with_model(state, CpuModel::default())
    }

    /// A CPU in the given state. What its CPUID says is not part of the state: it never changes.
    #[must_use]
    pub fn with_model(state: CpuState, model: CpuModel) -> Self {
        let mut cpu = Self {
            state,
            model,
            decoded: DecodeCache::new(),
            tlb: Tlb::new(),
            memory_version: 0,
            fast: Fast::default(),
        };
        cpu.select_space();
        cpu
    }

    /// Forgets everything derived from state and memory; call after changing [`Cpu::state`], or guest memory in a way
    /// that [`Bus::memory_version`] does not tell.
    pub fn state_changed(&mut self) {
        self.tlb.flush();
        self.tlb.pages.all_stored();
        self.select_space();
    }

    /// A register that translation depends on has changed.
    pub(crate) fn select_space(&mut self) {
        self.tlb.select(&self.state);
    }

    /// Takes note of what others have written to memory.
    #[inline(always)]
    pub(crate) fn follow_memory<B: Bus>(&mut self, bus: &B) {
        let version = bus.memory_version();
        if version != self.memory_version {
            self.memory_version = version;
            self.state_changed();
        }
    }

    /// To be called after every store to physical memory; `flush` if it changes a translation.
    #[inline]
    pub(crate) fn stored<B: Bus>(&mut self, bus: &B, gpa: u64, flush: bool) {
        if flush {
            self.tlb.flush();
        }
        self.tlb.pages.stored(gpa);
        self.follow_memory(bus);
    }

    /// One step.
    pub fn step<B: Bus>(&mut self, bus: &mut B) -> Step {
        if self.state.shutdown {
            return Step::Shutdown;
        }
        self.follow_memory(bus);
        let at = self.state.now;
        let from_user = self.state.cpl() == 3;
        let shadow = std::mem::replace(&mut self.state.shadow, Shadow::None);
        if self.take_event(bus, at, shadow) {
            self.state.idle_loop_rip = 0;
            self.state.idle_loop_jumps = 0;
            return self.pass(from_user, Passed::Step);
        }
        if self.state.halted {
            return self.pass(from_user, Passed::Stall);
        }

        let held = self.state.pending_debug;
        let flags = self.state.rflags;
        match self.run_one(bus, at, flags) {
            Ok(passed) => self.pass(from_user, passed),
            Err(fault) => self.fault(bus, at, from_user, held, fault),
        }
    }

    /// The end of a step whose instruction raises a fault; `held` is what was pending when it began.
    pub(crate) fn fault<B: Bus>(
        &mut self,
        bus: &mut B,
        at: Moment,
        from_user: bool,
        held: u64,
        fault: Fault,
    ) -> Step {
        self.state.pending_debug = held;
        self.state.idle_loop_rip = 0;
        self.state.idle_loop_jumps = 0;
        self.raise(bus, at, fault);
        self.pass(from_user, Passed::Step)
    }

    /// A step of which is known that nothing has to be delivered before, which instruction it is and that fetching it
    /// raises nothing.
    pub(crate) fn step_decoded<B: Bus>(&mut self, bus: &mut B, insn: &Instruction) -> Step {
        let at = self.state.now;
        let from_user = self.state.cpl() == 3;
        let flags = self.state.rflags;
        match (Exec { cpu: self, bus, insn, at }).execute() {
            Ok(flow) => {
                let passed = self.retire(flow, insn, flags);
                self.pass(from_user, passed)
            }
            Err(fault) => self.fault(bus, at, from_user, 0, fault),
        }
    }

    /// Delivers what the boundary has to deliver, if anything.
    #[inline]
    fn take_event<B: Bus>(&mut self, bus: &mut B, at: Moment, shadow: Shadow) -> bool {
        let state = &mut self.state;
        if state.pending_debug != 0 && shadow != Shadow::MovSs {
            let bits = std::mem::take(&mut state.pending_debug);
            self.raise(bus, at, Fault { vector: Vector::Debug, error_code: None, detail: bits });
            return true;
        }
        if bus.nmi_pending() && !state.nmi_blocked && shadow != Shadow::MovSs {
            bus.take_nmi(at);
            state.nmi_blocked = true;
            self.deliver_or_raise(bus, at, Event::nmi(self.state.rip));
            return true;
        }
        if state.rflags & Rflags::IF.bits() != 0
            && shadow == Shadow::None
            && bus.interrupt_pending()
            && let Some(vector) = bus.acknowledge(at)
        {
            self.deliver_or_raise(bus, at, Event::external(vector, self.state.rip));
            return true;
        }
        false
    }

    /// Fetches, executes and retires an instruction that begins with `flags`.
    #[inline]
    fn run_one<B: Bus>(&mut self, bus: &mut B, at: Moment, flags: u64) -> Result<Passed, Fault> {
        if self.state.dr7 & 0xff != 0 && self.state.rflags & Rflags::RF.bits() == 0 {
            let hit = self.state.code_breakpoints(self.state.linear_rip());
            if hit != 0 {
                return Err(Fault { vector: Vector::Debug, error_code: None, detail: hit });
            }
        }
        let insn = self.fetch(bus, at)?;
        let flow = Exec { cpu: self, bus, insn: &insn, at }.execute()?;
        Ok(self.retire(flow, &insn, flags))
    }

    /// The end of an instruction that began with `flags`.
    #[inline]
    fn retire(&mut self, flow: Flow, insn: &Instruction, flags: u64) -> Passed {
        let state = &mut self.state;
        let mut passed = Passed::Step;
        match flow {
            Flow::Next => state.rip = state.next_rip(insn),
            Flow::Jump(target) => state.rip = target,
            Flow::Branch(target) => {
                state.rip = target.unwrap_or_else(|| state.next_rip(insn));
                passed = Passed::Tick;
            }
            Flow::Transferred | Flow::Again => {}
        }
        if flow == Flow::Again {
            state.rflags |= Rflags::RF.bits();
        } else {
            state.instructions = state.instructions.wrapping_add(1);
            // Only IRET leaves RF as it has loaded it.
            if state.rflags & Rflags::RF.bits() != 0
                && !matches!(insn.mnemonic(), Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq)
            {
                state.rflags &= !Rflags::RF.bits();
            }
        }
        if flags & Rflags::TF.bits() != 0 && state.shadow != Shadow::MovSs {
            // These leave TF as they have set it; what they enter is not stepped.
            let masked = state.rflags & Rflags::TF.bits() == 0
                && matches!(
                    insn.mnemonic(),
                    Mnemonic::Int | Mnemonic::Int3 | Mnemonic::Into | Mnemonic::Int1 | Mnemonic::Syscall
                );
            if !masked {
                state.pending_debug |= dr6::BS;
            }
        }
        if let Flow::Jump(target) = flow
            && insn.is_jmp_short_or_near()
        {
            if self.state.idles(target) {
                passed = Passed::Stall;
            }
        } else if state.idle_loop_jumps != 0 && !matches!(insn.mnemonic(), Mnemonic::Nop | Mnemonic::Pause) {
            state.idle_loop_rip = 0;
            state.idle_loop_jumps = 0;
        }
        passed
    }

    /// Moves the clock on.
    #[inline]
    fn pass(&mut self, from_user: bool, passed: Passed) -> Step {
        if self.state.shutdown {
            return Step::Shutdown;
        }
        let to_user = self.state.cpl() == 3;
        let limit = if to_user { STALL_STEPS_USER } else { STALL_STEPS_KERNEL };
        let now = &mut self.state.now;
        let next = now.offset.saturating_add(1);
        let tick = passed == Passed::Tick || from_user && !to_user;
        let stall = !tick && (passed == Passed::Stall || next >= limit);
        if tick || stall {
            now.tick = now.tick.wrapping_add(1);
            now.offset = 0;
        } else {
            now.offset = next;
        }
        if stall { Step::Idle } else { Step::Done }
    }

    /// Delivers a fault. If that cannot be done the CPU goes over to a double fault, then to shutdown.
    pub(crate) fn raise<B: Bus>(&mut self, bus: &mut B, at: Moment, fault: Fault) {
        let mut fault = fault;
        loop {
            if fault.vector == Vector::PageFault {
                self.state.cr2 = fault.detail;
            }
            let Err(second) = self.deliver(bus, at, Event::exception(&fault, self.state.rip)) else { return };
            if second.vector == Vector::PageFault {
                self.state.cr2 = second.detail;
            }
            fault = match combine(&fault, second) {
                Some(next) => next,
                None => {
                    self.state.shutdown = true;
                    bus.observe(at, Observation::Shutdown);
                    return;
                }
            };
        }
    }

    /// Delivers an interrupt, or the fault that doing so raises.
    fn deliver_or_raise<B: Bus>(&mut self, bus: &mut B, at: Moment, event: Event) {
        if let Err(fault) = self.deliver(bus, at, event) {
            self.raise(bus, at, fault);
        }
    }

    fn deliver<B: Bus>(&mut self, bus: &mut B, at: Moment, event: Event) -> Result<(), Fault> {
        let insn = Instruction::default();
        Exec { cpu: self, bus, insn: &insn, at }.deliver(event)
    }
}

impl CpuState {
    /// The address after an instruction.
    #[inline]
    pub(crate) fn next_rip(&self, insn: &Instruction) -> u64 {
        let next = self.rip.wrapping_add(insn.len() as u64);
        if self.mode() == crate::state::Mode::Long64 { next } else { next & 0xffff_ffff }
    }

    /// Notes a direct jump; whether it closes a loop of nothing but NOP, PAUSE and such jumps. The anchor moves on at
    /// powers of two, so that a loop of any length comes to meet it (Brent).
    fn idles(&mut self, target: u64) -> bool {
        if self.idle_loop_jumps == 0 {
            self.idle_loop_rip = target;
            self.idle_loop_jumps = 1;
            return false;
        }
        if target == self.idle_loop_rip {
            return true;
        }
        self.idle_loop_jumps = self.idle_loop_jumps.checked_add(1).unwrap_or(1);
        if self.idle_loop_jumps.is_power_of_two() {
            self.idle_loop_rip = target;
        }
        false
    }
}

/// What a second fault during the delivery of the first makes (SDM vol. 3, table 6-5): itself, a double fault, or
/// (`None`) shutdown.
fn combine(first: &Fault, second: Fault) -> Option<Fault> {
    let contributory = |vector: Vector| {
        matches!(
            vector,
            Vector::DivideError
                | Vector::InvalidTss
                | Vector::SegmentNotPresent
                | Vector::StackFault
                | Vector::GeneralProtection
        )
    };
    let page_fault = second.vector == Vector::PageFault;
    match first.vector {
        Vector::DoubleFault => None,
        Vector::PageFault if page_fault || contributory(second.vector) => Some(Fault::DF),
        vector if contributory(vector) && contributory(second.vector) => Some(Fault::DF),
        _ => Some(second),
    }
}
