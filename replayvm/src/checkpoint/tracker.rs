//! Following the pages of a machine: what has been written since the last look, and putting RAM back.

use recorder::PageHash;

use super::{PageMap, PageStore, StoreError};
use crate::machine::{GuestRam, RamError};

/// A page that has been written since the last look, be it with what it held before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenPage {
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

    /// The pages that were written since the last look, by number. The cost follows how many they are.
    ///
    /// # Errors
    /// None for pages that RAM has.
    pub fn look(&mut self, ram: &mut GuestRam) -> Result<Vec<WrittenPage>, RamError> {
        let mut written = Vec::new();
        for gfn in ram.take_dirty() {
            let hash = PageHash::of(ram.page(gfn)?);
            self.map.set(gfn, hash);
            written.push(WrittenPage { gfn, hash });
        }
        Ok(written)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_was_written_with_what_it_held_is_listed_and_one_that_was_restored_is_not() {
        let mut ram = GuestRam::new(1 << 20).unwrap();
        let mut tracker = RamTracker::new(&ram);
        let gfns = |written: Vec<WrittenPage>| written.iter().map(|page| page.gfn).collect::<Vec<_>>();
        ram.store(0x3000, [1]);
        ram.store(0x5000, [0]);
        assert_eq!(gfns(tracker.look(&mut ram).unwrap()), [3, 5]);
        let map = tracker.map().clone();
        ram.store(0x3000, [1]);
        assert_eq!(gfns(tracker.look(&mut ram).unwrap()), [3]);
        assert_eq!(tracker.map().digest(), map.digest());
        ram.store(0x6000, [1]);
        tracker.restore(&mut ram, &map, &PageStore::default()).unwrap();
        assert!(tracker.look(&mut ram).unwrap().is_empty());
    }
}
