//! What the guest's own page tables allow user code to do with a page without setting any bit in them.

use replayvm_cpu::{CpuState, Walk, cr0, efer, walk_entries};

use crate::machine::{GuestRam, PAGE_BYTES};

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x0000_00ff_ffff_f000;

/// Entries that lead to a leaf: where each is and what it says.
pub(super) type Chain = [(u64, u64); 4];

/// A page that user code may read, its accessed bits being set already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GuestPage {
    /// The physical address of the page.
    pub(super) gpa: u64,
    /// User code may write it, and the dirty bit is set already.
    pub(super) writable: bool,
    /// User code may execute it.
    pub(super) executable: bool,
    /// The entries above the table that says so, or all of them where a large page is mapped; the rest is zero.
    pub(super) chain: Chain,
    /// The table of 4 KiB pages that the page is in, if it is in one.
    pub(super) table: Option<u64>,
}

impl GuestPage {
    /// The page of a linear address in the lower half, if it is one of RAM.
    pub(super) fn at(state: &CpuState, ram: &GuestRam, linear: u64) -> Option<Self> {
        if linear >> 47 != 0 || state.cr0 & cr0::PG == 0 {
            return None;
        }
        let walk = walk_entries(state, linear, |gpa| ram.load(gpa).map(u64::from_le_bytes));
        let gpa = walk.end.ok()? & !(PAGE_BYTES as u64 - 1);
        Self::of(&walk, gpa, state.efer & efer::NXE != 0).filter(|_| ram.contains(gpa, PAGE_BYTES))
    }

    fn of(walk: &Walk, gpa: u64, nxe: bool) -> Option<Self> {
        let entries = walk.entries();
        let (last, above) = entries.split_last()?;
        if !entries.iter().all(|e| e.reserved == 0 && e.value & (USER | ACCESSED) == USER | ACCESSED) {
            return None;
        }
        let table = (last.shift == 12).then_some(last.gpa & !0xfff);
        let mut chain = Chain::default();
        let in_chain = if table.is_some() { above } else { entries };
        for (slot, entry) in chain.iter_mut().zip(in_chain) {
            *slot = (entry.gpa, entry.value);
        }
        let writable = entries.iter().all(|e| e.value & WRITABLE != 0) && last.value & DIRTY != 0;
        let executable = !nxe || entries.iter().all(|e| e.value & NO_EXECUTE == 0);
        Some(Self { gpa, writable, executable, chain, table })
    }
}

/// What an entry for a page of 4 KiB gives, under tables that give `above`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) gpa: u64,
    pub(super) writable: bool,
    pub(super) executable: bool,
}

impl Leaf {
    /// The rights above a table, from the entries that lead to it.
    pub(super) fn above(chain: &Chain) -> (bool, bool) {
        let entries = || chain.iter().filter(|(gpa, value)| *gpa != 0 || *value != 0);
        (entries().all(|(_, e)| e & WRITABLE != 0), entries().all(|(_, e)| e & NO_EXECUTE == 0))
    }

    /// What an entry of a table of 4 KiB pages says.
    pub(super) fn of(entry: u64, (writable, executable): (bool, bool)) -> Option<Self> {
        // Bits that have to be zero: whoever set them gets a page fault (or, bit 63 without EFER.NXE, has nothing to execute here).
        let beyond = entry & 0x000f_ff00_0000_0000;
        (entry & (PRESENT | USER | ACCESSED) == PRESENT | USER | ACCESSED && beyond == 0).then_some(Self {
            gpa: entry & ADDRESS,
            writable: writable && entry & (WRITABLE | DIRTY) == WRITABLE | DIRTY,
            executable: executable && entry & NO_EXECUTE == 0,
        })
    }
}
