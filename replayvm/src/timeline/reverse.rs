//! Single steps backward.

use recorder::Position;

use super::{Landing, Reason, Supervisor, Timeline, TimelineError, unsupervised};
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
}

/// The last position that could be before `position`, which is not the very first.
pub(super) fn strictly_before(position: Position) -> Position {
    match position.offset {
        0 => Position::new(position.tick.saturating_sub(1), u32::MAX),
        offset => Position::new(position.tick, offset - 1),
    }
}
