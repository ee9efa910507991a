//! Places that are kept in memory because somebody asked for it: coming back is a restore, however long ago it was.

use std::collections::BTreeMap;

use recorder::Position;

use super::{Timeline, TimelineError};
use crate::checkpoint::{Cache, Checkpoint};

/// Places that are kept.
pub const MAX_PINS: usize = 64;

/// Why a place is not kept.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// There are enough.
    #[error("{MAX_PINS} places are kept already: give one up first")]
    Many,
    /// They take too much memory.
    #[error(
        "the places that are kept take {bytes} bytes, and no more than {limit} are for them: give one up first"
    )]
    Large {
        /// What all would take.
        bytes: usize,
        /// What they may take.
        limit: usize,
    },
    /// What is in a branch goes with it.
    #[error("in a branch no places are kept: its marks and its checkpoints go with it")]
    Branch,
    /// The cursor could not be put into a defined state.
    #[error(transparent)]
    Timeline(#[from] TimelineError),
}

/// What a timeline holds in memory to be soon elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InMemory {
    /// Checkpoints that come and go with the cursor.
    pub checkpoints: usize,
    /// Bytes of the pages of all, those that were asked for included, that are not in the file.
    pub bytes: usize,
    /// More is given up.
    pub limit: usize,
}

impl Timeline {
    /// Keeps the state under the cursor until [`Timeline::unpin`]; says where that is.
    ///
    /// # Errors
    /// There are too many such places, or they are too large: half of what the timeline may keep in memory is for them.
    pub fn pin(&mut self) -> Result<Position, PinError> {
        if self.branch.is_some() {
            return Err(PinError::Branch);
        }
        let here = self.keep_here()?;
        if self.pins.contains_key(&here) {
            return Ok(here);
        }
        if self.pins.len() >= MAX_PINS {
            return Err(PinError::Many);
        }
        let checkpoint = self.checkpoint_here().map_err(TimelineError::from)?;
        let maps = self.pins.values().map(|pin| &pin.pages).chain([&checkpoint.pages]);
        let (bytes, limit) = (self.store.kept_bytes_of(maps), self.cached_bytes / 2);
        if bytes > limit {
            return Err(PinError::Large { bytes, limit });
        }
        self.pins.insert(here, checkpoint);
        Ok(here)
    }

    /// Gives up a place; says whether it was kept.
    pub fn unpin(&mut self, position: Position) -> bool {
        self.pins.remove(&position).is_some()
    }

    /// The places that are kept, in their order.
    pub fn pins(&self) -> impl Iterator<Item = Position> + '_ {
        self.pins.keys().copied()
    }

    /// What is in memory.
    #[must_use]
    pub fn in_memory(&self) -> InMemory {
        InMemory { checkpoints: self.cache().len(), bytes: self.store.kept_bytes(), limit: self.cached_bytes }
    }

    /// The checkpoints in memory after one position and before another, in their order.
    pub(super) fn kept_between(
        &self,
        from: Position,
        to: Position,
    ) -> impl DoubleEndedIterator<Item = &Checkpoint> {
        let within = |checkpoint: &&Checkpoint| from < checkpoint.position && checkpoint.position < to;
        let mut kept: Vec<_> = self.pins.values().chain(self.cache.iter()).filter(within).collect();
        kept.sort_by_key(|checkpoint| checkpoint.position);
        kept.into_iter()
    }
}

/// The last checkpoint of either kind at or before a position.
pub(super) fn kept_at_or_before<'k>(
    pins: &'k BTreeMap<Position, Checkpoint>,
    cache: &'k Cache,
    position: Position,
) -> Option<&'k Checkpoint> {
    let pinned = pins.range(..=position).next_back().map(|(_, pin)| pin);
    let cached = cache.at_or_before(position);
    [pinned, cached].into_iter().flatten().max_by_key(|checkpoint| checkpoint.position)
}
