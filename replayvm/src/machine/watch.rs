//! Watched ranges of guest-physical memory.

use recorder::Position;

/// Which accesses a watchpoint sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WatchKind {
    /// Stores.
    Write,
    /// Loads.
    Read,
    /// Both.
    Access,
}

/// A watched range of bytes. It belongs to whoever debugs, never to the guest's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// First byte.
    pub gpa: u64,
    /// Bytes.
    pub len: u64,
    /// Which accesses.
    pub kind: WatchKind,
}

/// An access that a watch has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchHit {
    /// Index of the watch in the set.
    pub index: usize,
    /// The position before the step that made the access.
    pub at: Position,
    /// Whether the access was a store.
    pub write: bool,
    /// First byte of the access.
    pub gpa: u64,
    /// Bytes of the access.
    pub len: u64,
    /// One bit for each of the first 64 watches that an access of the same step has hit, this one's too.
    pub all: u64,
}

impl WatchHit {
    /// The watches that accesses of the same step have hit, by index, the first 64 of the set.
    pub fn indices(self) -> impl Iterator<Item = usize> {
        (0..64).filter(move |index| self.all >> index & 1 != 0)
    }
}

/// All watches of a machine, and the first hit since it was last asked.
#[derive(Debug, Default)]
pub struct WatchSet {
    watches: Vec<Watch>,
    /// One bit for each page number modulo 64: clear if nothing in such pages is watched.
    pages: u64,
    hit: Option<WatchHit>,
}

impl WatchSet {
    /// Replaces the watches.
    pub fn set(&mut self, watches: Vec<Watch>) {
        self.pages = 0;
        for watch in &watches {
            let (first, last) = (watch.gpa >> 12, watch.gpa.saturating_add(watch.len.max(1) - 1) >> 12);
            // 64 pages in a row have all the numbers.
            for page in first..=last.min(first.saturating_add(63)) {
                self.pages |= 1 << (page & 63);
            }
        }
        self.watches = watches;
        self.hit = None;
    }

    /// Nothing is watched.
    #[inline(always)]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    /// Whether something in the page of this address may be watched. Cheap, and wrong on one side only.
    #[inline(always)]
    #[must_use]
    pub fn may_see(&self, gpa: u64) -> bool {
        self.pages >> (gpa >> 12 & 63) & 1 != 0
    }

    /// An access by the guest's program.
    #[inline]
    pub fn access(&mut self, at: Position, gpa: u64, len: u64, write: bool) {
        let sees = |watch: &Watch| {
            let kind = match watch.kind {
                WatchKind::Write => write,
                WatchKind::Read => !write,
                WatchKind::Access => true,
            };
            kind && gpa < watch.gpa.saturating_add(watch.len) && watch.gpa < gpa.saturating_add(len)
        };
        let mut seen =
            self.watches.iter().enumerate().filter(|(_, watch)| sees(watch)).map(|(index, _)| index);
        let Some(index) = seen.next() else { return };
        let all =
            seen.chain([index]).fold(0, |all, index| all | 1_u64.checked_shl(index as u32).unwrap_or(0));
        match &mut self.hit {
            Some(hit) => hit.all |= all,
            None => self.hit = Some(WatchHit { index, at, write, gpa, len, all }),
        }
    }

    /// The first hit since the last call.
    pub fn take_hit(&mut self) -> Option<WatchHit> {
        self.hit.take()
    }

    /// Whether there is a hit to take.
    #[inline(always)]
    #[must_use]
    pub fn is_hit(&self) -> bool {
        self.hit.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_without_watches_are_known_as_such() {
        let mut set = WatchSet::default();
        assert!(!(0..128).any(|page| set.may_see(page << 12)));
        set.set(vec![Watch { gpa: 0x1fff, len: 2, kind: WatchKind::Write }]);
        let seen: Vec<_> = (0..64).filter(|page| set.may_see(page << 12)).collect();
        assert_eq!(seen, [1, 2]);
        set.set(vec![Watch { gpa: 0x5000, len: u64::MAX, kind: WatchKind::Read }]);
        assert!((0..64).all(|page| set.may_see(page << 12)));
    }

    #[test]
    fn a_watch_sees_overlapping_accesses_of_its_kind() {
        let mut set = WatchSet::default();
        let at = Position::new(5, 1);
        set.set(vec![Watch { gpa: 0x1000, len: 4, kind: WatchKind::Write }]);
        set.access(at, 0x1000, 4, false);
        assert_eq!(set.take_hit(), None);
        set.access(at, 0x0ffc, 4, true);
        set.access(at, 0x1004, 1, true);
        assert_eq!(set.take_hit(), None);
        set.access(at, 0x0ffd, 4, true);
        assert_eq!(set.take_hit(), Some(WatchHit { index: 0, at, write: true, gpa: 0xffd, len: 4, all: 1 }));
    }

    #[test]
    fn the_first_access_is_told_and_every_watch_that_the_step_hits() {
        let mut set = WatchSet::default();
        let at = Position::new(5, 1);
        let kinds = [WatchKind::Write, WatchKind::Read, WatchKind::Access, WatchKind::Write];
        set.set(kinds.map(|kind| Watch { gpa: 0x1000, len: 4, kind }).to_vec());
        set.access(at, 0x1000, 4, false);
        set.access(at, 0x1002, 1, true);
        let hit = set.take_hit().unwrap();
        assert_eq!((hit.index, hit.write, hit.gpa), (1, false, 0x1000));
        assert_eq!(hit.indices().collect::<Vec<_>>(), [0, 1, 2, 3]);
        // Far more watches than anybody sets: the ones past 64 are seen, and hide no other.
        set.set(vec![Watch { gpa: 0x1000, len: 1, kind: WatchKind::Write }; 70]);
        set.access(at, 0x1000, 1, true);
        assert_eq!(set.take_hit().map(|hit| (hit.index, hit.all)), Some((0, u64::MAX)));
    }
}
