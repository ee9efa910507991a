//! The software CPU and KVM side by side: each plain instruction is executed by both, and the first difference stops the
//! run. What the software CPU says is kept.

use recorder::Position;

use super::step::{Stepper, Word};
use super::{Breakpoints, Engine, EngineError, Statistics, Stop};
use crate::machine::Machine;

/// Engine `lockstep`.
#[derive(Debug)]
pub struct LockstepEngine {
    stepper: Stepper,
}

impl LockstepEngine {
    /// The engine for this machine.
    ///
    /// # Errors
    /// This host's KVM is missing, not permitted, busy, or does not single-step.
    pub fn new(machine: &Machine) -> Result<Self, EngineError> {
        Ok(Self { stepper: Stepper::new(machine, "lockstep", Word::Both)? })
    }
}

impl Engine for LockstepEngine {
    fn name(&self) -> &'static str {
        "lockstep"
    }

    fn run(
        &mut self,
        machine: &mut Machine,
        until: Position,
        breakpoints: &Breakpoints,
    ) -> Result<Stop, EngineError> {
        self.stepper.run(machine, until, breakpoints)
    }

    fn statistics(&self) -> Statistics {
        Statistics::Stepping(self.stepper.statistics)
    }
}
