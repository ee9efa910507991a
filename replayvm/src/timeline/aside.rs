//! Stretches of a recording that are searched beside each other, each by a replay apart from the cursor's.
//!
//! Whoever asks names the stretches in the order in which they count and is told what they hold in that order, so that the
//! number of workers shows in nothing but the time it takes. A stretch that no longer counts is given up at once.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use recorder::Position;

use super::hits::{Hits, Keep, Walk};
use super::{Progress, Reason, Stops, Supervisor, Timeline, TimelineError};

/// Between two looks at whoever may want to stop.
const LOOK_EVERY: Duration = Duration::from_millis(4);
/// Stretches for each worker that may be searched before what came first is known: what they hold has to be kept.
const AHEAD: usize = 8;

/// A part of the way between a stored checkpoint and the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Hits count from here on.
    pub(super) from: Position,
    /// Hits count before it.
    pub(super) to: Position,
}

impl Timeline {
    /// Tells `take` of the hits in each of these stretches, in their order, until it wants no more. `None` if no replay can be
    /// had but the cursor's, which does not move. The first error ends it, if `take` has not ended it before.
    pub(super) fn side_by_side(
        &mut self,
        stretches: &[Stretch],
        stops: &Stops,
        keep: Keep,
        supervisor: &mut dyn Supervisor,
        take: &mut dyn FnMut(Stretch, Hits) -> bool,
    ) -> Result<Option<Walk>, TimelineError> {
        let mut workers = std::mem::take(&mut self.workers);
        let count = self.processors.min(stretches.len());
        if workers.len() < count {
            workers.resize_with(count, || None);
        }
        let board = Board::new(stretches, keep, count);
        let (opened, store, chunk_ticks) = (&self.opened, &self.store, self.chunk_ticks);
        let make = || Self::over(opened.clone(), store.of_the_recording());
        let walk = thread::scope(|scope| {
            for worker in &mut workers[..count] {
                let leaves = Leaves(&board);
                let work = move || help(&leaves, worker, make, stops, chunk_ticks);
                // Who cannot be had is missed by nobody: the others do its part.
                if let Err(error) = thread::Builder::new().name("search".to_owned()).spawn_scoped(scope, work)
                {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a search has fewer replays");
                }
            }
            let ended = Ended(&board);
            let walk = ended.0.follow(supervisor, take);
            drop(ended);
            walk
        });
        for worker in workers.iter_mut().flatten() {
            self.statistics.add(std::mem::take(&mut worker.statistics));
        }
        self.workers = workers;
        walk
    }

    /// The hits of a stretch. Moves the cursor to its end, unless the walk ended before.
    pub(super) fn search_stretch(
        &mut self,
        stretch: Stretch,
        stops: &Stops,
        keep: Keep,
        supervisor: &mut dyn Supervisor,
    ) -> Result<(Hits, Walk), TimelineError> {
        self.restore_nearest(stretch.from)?;
        if self.run_to(stretch.from, supervisor)?.reason == Reason::Interrupted {
            return Ok((Hits::default(), Walk::Interrupted));
        }
        self.hits_up_to(stretch.to, stops, keep, supervisor)
    }
}

/// What a worker does: one stretch after the other, as long as there are any that count.
fn help(
    Leaves(board): &Leaves<'_, '_>,
    worker: &mut Option<Timeline>,
    make: impl FnOnce() -> Result<Timeline, TimelineError>,
    stops: &Stops,
    chunk_ticks: u64,
) {
    let worker = match worker {
        Some(worker) => worker,
        None => match make() {
            Ok(made) => worker.insert(made),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a search has fewer replays");
                return;
            }
        },
    };
    worker.look_every(chunk_ticks);
    while let Some((index, stretch)) = board.next() {
        let mut supervisor = |_: Progress| board.wants(index);
        match worker.search_stretch(stretch, stops, board.keep, &mut supervisor) {
            Ok((_, Walk::Interrupted)) => {}
            found => board.put(index, found.map(|(hits, _)| hits)),
        }
    }
}

/// Who searches what, and what has been found.
struct Board<'s> {
    stretches: &'s [Stretch],
    keep: Keep,
    ahead: usize,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The first stretch that nobody has begun with.
    next: usize,
    /// Whoever asked has been told of those before.
    told: usize,
    /// From here on none counts.
    end: usize,
    found: BTreeMap<usize, Result<Hits, TimelineError>>,
    workers: usize,
}

/// Nobody waits for anything any more.
struct Ended<'b, 's>(&'b Board<'s>);

impl Drop for Ended<'_, '_> {
    fn drop(&mut self) {
        self.0.state().end = 0;
        self.0.changed.notify_all();
    }
}

/// A worker that leaves, whatever makes it leave.
struct Leaves<'b, 's>(&'b Board<'s>);

impl Drop for Leaves<'_, '_> {
    fn drop(&mut self) {
        self.0.state().workers -= 1;
        self.0.changed.notify_all();
    }
}

impl<'s> Board<'s> {
    fn new(stretches: &'s [Stretch], keep: Keep, workers: usize) -> Self {
        let state = State { next: 0, told: 0, end: stretches.len(), found: BTreeMap::new(), workers };
        let ahead = workers.saturating_mul(AHEAD);
        Self { stretches, keep, ahead, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next stretch to search, once there is need of it.
    fn next(&self) -> Option<(usize, Stretch)> {
        let mut state = self.state();
        loop {
            let index = state.next;
            if index >= state.end {
                return None;
            }
            if index < state.told.saturating_add(self.ahead) {
                state.next += 1;
                return Some((index, *self.stretches.get(index)?));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether a stretch still counts.
    fn wants(&self, index: usize) -> bool {
        index < self.state().end
    }

    fn put(&self, index: usize, found: Result<Hits, TimelineError>) {
        let mut state = self.state();
        if index >= state.end {
            return;
        }
        if found.as_ref().map_or(true, |hits| hits.decide(self.keep)) {
            state.end = index + 1;
        }
        state.found.insert(index, found);
        self.changed.notify_all();
    }

    /// Tells of what is found, in order.
    fn follow(
        &self,
        supervisor: &mut dyn Supervisor,
        take: &mut dyn FnMut(Stretch, Hits) -> bool,
    ) -> Result<Option<Walk>, TimelineError> {
        let mut told = 0;
        loop {
            let Some(stretch) = self.stretches.get(told) else { return Ok(Some(Walk::Through)) };
            if !supervisor.go_on(self.progress(stretch)) {
                return Ok(Some(Walk::Interrupted));
            }
            let mut state = self.state();
            if let Some(found) = state.found.remove(&told) {
                told += 1;
                state.told = told;
                self.changed.notify_all();
                drop(state);
                if !take(*stretch, found?) {
                    return Ok(Some(Walk::Enough));
                }
                continue;
            }
            // Workers leave early only if they could not be made.
            if state.workers == 0 {
                return Ok(None);
            }
            drop(self.changed.wait_timeout(state, LOOK_EVERY));
        }
    }

    /// How far everything is searched, and how far it is to be at the most.
    fn progress(&self, next: &Stretch) -> Progress {
        let last = self.stretches.last().unwrap_or(next);
        match self.keep {
            Keep::First(_) => Progress { position: next.from, goal: last.to },
            Keep::Last(_) => Progress { position: next.to, goal: last.from },
        }
    }
}
