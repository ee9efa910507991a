//! Seeking: the nearest checkpoint, then forward, leaving checkpoints behind that get denser towards the target.

use recorder::Position;

use super::pins::kept_at_or_before;
use super::{Landing, Progress, Reason, Supervisor, Timeline, TimelineError};
use crate::checkpoint::{Cache, approach};
use crate::engine::Breakpoints;
use crate::machine::RamError;
use crate::session::{Halt, Pace};

/// The last checkpoint left behind on the way to a target is this many ticks before it, or less than twice as many.
const NEAREST_TICKS: u64 = 64;
/// The same in steps, within a tick that has many.
const NEAREST_STEPS: u32 = 512;
/// Steps of a tick, mostly.
const STEPS_A_TICK: u64 = 8;

impl Timeline {
    /// Moves the cursor to a position, or to the first one that exists after it.
    ///
    /// # Errors
    /// The replay fails.
    pub fn seek(
        &mut self,
        target: Position,
        supervisor: &mut dyn Supervisor,
    ) -> Result<Landing, TimelineError> {
        self.statistics.seeks += 1;
        let target = target.min(self.limit()).max(self.begin());
        self.stand_before(target)?;
        let start = self.position();
        let mut waypoints = waypoints(start, target, self.nearest_ticks(target));
        let mut pace = Pace::new(self.chunk_ticks);
        loop {
            let now = self.position();
            if now >= target {
                let reason = if now >= self.limit() { Reason::End } else { Reason::Reached };
                return Ok(Landing { position: now, reason });
            }
            if !supervisor.go_on(Progress { position: now, goal: target }) {
                return Ok(Landing { position: now, reason: Reason::Interrupted });
            }
            while waypoints.last().is_some_and(|waypoint| *waypoint <= now) {
                waypoints.pop();
            }
            let next = waypoints.last().copied().unwrap_or(target);
            let until = pace.next(&self.driver.machine).min(next);
            let halt = self.advance(until, &Breakpoints::default())?;
            if waypoints.last() == Some(&self.position()) {
                self.leave_checkpoint(target)?;
            }
            if matches!(halt, Halt::Ended(_)) {
                return Ok(Landing { position: self.position(), reason: Reason::End });
            }
        }
    }

    /// Moves the cursor forward to a position, or to the first one that exists after it, leaving no checkpoints behind: for
    /// whoever looks at many places in their order and goes back to none. A target before the cursor is reached already.
    ///
    /// # Errors
    /// The replay fails.
    pub fn run_to(
        &mut self,
        target: Position,
        supervisor: &mut dyn Supervisor,
    ) -> Result<Landing, TimelineError> {
        self.recover()?;
        let target = target.min(self.limit());
        if target > self.position() {
            self.stand_before(target)?;
        }
        self.run_armed(target, &Breakpoints::default(), supervisor)
    }

    /// Keeps the state under the cursor in memory and says where that is: whoever looks around elsewhere is soon back.
    ///
    /// # Errors
    /// The cursor was in no defined state and could not be put into one.
    pub fn keep_here(&mut self) -> Result<Position, TimelineError> {
        self.recover()?;
        let here = self.position();
        self.leave_checkpoint(here)?;
        Ok(here)
    }

    /// Puts the cursor at the nearest place at or before `target` that can be had without replaying.
    pub(super) fn stand_before(&mut self, target: Position) -> Result<(), TimelineError> {
        let now = self.position();
        if self.sound && now <= target && now >= self.nearest(target) {
            return Ok(());
        }
        self.restore_nearest(target)
    }

    /// How many ticks of the kind that lie around `target` are as much work as [`NEAREST_TICKS`] mostly are.
    fn nearest_ticks(&self, target: Position) -> u64 {
        if self.branch.is_some() {
            return NEAREST_TICKS;
        }
        let checkpoints = self.opened.recording().checkpoints();
        let index = self.opened.checkpoint_at_or_before(target).min(checkpoints.len().saturating_sub(2));
        let (Some(before), Some(after)) = (checkpoints.get(index), checkpoints.get(index + 1)) else {
            return NEAREST_TICKS;
        };
        let ticks = after.position.tick.saturating_sub(before.position.tick).max(1);
        let steps = after.instructions.saturating_sub(before.instructions) / ticks;
        (NEAREST_TICKS * STEPS_A_TICK / steps.max(1)).clamp(1, NEAREST_TICKS)
    }

    /// Where the last checkpoint at or before `target` is.
    pub(super) fn nearest(&self, target: Position) -> Position {
        if let Some(branch) = &self.branch {
            return branch.nearest_position(target);
        }
        let stored = self.opened.checkpoint_position(self.opened.checkpoint_at_or_before(target));
        kept_at_or_before(&self.pins, &self.cache, target).map_or(stored, |kept| kept.position.max(stored))
    }

    /// Restores the last checkpoint at or before `target`.
    pub(super) fn restore_nearest(&mut self, target: Position) -> Result<(), TimelineError> {
        self.sound = false;
        let Self { driver, tracker, store, .. } = self;
        if let Some(branch) = &mut self.branch {
            let (checkpoint, inputs) = branch.nearest(target);
            crate::recording::restore(driver, tracker, checkpoint, inputs, store)?;
        } else {
            let stored = self.opened.checkpoint_at_or_before(target);
            let stored_position = self.opened.checkpoint_position(stored);
            let read;
            let checkpoint = match kept_at_or_before(&self.pins, &self.cache, target) {
                Some(kept) if kept.position >= stored_position => kept,
                _ => {
                    read = self.opened.checkpoint(stored)?;
                    &read
                }
            };
            crate::recording::restore(driver, tracker, checkpoint, &mut self.inputs, store)?;
        }
        self.sound = true;
        self.statistics.restores += 1;
        Ok(())
    }

    /// Keeps the present state in memory.
    pub(super) fn leave_checkpoint(&mut self, cursor: Position) -> Result<(), TimelineError> {
        if self.cache().contains(self.position()) {
            return Ok(());
        }
        let checkpoint = self.checkpoint_here()?;
        self.statistics.checkpoints += 1;
        self.branch.as_mut().map_or(&mut self.cache, |branch| &mut branch.cache).insert(checkpoint, cursor);
        if self.store.kept_bytes() > self.cached_bytes {
            self.make_room(cursor);
        }
        Ok(())
    }

    /// The checkpoints in memory, of the recording or of the branch.
    pub(super) fn cache(&self) -> &Cache {
        self.branch.as_ref().map_or(&self.cache, |branch| &branch.cache)
    }

    /// Brings the map of RAM up to date, and keeps what has changed.
    pub(super) fn look(&mut self) -> Result<(), RamError> {
        let ram = &mut self.driver.machine.platform.ram;
        for page in self.tracker.look(ram)? {
            self.store.keep(page.hash, ram.page(page.gfn)?);
        }
        if self.store.kept_bytes() > self.cached_bytes {
            self.make_room(self.position());
        }
        Ok(())
    }

    /// Gives up pages that no checkpoint names any more, then checkpoints, until there is some room again. What the machine
    /// itself holds stays: the next checkpoint names it.
    fn make_room(&mut self, cursor: Position) {
        loop {
            self.forget_unnamed();
            if self.store.kept_bytes() <= self.cached_bytes / 4 * 3 {
                return;
            }
            // In a branch, those of the recording are given up first.
            let cache = match &mut self.branch {
                Some(branch) if self.cache.is_empty() => &mut branch.cache,
                _ => &mut self.cache,
            };
            if cache.is_empty() {
                return;
            }
            cache.halve(cursor);
        }
    }

    /// Gives up pages that no checkpoint names any more.
    pub(super) fn forget_unnamed(&mut self) {
        let branch = self.branch.iter().flat_map(|branch| {
            branch.kept().into_iter().map(|checkpoint| &checkpoint.pages).chain(branch.cache.maps())
        });
        let pinned = self.pins.values().map(|pin| &pin.pages);
        let maps = pinned.chain(self.cache.maps()).chain(branch).chain([self.tracker.map()]);
        self.store.forget_all_but(maps);
    }
}

/// Where to leave checkpoints on the way from `start` to `target`, the first one last.
fn waypoints(start: Position, target: Position, nearest_ticks: u64) -> Vec<Position> {
    let ticks = target.tick.saturating_sub(start.tick);
    let steps = target.offset - if ticks == 0 { start.offset.min(target.offset) } else { 0 };
    let mut waypoints: Vec<_> = approach(ticks, nearest_ticks)
        .into_iter()
        .map(|before| Position::new(target.tick - before, 0))
        .collect();
    if ticks > 0 && steps >= NEAREST_STEPS {
        waypoints.push(Position::new(target.tick, 0));
    }
    let within = approach(u64::from(steps), u64::from(NEAREST_STEPS));
    waypoints
        .extend(within.into_iter().map(|before| Position::new(target.tick, target.offset - before as u32)));
    waypoints.reverse();
    waypoints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_is_marked_in_ticks_and_then_in_steps() {
        let at = Position::new;
        assert_eq!(waypoints(at(0, 3), at(300, 5), 64), [at(225, 0), at(150, 0)]);
        assert_eq!(waypoints(at(0, 3), at(9, 5), 1), [at(8, 0), at(7, 0), at(5, 0)]);
        assert_eq!(waypoints(at(9, 0), at(10, 2048), 64), [at(10, 1536), at(10, 1024), at(10, 0)]);
        assert_eq!(waypoints(at(10, 1024), at(10, 2048), 64), [at(10, 1536)]);
        assert_eq!(waypoints(at(10, 9), at(10, 9), 64), []);
        assert_eq!(waypoints(at(10, 0), at(10, u32::MAX), 64).len(), 22);
    }
}
