//! The plain form of the software CPU, one instruction at a time: the reference for every other engine.

use recorder::Position;
use replayvm_cpu::Step;

use super::{Breakpoints, Capabilities, Engine, EngineError, Stop, attention};
use crate::machine::Machine;

/// Engine `plain`.
#[derive(Debug, Default, Clone, Copy)]
pub struct PlainEngine;

impl Engine for PlainEngine {
    fn name(&self) -> &'static str {
        "plain"
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
        loop {
            let step = machine.cpu.step(&mut machine.platform);
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
            if now.tick >= until.tick && (now.tick > until.tick || now.offset >= until.offset) {
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
