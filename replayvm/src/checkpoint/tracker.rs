//! Following the pages of a machine: what has changed since the last look, and putting RAM back.

use recorder::PageHash;

use super::{PageMap, PageStore, StoreError};
use crate::machine::{GuestRam, RamError};

/// A page that has changed since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangedPage {
    /// Guest frame number.
    pub gfn: u64,
    /// What it holds now.
    pub hash: PageHash,
}

/// Knows what every page of a machine's RAM held when it last looked.
#[derive(Debug)]
pub struct RamTracker {
    map: PageMap,
}

impl RamTracker {
    /// For RAM that was all zero when its dirty set was empty.
    #[must_use]
    pub fn new(ram: &GuestRam) -> Self {
        Self { map: PageMap::zero(ram.tracked_pages()) }
    }

    /// What every page held at the last look.
    #[must_use]
    pub fn map(&self) -> &PageMap {
        &self.map
    }

    /// Looks at the pages that were written since the last look. The cost follows their number.
    ///
    /// # Errors
    /// None for pages that RAM has.
    pub fn look(&mut self, ram: &mut GuestRam) -> Result<Vec<ChangedPage>, RamError> {
        let mut changed = Vec::new();
        for gfn in ram.take_dirty() {
            let hash = PageHash::of(ram.page(gfn)?);
            if hash != self.map.get(gfn) {
                self.map.set(gfn, hash);
                changed.push(ChangedPage { gfn, hash });
            }
        }
        Ok(changed)
    }

    /// Puts RAM back to what `target` says. The cost follows the pages that differ.
    ///
    /// # Errors
    /// The contents of a page are not to be had; RAM is then in no defined state until another restore succeeds.
    pub fn restore(
        &mut self,
        ram: &mut GuestRam,
        target: &PageMap,
        store: &PageStore,
    ) -> Result<(), StoreError> {
        let mut pages = ram.take_dirty();
        pages.extend(self.map.differing(target));
        pages.sort_unstable();
        pages.dedup();
        if let Err(error) = store.fill(ram, &pages, target) {
            // Mapped pages are not marked by themselves, and who restores next has to know of every page touched here.
            pages.iter().for_each(|gfn| ram.mark_dirty(*gfn));
            return Err(error);
        }
        // Filling marked them dirty.
        let _ = ram.take_dirty();
        self.map = target.clone();
        Ok(())
    }
}
