//! The engine's own memory, which KVM shows to the virtual CPU above guest RAM: page tables, translated code, the way out.

use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use super::translate::{Area, Slots, TABLE_BYTES};

/// Where the pool begins in what KVM takes for physical memory: above all RAM that a machine can have.
pub(super) const POOL: u64 = 1 << 36;
/// Bytes of a page.
pub(super) const PAGE: u64 = 4096;
/// Entries of a page table.
pub(super) const ENTRIES: usize = 512;

/// Translated code of one address space.
pub(super) const CODE_BYTES: usize = 16 << 20;
/// One address space's part of the pool: code, the table, a page of counters.
pub(super) const ARENA_BYTES: u64 = CODE_BYTES as u64 + TABLE_BYTES as u64 + PAGE;
/// Address spaces that have translated code at a time.
pub(super) const ARENAS: usize = 4;

/// Pages for tables.
const TABLE_PAGES: u64 = 16384;
const FIRST_TABLE: u64 = ARENAS as u64 * ARENA_BYTES;
const BYTES: u64 = FIRST_TABLE + TABLE_PAGES * PAGE;

/// The pool is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exhausted;

/// The memory. A page of tables is given out once and never taken back before [`Pool::reset`]: KVM may remember what was in it.
pub(super) struct Pool {
    /// Owns the mapping that `host` points into.
    _memory: GuestMemoryMmap,
    host: *mut u8,
    next: u64,
}

// SAFETY: `host` points into the mapping that `_memory` owns, and is used through `&self` (loads) and `&mut self` (stores) only.
unsafe impl Send for Pool {}

impl Pool {
    pub(super) fn new() -> Result<Self, String> {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(POOL), BYTES as usize)])
            .map_err(|error| format!("no memory for translated code: {error}"))?;
        let host = memory.find_region(GuestAddress(POOL)).map(|region| region.as_ptr());
        let host = host.ok_or_else(|| "no memory for translated code".to_owned())?;
        Ok(Self { _memory: memory, host, next: FIRST_TABLE })
    }

    /// Where the host has it, and how long it is.
    pub(super) fn host_range(&self) -> (u64, u64) {
        (self.host as u64, BYTES)
    }

    /// A page of zeros, by its physical address.
    pub(super) fn page(&mut self) -> Result<u64, Exhausted> {
        if self.next + PAGE > BYTES {
            return Err(Exhausted);
        }
        let page = POOL + self.next;
        self.next += PAGE;
        self.entries_mut(page).fill(0);
        Ok(page)
    }

    /// Gives nothing out any more until [`Pool::reset`].
    pub(super) fn exhaust(&mut self) {
        self.next = BYTES;
    }

    /// Takes all pages of tables back. KVM must have forgotten them.
    pub(super) fn reset(&mut self) {
        self.next = FIRST_TABLE;
    }

    fn offset(page: u64) -> usize {
        let offset = page.wrapping_sub(POOL) & !(PAGE - 1);
        assert!(offset < BYTES, "a page of the pool");
        offset as usize
    }

    /// A page as page-table entries.
    pub(super) fn entries(&self, page: u64) -> &[u64; ENTRIES] {
        // SAFETY: `offset` has shown that the page lies in the mapping; it is aligned, any bits are integers, and the virtual CPU
        // runs only inside calls that hold the pool mutably.
        unsafe { &*self.host.add(Self::offset(page)).cast() }
    }

    /// The same, to change.
    pub(super) fn entries_mut(&mut self, page: u64) -> &mut [u64; ENTRIES] {
        // SAFETY: as `entries`, and `self` is borrowed mutably.
        unsafe { &mut *self.host.add(Self::offset(page)).cast() }
    }

    /// The physical address where an arena begins.
    pub(super) fn arena(index: usize) -> u64 {
        POOL + index as u64 * ARENA_BYTES
    }

    /// An arena as translated code is written to it.
    pub(super) fn area(&mut self, index: usize) -> Area<'_> {
        assert!(index < ARENAS, "an arena");
        let begin = index * ARENA_BYTES as usize;
        // SAFETY: the three parts lie in the mapping one after the other and do not overlap; `Slots` is made of integers, fits in a
        // page, and its page is aligned; `self` stays borrowed mutably while they are in use.
        unsafe {
            let code = self.host.add(begin);
            let table = code.add(CODE_BYTES);
            Area {
                code: std::slice::from_raw_parts_mut(code, CODE_BYTES),
                table: std::slice::from_raw_parts_mut(table, TABLE_BYTES),
                slots: &mut *table.add(TABLE_BYTES).cast::<Slots>(),
            }
        }
    }
}

const _: () = assert!(size_of::<Slots>() <= PAGE as usize);
