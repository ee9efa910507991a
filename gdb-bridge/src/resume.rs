//! Stepping and running, forwards and backwards.
//!
//! gdbstub first takes note of what gdb wants ([`Action`]); the session then carries it out and reports the stop.
//!
//! A stop of gdb's protocol tells of one watchpoint. Where a step hits several, the others are told by the next runs on the same
//! way, which do not move: gdb, which compares the values of those only that it is told, would else find the change at some
//! later stop and show it there.

use std::collections::VecDeque;
use std::time::Duration;

use gdbstub::common::{Signal, Tid};
use gdbstub::stub::MultiThreadStopReason;
use gdbstub::target::ext::base::multithread::{
    MultiThreadRangeStepping, MultiThreadRangeSteppingOps, MultiThreadResume, MultiThreadSchedulerLocking,
    MultiThreadSchedulerLockingOps, MultiThreadSingleStep, MultiThreadSingleStepOps,
};
use gdbstub::target::ext::base::reverse_exec::{
    ReplayLogPosition, ReverseCont, ReverseContOps, ReverseStep, ReverseStepOps,
};
use recorder::{Exit, ExitKind, Position};
use replayvm::machine::{ExitFilter, WatchHit};
use replayvm::timeline::{Landing, Progress, Reason, Stops, Timeline, TimelineError};

use crate::points::Watchpoint;
use crate::target::{ReplayTarget, TargetFailure};
use crate::thread::VCPU;
use crate::timing::Begun;

/// Steps of a range between two looks at the client.
const STEPS_UNSEEN: u32 = 512;
/// How long after Ctrl-C gdb may go on by itself. A person who finds the machine standing takes longer.
const OVERTAKEN: Duration = Duration::from_secs(1);
/// Bytes of the longest instruction.
const INSTRUCTION_BYTES: u64 = 15;

/// What gdb wants the machine to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Forward to the next stop.
    Continue,
    /// One step forward.
    Step,
    /// Forward while the instruction pointer is in this range.
    StepWithin {
        /// First address.
        start: u64,
        /// First address past it.
        end: u64,
    },
    /// Backward to the previous stop.
    ReverseContinue,
    /// One step backward.
    ReverseStep,
}

/// Watchpoints that a step has hit and that gdb has not yet been told of.
#[derive(Debug)]
pub struct Unreported {
    /// Where the machine stood when gdb was told of the first.
    position: Position,
    /// The run on this way is what tells of the next.
    way: Action,
    watchpoints: VecDeque<Watchpoint>,
}

impl Action {
    const fn name(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Step => "stepi",
            Self::StepWithin { .. } => "step within a range",
            Self::ReverseContinue => "reverse-continue",
            Self::ReverseStep => "reverse-stepi",
        }
    }
}

/// A place in the program, as far as it can be told from the CPU: another call of the same function has another stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    rip: u64,
    rsp: u64,
    cr3: u64,
}

impl Place {
    pub(crate) fn of(timeline: &Timeline) -> Self {
        let cpu = timeline.cpu();
        Self { rip: cpu.linear_rip(), rsp: cpu.gpr[4], cr3: cpu.cr3 }
    }

    /// Whether it is where the program goes on that left `other` for a handler: there, or behind an instruction that called it.
    pub(crate) fn follows(self, other: Self) -> bool {
        let passed = self.rip.wrapping_sub(other.rip);
        passed <= INSTRUCTION_BYTES && (self.rsp, self.cr3) == (other.rsp, other.cr3)
    }
}

// There is one thread, and any that is named is that one. A signal would be an input: a recording takes none.
impl MultiThreadResume for ReplayTarget<'_> {
    fn resume(&mut self) -> Result<(), TargetFailure> {
        self.action.get_or_insert(Action::Continue);
        Ok(())
    }

    fn clear_resume_actions(&mut self) -> Result<(), TargetFailure> {
        self.action = None;
        Ok(())
    }

    fn set_resume_action_continue(&mut self, _: Tid, _signal: Option<Signal>) -> Result<(), TargetFailure> {
        self.action.get_or_insert(Action::Continue);
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<MultiThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_range_step(&mut self) -> Option<MultiThreadRangeSteppingOps<'_, Self>> {
        Some(self)
    }

    fn support_reverse_step(&mut self) -> Option<ReverseStepOps<'_, Tid, Self>> {
        Some(self)
    }

    fn support_reverse_cont(&mut self) -> Option<ReverseContOps<'_, Tid, Self>> {
        Some(self)
    }

    fn support_scheduler_locking(&mut self) -> Option<MultiThreadSchedulerLockingOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadSingleStep for ReplayTarget<'_> {
    fn set_resume_action_step(&mut self, _: Tid, _signal: Option<Signal>) -> Result<(), TargetFailure> {
        self.action.get_or_insert(Action::Step);
        Ok(())
    }
}

impl MultiThreadRangeStepping for ReplayTarget<'_> {
    fn set_resume_action_range_step(&mut self, _: Tid, start: u64, end: u64) -> Result<(), TargetFailure> {
        self.action.get_or_insert(Action::StepWithin { start, end });
        Ok(())
    }
}

impl MultiThreadSchedulerLocking for ReplayTarget<'_> {
    // There are no other threads to hold.
    fn set_resume_action_scheduler_lock(&mut self) -> Result<(), TargetFailure> {
        Ok(())
    }
}

impl ReverseCont<Tid> for ReplayTarget<'_> {
    fn reverse_cont(&mut self) -> Result<(), TargetFailure> {
        self.action = Some(Action::ReverseContinue);
        Ok(())
    }
}

impl ReverseStep<Tid> for ReplayTarget<'_> {
    fn reverse_step(&mut self, _: Tid) -> Result<(), TargetFailure> {
        self.action = Some(Action::ReverseStep);
        Ok(())
    }
}

impl ReplayTarget<'_> {
    /// Does what gdb has asked for, and says why the machine stands again.
    ///
    /// # Errors
    /// The replay fails; where the cursor then stands is undefined.
    pub fn perform(&mut self) -> Result<MultiThreadStopReason<u64>, TimelineError> {
        let Some(action) = self.action.take() else {
            return Ok(trap());
        };
        if self.is_interrupted_already(action) {
            return Ok(self.stop_reason(Reason::Interrupted, &[]));
        }
        if let Some(watchpoint) = self.next_unreported(action) {
            return Ok(watch(&watchpoint));
        }
        let begun = Begun::now();
        let (stops, owners) = self.points.stops();
        let link = self.link.clone();
        let mut supervisor = |_: Progress| !link.is_interrupted();
        let landing = match action {
            Action::Continue => self.timeline.run_forward(&stops, &mut supervisor)?,
            Action::ReverseContinue => self.timeline.run_backward(&stops, &mut supervisor)?,
            Action::Step => self.timeline.step_forward_watching(&stops)?,
            Action::ReverseStep if self.goes_back_over => self.step_back_over(&stops)?,
            Action::ReverseStep => self.timeline.step_backward_watching(&stops, &mut supervisor)?,
            Action::StepWithin { start, end } => self.step_within(start, end)?,
        };
        self.timing.ended(action.name(), &begun);
        tracing::debug!(?action, ?landing, "stopped");
        if let Reason::Watch(hit) = landing.reason {
            self.keep_unreported(action, hit, &owners);
        }
        Ok(self.stop_reason(landing.reason, &owners))
    }

    /// Whether somebody pressed Ctrl-C while gdb took a stop for none, as at a breakpoint whose condition does not hold, and goes
    /// on: the run that it was meant for is this one.
    fn is_interrupted_already(&mut self, action: Action) -> bool {
        let runs = matches!(action, Action::Continue | Action::ReverseContinue);
        runs && self.overtaken.take().is_some_and(|pressed| pressed.elapsed() <= OVERTAKEN)
    }

    /// The next watchpoint that the step at which the machine stands has hit and that gdb still wants to know of.
    fn next_unreported(&mut self, action: Action) -> Option<Watchpoint> {
        let mut unreported = self.unreported.take()?;
        if unreported.way != action || unreported.position != self.timeline.position() {
            return None;
        }
        let points = &self.points;
        let next =
            std::iter::from_fn(|| unreported.watchpoints.pop_front()).find(|next| points.watches(next))?;
        unreported.watchpoints.retain(|other| !other.covers(next.linear));
        self.unreported = Some(unreported);
        Some(next)
    }

    /// Remembers the watchpoints that the step has hit beside the one that gdb is told of now.
    fn keep_unreported(&mut self, action: Action, hit: WatchHit, owners: &[usize]) {
        let owner_of = |index: usize| owners.get(index).and_then(|owner| self.points.watchpoint(*owner));
        let Some(told) = owner_of(hit.index) else { return };
        let mut watchpoints = VecDeque::<Watchpoint>::new();
        for other in hit.indices().filter_map(owner_of) {
            // gdb looks at every watchpoint that has the address in it.
            if !other.covers(told.linear) && !watchpoints.iter().any(|known| known.is(other)) {
                watchpoints.push_back(other.clone());
            }
        }
        let way = match action {
            Action::ReverseContinue | Action::ReverseStep => Action::ReverseContinue,
            Action::Continue | Action::Step | Action::StepWithin { .. } => Action::Continue,
        };
        self.unreported = Some(Unreported { position: self.timeline.position(), way, watchpoints });
    }

    /// Steps while the instruction pointer is in a range, at least once. An interrupt that is taken on the way is run
    /// to its return: `next` and `step` follow the program, not what comes between.
    fn step_within(&mut self, start: u64, end: u64) -> Result<Landing, TimelineError> {
        let (stops, _) = self.points.stops();
        let seen = Stops { exits: ExitFilter::NONE.with(ExitKind::Interrupt), ..stops };
        let mut steps = 0_u32;
        loop {
            let interrupted = Place::of(self.timeline);
            let mut landing = self.timeline.step_forward_watching(&seen)?;
            if let Reason::Exit(_, Exit::Interrupt { .. }) = landing.reason {
                landing = self.run_to(interrupted)?;
            }
            if landing.reason != Reason::Reached {
                return Ok(landing);
            }
            let rip = self.timeline.cpu().linear_rip();
            if self.points.breaks_here(self.timeline) {
                return Ok(Landing { reason: Reason::Breakpoint(rip), ..landing });
            }
            if !(start..end).contains(&rip) {
                return Ok(landing);
            }
            steps = steps.wrapping_add(1);
            if steps.is_multiple_of(STEPS_UNSEEN) && self.link.is_interrupted() {
                return Ok(Landing { reason: Reason::Interrupted, ..landing });
            }
        }
    }

    /// Runs until the program is back where it was interrupted, or a stop of gdb's comes first.
    fn run_to(&mut self, place: Place) -> Result<Landing, TimelineError> {
        let (mut stops, _) = self.points.stops();
        stops.addresses.push(place.rip);
        let link = self.link.clone();
        let mut supervisor = |_: Progress| !link.is_interrupted();
        loop {
            // The handler may begin at a breakpoint, which the run would leave first.
            let rip = self.timeline.cpu().linear_rip();
            if self.points.breaks_here(self.timeline) && rip != place.rip {
                return Ok(Landing { position: self.timeline.position(), reason: Reason::Breakpoint(rip) });
            }
            let landing = self.timeline.run_forward(&stops, &mut supervisor)?;
            match landing.reason {
                Reason::Breakpoint(_) if Place::of(self.timeline) == place => {
                    return Ok(Landing { reason: Reason::Reached, ..landing });
                }
                Reason::Breakpoint(_) if !self.points.breaks_here(self.timeline) => {}
                _ => return Ok(landing),
            }
        }
    }

    fn stop_reason(&self, reason: Reason, owners: &[usize]) -> MultiThreadStopReason<u64> {
        match reason {
            // gdb would not know the address of its breakpoint, and run on as if it had taken it back in the meantime.
            Reason::Breakpoint(address) if !self.shown.now().reaches(address) => trap(),
            Reason::Reached | Reason::Exit(..) => trap(),
            Reason::Breakpoint(address) if self.points.is_software(address) => {
                MultiThreadStopReason::SwBreak(VCPU)
            }
            Reason::Breakpoint(_) => MultiThreadStopReason::HwBreak(VCPU),
            Reason::Watch(hit) => {
                match owners.get(hit.index).and_then(|owner| self.points.watchpoint(*owner)) {
                    Some(watchpoint) => watch(watchpoint),
                    None => trap(),
                }
            }
            Reason::Begin => {
                MultiThreadStopReason::ReplayLog { tid: Some(VCPU), pos: ReplayLogPosition::Begin }
            }
            Reason::End => MultiThreadStopReason::ReplayLog { tid: Some(VCPU), pos: ReplayLogPosition::End },
            Reason::Interrupted => {
                MultiThreadStopReason::SignalWithThread { tid: VCPU, signal: Signal::SIGINT }
            }
        }
    }
}

/// The machine stands because of a watchpoint.
fn watch(watchpoint: &Watchpoint) -> MultiThreadStopReason<u64> {
    MultiThreadStopReason::Watch { tid: VCPU, kind: watchpoint.kind, addr: watchpoint.linear }
}

/// The machine stands for no other reason than that it was asked to.
pub(crate) fn trap() -> MultiThreadStopReason<u64> {
    MultiThreadStopReason::SignalWithThread { tid: VCPU, signal: Signal::SIGTRAP }
}
