//! Going backwards: the segments between checkpoints from last to first, each replayed with the stops armed, the last hit
//! kept.

use recorder::Position;

use super::{Landing, Progress, Reason, Stops, Supervisor, Timeline, TimelineError, unsupervised};
use crate::engine::Breakpoints;

/// Steps that are walked one by one: more than most ticks have.
const SHORT_STEPS: u32 = 64;
/// Ticks between a checkpoint and the cursor from which on a step back is no matter of milliseconds.
const FAR_TICKS: u64 = 1_000_000;

impl Timeline {
    /// One step backward. It takes milliseconds, unless the checkpoint before is very far away.
    ///
    /// # Errors
    /// The replay fails.
    pub fn step_backward(&mut self) -> Result<Landing, TimelineError> {
        self.step_backward_supervised(&mut unsupervised())
    }

    /// One step backward, for a recording that nobody vouches for: its checkpoints may claim to be any distance apart. An
    /// interrupted step leaves the cursor where it was.
    ///
    /// # Errors
    /// The replay fails.
    pub fn step_backward_supervised(
        &mut self,
        supervisor: &mut dyn Supervisor,
    ) -> Result<Landing, TimelineError> {
        self.recover()?;
        let now = self.position();
        if now <= self.begin() {
            return Ok(Landing { position: now, reason: Reason::Begin });
        }
        if now.tick - self.nearest(strictly_before(now)).tick > FAR_TICKS {
            // Whoever interrupts the step is back here at once.
            self.leave_checkpoint(now)?;
        }
        if let Some(before) = self.predecessor(now, supervisor)? {
            let landing = self.seek(before, supervisor)?;
            if landing.reason != Reason::Interrupted {
                return Ok(Landing { reason: Reason::Reached, ..landing });
            }
        }
        let landing = self.seek(now, &mut unsupervised())?;
        Ok(Landing { reason: Reason::Interrupted, ..landing })
    }

    /// The position one step before `position`, which exists and is not the begin; `None` if interrupted. Moves the cursor.
    fn predecessor(
        &mut self,
        position: Position,
        supervisor: &mut dyn Supervisor,
    ) -> Result<Option<Position>, TimelineError> {
        if position.offset > 0 {
            return Ok(Some(strictly_before(position)));
        }
        // How many steps the tick before has is known only to those who walk it.
        let tick_before = Position::new(position.tick - 1, 0);
        let landing = self.seek(tick_before.max(self.begin()), supervisor)?;
        if landing.reason == Reason::Interrupted {
            return Ok(None);
        }
        self.leave_checkpoint(position)?;
        if let Some(before) = self.walk(position, SHORT_STEPS)? {
            return Ok(Some(before));
        }
        // Longer and longer strides, as far as one goes too far; then half of what is left, again and again.
        let mut stride = SHORT_STEPS;
        let mut too_far = false;
        loop {
            let low = self.position();
            if too_far && stride <= SHORT_STEPS {
                return self.walk(position, u32::MAX);
            }
            self.leave_checkpoint(position)?;
            let next = Position::new(low.tick, low.offset.saturating_add(stride));
            self.advance(next, &Breakpoints::default())?;
            if self.position() >= position {
                too_far = true;
                self.seek(low, &mut unsupervised())?;
            }
            stride = if too_far { stride / 2 } else { stride.saturating_mul(2) };
        }
    }

    /// Single steps, at most so many, to `position`: the position before the last of them, if they come that far.
    fn walk(&mut self, position: Position, steps: u32) -> Result<Option<Position>, TimelineError> {
        for _ in 0..steps {
            let before = self.position();
            self.step()?;
            if self.position() >= position {
                return Ok(Some(before));
            }
        }
        Ok(None)
    }

    /// Backward to the previous stop, or to the begin. A hit where the cursor stands does not count.
    ///
    /// # Errors
    /// The replay fails.
    pub fn run_backward(
        &mut self,
        stops: &Stops,
        supervisor: &mut dyn Supervisor,
    ) -> Result<Landing, TimelineError> {
        self.recover()?;
        let mut high = self.position();
        // Whoever interrupts the search is back here at once.
        self.leave_checkpoint(high)?;
        while high > self.begin() {
            let low = self.stand_strictly_before(high)?;
            self.arm(stops);
            let found = self.last_hit(low, high, &stops.breakpoints(), supervisor);
            self.disarm();
            match found? {
                Search::Hit(position, reason) => {
                    let landing = self.seek(position, supervisor)?;
                    if landing.reason != Reason::Interrupted {
                        return Ok(Landing { reason, ..landing });
                    }
                    let landing = self.seek(high, &mut unsupervised())?;
                    return Ok(Landing { reason: Reason::Interrupted, ..landing });
                }
                Search::Nothing => high = low,
                Search::Interrupted => {
                    self.seek(high, &mut unsupervised())?;
                    return Ok(Landing { position: self.position(), reason: Reason::Interrupted });
                }
            }
        }
        self.seek(self.begin(), &mut unsupervised())?;
        Ok(Landing { position: self.position(), reason: Reason::Begin })
    }

    /// Restores the last checkpoint before `position`; says where that is.
    fn stand_strictly_before(&mut self, position: Position) -> Result<Position, TimelineError> {
        self.restore_nearest(strictly_before(position))?;
        Ok(self.position())
    }

    /// The last hit from `low`, where the cursor stands, up to but not at `high`.
    fn last_hit(
        &mut self,
        low: Position,
        high: Position,
        breakpoints: &Breakpoints,
        supervisor: &mut dyn Supervisor,
    ) -> Result<Search, TimelineError> {
        let mut last = Search::Nothing;
        if self.driver.machine.stops_at(breakpoints) {
            last = Search::Hit(low, Reason::Breakpoint(self.cpu().linear_rip()));
        }
        loop {
            let mut interrupted = false;
            let mut watch = |progress: Progress| {
                interrupted = !supervisor.go_on(progress);
                !interrupted
            };
            let landing = self.run_armed(high, breakpoints, &mut watch)?;
            if interrupted {
                return Ok(Search::Interrupted);
            }
            let (at, reason) = match landing.reason {
                Reason::Breakpoint(_) => (landing.position, landing.reason),
                Reason::Watch(hit) => (hit.at, landing.reason),
                Reason::Exit(at, _) => (at, landing.reason),
                _ => return Ok(last),
            };
            if at >= high {
                return Ok(last);
            }
            last = Search::Hit(at, reason);
            // The run goes on with a step, so that a breakpoint just past a watched step has to be seen here.
            if landing.position > at && landing.position < high && self.driver.machine.stops_at(breakpoints) {
                last = Search::Hit(landing.position, Reason::Breakpoint(self.cpu().linear_rip()));
            }
        }
    }
}

/// The last position that could be before `position`, which is not the very first.
fn strictly_before(position: Position) -> Position {
    match position.offset {
        0 => Position::new(position.tick.saturating_sub(1), u32::MAX),
        offset => Position::new(position.tick, offset - 1),
    }
}

enum Search {
    Nothing,
    Hit(Position, Reason),
    Interrupted,
}
