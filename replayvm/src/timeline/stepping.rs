//! Single steps, with and without an eye on watched memory.

use recorder::Position;

use super::{Landing, Reason, Stops, Supervisor, Timeline, TimelineError};
use crate::engine::Breakpoints;
use crate::session::Halt;

impl Timeline {
    /// One step forward.
    ///
    /// # Errors
    /// The replay fails.
    pub fn step_forward(&mut self) -> Result<Landing, TimelineError> {
        self.step_forward_watching(&Stops::default())
    }

    /// One step forward; tells whether it accesses watched memory or makes an exit that is asked for. Addresses do not
    /// matter to a step.
    ///
    /// # Errors
    /// The replay fails.
    pub fn step_forward_watching(&mut self, stops: &Stops) -> Result<Landing, TimelineError> {
        self.recover()?;
        let now = self.position();
        if now >= self.limit() {
            return Ok(Landing { position: now, reason: Reason::End });
        }
        let reason = self.watched_step(stops)?.unwrap_or(Reason::Reached);
        Ok(Landing { position: self.position(), reason })
    }

    /// One step backward; tells the same of the step that is taken back.
    ///
    /// # Errors
    /// The replay fails.
    pub fn step_backward_watching(
        &mut self,
        stops: &Stops,
        supervisor: &mut dyn Supervisor,
    ) -> Result<Landing, TimelineError> {
        let landing = self.step_backward_supervised(supervisor)?;
        if stops.sees_no_step() || landing.reason != Reason::Reached {
            return Ok(landing);
        }
        let seen = self.watched_step(stops)?;
        self.seek(landing.position, &mut super::unsupervised())?;
        Ok(Landing { reason: seen.unwrap_or(landing.reason), ..landing })
    }

    fn watched_step(&mut self, stops: &Stops) -> Result<Option<Reason>, TimelineError> {
        if stops.sees_no_step() {
            self.step()?;
            return Ok(None);
        }
        self.arm(stops);
        let halt = self.step();
        // The step that ends the run may also be one that somebody wanted to see.
        let platform = &mut self.driver.machine.platform;
        let late = (platform.watches.take_hit(), platform.stopped_on.take());
        self.disarm();
        Ok(match (halt?, late) {
            (Halt::Watch(hit), _) | (_, (Some(hit), _)) => Some(Reason::Watch(hit)),
            (Halt::Exit(at, exit), _) | (_, (_, Some((at, exit)))) => Some(Reason::Exit(at, exit)),
            _ => None,
        })
    }

    /// One step, whatever is armed.
    pub(super) fn step(&mut self) -> Result<Halt, TimelineError> {
        let now = self.position();
        let next = Position::new(now.tick, now.offset.saturating_add(1));
        self.advance(next, &Breakpoints::default())
    }
}
