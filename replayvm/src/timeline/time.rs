//! Going to a time. Virtual time is no straight line in ticks: an idle CPU jumps ahead in it, and where it does only the replay
//! knows. What the checkpoints say of their time leads near; from there every arrival of inputs is looked at.

use recorder::{Position, Section};

use super::{Landing, Progress, Reason, Supervisor, Timeline, TimelineError};
use crate::checkpoint::Checkpoint;
use crate::engine::Breakpoints;
use crate::recording::OpenError;
use crate::session::{Pace, Rewindable};

impl Timeline {
    /// Moves the cursor to the first position at which virtual time has come to `ns` nanoseconds, or to the end where it
    /// never does.
    ///
    /// # Errors
    /// The replay fails.
    pub fn seek_time(&mut self, ns: u64, supervisor: &mut dyn Supervisor) -> Result<Landing, TimelineError> {
        self.statistics.seeks += 1;
        self.stand_before_time(ns)?;
        self.rest_at_inputs(true);
        let landing = self.run_to_time(ns, supervisor);
        self.rest_at_inputs(false);
        landing
    }

    fn rest_at_inputs(&mut self, rests: bool) {
        match &mut self.branch {
            Some(branch) => branch.inputs.rest_at_inputs(rests),
            None => self.inputs.rest_at_inputs(rests),
        }
    }

    /// Forward until virtual time has come to `ns`.
    fn run_to_time(&mut self, ns: u64, supervisor: &mut dyn Supervisor) -> Result<Landing, TimelineError> {
        let mut pace = Pace::new(self.chunk_ticks);
        loop {
            let now = self.position();
            if now >= self.limit() {
                return Ok(Landing { position: now, reason: Reason::End });
            }
            if self.virtual_ns() >= ns {
                return Ok(Landing { position: now, reason: Reason::Reached });
            }
            if !supervisor.go_on(Progress { position: now, goal: self.limit() }) {
                return Ok(Landing { position: now, reason: Reason::Interrupted });
            }
            // A jump on the way brings the run to rest before that.
            let tick = self.driver.machine.platform.clock.tick_reaching(ns, now.tick);
            let until = pace.next(&self.driver.machine).min(Position::new(tick, 0)).min(self.limit());
            self.advance(until, &Breakpoints::default())?;
        }
    }

    /// Puts the cursor at the nearest place before that time which can be had without replaying; at the begin if there is none.
    fn stand_before_time(&mut self, ns: u64) -> Result<(), TimelineError> {
        let nearest = match &self.branch {
            Some(branch) => self.last_before_time(branch.states(), ns)?.unwrap_or(branch.begin()),
            None => self.recorded_before_time(ns)?,
        };
        if self.sound && self.position() >= nearest && self.virtual_ns() < ns {
            return Ok(());
        }
        self.restore_nearest(nearest)
    }

    /// The nearest place of the recording, or kept in memory, before that time; the begin if there is none.
    fn recorded_before_time(&self, ns: u64) -> Result<Position, TimelineError> {
        let (mut low, mut high) = (0, self.opened.checkpoints());
        while low < high {
            let middle = low + (high - low) / 2;
            let at = self.opened.checkpoint_position(middle);
            let read = self.opened.recording().checkpoint(middle);
            let sections = read.map_err(|source| OpenError::Checkpoint { at, source })?.sections;
            if self.ns_of(at, &sections)? < ns { low = middle + 1 } else { high = middle }
        }
        let nearest = self.opened.checkpoint_position(low.saturating_sub(1));
        let past = if low < self.opened.checkpoints() {
            self.opened.checkpoint_position(low)
        } else {
            Position::MAX
        };
        Ok(self.last_before_time(self.kept_between(nearest, past), ns)?.unwrap_or(nearest))
    }

    /// The last of these states before that time.
    fn last_before_time<'c>(
        &self,
        states: impl DoubleEndedIterator<Item = &'c Checkpoint>,
        ns: u64,
    ) -> Result<Option<Position>, TimelineError> {
        for state in states.rev() {
            if self.ns_of(state.position, &state.sections)? < ns {
                return Ok(Some(state.position));
            }
        }
        Ok(None)
    }

    /// Virtual time in a saved state.
    fn ns_of(&self, at: Position, sections: &[Section]) -> Result<u64, TimelineError> {
        let ns = self.driver.machine.ns_of_saved(sections, at.tick);
        Ok(ns.map_err(|source| OpenError::Restore { at, source })?)
    }
}
