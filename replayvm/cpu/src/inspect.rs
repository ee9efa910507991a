//! Looking at the CPU from outside. Nothing here changes anything: no accessed bit, no fault.

use crate::bus::Bus;
use crate::flags::Rflags;
use crate::state::{CpuState, Shadow, cr0, cr4};
use crate::step::Cpu;

const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = ((1 << crate::paging::PHYSICAL_BITS) - 1) & !0xfff;

/// The physical address of a linear one by the page tables as they are, permissions aside. `read` returns the eight
/// bytes of RAM at a physical address, if it is RAM.
pub fn translate(state: &CpuState, linear: u64, read: impl Fn(u64) -> Option<u64>) -> Option<u64> {
    if state.cr0 & cr0::PG == 0 {
        return Some(linear & 0xffff_ffff);
    }
    if !state.long_mode() && state.cr4 & cr4::PAE == 0 {
        return translate_32(state, linear, |gpa| {
            // Entries are four bytes long; the last of RAM is read with the one before it.
            let pair = read(gpa & !7)?;
            Some(if gpa & 4 == 0 { pair } else { pair >> 32 } & 0xffff_ffff)
        });
    }
    let (mut shift, mut table) =
        if state.long_mode() { (39, state.cr3 & ADDRESS) } else { (30, state.cr3 & 0xffff_ffe0) };
    if state.long_mode() && (linear as i64) << 16 >> 16 != linear as i64 {
        return None;
    }
    loop {
        let pointer = !state.long_mode() && shift == 30;
        let index = (linear >> shift) & if pointer { 3 } else { 511 };
        let entry = read(table + index * 8)?;
        if entry & PRESENT == 0 {
            return None;
        }
        if shift == 12 || (entry & LARGE != 0 && shift <= 30 && !pointer) {
            let inside = (1 << shift) - 1;
            return Some((entry & ADDRESS & !inside) | (linear & inside));
        }
        table = entry & ADDRESS;
        shift -= 9;
    }
}

fn translate_32(state: &CpuState, linear: u64, read: impl Fn(u64) -> Option<u64>) -> Option<u64> {
    let linear = linear & 0xffff_ffff;
    let directory = read((state.cr3 & 0xffff_f000) + (linear >> 22) * 4)?;
    if directory & PRESENT == 0 {
        return None;
    }
    if directory & LARGE != 0 && state.cr4 & cr4::PSE != 0 {
        let base = (directory & 0xffc0_0000) | (((directory >> 13) & 0xff) << 32);
        return Some(base | (linear & 0x3f_ffff));
    }
    let entry = read((directory & 0xffff_f000) + ((linear >> 12) & 1023) * 4)?;
    (entry & PRESENT != 0).then_some((entry & 0xffff_f000) | (linear & 0xfff))
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
