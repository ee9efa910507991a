//! The plain form of the software CPU, one instruction at a time: the reference for every other engine.

use recorder::Position;

use super::{Breakpoints, Engine, EngineError, Stop, stop_after};
use crate::machine::Machine;

/// Engine `plain`.
#[derive(Debug, Default, Clone, Copy)]
pub struct PlainEngine;

impl Engine for PlainEngine {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn run(
        &mut self,
        machine: &mut Machine,
        until: Position,
        breakpoints: &Breakpoints,
    ) -> Result<Stop, EngineError> {
        loop {
            let step = machine.cpu.step(&mut machine.platform);
            if let Some(stop) = stop_after(machine, step, until, breakpoints) {
                return Ok(stop);
            }
        }
    }
}
