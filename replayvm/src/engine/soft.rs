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
        let limit = Moment { tick: until.tick, offset: until.offset };
        loop {
            let Machine { cpu, platform } = &mut *machine;
            let due_tick = platform.due_tick;
            let step = self.blocks.run(cpu, platform, Limits { due_tick, until: limit });
            if let Some(stop) = stop_after(machine, step, until, breakpoints) {
                return Ok(stop);
            }
        }
    }
}
