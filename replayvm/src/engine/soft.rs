//! The fast form of the software CPU: decoded blocks, with the plain form for everything unusual.

use recorder::Position;
use replayvm_cpu::{Blocks, Limits, Moment};

use super::{Breakpoints, Engine, EngineError, Stop, stop_after};
use crate::machine::{Machine, Platform};

/// Engine `soft`.
#[derive(Debug, Default)]
pub struct SoftEngine {
    blocks: Blocks<Platform>,
}

impl SoftEngine {
    /// An engine that has decoded nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`Engine::run`] without breakpoints, but comes back, with nothing, where user code begins or ends too.
    pub(super) fn run_in_one_privilege(&mut self, machine: &mut Machine, until: Position) -> Option<Stop> {
        self.blocks.set_breakpoints(&[]);
        let (breakpoints, user) = (Breakpoints::default(), machine.cpu.state.cpl() == 3);
        loop {
            let stop = self.run_once(machine, until, &breakpoints, true);
            if stop.is_some() || user != (machine.cpu.state.cpl() == 3) {
                return stop;
            }
        }
    }

    fn run_once(
        &mut self,
        machine: &mut Machine,
        until: Position,
        breakpoints: &Breakpoints,
        one_privilege: bool,
    ) -> Option<Stop> {
        let Machine { cpu, platform } = &mut *machine;
        let limits = Limits {
            due_tick: platform.due_tick,
            until: Moment { tick: until.tick, offset: until.offset },
            one_privilege,
        };
        let step = self.blocks.run(cpu, platform, limits);
        stop_after(machine, step, until, breakpoints)
    }
}

impl Engine for SoftEngine {
    fn name(&self) -> &'static str {
        "soft"
    }

    fn run(
        &mut self,
        machine: &mut Machine,
        until: Position,
        breakpoints: &Breakpoints,
    ) -> Result<Stop, EngineError> {
        self.blocks.set_breakpoints(breakpoints.addresses());
        loop {
            if let Some(stop) = self.run_once(machine, until, breakpoints, false) {
                return Ok(stop);
            }
        }
    }
}
