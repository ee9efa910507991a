//! Running a machine between ticks and giving it its inputs at them.

use recorder::{EndReason, Event, Exit, Position};
use replayvm_cpu::Rflags;

use super::{Divergence, Inputs, SessionError};
use crate::devices::Signal;
use crate::engine::{Breakpoints, Engine, Stop};
use crate::machine::{Machine, WatchHit};

/// Why [`Driver::run`] returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Halt {
    /// The position asked for is reached, or the log of exits is full and wants to be taken.
    Reached,
    /// The next instruction is at a breakpoint.
    Breakpoint,
    /// The last step accessed watched memory.
    Watch(WatchHit),
    /// The last step made an exit that was asked for.
    Exit(Position, Exit),
    /// The guest's run is over.
    Ended(EndReason),
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Where.
    pub position: Position,
    /// Why.
    pub reason: EndReason,
}

/// A machine and what executes it. The state between calls is always that of a [`Position`]: at offset 0 the inputs of the
/// tick have been applied.
pub struct Driver {
    /// The machine.
    pub machine: Machine,
    /// What executes it.
    pub engine: Box<dyn Engine>,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("machine", &self.machine).finish_non_exhaustive()
    }
}

impl Driver {
    /// A machine at power-on, its inputs at `0+0` applied.
    ///
    /// # Errors
    /// The recording's inputs do not fit.
    pub fn start(
        machine: Machine,
        engine: Box<dyn Engine>,
        inputs: &mut dyn Inputs,
    ) -> Result<Self, SessionError> {
        let mut driver = Self { machine, engine };
        driver.arrive(inputs, false)?;
        Ok(driver)
    }

    /// Moves on by at least one step, until `until` or a stop. A run that is over stays where it is.
    ///
    /// # Errors
    /// The engine fails, or the recording's inputs do not fit.
    pub fn run(
        &mut self,
        inputs: &mut dyn Inputs,
        until: Position,
        breakpoints: &Breakpoints,
    ) -> Result<Halt, SessionError> {
        if let Some(reason) = self.over() {
            return Ok(Halt::Ended(reason));
        }
        loop {
            let stop = self.engine.run(&mut self.machine, until, breakpoints)?;
            inputs.check()?;
            match stop {
                Stop::Due | Stop::Idle => {
                    if let Some(reason) = self.arrive(inputs, stop == Stop::Idle)? {
                        return Ok(Halt::Ended(reason));
                    }
                    if let Some(halt) = self.attention() {
                        return Ok(halt);
                    }
                    if self.machine.position() >= until || inputs.wants_rest() {
                        return Ok(Halt::Reached);
                    }
                    if self.machine.stops_at(breakpoints) {
                        return Ok(Halt::Breakpoint);
                    }
                }
                Stop::Reached => return Ok(Halt::Reached),
                Stop::Breakpoint => return Ok(Halt::Breakpoint),
                Stop::Watch(hit) => return Ok(Halt::Watch(hit)),
                Stop::Exit(at, exit) => return Ok(Halt::Exit(at, exit)),
                Stop::Signal => return Ok(self.attention().unwrap_or(Halt::Reached)),
                Stop::Shutdown => {
                    // The step that shuts the CPU down counts like any other: without it one position would name two
                    // states.
                    let now = &mut self.machine.cpu.state.now;
                    now.offset = now.offset.saturating_add(1);
                    return Ok(Halt::Ended(EndReason::TripleFault));
                }
            }
        }
    }

    /// Why the guest's run is over, if it is.
    fn over(&self) -> Option<EndReason> {
        match self.machine.platform.signal {
            Some(Signal::DebugExit(code)) => Some(EndReason::DebugExit { code }),
            Some(Signal::Reset | Signal::Init) => Some(EndReason::Reset),
            Some(Signal::PowerOff) => Some(EndReason::PowerOff),
            None => self.machine.cpu.state.shutdown.then_some(EndReason::TripleFault),
        }
    }

    fn attention(&mut self) -> Option<Halt> {
        if let Some(reason) = self.over() {
            return Some(Halt::Ended(reason));
        }
        let platform = &mut self.machine.platform;
        if let Some(hit) = platform.watches.take_hit() {
            return Some(Halt::Watch(hit));
        }
        platform.stopped_on.take().map(|(at, exit)| Halt::Exit(at, exit))
    }

    /// Gives the machine, which stands at a tick, the inputs of that tick. Says so if nothing will ever wake it.
    fn arrive(&mut self, inputs: &mut dyn Inputs, idle: bool) -> Result<Option<EndReason>, Divergence> {
        let at = self.machine.position();
        // In HLT or in a loop that does nothing, as against a stall that may come to an end by itself.
        let waiting = idle && (self.machine.cpu.state.halted || self.machine.loops_idly());
        let Machine { cpu, platform } = &mut self.machine;
        if idle {
            // An idle CPU waits for nothing but an interrupt: what was held back comes now.
            platform.hold_until = platform.hold_until.min(at.tick);
            platform.devices_changed(at.tick);
            let enabled = cpu.state.rflags & Rflags::IF.bits() != 0;
            let wakes = (platform.devices.nmi_pending() && !cpu.state.nmi_blocked)
                || (platform.devices.interrupt_pending() && enabled);
            if !wakes {
                if !platform.console.is_empty() {
                    inputs.said(&platform.console);
                }
                let now = platform.clock.ns_at(at.tick);
                let ahead = platform.devices.next_deadline().map(|(_, ns)| ns.saturating_sub(now));
                let room = platform.devices.serial_room();
                let jump = match (waiting, enabled) {
                    (true, false) => None,
                    (true, true) => inputs.idle(at, ahead, room),
                    (false, _) => ahead.and_then(|ns| inputs.idle(at, Some(ns), room)).or(Some(0)),
                };
                match jump {
                    Some(ns) => platform.clock.skip(ns),
                    None => return Ok(Some(EndReason::Hung)),
                }
            }
        }
        let now = platform.clock.ns_at(at.tick);
        let due: Vec<_> = platform.devices.timers_due_undecided(now).collect();
        for source in due {
            let delay = inputs.timer_delay(at, source);
            platform.devices.delay_timer(source, delay);
        }
        let mut raised = false;
        if platform.devices.next_deadline().is_some_and(|(_, ns)| ns <= now) {
            platform.devices.advance(now);
            raised = true;
        }
        let room = platform.devices.serial_room();
        let bytes = inputs.serial(at, room);
        if !bytes.is_empty() && platform.devices.serial_input(&bytes) < bytes.len() {
            return Err(Divergence::Untaken { at, event: Event::Serial { bytes } });
        }
        if raised && platform.devices.interrupt_pending() {
            let ticks = inputs.interrupt_hold(at);
            if ticks != 0 {
                platform.hold_until = at.tick.saturating_add(u64::from(ticks));
            }
        }
        inputs.settled(at)?;
        platform.input_tick = inputs.next_tick(at.tick);
        platform.devices_changed(at.tick);
        Ok(None)
    }

    /// The machine has been restored to a position: recomputes when it next wants inputs.
    pub fn restored(&mut self, inputs: &mut dyn Inputs) {
        let tick = self.machine.position().tick;
        self.machine.platform.input_tick = inputs.next_tick(tick);
        self.machine.platform.devices_changed(tick);
        self.engine.machine_changed(&mut self.machine);
    }
}
