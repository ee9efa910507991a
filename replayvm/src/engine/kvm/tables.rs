//! Page tables of our own, one set for each address space of the guest: which pages of guest RAM user code reaches by itself.
//!
//! KVM may remember an entry that it has seen present (in shadow page tables of its own, which stores by the host do not reach, or in
//! the processor's TLB). So an entry changes in place only from not present to present, or from read-only to writable; for anything
//! else the tables on the way are copied to pages that were never tables before, and the root is another one.
//!
//! Accessed bits are set from the start. Dirty bits say which pages have been written, and are taken away by [`Tables::take_written`].

use std::collections::HashMap;

use super::pool::{ENTRIES, Exhausted, Pool};

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Of the entries that lead to tables.
const BRANCH: u64 = PRESENT | WRITABLE | USER | ACCESSED;

/// What may be done with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    /// Read.
    Read,
    /// Read and written.
    Write,
    /// Read and executed.
    Execute,
    /// By the supervisor alone: read and executed.
    Supervisor,
    /// By the supervisor alone: read and written.
    SupervisorWrite,
}

impl Rights {
    const fn bits(self) -> u64 {
        PRESENT
            | ACCESSED
            | match self {
                Self::Read => USER | NO_EXECUTE,
                Self::Write => USER | WRITABLE | NO_EXECUTE,
                Self::Execute => USER,
                Self::Supervisor => 0,
                Self::SupervisorWrite => WRITABLE | NO_EXECUTE | DIRTY,
            }
    }
}

/// A page that is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mapped {
    /// Its physical address.
    pub(super) gpa: u64,
    pub(super) writable: bool,
}

/// The tables of one address space.
#[derive(Debug)]
pub(super) struct Tables {
    root: u64,
    /// The last level, by linear address over 2 MiB.
    leaves: HashMap<u64, u64>,
}

const fn index(linear: u64, shift: u32) -> usize {
    (linear >> shift) as usize & (ENTRIES - 1)
}

/// The number of the leaf of an address.
pub(super) const fn leaf_number(linear: u64) -> u64 {
    linear >> 21
}

impl Tables {
    pub(super) fn new(pool: &mut Pool) -> Result<Self, Exhausted> {
        Ok(Self { root: pool.page()?, leaves: HashMap::new() })
    }

    /// What CR3 has to be.
    pub(super) fn root(&self) -> u64 {
        self.root
    }

    /// Maps a page that is not mapped, or gives more rights to one that is. `gpa` is the same then.
    pub(super) fn map(
        &mut self,
        pool: &mut Pool,
        linear: u64,
        gpa: u64,
        rights: Rights,
    ) -> Result<(), Exhausted> {
        let leaf = match self.leaves.get(&leaf_number(linear)) {
            Some(leaf) => *leaf,
            None => self.grow(pool, linear)?,
        };
        let entry = &mut pool.entries_mut(leaf)[index(linear, 12)];
        *entry = gpa & ADDRESS | rights.bits() | *entry & DIRTY;
        Ok(())
    }

    /// The tables on the way to a page, made where there are none.
    #[cold]
    fn grow(&mut self, pool: &mut Pool, linear: u64) -> Result<u64, Exhausted> {
        let mut table = self.root;
        for shift in [39, 30, 21] {
            let entry = pool.entries(table)[index(linear, shift)];
            table = if entry & PRESENT != 0 {
                entry & ADDRESS
            } else {
                let next = pool.page()?;
                pool.entries_mut(table)[index(linear, shift)] = next | BRANCH;
                next
            };
        }
        self.leaves.insert(leaf_number(linear), table);
        Ok(table)
    }

    /// What an address is mapped to.
    pub(super) fn mapped(&self, pool: &Pool, linear: u64) -> Option<Mapped> {
        let leaf = *self.leaves.get(&leaf_number(linear))?;
        mapped(pool.entries(leaf)[index(linear, 12)])
    }

    /// What the pages of a leaf are mapped to, with their linear addresses.
    pub(super) fn mapped_in_leaf<'a>(
        &self,
        pool: &'a Pool,
        number: u64,
    ) -> impl Iterator<Item = (u64, Mapped)> + use<'a> {
        let entries = self.leaves.get(&number).map(|leaf| pool.entries(*leaf));
        let all = entries.into_iter().flatten().enumerate();
        all.filter_map(move |(i, entry)| Some(((number << 21) | (i as u64) << 12, mapped(*entry)?)))
    }

    /// Takes pages away, or (`false`) their being writable. Adds those that have been written since they were last asked for, also where
    /// the pool does not suffice.
    pub(super) fn restrict(
        &mut self,
        pool: &mut Pool,
        pages: &[(u64, bool)],
        written: &mut Vec<u64>,
    ) -> Result<(), Exhausted> {
        // Pages that are copies already.
        let mut fresh = vec![self.copy(pool, self.root)?];
        self.root = fresh[0];
        for &(linear, whole) in pages {
            let mut table = self.root;
            for shift in [39, 30, 21] {
                let entry = pool.entries(table)[index(linear, shift)];
                if entry & PRESENT == 0 {
                    break;
                }
                let mut next = entry & ADDRESS;
                if !fresh.contains(&next) {
                    next = self.copy(pool, next)?;
                    fresh.push(next);
                    pool.entries_mut(table)[index(linear, shift)] = next | entry & !ADDRESS;
                    if shift == 21 {
                        self.leaves.insert(leaf_number(linear), next);
                    }
                }
                table = next;
                if shift == 21 {
                    let entry = &mut pool.entries_mut(table)[index(linear, 12)];
                    if *entry & (PRESENT | DIRTY) == PRESENT | DIRTY {
                        written.push(*entry & ADDRESS);
                    }
                    *entry = if whole { 0 } else { *entry & !(WRITABLE | DIRTY) };
                }
            }
        }
        Ok(())
    }

    fn copy(&self, pool: &mut Pool, page: u64) -> Result<u64, Exhausted> {
        let copy = pool.page()?;
        *pool.entries_mut(copy) = *pool.entries(page);
        Ok(copy)
    }

    /// Another root with the same in it: a processor that loads it forgets what its TLB knows.
    pub(super) fn renew_root(&mut self, pool: &mut Pool) -> Result<(), Exhausted> {
        self.root = self.copy(pool, self.root)?;
        Ok(())
    }

    /// The physical addresses of the pages below `end` that have been written since the last call; their dirty bits are taken away. KVM
    /// and the processor have to forget that they were set.
    pub(super) fn take_written(&mut self, pool: &mut Pool, end: u64, into: &mut Vec<u64>) {
        for leaf in self.leaves.values() {
            for entry in pool.entries_mut(*leaf) {
                let gpa = *entry & ADDRESS;
                if *entry & (PRESENT | WRITABLE | USER | DIRTY) == PRESENT | WRITABLE | USER | DIRTY
                    && gpa < end
                {
                    into.push(gpa);
                    *entry &= !DIRTY;
                }
            }
        }
    }
}

fn mapped(entry: u64) -> Option<Mapped> {
    (entry & PRESENT != 0).then_some(Mapped { gpa: entry & ADDRESS, writable: entry & WRITABLE != 0 })
}
