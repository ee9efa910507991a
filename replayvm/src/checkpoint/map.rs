//! Which page of RAM holds what, shared between checkpoints.

use std::sync::Arc;

use recorder::{Digest, PageHash};

use crate::machine::RamDigest;

/// Pages a chunk: what is copied when one page of a shared chunk changes.
const CHUNK_PAGES: usize = 128;
/// Chunks a branch: their addresses are copied with it.
const BRANCH_CHUNKS: usize = 128;

type Chunk = [PageHash; CHUNK_PAGES];
/// `None`: all zero.
type Branch = [Option<Arc<Chunk>>; BRANCH_CHUNKS];

/// The content hash of every page of RAM. A clone shares what does not change afterwards: it copies one address for every
/// 64 MiB of RAM.
#[derive(Debug, Clone)]
pub struct PageMap {
    /// `None`: all zero.
    branches: Vec<Option<Arc<Branch>>>,
    digest: RamDigest,
    pages: u64,
}

impl PageMap {
    /// RAM of this many pages, all zero.
    #[must_use]
    pub fn zero(pages: u64) -> Self {
        let branches = pages.div_ceil((CHUNK_PAGES * BRANCH_CHUNKS) as u64) as usize;
        Self { branches: vec![None; branches], digest: RamDigest::default(), pages }
    }

    /// Pages of RAM.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// What a page holds.
    #[must_use]
    pub fn get(&self, gfn: u64) -> PageHash {
        let chunk = gfn as usize / CHUNK_PAGES;
        match self.branches.get(chunk / BRANCH_CHUNKS) {
            Some(Some(branch)) => match &branch[chunk % BRANCH_CHUNKS] {
                Some(chunk) => chunk[gfn as usize % CHUNK_PAGES],
                None => PageHash::ZERO,
            },
            _ => PageHash::ZERO,
        }
    }

    /// A page holds something else now. Pages outside RAM are ignored.
    pub fn set(&mut self, gfn: u64, hash: PageHash) {
        let old = self.get(gfn);
        if old == hash || gfn >= self.pages {
            return;
        }
        self.digest.replace(gfn, old, hash);
        let chunk = gfn as usize / CHUNK_PAGES;
        let branch = self.branches[chunk / BRANCH_CHUNKS]
            .get_or_insert_with(|| Arc::new([const { None }; BRANCH_CHUNKS]));
        let chunk = Arc::make_mut(branch)[chunk % BRANCH_CHUNKS]
            .get_or_insert_with(|| Arc::new([PageHash::ZERO; CHUNK_PAGES]));
        Arc::make_mut(chunk)[gfn as usize % CHUNK_PAGES] = hash;
    }

    /// The digest of RAM.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest.digest()
    }

    /// The pages that hold something else in `other`, in order.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Vec<u64> {
        let mut differing = Vec::new();
        for (index, (mine, theirs)) in self.branches.iter().zip(&other.branches).enumerate() {
            if same(mine.as_ref(), theirs.as_ref()) {
                continue;
            }
            for chunk in 0..BRANCH_CHUNKS {
                let [mine, theirs] = [mine, theirs].map(|branch| branch.as_ref()?[chunk].as_ref());
                if same(mine, theirs) {
                    continue;
                }
                let first = ((index * BRANCH_CHUNKS + chunk) * CHUNK_PAGES) as u64;
                let pages = first..(first + CHUNK_PAGES as u64).min(self.pages);
                differing.extend(pages.filter(|gfn| self.get(*gfn) != other.get(*gfn)));
            }
        }
        differing
    }

    /// Calls `see` with every content but zeros, as often as it occurs. What `before` shares with this map is left out:
    /// `before` has been seen.
    pub fn contents(&self, before: Option<&Self>, mut see: impl FnMut(PageHash)) {
        for (index, branch) in self.branches.iter().enumerate() {
            let Some(branch) = branch else { continue };
            let before = before.and_then(|before| before.branches.get(index)?.as_ref());
            if before.is_some_and(|before| Arc::ptr_eq(before, branch)) {
                continue;
            }
            for (index, chunk) in branch.iter().enumerate() {
                let Some(chunk) = chunk else { continue };
                let before = before.and_then(|before| before[index].as_ref());
                if !before.is_some_and(|before| Arc::ptr_eq(before, chunk)) {
                    chunk.iter().filter(|hash| !hash.is_zero()).for_each(|hash| see(*hash));
                }
            }
        }
    }
}

/// Whether two parts are known to be equal without looking into them.
fn same<T>(mine: Option<&Arc<T>>, theirs: Option<&Arc<T>>) -> bool {
    match (mine, theirs) {
        (None, None) => true,
        (Some(mine), Some(theirs)) => Arc::ptr_eq(mine, theirs),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_does_not_see_later_changes_and_the_difference_is_found() {
        let last = 3 * (CHUNK_PAGES * BRANCH_CHUNKS) as u64 - 300;
        let mut map = PageMap::zero(last + 1);
        map.set(3, PageHash(7));
        let before = map.clone();
        map.set(3, PageHash(8));
        map.set(last, PageHash(9));
        map.set(last + 1, PageHash(1));
        assert_eq!(before.get(3), PageHash(7));
        assert_eq!(map.get(last), PageHash(9));
        assert_eq!(before.differing(&map), [3, last]);
        let mut seen = Vec::new();
        map.contents(None, |hash| seen.push(hash.0));
        assert_eq!(seen, [8, 9]);
        seen.clear();
        map.contents(Some(&map.clone()), |hash| seen.push(hash.0));
        assert!(seen.is_empty());
        map.set(3, PageHash(7));
        map.set(last, PageHash::ZERO);
        assert_eq!(before.differing(&map), [] as [u64; 0]);
        assert_eq!(before.digest(), map.digest());
    }
}
