//! From linear to physical addresses: 32-bit, PAE and 4-level paging (SDM vol. 3, chapter 4).
//!
//! What the manual leaves open is decided here:
//! - No TLB is visible (see [`crate::tlb`]): INVLPG does nothing, and the page-directory pointers of PAE paging are read
//!   at each walk, where hardware reads them when CR3 is loaded.
//! - Accessed and dirty bits are written only when the whole translation succeeds: accessed at each level, dirty in
//!   the last one for a write. Nothing is speculated, so no other bit is ever set.
//! - Physical addresses have 40 bits ([`PHYSICAL_BITS`]); bits above are reserved in every entry.
//! - Protection keys, PCIDs and 5-level paging are not offered; the global bit is accepted and without effect.

use crate::bus::{Access, Bus, Moment};
use crate::fault::Fault;
use crate::state::{cr0, cr4, efer};
use crate::step::Cpu;

/// Width of a physical address, as CPUID 8000_0008h tells it.
pub(crate) const PHYSICAL_BITS: u32 = 40;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = ((1 << PHYSICAL_BITS) - 1) & !0xfff;

/// What an access does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Read = 0,
    Write = 1,
    Fetch = 2,
}

/// On whose behalf an access is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Privilege {
    /// Supervisor, allowed to touch user data: SMAP is off, or EFLAGS.AC lifts it.
    Supervisor = 0,
    /// Supervisor, kept from user data by SMAP.
    Guarded = 1,
    /// User.
    User = 2,
}

/// The bit by which a remembered translation says that such an access needs no walk.
#[inline(always)]
pub(crate) const fn permit(purpose: Purpose, privilege: Privilege) -> u64 {
    1 << (privilege as u32 * 3 + purpose as u32)
}

/// What the entries of a walk allow, taken together.
#[derive(Clone, Copy)]
struct Rights {
    user: bool,
    writable: bool,
    executable: bool,
}

impl Cpu {
    /// The physical address of a linear one. Sets accessed and dirty bits.
    #[inline]
    pub(crate) fn translate<B: Bus>(
        &mut self,
        bus: &mut B,
        at: Moment,
        linear: u64,
        purpose: Purpose,
        privilege: Privilege,
    ) -> Result<u64, Fault> {
        if self.state.cr0 & cr0::PG == 0 {
            return Ok(linear & 0xffff_ffff);
        }
        match self.tlb.look_up(linear, permit(purpose, privilege)) {
            Some(gpa) => Ok(gpa),
            None => self.walk(bus, at, linear, purpose, privilege),
        }
    }

    #[inline(never)]
    fn walk<B: Bus>(
        &mut self,
        bus: &mut B,
        at: Moment,
        linear: u64,
        purpose: Purpose,
        privilege: Privilege,
    ) -> Result<u64, Fault> {
        let state = &self.state;
        let long = state.long_mode();
        let wide = long || state.cr4 & cr4::PAE != 0;
        let nxe = state.efer & efer::NXE != 0 && wide;
        let pse = state.cr4 & cr4::PSE != 0;
        let code = u32::from(purpose == Purpose::Write) << 1
            | u32::from(privilege == Privilege::User) << 2
            | u32::from(purpose == Purpose::Fetch && (nxe || state.cr4 & cr4::SMEP != 0)) << 4;
        let (mut shift, mut table) = if long {
            (39, state.cr3 & ADDRESS)
        } else if wide {
            (30, state.cr3 & 0xffff_ffe0)
        } else {
            (22, state.cr3 & 0xffff_f000)
        };
        let (index_bits, entry_size) = if wide { (9, 8) } else { (10, 4) };

        let mut rights = Rights { user: true, writable: true, executable: true };
        // Entries above the last one that still lack their accessed bit.
        let mut unmarked = [(0, 0); 3];
        let mut unmarked_count = 0;
        let (slot, entry) = loop {
            let pointer = wide && !long && shift == 30;
            let index = (linear >> shift) & if pointer { 3 } else { (1 << index_bits) - 1 };
            let slot = table + index * entry_size;
            self.tlb.pages.note_table(slot);
            let entry = if wide {
                u64::from_le_bytes(bus.read(at, Access::System, slot))
            } else {
                u64::from(u32::from_le_bytes(bus.read(at, Access::System, slot)))
            };
            if entry & PRESENT == 0 {
                return Err(Fault::pf(linear, code));
            }
            let large = entry & LARGE != 0
                && match shift {
                    30 => long,
                    22 => pse,
                    21 => true,
                    _ => false,
                };
            if entry & reserved(wide, long, nxe, shift, large) != 0 {
                return Err(Fault::pf(linear, code | 9));
            }
            if !pointer {
                rights.user &= entry & USER != 0;
                rights.writable &= entry & WRITABLE != 0;
                rights.executable &= !nxe || entry & NO_EXECUTE == 0;
            }
            if large || shift == 12 {
                break (slot, entry);
            }
            if !pointer && entry & ACCESSED == 0 {
                unmarked[unmarked_count] = (slot, entry);
                unmarked_count += 1;
            }
            table = entry & ADDRESS;
            shift -= index_bits;
        };

        if !self.allowed(rights, purpose, privilege) {
            return Err(Fault::pf(linear, code | 1));
        }
        for &(slot, entry) in &unmarked[..unmarked_count] {
            mark(bus, at, wide, slot, entry | ACCESSED);
            self.tlb.pages.stored(slot);
        }
        let marked = entry | ACCESSED | if purpose == Purpose::Write { DIRTY } else { 0 };
        if marked != entry {
            mark(bus, at, wide, slot, marked);
            self.tlb.pages.stored(slot);
        }

        let inside = (1 << shift) - 1;
        let base = if shift == 22 {
            (entry & 0xffc0_0000) | ((entry >> 13) & 0xff) << 32
        } else {
            entry & ADDRESS & !inside
        };
        let gpa = base | (linear & inside);
        let mut permits = 0;
        for privilege in [Privilege::Supervisor, Privilege::Guarded, Privilege::User] {
            for purpose in [Purpose::Read, Purpose::Write, Purpose::Fetch] {
                let needs_mark = purpose == Purpose::Write && marked & DIRTY == 0;
                if !needs_mark && self.allowed(rights, purpose, privilege) {
                    permits |= permit(purpose, privilege);
                }
            }
        }
        self.tlb.fill(linear, gpa, permits);
        Ok(gpa)
    }

    /// SDM vol. 3, 4.6: determination of access rights.
    fn allowed(&self, rights: Rights, purpose: Purpose, privilege: Privilege) -> bool {
        let Rights { user, writable, executable } = rights;
        let supervisor = privilege != Privilege::User;
        match purpose {
            Purpose::Fetch => {
                executable && if supervisor { !user || self.state.cr4 & cr4::SMEP == 0 } else { user }
            }
            _ if supervisor && user && privilege == Privilege::Guarded => false,
            _ if !supervisor && !user => false,
            Purpose::Read => true,
            Purpose::Write => writable || (supervisor && self.state.cr0 & cr0::WP == 0),
        }
    }
}

/// Writes an entry back with its accessed or dirty bit. No remembered translation can depend on the bits being clear,
/// so that this store alone need not flush; code it may change.
fn mark<B: Bus>(bus: &mut B, at: Moment, wide: bool, slot: u64, entry: u64) {
    if wide {
        bus.write(at, Access::System, slot, entry.to_le_bytes());
    } else {
        bus.write(at, Access::System, slot, (entry as u32).to_le_bytes());
    }
}

/// The bits that must be zero in an entry.
pub(crate) fn reserved(wide: bool, long: bool, nxe: bool, shift: u32, large: bool) -> u64 {
    if !wide {
        return if large { 1 << 21 } else { 0 };
    }
    let beyond = 0x000f_ffff_ffff_ffff & !((1 << PHYSICAL_BITS) - 1);
    if !long && shift == 30 {
        return beyond | 0xfff0_0000_0000_01e6;
    }
    let mut bits = beyond;
    if !nxe {
        bits |= NO_EXECUTE;
    }
    if !long {
        bits |= 0x7ff0_0000_0000_0000;
    }
    if shift == 39 {
        bits |= LARGE;
    }
    if large {
        bits |= ((1 << shift) - 1) & !0x1fff;
    }
    bits
}
