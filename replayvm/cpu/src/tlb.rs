//! Translations remembered: a cache that the guest cannot see.
//!
//! The machine behaves as if there were no TLB: every access sees the page tables as they are in memory. So each
//! physical page that a walk has read from is noted ([`crate::pages`]), and a store that changes a present entry in a
//! noted page forgets every translation. The state of the CPU is therefore a pure function of what the guest did,
//! whether or not a checkpoint was taken between.
//!
//! Since nothing remembered is ever stale, translations of several address spaces are kept side by side: a change of
//! CR3 forgets nothing.

use crate::pages::Pages;
use crate::state::{CpuState, cr0, cr4, efer};

/// Entries; a power of two.
const ENTRIES: usize = 4096;
/// Address spaces of which translations are kept.
const SPACES: usize = 16;
/// Numbers that tell address spaces apart in an entry's tag; 0 is none.
const NUMBERS: u64 = 4096;

/// The low twelve bits of both words, which addresses of pages do not need, say whose translation this is and what it
/// permits.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// Linear address of the page, and the number of the address space.
    tag: u64,
    /// Physical address of the page, and one bit for each kind of access that needs no walk.
    base: u64,
}

/// What a translation depends on besides the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    cr3: u64,
    bits: u64,
}

#[derive(Debug, Clone, Copy)]
struct Space {
    key: Option<Key>,
    /// In the tags; 0 if nothing is remembered.
    number: u64,
    /// Never given twice.
    incarnation: u64,
}

const NO_SPACE: Space = Space { key: None, number: 0, incarnation: 0 };

/// The software TLB.
#[derive(Debug)]
pub(crate) struct Tlb {
    entries: Box<[Entry; ENTRIES]>,
    /// The number of the current address space.
    number: u64,
    /// Spreads the pages of the current address space over the entries.
    salt: u64,
    current: usize,
    /// Which space is given up next.
    oldest: usize,
    spaces: [Space; SPACES],
    next_number: u64,
    next_incarnation: u64,
    /// What physical pages are to the CPU.
    pub(crate) pages: Pages,
}

impl Tlb {
    pub(crate) fn new() -> Self {
        let mut tlb = Self {
            entries: Box::new([Entry::default(); ENTRIES]),
            number: 0,
            salt: 0,
            current: 0,
            oldest: 0,
            spaces: [NO_SPACE; SPACES],
            next_number: 1,
            next_incarnation: 1,
            pages: Pages::new(),
        };
        tlb.flush();
        tlb
    }

    /// Never the same for two sets of remembered translations: changes with [`Tlb::flush`] and with the address space,
    /// and comes back only with an address space of which nothing has been forgotten.
    #[inline(always)]
    pub(crate) fn incarnation(&self) -> u64 {
        self.spaces[self.current & (SPACES - 1)].incarnation
    }

    /// Forgets every translation.
    pub(crate) fn flush(&mut self) {
        self.pages.forget_tables();
        self.spaces = [NO_SPACE; SPACES];
        self.begin(0, None);
    }

    /// The registers that translation depends on have changed: goes over to what is remembered of that address space.
    pub(crate) fn select(&mut self, state: &CpuState) {
        let bits = state.cr0 & (cr0::PG | cr0::WP)
            | (state.cr4 & (cr4::PSE | cr4::PAE | cr4::SMEP)) << 32
            | (state.efer & (efer::NXE | efer::LMA)) << 1;
        let key = Some(Key { cr3: state.cr3, bits });
        match self.spaces.iter().position(|space| space.key == key) {
            Some(index) => self.enter(index),
            None => {
                let mut index = self.oldest;
                if index == self.current {
                    index = (index + 1) % SPACES;
                }
                self.oldest = (index + 1) % SPACES;
                self.begin(index, key);
            }
        }
    }

    /// A new address space, of which nothing is known.
    fn begin(&mut self, index: usize, key: Option<Key>) {
        if self.next_number == NUMBERS {
            self.entries.fill(Entry::default());
            self.spaces = [NO_SPACE; SPACES];
            self.pages.forget_tables();
            self.next_number = 1;
        }
        self.spaces[index] = Space { key, number: self.next_number, incarnation: self.next_incarnation };
        self.next_number += 1;
        self.next_incarnation = self.next_incarnation.wrapping_add(1);
        self.enter(index);
    }

    fn enter(&mut self, index: usize) {
        self.current = index;
        self.number = self.spaces[index].number;
        self.salt = self.number.wrapping_mul(0x9e37_79b9) >> 4;
    }

    #[inline(always)]
    fn index(&self, linear: u64) -> usize {
        ((linear >> 12) ^ self.salt) as usize & (ENTRIES - 1)
    }

    /// The physical address, if the page is known and all of `wanted` is permitted.
    #[inline(always)]
    pub(crate) fn look_up(&self, linear: u64, wanted: u64) -> Option<u64> {
        let entry = &self.entries[self.index(linear)];
        (entry.tag == (linear & !0xfff) | self.number && entry.base & wanted != 0)
            .then_some((entry.base & !0xfff) | (linear & 0xfff))
    }

    /// Remembers a translation.
    pub(crate) fn fill(&mut self, linear: u64, physical: u64, permits: u64) {
        let index = self.index(linear);
        self.entries[index] =
            Entry { tag: (linear & !0xfff) | self.number, base: (physical & !0xfff) | permits };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_spaces_live_side_by_side_until_a_flush() {
        let mut tlb = Tlb::new();
        let mut state = CpuState::power_on();
        state.cr3 = 0x1000;
        tlb.select(&state);
        let first = tlb.incarnation();
        tlb.fill(0x40_0123, 0x7_0000, 1);
        state.cr3 = 0x2000;
        tlb.select(&state);
        assert_eq!(tlb.look_up(0x40_0123, 1), None);
        tlb.fill(0x40_0123, 0x8_0000, 1);
        state.cr3 = 0x1000;
        tlb.select(&state);
        assert_eq!(tlb.incarnation(), first);
        assert_eq!(tlb.look_up(0x40_0123, 1), Some(0x7_0123));
        assert_eq!(tlb.look_up(0x40_0123, 2), None);
        tlb.flush();
        assert_eq!(tlb.look_up(0x40_0123, 1), None);
        state.cr3 = 0x2000;
        tlb.select(&state);
        assert_eq!(tlb.look_up(0x40_0123, 1), None);
    }

    #[test]
    fn numbers_that_come_round_bring_nothing_back() {
        let mut tlb = Tlb::new();
        let mut state = CpuState::power_on();
        let mut seen = std::collections::HashSet::new();
        for cr3 in 0..3 * NUMBERS {
            state.cr3 = cr3 << 12;
            tlb.select(&state);
            assert!(seen.insert(tlb.incarnation()));
            for page in 0..4 {
                assert_eq!(tlb.look_up(page << 12, 1), None);
                tlb.fill(page << 12, page << 12, 1);
            }
        }
    }
}
