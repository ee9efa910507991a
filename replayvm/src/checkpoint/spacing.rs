//! Which checkpoints in memory to keep: dense near the cursor, thinning exponentially away from it.

use std::collections::BTreeMap;

use recorder::Position;

use super::{Checkpoint, PageMap};

/// How far before a target checkpoints are worth taking on the way there: each half as far as the one before.
///
/// `distance` is how long the way is, in ticks or in steps. The last is `nearest` before the target or less far than twice
/// that.
#[must_use]
pub fn approach(distance: u64, nearest: u64) -> Vec<u64> {
    let mut steps = Vec::new();
    let mut before = distance / 2;
    while before >= nearest.max(1) {
        steps.push(before);
        before /= 2;
    }
    steps
}

/// Checkpoints in memory, at most so many.
#[derive(Debug)]
pub struct Cache {
    limit: usize,
    checkpoints: BTreeMap<Position, Checkpoint>,
}

impl Cache {
    /// An empty cache of at most `limit` checkpoints.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.max(4), checkpoints: BTreeMap::new() }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.checkpoints.len()
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.checkpoints.is_empty()
    }

    /// Whether there is one at this position.
    #[must_use]
    pub fn contains(&self, position: Position) -> bool {
        self.checkpoints.contains_key(&position)
    }

    /// The last one at or before a position.
    #[must_use]
    pub fn at_or_before(&self, position: Position) -> Option<&Checkpoint> {
        self.checkpoints.range(..=position).next_back().map(|(_, checkpoint)| checkpoint)
    }

    /// Keeps one; gives up the one that is least use to a cursor at `cursor`.
    pub fn insert(&mut self, checkpoint: Checkpoint, cursor: Position) {
        self.checkpoints.insert(checkpoint.position, checkpoint);
        while self.checkpoints.len() > self.limit {
            let Some(victim) = self.least_useful(cursor) else { return };
            self.checkpoints.remove(&victim);
        }
    }

    /// Gives up those after a position.
    pub fn forget_after(&mut self, position: Position) {
        self.checkpoints.retain(|place, _| *place <= position);
    }

    /// Gives up half of them, those of least use to a cursor at `cursor`.
    pub fn halve(&mut self, cursor: Position) {
        for _ in 0..self.checkpoints.len().div_ceil(2) {
            let Some(victim) = self.least_useful(cursor) else { return };
            self.checkpoints.remove(&victim);
        }
    }

    /// All of them, in order of position.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Checkpoint> {
        self.checkpoints.values()
    }

    /// What every page holds in each of them, in order of position.
    pub fn maps(&self) -> impl Iterator<Item = &PageMap> {
        self.checkpoints.values().map(|checkpoint| &checkpoint.pages)
    }

    /// A checkpoint is of use in proportion to the way it saves, and the less the farther away the cursor is.
    fn least_useful(&self, cursor: Position) -> Option<Position> {
        let mut previous = Position::START;
        let mut worst: Option<(f64, Position)> = None;
        for position in self.checkpoints.keys() {
            let use_ = steps(previous, *position) / (steps(*position, cursor) + STEPS_A_TICK);
            if worst.is_none_or(|(least, _)| use_ < least) {
                worst = Some((use_, *position));
            }
            previous = *position;
        }
        worst.map(|(_, position)| position)
    }
}

/// What a tick is taken for where nobody has counted.
const STEPS_A_TICK: f64 = 6.0;

/// About how many steps lie between two positions.
fn steps(one: Position, other: Position) -> f64 {
    let ticks = one.tick.abs_diff(other.tick) as f64 * STEPS_A_TICK;
    let steps = f64::from(one.offset.abs_diff(other.offset));
    if one.tick == other.tick { steps } else { ticks.max(steps) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(tick: u64) -> Checkpoint {
        Checkpoint { position: Position::new(tick, 0), sections: Vec::new(), pages: PageMap::zero(1) }
    }

    #[test]
    fn the_way_to_a_target_gets_denser() {
        assert_eq!(approach(1000, 100), [500, 250, 125]);
        assert_eq!(approach(50, 100), [] as [u64; 0]);
    }

    #[test]
    fn a_full_cache_keeps_what_is_near_the_cursor() {
        let mut cache = Cache::new(16);
        let cursor = Position::new(100_000, 0);
        for tick in (0..=1000).map(|n| n * 100) {
            cache.insert(at(tick), cursor);
        }
        assert_eq!(cache.len(), 16);
        assert_eq!(cache.at_or_before(cursor).unwrap().position.tick, 100_000);
        assert_eq!(cache.at_or_before(Position::new(99_999, 0)).unwrap().position.tick, 99_900);
        // Far away they are sparse, but not gone.
        assert!(cache.at_or_before(Position::new(50_000, 0)).is_some());
    }
}
