//! The fast form of the software CPU: decoded blocks, with the plain form for everything unusual.

use recorder::Position;
use replayvm_cpu::{Blocks, Limits, Moment, Step};

use super::{Breakpoints, Capabilities, Engine, EngineError, Stop, attention};
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

    fn capabilities(&self) -> Capabilities {
        Capabilities { breakpoints: true, watchpoints: true }
    }

    fn run(
        &mut self,
        machine: &mut Machine,
        until: Position,
        breakpoints: &Breakpoints,
    ) -> Result<Stop, EngineError> {
        self.blocks.set_breakpoints(breakpoints.addresses());
        let until = Moment { tick: until.tick, offset: until.offset };
        loop {
            let Machine { cpu, platform } = &mut *machine;
            let due_tick = platform.due_tick;
            let step = self.blocks.run(cpu, platform, Limits { due_tick, until });
            machine.after_step();
            match step {
                Step::Done => {}
                Step::Idle => return Ok(Stop::Idle),
                Step::Shutdown => return Ok(Stop::Shutdown),
            }
            let Machine { cpu, platform } = &mut *machine;
            let now = cpu.state.now;
            if now.offset == 0 && now.tick >= platform.due_tick {
                return Ok(Stop::Due);
            }
            if platform.wants_attention() {
                return Ok(attention(platform));
            }
            if now >= until {
                return Ok(Stop::Reached);
            }
            if machine.stops_at(breakpoints) {
                return Ok(Stop::Breakpoint);
            }
        }
    }

    fn machine_changed(&mut self, machine: &mut Machine) {
        machine.cpu.state_changed();
    }
}
