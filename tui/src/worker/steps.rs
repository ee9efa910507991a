//! Steps over calls and interrupts, and out of functions, in both directions.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};
use recorder::{ExitKind, Position};
use replayvm::machine::ExitFilter;
use replayvm::timeline::{Landing, Progress, Reason, Stops, TimelineError, unsupervised};

use super::desk::{Desk, Done, GoOn};
use crate::machine::call_sites;

/// Steps between two looks at whoever waits.
const UNSEEN: u32 = 1 << 12;
/// Handlers of exceptions within each other that are gone through.
const MAX_DEPTH: u32 = 8;
/// Exits of steps that deliver something.
const DELIVERIES: ExitFilter = ExitFilter::NONE
    .with(ExitKind::Interrupt)
    .with(ExitKind::Nmi)
    .with(ExitKind::Exception)
    .with(ExitKind::SoftwareInterrupt);

/// Where a function returns to: the address, and the stack pointer before it returns.
type Return = (u64, u64);

impl Desk {
    fn instruction(&self) -> Instruction {
        let cpu = self.timeline.cpu();
        let mut bytes = [0; 15];
        let there = self.timeline.read_linear(cpu.linear_rip(), &mut bytes);
        let bytes = bytes.get(..there).unwrap_or_default();
        Decoder::with_ip(cpu.mode().bitness(), bytes, cpu.linear_rip(), DecoderOptions::NONE).decode()
    }

    fn stack_pointer(&self) -> u64 {
        self.timeline.cpu().gpr[4]
    }

    /// One step; a call, or an interrupt that comes instead of the instruction, is gone through to its end.
    pub(super) fn over(&mut self, go_on: GoOn<'_>) -> Result<Done, TimelineError> {
        let landing = self.step_over(0, go_on)?;
        Ok(self.told(landing))
    }

    /// `depth`: within so many handlers of exceptions.
    fn step_over(&mut self, depth: u32, go_on: GoOn<'_>) -> Result<Landing, TimelineError> {
        let interrupted = self.is_delivery();
        let cpu = self.timeline.cpu();
        let (here, top, instructions) =
            (cpu.linear_rip(), self.stack_pointer(), self.timeline.instructions());
        let instruction = self.instruction();
        let landing = self.timeline.step_forward()?;
        let delivered = self.timeline.instructions() == instructions && landing.reason == Reason::Reached;
        let called = matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall);
        // An interrupt comes back to the instruction.
        let target = match (delivered, called) {
            (true, _) if interrupted => here,
            // A handler of exceptions may go on elsewhere, and may raise others without end.
            (true, _) if depth < MAX_DEPTH => return self.step_out(depth + 1, go_on),
            (true, _) | (false, false) => return Ok(landing),
            (false, true) => instruction.next_ip(),
        };
        let stops = Stops { addresses: vec![target], ..Stops::default() };
        loop {
            let landing = self.run_to_stop(&stops, false, go_on)?;
            // A deeper call of the same function comes by here too.
            if !matches!(landing.reason, Reason::Breakpoint(_)) || self.stack_pointer() >= top {
                return Ok(landing);
            }
        }
    }

    /// One step back; into a call, or an interrupt, to where it began.
    pub(super) fn over_back(&mut self, go_on: GoOn<'_>) -> Result<Done, TimelineError> {
        let (here, top) = (self.timeline.cpu().linear_rip(), self.stack_pointer());
        let landing = self.timeline.step_backward_supervised(&mut super::desk::supervise(go_on))?;
        if landing.reason != Reason::Reached {
            return Ok(self.told(landing));
        }
        let flow = self.instruction().flow_control();
        let inside = self.timeline.position();
        if flow != FlowControl::Return || self.is_delivery() {
            return Ok(Done::default());
        }
        let landing = self.back_to_call((here, top), go_on)?;
        match landing.reason {
            // Nobody is known to have called: a return to where something was switched.
            Reason::Begin => {
                self.timeline.seek(inside, &mut unsupervised())?;
                Ok(Done::told("where this was called is not known; one step back"))
            }
            Reason::Breakpoint(_) | Reason::Exit(..) => Ok(Done::default()),
            _ => Ok(self.told(landing)),
        }
    }

    /// Whether the next step delivers something instead of executing.
    fn is_delivery(&self) -> bool {
        let machine = self.timeline.machine();
        machine.cpu.delivers_next(&machine.platform)
    }

    /// Backward to the call, or the interrupt, that comes back to an address with this stack pointer.
    fn back_to_call(&mut self, (target, top): Return, go_on: GoOn<'_>) -> Result<Landing, TimelineError> {
        let mut stops =
            Stops { addresses: call_sites(&self.timeline, target), exits: DELIVERIES, ..Stops::default() };
        if stops.addresses.is_empty() {
            stops.addresses.push(target);
        }
        loop {
            let landing = self.run_to_stop(&stops, true, go_on)?;
            let here = self.timeline.cpu().linear_rip();
            let fits = self.stack_pointer() == top
                && match landing.reason {
                    Reason::Breakpoint(_) => here != target,
                    Reason::Exit(..) => here == target,
                    _ => true,
                };
            if fits || matches!(landing.reason, Reason::Begin | Reason::Interrupted) {
                return Ok(landing);
            }
        }
    }

    /// Forward until the function has returned.
    pub(super) fn out(&mut self, go_on: GoOn<'_>) -> Result<Done, TimelineError> {
        let landing = self.step_out(0, go_on)?;
        Ok(self.told(landing))
    }

    fn step_out(&mut self, depth: u32, go_on: GoOn<'_>) -> Result<Landing, TimelineError> {
        let mut steps = 0_u32;
        let goal = self.timeline.end();
        loop {
            let flow = self.instruction().flow_control();
            let returns = flow == FlowControl::Return && !self.is_delivery();
            if returns {
                return self.timeline.step_forward();
            }
            let landing = self.step_over(depth, go_on)?;
            steps += 1;
            let position = landing.position;
            if matches!(landing.reason, Reason::End | Reason::Interrupted) {
                return Ok(landing);
            }
            if steps.is_multiple_of(UNSEEN) && !go_on(Progress { position, goal }) {
                return Ok(Landing { position, reason: Reason::Interrupted });
            }
        }
    }

    /// Backward to where the function was called: who knows where it returns to knows who has called it.
    pub(super) fn out_back(&mut self, go_on: GoOn<'_>) -> Result<Done, TimelineError> {
        let here: Position = self.timeline.keep_here()?;
        let landing = self.step_out(0, go_on)?;
        let (target, top) = (self.timeline.cpu().linear_rip(), self.stack_pointer());
        self.timeline.seek(here, &mut unsupervised())?;
        match landing.reason {
            Reason::Reached => {}
            Reason::Interrupted => return Ok(Done::told(format!("stopped at {here}"))),
            _ => return Ok(Done::told("this function does not return up to the end")),
        }
        let landing = self.back_to_call((target, top), go_on)?;
        if landing.reason == Reason::Begin {
            self.timeline.seek(here, &mut unsupervised())?;
            return Ok(Done::told("where this was called is not known"));
        }
        Ok(if landing.reason == Reason::Interrupted { self.told(landing) } else { Done::default() })
    }
}
