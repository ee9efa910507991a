//! Where a run meets what it is to stop on. Every search goes through here.

use std::collections::VecDeque;

use recorder::Position;

use super::{Reason, Stops, Supervisor, Timeline, TimelineError};
use crate::engine::Breakpoints;

/// A place at which a run has something to stop on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// Where: of a watched access and of an exit, before the step that makes it.
    pub position: Position,
    /// What.
    pub reason: Reason,
}

/// How a walk over hits ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Walk {
    /// Where it was to end.
    Through,
    /// Whoever saw the hits has seen enough.
    Enough,
    /// The supervisor ended it.
    Interrupted,
}

/// Which hits of a stretch are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// The first ones, so many; the walk then ends.
    First(usize),
    /// The last ones, so many.
    Last(usize),
}

/// Hits of a stretch, in order.
#[derive(Debug, Default)]
pub(super) struct Hits {
    pub(super) list: VecDeque<Hit>,
    /// There were more before them.
    pub(super) more_before: bool,
}

impl Hits {
    /// Takes note of the next hit; whether another one is wanted.
    fn add(&mut self, hit: Hit, keep: Keep) -> bool {
        match keep {
            Keep::First(limit) => {
                self.list.push_back(hit);
                self.list.len() < limit
            }
            Keep::Last(limit) => {
                if self.list.len() >= limit.max(1) {
                    self.list.pop_front();
                    self.more_before = true;
                }
                self.list.push_back(hit);
                true
            }
        }
    }

    /// Whether the search that wants to keep so many need not look behind this stretch.
    pub(super) fn decide(&self, keep: Keep) -> bool {
        match keep {
            Keep::First(limit) => self.list.len() >= limit,
            Keep::Last(_) => !self.list.is_empty(),
        }
    }
}

impl Timeline {
    /// The hits from where the cursor stands up to but not at `high`, where it then stands unless the walk ended before.
    pub(super) fn hits_up_to(
        &mut self,
        high: Position,
        stops: &Stops,
        keep: Keep,
        supervisor: &mut dyn Supervisor,
    ) -> Result<(Hits, Walk), TimelineError> {
        let mut hits = Hits::default();
        self.arm(stops);
        let walk = self.each_hit(high, &stops.breakpoints(), supervisor, &mut |hit| hits.add(hit, keep));
        self.disarm();
        Ok((hits, walk?))
    }

    /// Shows each hit from where the cursor stands up to but not at `high`, in order, until one is enough. Of a step that is
    /// a hit twice over only one is shown, and a breakpoint before it.
    fn each_hit(
        &mut self,
        high: Position,
        breakpoints: &Breakpoints,
        supervisor: &mut dyn Supervisor,
        see: &mut dyn FnMut(Hit) -> bool,
    ) -> Result<Walk, TimelineError> {
        if self.position() < high && self.driver.machine.stops_at(breakpoints) && !see(self.breakpoint()) {
            return Ok(Walk::Enough);
        }
        loop {
            let landing = self.run_armed(high, breakpoints, supervisor)?;
            let position = match landing.reason {
                Reason::Breakpoint(_) => landing.position,
                Reason::Watch(hit) => hit.at,
                Reason::Exit(at, _) => at,
                Reason::Interrupted => return Ok(Walk::Interrupted),
                Reason::Reached | Reason::Begin | Reason::End => return Ok(Walk::Through),
            };
            if position >= high {
                return Ok(Walk::Through);
            }
            if !see(Hit { position, reason: landing.reason }) {
                return Ok(Walk::Enough);
            }
            // The run goes on with a step, so that a breakpoint just past a watched step has to be seen here.
            let passed = landing.position > position && landing.position < high;
            if passed && self.driver.machine.stops_at(breakpoints) && !see(self.breakpoint()) {
                return Ok(Walk::Enough);
            }
        }
    }

    /// The breakpoint at which the cursor stands.
    fn breakpoint(&self) -> Hit {
        Hit { position: self.position(), reason: Reason::Breakpoint(self.cpu().linear_rip()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_hits_are_kept_and_it_is_known_that_there_were_more() {
        let hit = |tick| Hit { position: Position::new(tick, 0), reason: Reason::Reached };
        let mut hits = Hits::default();
        assert!(!hits.decide(Keep::Last(2)));
        assert!(hits.add(hit(1), Keep::Last(2)) && hits.add(hit(2), Keep::Last(2)));
        assert!(!hits.more_before && hits.decide(Keep::Last(2)));
        assert!(hits.add(hit(3), Keep::Last(2)));
        assert!(hits.more_before);
        assert_eq!(hits.list, [hit(2), hit(3)]);
    }

    #[test]
    fn the_first_hits_are_enough() {
        let hit = |tick| Hit { position: Position::new(tick, 0), reason: Reason::Reached };
        let mut hits = Hits::default();
        assert!(hits.add(hit(1), Keep::First(2)) && !hits.decide(Keep::First(2)));
        assert!(!hits.add(hit(2), Keep::First(2)));
        assert!(hits.decide(Keep::First(2)) && !hits.more_before);
    }
}
