//! One address space of the guest, as user code runs in it natively: pages mapped on demand, and taken back as soon as the guest's own
//! tables say something else.
//!
//! Nothing is followed store by store. Every page of the guest that this depends on (its page tables, the code that has been translated)
//! has a version, which the software CPU changes with the first store to it; before user code runs, what changed is compared with what
//! was taken from it.

use replayvm_cpu::{Cpu, CpuState, cr0, cr4, efer};

use super::guest_page::{GuestPage, Leaf};
use super::pool::{CODE_BYTES, Exhausted, PAGE, Pool};
use super::sources::{Changed, Sources};
use super::tables::{Rights, Tables};
use super::translate::{Layout, TABLE_BYTES, Translator};
use crate::machine::{GuestRam, PAGE_BYTES};

/// Pages that are mapped together if they can be: as many, beginning at a multiple of as many, a power of two.
const AROUND: u64 = 64;

/// What translation depends on besides the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    cr3: u64,
    bits: u64,
}

impl Key {
    pub(super) fn of(state: &CpuState) -> Self {
        let bits = state.cr0 & (cr0::PG | cr0::WP)
            | (state.cr4 & (cr4::PSE | cr4::PAE)) << 32
            | (state.efer & (efer::NXE | efer::LMA)) << 1;
        Self { cr3: state.cr3, bits }
    }
}

/// What [`Space::settle`] has changed.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Pages that are not writable here any more: physical address and linear address.
    pub(super) unwritable: Vec<(u64, u64)>,
}

/// The address space.
pub(super) struct Space {
    pub(super) key: Key,
    pub(super) arena: usize,
    pub(super) tables: Tables,
    pub(super) translator: Translator,
    /// Where the arena is mapped: 1 GiB in which the guest has nothing.
    base: u64,
    pub(super) sources: Sources,
    /// The CPU's count when everything here was last known to be right.
    consequences: u64,
    /// Counts uses, to find the one that was not used for longest.
    pub(super) used: u64,
}

/// Bytes of the range that an arena is given.
const RANGE: u64 = 1 << 30;

/// The slot of the page-directory-pointer table that governs a range of 1 GiB, and whether anything is in it.
fn occupied(state: &CpuState, ram: &GuestRam, linear: u64) -> bool {
    let walk = replayvm_cpu::walk_entries(state, linear, |gpa| ram.load(gpa).map(u64::from_le_bytes));
    // It ends at the first entry that is not present: is that one that governs at least the whole range?
    walk.end.is_ok() || walk.shift < 30
}

/// A range near an address in which the guest has nothing.
fn free_range(state: &CpuState, ram: &GuestRam, rip: u64) -> Option<u64> {
    let home = rip & !(RANGE - 1);
    let candidates = [home.wrapping_add(RANGE), home.wrapping_sub(RANGE)];
    candidates.into_iter().find(|range| range >> 47 == 0 && *range != 0 && !occupied(state, ram, *range))
}

impl Space {
    /// The space of the CPU as it is; its arena is mapped near RIP. `None`: there is no room for it.
    pub(super) fn new(
        cpu: &mut Cpu,
        ram: &GuestRam,
        pool: &mut Pool,
        arena: usize,
    ) -> Result<Option<Self>, Exhausted> {
        let Some(base) = free_range(&cpu.state, ram, cpu.state.rip) else { return Ok(None) };
        let table = base + CODE_BYTES as u64;
        let slots = table + TABLE_BYTES as u64;
        let layout = Layout { code: base, code_bytes: CODE_BYTES, slots, table };
        let mut translator = Translator::new(layout);
        translator.clear(&mut pool.area(arena));
        let mut space = Self {
            key: Key::of(&cpu.state),
            arena,
            tables: Tables::new(pool)?,
            translator,
            base,
            sources: Sources::default(),
            consequences: cpu.consequences(),
            used: 0,
        };
        space.map_arena(pool)?;
        // What is not there must stay so: every table down to the entry that is not present.
        let walk = replayvm_cpu::walk_entries(&cpu.state, base, |gpa| ram.load(gpa).map(u64::from_le_bytes));
        for entry in walk.entries() {
            space.sources.depend(cpu, entry.gpa).range = true;
        }
        Ok(Some(space))
    }

    fn map_arena(&mut self, pool: &mut Pool) -> Result<(), Exhausted> {
        let physical = Pool::arena(self.arena);
        let parts = [
            (0, CODE_BYTES as u64, Rights::Execute),
            (CODE_BYTES as u64, TABLE_BYTES as u64, Rights::Read),
            ((CODE_BYTES + TABLE_BYTES) as u64, PAGE, Rights::Write),
        ];
        for (begin, len, rights) in parts {
            for at in (begin..begin + len).step_by(PAGE as usize) {
                self.tables.map(pool, self.base + at, physical + at, rights)?;
            }
        }
        Ok(())
    }

    /// Whether an address lies in the range of the arena: nothing of the guest is there.
    pub(super) fn is_ours(&self, linear: u64) -> bool {
        linear & !(RANGE - 1) == self.base
    }

    /// Maps the page of a linear address, if the guest's tables allow the access without setting a bit, and pages around it. The
    /// physical addresses that are writable now are added to `writable`, with their linear ones. `false`: it is not to be mapped.
    pub(super) fn admit(
        &mut self,
        cpu: &mut Cpu,
        ram: &GuestRam,
        pool: &mut Pool,
        linear: u64,
        write: bool,
        writable: &mut Vec<(u64, u64)>,
    ) -> Result<bool, Exhausted> {
        let linear = linear & !(PAGE - 1);
        if self.is_ours(linear) {
            return Ok(false);
        }
        let Some(page) = GuestPage::at(&cpu.state, ram, linear) else { return Ok(false) };
        if write && (!page.writable || cpu.page_is_special(page.gpa)) {
            return Ok(false);
        }
        if !self.sources.adopt(cpu, linear, &page) {
            return Ok(false);
        }
        self.map_one(cpu, pool, linear, page.gpa, page.writable, writable)?;
        self.map_around(cpu, ram, pool, linear, &page, writable)?;
        Ok(true)
    }

    fn map_one(
        &mut self,
        cpu: &Cpu,
        pool: &mut Pool,
        linear: u64,
        gpa: u64,
        may_write: bool,
        writable: &mut Vec<(u64, u64)>,
    ) -> Result<(), Exhausted> {
        let may_write = may_write && !cpu.page_is_special(gpa);
        if self.tables.mapped(pool, linear).is_some_and(|mapped| mapped.writable || !may_write) {
            return Ok(());
        }
        let rights = if may_write { Rights::Write } else { Rights::Read };
        self.tables.map(pool, linear, gpa, rights)?;
        if may_write {
            writable.push((gpa, linear));
        }
        Ok(())
    }

    /// Maps what lies around a page, of the same table or the same large page.
    fn map_around(
        &mut self,
        cpu: &Cpu,
        ram: &GuestRam,
        pool: &mut Pool,
        linear: u64,
        page: &GuestPage,
        writable: &mut Vec<(u64, u64)>,
    ) -> Result<(), Exhausted> {
        let first = (linear >> 12) & 511 & !(AROUND - 1);
        let above = Leaf::above(&page.chain);
        for i in first..first + AROUND {
            let (gpa, may_write) = match page.table {
                Some(table) => {
                    let Some(entry) = ram.load(table + i * 8).map(u64::from_le_bytes) else { continue };
                    let Some(leaf) = Leaf::of(entry, above) else { continue };
                    (leaf.gpa, leaf.writable)
                }
                None => (page.gpa & !0x1f_ffff | i << 12, page.writable),
            };
            if ram.contains(gpa, PAGE_BYTES) {
                self.map_one(cpu, pool, linear & !0x1f_ffff | i << 12, gpa, may_write, writable)?;
            }
        }
        Ok(())
    }

    /// Whether user code may run without anything having been compared.
    pub(super) fn is_settled(&self, cpu: &Cpu) -> bool {
        self.consequences == cpu.consequences()
    }

    /// Compares what changed in the guest with what was taken from it, and takes away what does not hold any more. `None`: the arena's
    /// range is not free any more. Pages that had been written before are added to `written`.
    pub(super) fn settle(
        &mut self,
        cpu: &mut Cpu,
        ram: &GuestRam,
        pool: &mut Pool,
        written: &mut Vec<u64>,
    ) -> Result<Option<Settled>, Exhausted> {
        let mut settled = Settled::default();
        if self.is_settled(cpu) {
            return Ok(Some(settled));
        }
        let Changed { leaves, code } = self.sources.changed(cpu);
        self.consequences = cpu.consequences();
        if occupied(&cpu.state, ram, self.base) {
            return Ok(None);
        }
        let mut forget_code = code.iter().any(|page| !self.sources.is_same_code(ram, *page));
        let mut restrict = Vec::new();
        for number in leaves {
            forget_code |= self.compare_leaf(ram, pool, number, &mut restrict, &mut settled);
        }
        if !restrict.is_empty() {
            self.tables.restrict(pool, &restrict, written)?;
        }
        if forget_code {
            self.forget_code(pool);
        }
        Ok(Some(settled))
    }

    /// Compares what is mapped in a leaf with what the guest's tables say. Says whether code is concerned.
    fn compare_leaf(
        &mut self,
        ram: &GuestRam,
        pool: &Pool,
        number: u64,
        restrict: &mut Vec<(u64, bool)>,
        settled: &mut Settled,
    ) -> bool {
        let Some(origin) = self.sources.origin(number) else { return false };
        let load = |gpa| ram.load(gpa).map(u64::from_le_bytes);
        let same = origin.holds(ram);
        let table = origin.table.filter(|_| same);
        let above = Leaf::above(&origin.chain);
        let says = |linear: u64| {
            let entry = load(table? + ((linear >> 12) & 511) * 8)?;
            Leaf::of(entry, above)
        };
        // A large page that is the same as before.
        let unchanged = same && origin.table.is_none();
        let mut concerns_code = false;
        if !unchanged {
            for (linear, mapped) in self.tables.mapped_in_leaf(pool, number) {
                let now = says(linear).filter(|now| now.gpa == mapped.gpa);
                let whole = now.is_none();
                if whole || mapped.writable && now.is_some_and(|now| !now.writable) {
                    restrict.push((linear, whole));
                    if mapped.writable {
                        settled.unwritable.push((mapped.gpa, linear));
                    }
                }
            }
            concerns_code = self
                .sources
                .code_in_leaf(number)
                .any(|(linear, gpa)| says(linear).is_none_or(|now| now.gpa != gpa || !now.executable));
        }
        if !same {
            self.sources.forget_leaf(number);
        }
        concerns_code
    }

    /// Nothing is translated any more.
    pub(super) fn forget_code(&mut self, pool: &mut Pool) {
        self.translator.clear(&mut pool.area(self.arena));
        self.sources.forget_code();
    }
}
