//! What executes guest instructions.
//!
//! An engine moves a [`Machine`](crate::machine::Machine) forward, step by step, and stops where it is told to. It gives the machine no input and
//! takes no decision: that is the session's part. Every engine reaches the same state at the same position.

/// Execution addresses at which a run stops.
mod breakpoints;
/// Which engines this host can run, and why not.
pub mod doctor;
/// Why KVM or the processor does not run a guest.
pub mod entry;
/// What the engines on KVM share.
mod hypervisor;
/// User code natively, everything else by the software CPU.
pub mod kvm;
/// The software CPU and KVM side by side.
mod lockstep;
/// What processors agree in.
mod ordinary;
/// The software CPU, one instruction at a time: the reference.
mod plain;
/// The software CPU, in decoded blocks.
mod soft;
/// What engines count.
mod statistics;
/// KVM executes each instruction under single-stepping.
mod step;

use recorder::{Exit, Position};
use replayvm_cpu::Step;

pub use breakpoints::{AddressSpace, Breakpoints};
pub use doctor::doctor;
pub use kvm::{KvmEngine, NativeStatistics, Return};
pub use lockstep::LockstepEngine;
pub use plain::PlainEngine;
pub use soft::SoftEngine;
pub use statistics::{Row, Statistics};
pub use step::{Reason, StepEngine, SteppingStatistics};

use crate::machine::{Machine, Platform, WatchHit};

/// Why an engine stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The position asked for is reached (or passed, where the run does not have it).
    Reached,
    /// A tick at which the machine has to be given its inputs has been reached: the session's turn.
    Due,
    /// The CPU is idle, a tick has passed, and virtual time has to jump: the session's turn.
    Idle,
    /// The next instruction is at a breakpoint.
    Breakpoint,
    /// The last step accessed watched memory.
    Watch(WatchHit),
    /// The last step made an exit that was asked for, at the position given.
    Exit(Position, Exit),
    /// The guest asked for the end of the run (see `Platform::signal`).
    Signal,
    /// The CPU is in shutdown after a triple fault.
    Shutdown,
}

/// What can go wrong in an engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine cannot be had on this host.
    #[error("engine `{engine}` cannot run here: {why}")]
    Unavailable {
        /// Its name.
        engine: &'static str,
        /// What is missing, and what to do.
        why: String,
    },
    /// No engine of that name.
    #[error("there is no engine `{0}`; there are: {known}", known = ENGINE_NAMES.join(", "))]
    Unknown(String),
    /// The hypervisor refused.
    #[error("KVM failed at {at}: {what}")]
    Hypervisor {
        /// Where.
        at: Position,
        /// What it said.
        what: String,
    },
    /// Two engines disagree.
    #[error("engines differ: {0}")]
    Differ(Box<Difference>),
}

/// The first step at which two engines come to different states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The position before the step.
    pub at: Position,
    /// The instruction, disassembled.
    pub instruction: String,
    /// Each differing component: name, what the reference says, what the other says.
    pub components: Vec<(String, String, String)>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at {} `{}`", self.at, self.instruction)?;
        for (name, expected, got) in &self.components {
            write!(f, "; {name}: software CPU {expected}, engine {got}")?;
        }
        Ok(())
    }
}

/// The engines by name.
pub const ENGINE_NAMES: &[&str] = &["auto", "soft", "kvm", "plain", "step", "lockstep"];

/// Executes guest instructions.
pub trait Engine: Send {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Moves the machine forward by at least one step, until it is at or past `until` or something stops it. A breakpoint
    /// at the very first instruction does not stop.
    ///
    /// On [`Stop::Due`] and [`Stop::Idle`] the machine is at a tick (offset 0) whose inputs have not been applied yet.
    ///
    /// # Errors
    /// The engine itself fails; the machine is then in no defined state.
    fn run(
        &mut self,
        machine: &mut Machine,
        until: Position,
        breakpoints: &Breakpoints,
    ) -> Result<Stop, EngineError>;

    /// The machine's state or memory has been changed from outside (restored, written by a device).
    fn machine_changed(&mut self, machine: &mut Machine) {
        machine.cpu.state_changed();
    }

    /// Who executed what, as far as the engine counts.
    fn statistics(&self) -> Statistics {
        Statistics::default()
    }
}

/// The end of a step, or of a run of blocks: serves what it has asked of devices, and says why the engine stops here, if it does.
/// The order is every engine's.
#[inline(always)]
fn stop_after(machine: &mut Machine, step: Step, until: Position, breakpoints: &Breakpoints) -> Option<Stop> {
    machine.after_step();
    match step {
        Step::Done => {}
        Step::Idle => return Some(Stop::Idle),
        Step::Shutdown => return Some(Stop::Shutdown),
    }
    let now = machine.position();
    let platform = &mut machine.platform;
    if now.offset == 0 && now.tick >= platform.due_tick {
        return Some(Stop::Due);
    }
    if platform.wants_attention() {
        return Some(attention(platform));
    }
    if now >= until {
        return Some(Stop::Reached);
    }
    machine.stops_at(breakpoints).then_some(Stop::Breakpoint)
}

/// The reason for which the platform wants attention.
fn attention(platform: &mut Platform) -> Stop {
    if platform.signal.is_some() {
        Stop::Signal
    } else if let Some(hit) = platform.watches.take_hit() {
        Stop::Watch(hit)
    } else if let Some((at, exit)) = platform.stopped_on.take() {
        Stop::Exit(at, exit)
    } else {
        Stop::Reached
    }
}

/// The engine of that name.
///
/// # Errors
/// There is none, or it cannot be had on this host.
pub fn by_name(name: &str, machine: &Machine) -> Result<Box<dyn Engine>, EngineError> {
    match name {
        "auto" if hypervisor::open().is_ok() => Ok(Box::new(KvmEngine::obliging())),
        "auto" | "soft" => Ok(Box::new(SoftEngine::new())),
        "kvm" => Ok(Box::new(KvmEngine::new(machine)?)),
        "plain" => Ok(Box::new(PlainEngine)),
        "step" => Ok(Box::new(StepEngine::new(machine)?)),
        "lockstep" => Ok(Box::new(LockstepEngine::new(machine)?)),
        _ => Err(EngineError::Unknown(name.to_owned())),
    }
}
