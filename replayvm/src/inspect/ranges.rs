//! What is mapped where: the guest's page tables as ranges of linear addresses with the same rights.
//!
//! Tables may name each other, or themselves, and so map more than anyone can list: the search goes on for as long as its caller
//! lets it, in pieces.

use std::fmt;

use replayvm_cpu::{Entry, Unmapped, cr0, cr4, efer};

use super::tables::size;
use crate::machine::Machine;

/// What the entries of a walk allow, taken together (SDM vol. 3, 4.6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// User code may access it.
    pub user: bool,
    /// It may be written. Supervisor code may do so in any case while CR0.WP is clear.
    pub writable: bool,
    /// Instructions may be fetched from it.
    pub executable: bool,
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = |holds, mark| if holds { mark } else { '-' };
        let (user, writable) = (mark(self.user, 'u'), mark(self.writable, 'w'));
        write!(f, "{user}r{writable}{}", mark(self.executable, 'x'))
    }
}

/// Linear addresses that are mapped with the same rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappedRange {
    /// The first of them.
    pub first: u64,
    /// The last of them.
    pub last: u64,
    /// Where the first is in physical memory, if the others follow it there.
    pub gpa: Option<u64>,
    /// What may be done there.
    pub rights: Rights,
    /// 2 to the power of so many bytes has the smallest page, and the largest.
    pub shifts: (u32, u32),
}

impl fmt::Display for MappedRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}-{:#018x} {}", self.first, self.last, self.rights)?;
        match self.gpa {
            Some(gpa) => write!(f, " physical {gpa:#x}, ")?,
            None => f.write_str(" scattered, ")?,
        }
        let (smallest, largest) = self.shifts;
        match smallest == largest {
            true => write!(f, "pages of {}", size(smallest)),
            false => write!(f, "pages of {} to {}", size(smallest), size(largest)),
        }
    }
}

/// What a part of the search has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The next range.
    Range(MappedRange),
    /// So many looks were not enough: go on.
    NotYet,
    /// There are no more.
    Nothing,
}

/// The mapped ranges of a machine, in the order of their addresses.
#[derive(Debug)]
pub struct MappedRanges<'m> {
    machine: &'m Machine,
    /// Where to look next; `None` at the end of the address space.
    next: Option<u64>,
    /// What has been found so far of a range.
    range: Option<MappedRange>,
}

impl<'m> MappedRanges<'m> {
    /// Those from an address on. Without paging there are none.
    #[must_use]
    pub fn from(machine: &'m Machine, linear: u64) -> Self {
        let paging = machine.cpu.state.cr0 & cr0::PG != 0;
        Self { machine, next: paging.then_some(linear), range: None }
    }

    /// Where the search goes on.
    #[must_use]
    pub fn next_address(&self) -> Option<u64> {
        self.next
    }

    /// Looks for the next range, at so many pages and holes at the most.
    pub fn next_within(&mut self, looks: u32) -> Found {
        for _ in 0..looks {
            let Some(linear) = self.next else {
                return self.range.take().map_or(Found::Nothing, Found::Range);
            };
            let walk = self.machine.walk_tables(linear);
            let inside = (1_u64 << walk.shift) - 1;
            let last = linear | inside;
            self.next =
                self.after(if walk.end == Err(Unmapped::NotCanonical) { NOT_CANONICAL } else { last });
            let seen = walk.end.ok().map(|gpa| {
                let rights = self.rights(walk.entries());
                let shifts = (walk.shift, walk.shift);
                MappedRange { first: linear, last, gpa: Some(gpa), rights, shifts }
            });
            match (self.range.take(), seen) {
                (None, seen) => self.range = seen,
                (Some(before), None) => return Found::Range(before),
                (Some(before), Some(seen)) => match joined(&before, &seen) {
                    Some(both) => self.range = Some(both),
                    None => {
                        self.range = Some(seen);
                        return Found::Range(before);
                    }
                },
            }
        }
        Found::NotYet
    }

    /// The address after one, if this machine's linear addresses go so far.
    fn after(&self, last: u64) -> Option<u64> {
        let end = if self.machine.cpu.state.long_mode() { u64::MAX } else { 0xffff_ffff };
        if last >= end { None } else { Some(last + 1) }
    }

    fn rights(&self, entries: &[Entry]) -> Rights {
        let state = &self.machine.cpu.state;
        let wide = state.long_mode() || state.cr4 & cr4::PAE != 0;
        let nxe = wide && state.efer & efer::NXE != 0;
        // The four pointers of PAE paging have no rights.
        let skipped = usize::from(wide && !state.long_mode());
        let entries = entries.get(skipped..).unwrap_or_default();
        let all = |bit: u32| entries.iter().all(|entry| entry.value >> bit & 1 != 0);
        let executable = !nxe || entries.iter().all(|entry| entry.value >> 63 == 0);
        Rights { user: all(2), writable: all(1), executable }
    }
}

/// The last address of the hole in the middle of 64-bit linear addresses.
const NOT_CANONICAL: u64 = 0xffff_7fff_ffff_ffff;

/// Two ranges that follow each other as one, if they are alike.
fn joined(before: &MappedRange, next: &MappedRange) -> Option<MappedRange> {
    if before.last.checked_add(1) != Some(next.first) || before.rights != next.rights {
        return None;
    }
    let follows = |gpa: &u64| gpa.checked_add(before.last - before.first + 1) == next.gpa;
    Some(MappedRange {
        first: before.first,
        last: next.last,
        gpa: before.gpa.filter(follows),
        rights: before.rights,
        shifts: (before.shifts.0.min(next.shifts.0), before.shifts.1.max(next.shifts.1)),
    })
}
