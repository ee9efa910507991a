//! Looking at the CPU from outside. Nothing here changes anything: no accessed bit, no fault.

use std::fmt;

use crate::bus::Bus;
use crate::flags::Rflags;
use crate::paging::reserved;
use crate::state::{CpuState, Shadow, cr0, cr4, efer};
use crate::step::Cpu;

const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = ((1 << crate::paging::PHYSICAL_BITS) - 1) & !0xfff;

/// Why a linear address has no physical one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmapped {
    /// Bits 63 to 47 are not all the same (SDM vol. 1, 3.3.7.1).
    NotCanonical,
    /// An entry of the page tables says that there is nothing.
    NotPresent {
        /// The name of the entry: PML4E, PDPTE, PDE, PTE.
        entry: &'static str,
        /// Where the entry is in physical memory.
        gpa: u64,
        /// What it says.
        value: u64,
    },
    /// An entry of the page tables would be where no RAM is.
    NoTable {
        /// The name of the entry.
        entry: &'static str,
        /// Where it would be.
        gpa: u64,
    },
}

impl fmt::Display for Unmapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotCanonical => f.write_str("the address is not canonical"),
            Self::NotPresent { entry, gpa, value } => {
                write!(f, "the {entry} at physical {gpa:#x} is {value:#x}: not present")
            }
            Self::NoTable { entry, gpa } => {
                write!(f, "the {entry} would be at physical {gpa:#x}, where no RAM is")
            }
        }
    }
}

/// An entry of the page tables, as a walk finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Entry {
    /// PML4E, PDPTE, PDE or PTE.
    pub name: &'static str,
    /// Where it is in physical memory.
    pub gpa: u64,
    /// What it says.
    pub value: u64,
    /// It stands for 2 to the power of so many bytes of linear addresses.
    pub shift: u32,
    /// It maps a page; the others lead to a table, or nowhere.
    pub maps: bool,
    /// The bits that are set in it and must not be: a walk faults there.
    pub reserved: u64,
}

/// A walk through the page tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walk {
    entries: [Entry; 4],
    count: usize,
    /// 2 to the power of so many bytes of linear addresses, aligned, end as this one does.
    pub shift: u32,
    /// The physical address, or why there is none.
    pub end: Result<u64, Unmapped>,
}

impl Walk {
    /// The entries that were read, the last one that says something last.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries[..self.count]
    }
}

/// The physical address of a linear one by the page tables as they are, permissions aside. `read` returns the eight
/// bytes of RAM at a physical address, if it is RAM.
pub fn translate(state: &CpuState, linear: u64, read: impl Fn(u64) -> Option<u64>) -> Option<u64> {
    walk(state, linear, read).ok()
}

/// The same, or why there is none.
///
/// # Errors
/// Where the walk ends.
pub fn walk(state: &CpuState, linear: u64, read: impl Fn(u64) -> Option<u64>) -> Result<u64, Unmapped> {
    walk_entries(state, linear, read).end
}

/// The same with every entry on the way.
pub fn walk_entries(state: &CpuState, linear: u64, read: impl Fn(u64) -> Option<u64>) -> Walk {
    let mut walk = Walk { entries: Default::default(), count: 0, shift: 12, end: Ok(linear & 0xffff_ffff) };
    if state.cr0 & cr0::PG == 0 {
        return walk;
    }
    let long = state.long_mode();
    let wide = long || state.cr4 & cr4::PAE != 0;
    let nxe = state.efer & efer::NXE != 0 && wide;
    if long && (linear as i64) << 16 >> 16 != linear as i64 {
        walk.end = Err(Unmapped::NotCanonical);
        return walk;
    }
    let linear = if long { linear } else { linear & 0xffff_ffff };
    let (mut shift, mut table) = if long {
        (39, state.cr3 & ADDRESS)
    } else if wide {
        (30, state.cr3 & 0xffff_ffe0)
    } else {
        (22, state.cr3 & 0xffff_f000)
    };
    let (index_bits, entry_bytes) = if wide { (9, 8) } else { (10, 4) };
    loop {
        let entry = match shift {
            39 => "PML4E",
            30 => "PDPTE",
            21 | 22 => "PDE",
            _ => "PTE",
        };
        let pointer = wide && !long && shift == 30;
        let index = (linear >> shift) & if pointer { 3 } else { (1 << index_bits) - 1 };
        let gpa = table + index * entry_bytes;
        walk.shift = shift;
        // The last entry of RAM that is four bytes long is read with the one before it.
        let pair = read(gpa & !7);
        let value = pair.map(|pair| match (wide, gpa & 4) {
            (true, _) => pair,
            (false, 0) => pair & 0xffff_ffff,
            (false, _) => pair >> 32,
        });
        let Some(value) = value else {
            walk.end = Err(Unmapped::NoTable { entry, gpa });
            return walk;
        };
        let large = value & LARGE != 0
            && match shift {
                30 => long,
                22 => state.cr4 & cr4::PSE != 0,
                21 => true,
                _ => false,
            };
        let is_there = value & PRESENT != 0;
        let maps = is_there && (large || shift == 12);
        let reserved = if is_there { value & reserved(wide, long, nxe, shift, large) } else { 0 };
        if let Some(slot) = walk.entries.get_mut(walk.count) {
            *slot = Entry { name: entry, gpa, value, shift, maps, reserved };
            walk.count += 1;
        }
        if !is_there {
            walk.end = Err(Unmapped::NotPresent { entry, gpa, value });
            return walk;
        }
        if maps {
            let inside = (1 << shift) - 1;
            let base = if shift == 22 {
                (value & 0xffc0_0000) | ((value >> 13) & 0xff) << 32
            } else {
                value & ADDRESS & !inside
            };
            walk.end = Ok(base | (linear & inside));
            return walk;
        }
        table = value & ADDRESS;
        shift -= index_bits;
    }
}

impl Cpu {
    /// Whether the next step delivers an event instead of executing the instruction at CS:RIP.
    #[must_use]
    pub fn delivers_next<B: Bus>(&self, bus: &B) -> bool {
        let state = &self.state;
        let quiet = state.shadow == Shadow::MovSs;
        let interruptible = state.shadow == Shadow::None && state.rflags & Rflags::IF.bits() != 0;
        (state.pending_debug != 0 && !quiet)
            || (bus.nmi_pending() && !state.nmi_blocked && !quiet)
            || (bus.interrupt_pending() && interruptible)
    }

    /// The instruction at CS:RIP, if fetching and decoding it raises no fault. Translates as the instruction itself would:
    /// give it a bus that refuses to store if no accessed bit may be set.
    pub fn next_instruction<B: Bus>(&mut self, bus: &mut B) -> Option<iced_x86::Instruction> {
        self.fetch(bus, self.state.now).ok()
    }

    /// A number that changes whenever remembered translations become invalid. Who keeps translations of his own (a
    /// hypervisor's page tables) forgets them when it does.
    #[must_use]
    pub fn translations(&self) -> u64 {
        self.tlb.incarnation()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table at 0x1000 whose entries lead to one at 0x2000, and so on; nothing from 0x5000 on.
    fn read(gpa: u64) -> Option<u64> {
        match gpa {
            0x1ff8 | 0x2ff8 | 0x3ff8 => Some((gpa & !0xfff) + 0x1001),
            0x4ff8 => Some(0x7_7001),
            0x3ff0 => Some(0x4000_0081),
            0x3fe8 => Some(0x9_9001),
            0..0x5000 => Some(0x1230),
            _ => None,
        }
    }

    #[test]
    fn a_walk_ends_at_a_page_or_says_where_it_ends() {
        let mut state = CpuState::power_on();
        assert_eq!(walk(&state, 0x1_0000_0123, |_| None), Ok(0x123), "no paging, 32 bits");
        state.cr0 |= cr0::PG | cr0::PE;
        state.cr4 |= cr4::PAE;
        state.efer |= 0x500;
        state.cr3 = 0x1000;
        assert_eq!(walk(&state, 0xffff_ffff_ffff_f123, read), Ok(0x7_7123));
        assert_eq!(walk(&state, 0xffff_ffff_ffc1_2345, read), Ok(0x4001_2345), "a page of 2 MiB");
        assert_eq!(walk(&state, 0x8000_0000_0000, read), Err(Unmapped::NotCanonical));
        let missing = Unmapped::NotPresent { entry: "PML4E", gpa: 0x1000, value: 0x1230 };
        assert_eq!(walk(&state, 0x123, read), Err(missing));
        let missing = Unmapped::NotPresent { entry: "PTE", gpa: 0x4ff0, value: 0x1230 };
        assert_eq!(walk(&state, 0xffff_ffff_ffff_e123, read), Err(missing));
        let seen = walk_entries(&state, 0xffff_ffff_ffc1_2345, read);
        let told: Vec<_> = seen.entries().iter().map(|entry| (entry.name, entry.gpa, entry.maps)).collect();
        assert_eq!(told, [("PML4E", 0x1ff8, false), ("PDPTE", 0x2ff8, false), ("PDE", 0x3ff0, true)]);
        assert_eq!((seen.shift, seen.end), (21, Ok(0x4001_2345)));
        let nothing = walk_entries(&state, 0x123, read);
        assert_eq!((nothing.shift, nothing.entries().len()), (39, 1), "the entry that is not present is one");
        let nowhere = Unmapped::NoTable { entry: "PTE", gpa: 0x9_9ff8 };
        assert_eq!(walk(&state, 0xffff_ffff_ffbf_f000, read), Err(nowhere));
        assert_eq!(translate(&state, 0xffff_ffff_ffbf_f000, read), None);
    }

    #[test]
    fn a_walk_through_32_bit_tables_names_its_entries() {
        let mut state = CpuState::power_on();
        state.cr0 |= cr0::PG | cr0::PE;
        state.cr3 = 0x1000;
        let entries = |gpa: u64| match gpa {
            0x1000 => Some(0x2001 | 0x5001 << 32),
            0x2000 => Some(0x8001),
            0..0x3000 => Some(0),
            _ => None,
        };
        assert_eq!(walk(&state, 0x123, entries), Ok(0x8123));
        let missing = Unmapped::NotPresent { entry: "PTE", gpa: 0x2004, value: 0 };
        assert_eq!(walk(&state, 0x1123, entries), Err(missing));
        let missing = Unmapped::NotPresent { entry: "PDE", gpa: 0x1008, value: 0 };
        assert_eq!(walk(&state, 0x80_0000, entries), Err(missing));
        assert_eq!(walk(&state, 0x40_0000, entries), Err(Unmapped::NoTable { entry: "PTE", gpa: 0x5000 }));
    }
}
