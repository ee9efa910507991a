//! How many exits of each kind there are, and where: what a list of one kind needs to go anywhere at once.
//!
//! One pass over the recording, made the first time a filter is asked for. It remembers counts by block, not exits, so
//! that it stays small: 120 bytes for 32,768 exits.

use recorder::{ExitKind, ReadError, Recording};

/// Exits of a block; as many as the writer puts into a batch, so that a block is decoded in one go.
pub const BLOCK: u64 = 1 << 15;

const KINDS: usize = ExitKind::ALL.len();

/// Counts by kind and block.
#[derive(Debug, Clone)]
pub struct Census {
    /// For each block, the exits of each kind before it; one more entry than blocks, the last with the totals.
    before: Vec<[u64; KINDS]>,
}

impl Census {
    /// Counts. `go_on` is told at each block how many exits have been seen; `false` ends the count without a result.
    ///
    /// # Errors
    /// A batch of exits is damaged.
    pub fn take(
        recording: &Recording,
        go_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<Self>, ReadError> {
        let mut before = vec![[0; KINDS]];
        let mut counts = [0; KINDS];
        let mut seen = 0_u64;
        for exit in recording.exits() {
            if let Some(count) = counts.get_mut(exit?.1.kind() as usize) {
                *count += 1;
            }
            seen += 1;
            if seen.is_multiple_of(BLOCK) {
                before.push(counts);
                if !go_on(seen) {
                    return Ok(None);
                }
            }
        }
        before.push(counts);
        Ok(Some(Self { before }))
    }

    /// Exits of a kind in the whole recording.
    #[must_use]
    pub fn count(&self, kind: ExitKind) -> u64 {
        self.before(self.before.len().saturating_sub(1), kind)
    }

    /// Exits of a kind before a block.
    #[must_use]
    pub fn before(&self, block: usize, kind: ExitKind) -> u64 {
        self.before
            .get(block)
            .or(self.before.last())
            .and_then(|counts| counts.get(kind as usize))
            .copied()
            .unwrap_or(0)
    }

    /// The block that holds the exit with this index among those of its kind.
    #[must_use]
    pub fn block_of(&self, index: u64, kind: ExitKind) -> usize {
        self.before
            .partition_point(|counts| counts.get(kind as usize).is_some_and(|before| *before <= index))
            .saturating_sub(1)
    }

    /// Blocks, the last of which may be empty.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.before.len().saturating_sub(1)
    }
}
