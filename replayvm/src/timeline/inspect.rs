//! What the cursor shows of the machine it stands on. Looking changes nothing.

use recorder::Digest;
use replayvm_cpu::Unmapped;

use super::{Timeline, TimelineError};
use crate::checkpoint::PageMap;
use crate::engine::Breakpoints;
use crate::machine::Machine;

impl Timeline {
    /// Where a linear address lies in physical memory, by the guest's own page tables.
    #[must_use]
    pub fn translate(&self, linear: u64) -> Option<u64> {
        self.machine().translate(linear)
    }

    /// The same, or why there is no such place.
    ///
    /// # Errors
    /// Where the walk through the page tables ends.
    pub fn walk_tables(&self, linear: u64) -> Result<u64, Unmapped> {
        self.machine().walk_tables(linear).end
    }

    /// Whether a breakpoint at this linear address stops here: the instruction there comes next, and no interrupt before it.
    #[must_use]
    pub fn breaks_at(&self, linear: u64) -> bool {
        self.driver.machine.stops_at(&Breakpoints::new(vec![linear]))
    }

    /// Which page of RAM holds what under the cursor.
    ///
    /// # Errors
    /// None for a machine in a defined state.
    pub fn page_map(&mut self) -> Result<PageMap, TimelineError> {
        self.look()?;
        Ok(self.tracker.map().clone())
    }

    /// Reads guest-physical memory; returns how many bytes from the start could be read.
    pub fn read_physical(&self, gpa: u64, bytes: &mut [u8]) -> usize {
        self.machine().read_physical(gpa, bytes)
    }

    /// Reads memory by the guest's own page tables; returns how many bytes from the start could be read.
    pub fn read_linear(&self, linear: u64, bytes: &mut [u8]) -> usize {
        self.machine().read_linear(linear, bytes)
    }

    /// The digest of the machine and of each of its components.
    ///
    /// # Errors
    /// None for a machine in a defined state.
    pub fn digest(&mut self) -> Result<(Digest, Vec<(String, Digest)>), TimelineError> {
        self.look()?;
        let components = Machine::digests(&self.driver.machine.save(), self.tracker.map().digest());
        let digest = Digest::combine(components.iter().map(|(name, digest)| (name.as_str(), *digest)));
        Ok((digest, components))
    }
}
