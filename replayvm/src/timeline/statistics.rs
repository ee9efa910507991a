//! What a timeline has done since it was opened.

/// Counts of a timeline's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Times that the cursor was sent somewhere, for somebody or on the way of something else.
    pub seeks: u64,
    /// Checkpoints restored.
    pub restores: u64,
    /// Ticks replayed.
    pub ticks: u64,
    /// Instructions replayed.
    pub instructions: u64,
    /// Checkpoints taken.
    pub checkpoints: u64,
}

impl Statistics {
    /// Counts somebody else's work too.
    pub(super) fn add(&mut self, other: Self) {
        let Self { seeks, restores, ticks, instructions, checkpoints } = other;
        self.seeks += seeks;
        self.restores += restores;
        self.ticks += ticks;
        self.instructions += instructions;
        self.checkpoints += checkpoints;
    }
}

impl super::Timeline {
    /// What has been done so far, by the cursor's replay and by those beside it.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.workers.iter().flatten().map(Self::statistics).fold(self.statistics, |sum, more| Statistics {
            seeks: sum.seeks + more.seeks,
            restores: sum.restores + more.restores,
            ticks: sum.ticks + more.ticks,
            instructions: sum.instructions + more.instructions,
            checkpoints: sum.checkpoints + more.checkpoints,
        })
    }
}
