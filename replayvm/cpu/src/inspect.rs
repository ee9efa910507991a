//! Looking at the CPU from outside. Nothing here changes anything: no accessed bit, no fault.

use std::fmt;

use crate::bus::Bus;
use crate::flags::Rflags;
use crate::state::{CpuState, Shadow, cr0, cr4};
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
    if state.cr0 & cr0::PG == 0 {
        return Ok(linear & 0xffff_ffff);
    }
    if !state.long_mode() && state.cr4 & cr4::PAE == 0 {
        return walk_32(state, linear, |gpa| {
            // Entries are four bytes long; the last of RAM is read with the one before it.
            let pair = read(gpa & !7)?;
            Some(if gpa & 4 == 0 { pair } else { pair >> 32 } & 0xffff_ffff)
        });
    }
    let (mut shift, mut table) =
        if state.long_mode() { (39, state.cr3 & ADDRESS) } else { (30, state.cr3 & 0xffff_ffe0) };
    if state.long_mode() && (linear as i64) << 16 >> 16 != linear as i64 {
        return Err(Unmapped::NotCanonical);
    }
    loop {
        let name = match shift {
            39 => "PML4E",
            30 => "PDPTE",
            21 => "PDE",
            _ => "PTE",
        };
        let pointer = !state.long_mode() && shift == 30;
        let index = (linear >> shift) & if pointer { 3 } else { 511 };
        let entry = present(name, table + index * 8, &read)?;
        if shift == 12 || (entry & LARGE != 0 && shift <= 30 && !pointer) {
            let inside = (1 << shift) - 1;
            return Ok((entry & ADDRESS & !inside) | (linear & inside));
        }
        table = entry & ADDRESS;
        shift -= 9;
    }
}

fn present(entry: &'static str, gpa: u64, read: impl Fn(u64) -> Option<u64>) -> Result<u64, Unmapped> {
    match read(gpa) {
        None => Err(Unmapped::NoTable { entry, gpa }),
        Some(value) if value & PRESENT == 0 => Err(Unmapped::NotPresent { entry, gpa, value }),
        Some(value) => Ok(value),
    }
}

fn walk_32(state: &CpuState, linear: u64, read: impl Fn(u64) -> Option<u64>) -> Result<u64, Unmapped> {
    let linear = linear & 0xffff_ffff;
    let directory = present("PDE", (state.cr3 & 0xffff_f000) + (linear >> 22) * 4, &read)?;
    if directory & LARGE != 0 && state.cr4 & cr4::PSE != 0 {
        let base = (directory & 0xffc0_0000) | (((directory >> 13) & 0xff) << 32);
        return Ok(base | (linear & 0x3f_ffff));
    }
    let entry = present("PTE", (directory & 0xffff_f000) + ((linear >> 12) & 1023) * 4, &read)?;
    Ok((entry & 0xffff_f000) | (linear & 0xfff))
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
