//! One step: boundary, interrupt, instruction, tick.

use crate::bus::Bus;
use crate::decode::DecodeCache;
use crate::exec::{Exec, Flow};
use crate::state::{CpuState, Shadow};

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
    pub(crate) decoded: DecodeCache,
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

impl Cpu {
    /// A CPU in the given state.
    #[must_use]
    pub fn new(state: CpuState) -> Self {
        Self { state, decoded: DecodeCache::new() }
    }

    /// Forgets everything derived from the state; call after changing [`Cpu::state`] or guest memory from outside.
    pub fn state_changed(&mut self) {}

    /// One step.
    pub fn step<B: Bus>(&mut self, bus: &mut B) -> Step {
        let at = self.state.now;
        self.state.shadow = Shadow::None;
        let result = self.fetch(bus, at).and_then(|insn| {
            let mut exec = Exec { cpu: self, bus, insn: &insn, at };
            exec.execute().map(|flow| (flow, insn.next_ip()))
        });
        if let Ok((flow, next)) = result {
            self.state.instructions += 1;
            self.state.now.offset += 1;
            match flow {
                Flow::Next => self.state.rip = next,
                Flow::Jump(target) => self.state.rip = target,
                Flow::Branch(target) => {
                    self.state.rip = target.unwrap_or(next);
                    self.state.now.tick += 1;
                    self.state.now.offset = 0;
                }
                Flow::Transferred | Flow::Again => {}
            }
            Step::Done
        } else {
            self.state.shutdown = true;
            Step::Shutdown
        }
    }
}
