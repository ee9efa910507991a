//! Looking for the previous stop: the stretches between checkpoints from last to first, each replayed with the stops armed,
//! the last hit kept. Stretches that cannot have one are left out, and those far from the cursor are replayed beside each other.

use recorder::Position;

use super::aside::Stretch;
use super::hits::{Hit, Hits, Keep, Walk};
use super::reverse::strictly_before;
use super::stops::Pages;
use super::{Landing, Reason, Stops, Supervisor, Timeline, TimelineError, unsupervised};

/// Hits that are remembered of a stretch: some MiB at the most.
const REMEMBERED: Keep = Keep::Last(1 << 14);

/// The hits of the stretch that was searched last. Whoever lets gdb look at a condition comes back for the one before at once.
#[derive(Debug)]
pub(super) struct Remembered {
    stops: Stops,
    low: Position,
    high: Position,
    hits: Hits,
}

/// What is remembered of the way back from a position.
enum Known {
    /// The hit before it.
    Hit(Hit),
    /// There is none from here up to it.
    NoneFrom(Position),
    /// Nothing.
    Nothing,
}

impl Remembered {
    fn before(&self, position: Position, stops: &Stops) -> Known {
        if self.stops != *stops || position <= self.low || position > self.high {
            return Known::Nothing;
        }
        let count = self.hits.list.partition_point(|hit| hit.position < position);
        match count.checked_sub(1).and_then(|last| self.hits.list.get(last)) {
            Some(hit) => Known::Hit(*hit),
            None if self.hits.more_before => Known::Nothing,
            None => Known::NoneFrom(self.low),
        }
    }
}

/// What a search has come to.
enum Search {
    Hit(Hit),
    Nothing,
    Interrupted,
}

impl Timeline {
    /// Backward to the previous stop, or to the begin. A hit where the cursor stands does not count. A search that is interrupted
    /// or fails leaves the cursor where it was.
    ///
    /// # Errors
    /// The replay fails before it comes to a stop.
    pub fn run_backward(
        &mut self,
        stops: &Stops,
        supervisor: &mut dyn Supervisor,
    ) -> Result<Landing, TimelineError> {
        self.recover()?;
        let here = self.position();
        // Whoever interrupts the search is back here at once.
        self.leave_checkpoint(here)?;
        let search = match self.search_back(here, stops, supervisor) {
            Ok(search) => search,
            Err(error) => {
                // If there is no way back either, the first error is the one to tell.
                let _ = self.seek(here, &mut unsupervised());
                return Err(error);
            }
        };
        match search {
            Search::Hit(Hit { position, reason }) => {
                let landing = self.seek(position, supervisor)?;
                if landing.reason != Reason::Interrupted {
                    return Ok(Landing { reason, ..landing });
                }
            }
            Search::Nothing => {
                let landing = self.seek(self.begin(), &mut unsupervised())?;
                return Ok(Landing { reason: Reason::Begin, ..landing });
            }
            Search::Interrupted => {}
        }
        let landing = self.seek(here, &mut unsupervised())?;
        Ok(Landing { reason: Reason::Interrupted, ..landing })
    }

    /// The last hit before `high`. Moves the cursor.
    fn search_back(
        &mut self,
        mut high: Position,
        stops: &Stops,
        supervisor: &mut dyn Supervisor,
    ) -> Result<Search, TimelineError> {
        let remembered = self.remembered.as_ref().filter(|_| self.takes_shortcuts());
        match remembered.map_or(Known::Nothing, |known| known.before(high, stops)) {
            Known::Hit(hit) => return Ok(Search::Hit(hit)),
            Known::NoneFrom(low) => high = low,
            Known::Nothing => {}
        }
        // The stretch that the cursor is in is replayed by the cursor itself, and so are all if nobody helps.
        let nearest = self.opened.checkpoint_at_or_before(strictly_before(high));
        let pages = self.pages_to_write(stops);
        let pages = pages.as_deref();
        let mut alone = self.processors <= 1 || self.branch.is_some();
        while high > self.begin() {
            let interval = self.opened.checkpoint_at_or_before(strictly_before(high));
            if self.can_skip(interval, pages) {
                high = self.opened.checkpoint_position(interval);
                continue;
            }
            if interval < nearest && !alone {
                let stretches = self.stretches_back(interval, high, pages);
                match self.search_back_aside(&stretches, stops, supervisor)? {
                    Some(search) => return Ok(search),
                    None => alone = true,
                }
            }
            let low = self.stand_strictly_before(high)?;
            let (hits, walk) = self.hits_up_to(high, stops, REMEMBERED, supervisor)?;
            if walk == Walk::Interrupted {
                return Ok(Search::Interrupted);
            }
            if let Some(hit) = hits.list.back().copied() {
                self.remember(stops, low, high, hits);
                return Ok(Search::Hit(hit));
            }
            high = low;
        }
        Ok(Search::Nothing)
    }

    /// The stretches up to `high`, which lies in interval `last`, from last to first, without those that cannot have a hit.
    fn stretches_back(&self, last: usize, high: Position, pages: Option<&[Pages]>) -> Vec<Stretch> {
        let mut stretches = Vec::new();
        let mut to = high;
        for checkpoint in (0..=last).rev() {
            let from = self.opened.checkpoint_position(checkpoint);
            if !self.can_skip(checkpoint, pages) {
                stretches.push(Stretch { from, to });
            }
            to = from;
        }
        stretches
    }

    /// The last hit in these stretches; `None` if nobody helps.
    fn search_back_aside(
        &mut self,
        stretches: &[Stretch],
        stops: &Stops,
        supervisor: &mut dyn Supervisor,
    ) -> Result<Option<Search>, TimelineError> {
        if stretches.len() < 2 {
            return Ok(None);
        }
        let mut found = None;
        let walk = self.side_by_side(stretches, stops, REMEMBERED, supervisor, &mut |stretch, hits| {
            if !hits.list.is_empty() {
                found = Some((stretch, hits));
            }
            found.is_none()
        })?;
        let Some(walk) = walk else { return Ok(None) };
        if let Some((Stretch { from: low, to: high }, hits)) = found
            && let Some(hit) = hits.list.back().copied()
        {
            self.remember(stops, low, high, hits);
            return Ok(Some(Search::Hit(hit)));
        }
        Ok(Some(if walk == Walk::Interrupted { Search::Interrupted } else { Search::Nothing }))
    }

    fn remember(&mut self, stops: &Stops, low: Position, high: Position, hits: Hits) {
        if self.takes_shortcuts() {
            self.remembered = Some(Remembered { stops: stops.clone(), low, high, hits });
        }
    }

    /// What is known of the recording is known of no branch.
    fn takes_shortcuts(&self) -> bool {
        self.shortcuts && self.branch.is_none()
    }

    /// The pages of which one must be written where a run is to stop; `None` if it may stop without that.
    pub(super) fn pages_to_write(&self, stops: &Stops) -> Option<Vec<Pages>> {
        stops.pages_to_write(self.driver.machine.platform.ram.bytes()).filter(|_| self.takes_shortcuts())
    }

    /// Whether none of these pages was written between a stored checkpoint and the next one.
    pub(super) fn can_skip(&self, interval: usize, pages: Option<&[Pages]>) -> bool {
        pages.is_some_and(|pages| !self.opened.may_write(interval, pages))
    }

    /// Restores the last checkpoint before `position`; says where that is.
    fn stand_strictly_before(&mut self, position: Position) -> Result<Position, TimelineError> {
        self.restore_nearest(strictly_before(position))?;
        Ok(self.position())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_answers_for_its_stretch_and_its_stops_only() {
        let at = |tick| Position::new(tick, 0);
        let hit = |tick| Hit { position: at(tick), reason: Reason::Reached };
        let stops = Stops { addresses: vec![1], ..Stops::default() };
        let hits = Hits { list: [hit(12), hit(15)].into(), more_before: false };
        let mut known = Remembered { stops: stops.clone(), low: at(10), high: at(20), hits };
        assert!(matches!(known.before(at(20), &stops), Known::Hit(found) if found == hit(15)));
        assert!(matches!(known.before(at(15), &stops), Known::Hit(found) if found == hit(12)));
        assert!(matches!(known.before(at(12), &stops), Known::NoneFrom(low) if low == at(10)));
        assert!(matches!(known.before(at(10), &stops), Known::Nothing));
        assert!(matches!(known.before(at(21), &stops), Known::Nothing));
        assert!(matches!(known.before(at(15), &Stops::default()), Known::Nothing));
        known.hits.more_before = true;
        assert!(matches!(known.before(at(12), &stops), Known::Nothing));
    }
}
