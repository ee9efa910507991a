//! Direct execution: KVM runs the guest's user code natively, in an address space of ours; the software CPU does everything else.
//!
//! User code is not run where it lies. It is translated block by block (`translate`), so that it counts its ticks, stops exactly where
//! it is told to, and comes back before every instruction that would read the host or leave user mode. Data it reaches at its own
//! addresses, through page tables of ours (`tables`, `space`) that say what the guest's own say and no more. See
//! `docs/adr/0007-user-code-runs-translated.md`.

/// What the guest's tables allow.
mod guest_page;
/// One native stretch: in, traps, out.
mod native;
/// When it pays.
mod policy;
/// The engine's own memory.
mod pool;
/// What an address space is made of in the guest.
mod sources;
/// One address space of the guest.
mod space;
/// Counts.
mod statistics;
/// Page tables of ours.
mod tables;
/// From guest code to code that counts.
pub mod translate;
/// The virtual CPU.
mod vcpu;
/// All spaces.
mod world;

#[cfg(test)]
mod tests;

use recorder::Position;

pub use statistics::{NativeStatistics, Return};

use self::native::Native;
use self::policy::Policy;
use super::doctor::check_direct;
use super::{Breakpoints, Engine, EngineError, SoftEngine, Statistics, Stop};
use crate::machine::Machine;

/// Steps since the last tick after which only the software CPU goes on: code may stall.
const MOST_STEPS: u32 = 1 << 21;

/// Engine `kvm`.
#[derive(Debug)]
pub struct KvmEngine {
    soft: SoftEngine,
    /// Made when user code first has reason to run natively: short runs do without.
    native: Option<Box<Native>>,
    policy: Policy,
    statistics: NativeStatistics,
    trouble: Trouble,
}

fn unavailable(why: String) -> EngineError {
    EngineError::Unavailable { engine: "kvm", why }
}

/// What to do if KVM cannot be had after all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// Say so: it was asked for by name.
    Ends,
    /// Go on without it.
    GoesOn,
}

impl KvmEngine {
    /// The engine for this machine.
    ///
    /// # Errors
    /// This host's KVM is missing, not permitted, busy, or cannot do it.
    pub fn new(machine: &Machine) -> Result<Self, EngineError> {
        let mut engine = Self::with_policy(Policy::new(false), Trouble::Ends);
        engine.make_native(machine)?;
        Ok(engine)
    }

    /// The same, but user code runs natively wherever it can, whether that pays or not. For tests.
    ///
    /// # Errors
    /// As [`KvmEngine::new`].
    pub fn eager(machine: &Machine) -> Result<Self, EngineError> {
        let mut engine = Self::with_policy(Policy::new(true), Trouble::Ends);
        engine.make_native(machine)?;
        Ok(engine)
    }

    /// An engine that asks for KVM when it needs it, and goes on without it where it cannot be had.
    #[must_use]
    pub fn obliging() -> Self {
        Self::with_policy(Policy::new(false), Trouble::GoesOn)
    }

    /// The eager engine, of which nobody knows yet whether it works.
    pub(super) fn unchecked(machine: &Machine) -> Result<Self, EngineError> {
        let mut engine = Self::with_policy(Policy::new(true), Trouble::Ends);
        engine.native = Some(Box::new(Native::new(machine).map_err(unavailable)?));
        Ok(engine)
    }

    fn with_policy(policy: Policy, trouble: Trouble) -> Self {
        Self {
            soft: SoftEngine::new(),
            native: None,
            policy,
            statistics: NativeStatistics::default(),
            trouble,
        }
    }

    /// Ticks that user code may run natively for, if it may.
    fn native_ticks(&self, machine: &Machine, until: Position) -> Option<u64> {
        let platform = &machine.platform;
        let ticks = until.tick.min(platform.due_tick).saturating_sub(machine.position().tick + 1);
        (ticks >= self.policy.least_ticks()
            && self.policy.allows()
            && machine.position().offset <= MOST_STEPS
            && machine.cpu.state.is_plain_user()
            && !machine.cpu.delivers_next(platform)
            && !platform.wants_attention())
        .then_some(ticks)
    }

    /// Runs user code natively for at most so many ticks, if it can be. The machine is then at a position on its way.
    fn run_natively(&mut self, machine: &mut Machine, ticks: u64) -> Result<(), EngineError> {
        match self.make_native(machine) {
            Err(error) if self.trouble == Trouble::GoesOn => {
                tracing::info!(%error, "user code does not run natively");
                self.policy = Policy::never();
                return Ok(());
            }
            made => made?,
        }
        let Some(native) = &mut self.native else { return Ok(()) };
        let ran = native.run(machine, ticks, &mut self.statistics)?;
        self.policy.native(ran.instructions, ran.returns);
        Ok(())
    }

    fn make_native(&mut self, machine: &Machine) -> Result<(), EngineError> {
        if self.native.is_none() {
            check_direct().map_err(|error| unavailable(error.to_string()))?;
            self.native = Some(Box::new(Native::new(machine).map_err(unavailable)?));
        }
        Ok(())
    }

    /// Where the software CPU pauses for the question to be asked again whether user code should run natively.
    fn pause(&self, machine: &Machine) -> Position {
        if machine.cpu.state.cpl() != 3 {
            // It comes back where user code begins.
            return Position { tick: u64::MAX, offset: 0 };
        }
        Position { tick: machine.position().tick.saturating_add(self.policy.quantum()), offset: 0 }
    }

    /// What the software CPU does, noted down.
    fn softly<R>(
        &mut self,
        machine: &mut Machine,
        run: impl FnOnce(&mut SoftEngine, &mut Machine) -> R,
    ) -> R {
        let state = &machine.cpu.state;
        let (instructions, tick, user) = (state.instructions, state.now.tick, state.cpl() == 3);
        let stop = run(&mut self.soft, machine);
        let ran = machine.cpu.state.instructions.wrapping_sub(instructions);
        self.policy.soft(ran, machine.position().tick.saturating_sub(tick));
        self.statistics.soft += ran;
        if user {
            self.statistics.soft_user += ran;
        }
        stop
    }
}

impl Engine for KvmEngine {
    fn name(&self) -> &'static str {
        "kvm"
    }

    fn run(
        &mut self,
        machine: &mut Machine,
        until: Position,
        breakpoints: &Breakpoints,
    ) -> Result<Stop, EngineError> {
        // What has to be looked at after every step leaves nothing to run natively.
        if !breakpoints.is_empty() || !machine.platform.watches.is_empty() {
            return self.softly(machine, |soft, machine| soft.run(machine, until, breakpoints));
        }
        loop {
            if let Some(ticks) = self.native_ticks(machine, until) {
                self.run_natively(machine, ticks)?;
                if machine.position() >= until {
                    return Ok(Stop::Reached);
                }
            }
            let pause = self.pause(machine);
            let ran =
                self.softly(machine, |soft, machine| soft.run_in_one_privilege(machine, pause.min(until)));
            let Some(stop) = ran else { continue };
            let paused = stop == Stop::Reached && machine.position() >= pause && pause < until;
            if !paused || machine.platform.wants_attention() {
                return Ok(stop);
            }
        }
    }

    fn statistics(&self) -> Statistics {
        Statistics::Native(self.statistics)
    }
}
