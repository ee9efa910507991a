//! All stops between two positions, in order, the cursor where it was.

use recorder::Position;

use super::aside::Stretch;
use super::hits::{Hit, Hits, Keep, Walk};
use super::{Stops, Supervisor, Timeline, TimelineError, unsupervised};

/// How far a collection goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Everything is in it.
    Whole,
    /// There were as many hits as were asked for; there may be more from the last one on.
    Full,
    /// The supervisor ended it: every hit before this position is in it, and none past it.
    UpTo(Position),
}

/// Hits between two positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// In order.
    pub hits: Vec<Hit>,
    /// How far.
    pub extent: Extent,
}

impl Timeline {
    /// Every hit of `stops` from `from` up to but not at `to`, the first `limit` of them. A step that is a hit twice over counts
    /// once, a breakpoint before such a step for itself. The cursor stays where it is.
    ///
    /// # Errors
    /// The replay fails before it comes to the last of them.
    pub fn collect(
        &mut self,
        stops: &Stops,
        from: Position,
        to: Position,
        limit: usize,
        supervisor: &mut dyn Supervisor,
    ) -> Result<Collected, TimelineError> {
        let stretches = self.stretches_between(from.max(self.begin()), to.min(self.end()), stops);
        let mut hits = Vec::new();
        let mut searched = from;
        if limit == 0 {
            return Ok(Collected { hits, extent: Extent::Full });
        }
        let mut take = |stretch: Stretch, more: Hits| {
            hits.extend(more.list.into_iter().take(limit - hits.len()));
            searched = stretch.to;
            hits.len() < limit
        };
        let keep = Keep::First(limit);
        let mut walk = None;
        if self.processors > 1 && stretches.len() > 1 {
            walk = self.side_by_side(&stretches, stops, keep, supervisor, &mut take)?;
        }
        let walk = match walk {
            Some(walk) => walk,
            None => {
                let here = self.keep_here()?;
                let walk = self.one_after_the_other(&stretches, stops, keep, supervisor, &mut take);
                let back = self.seek(here, &mut unsupervised());
                let walk = walk?;
                back?;
                walk
            }
        };
        let extent = match walk {
            Walk::Through => Extent::Whole,
            Walk::Enough => Extent::Full,
            Walk::Interrupted => Extent::UpTo(searched),
        };
        Ok(Collected { hits, extent })
    }

    /// The stretches between two positions, in order, without those that cannot have a hit.
    fn stretches_between(&self, from: Position, to: Position, stops: &Stops) -> Vec<Stretch> {
        let pages = self.pages_to_write(stops);
        let mut stretches = Vec::new();
        let mut from = from;
        let mut checkpoint = self.opened.checkpoint_at_or_before(from);
        while from < to {
            let next = checkpoint + 1;
            let last = self.branch.is_some() || next >= self.opened.checkpoints();
            let end = if last { to } else { self.opened.checkpoint_position(next).min(to) };
            if !self.can_skip(checkpoint, pages.as_deref()) {
                stretches.push(Stretch { from, to: end });
            }
            (from, checkpoint) = (end, next);
        }
        stretches
    }

    /// What [`Timeline::side_by_side`] does, by the cursor's own replay, which moves.
    fn one_after_the_other(
        &mut self,
        stretches: &[Stretch],
        stops: &Stops,
        keep: Keep,
        supervisor: &mut dyn Supervisor,
        take: &mut dyn FnMut(Stretch, Hits) -> bool,
    ) -> Result<Walk, TimelineError> {
        for stretch in stretches {
            let (hits, searched) = self.search_stretch(*stretch, stops, keep, supervisor)?;
            // An interrupted walk has come this far.
            let to = self.position().clamp(stretch.from, stretch.to);
            if !take(Stretch { to, ..*stretch }, hits) {
                return Ok(Walk::Enough);
            }
            if searched == Walk::Interrupted {
                return Ok(searched);
            }
        }
        Ok(Walk::Through)
    }
}
