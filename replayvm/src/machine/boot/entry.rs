//! The state of the CPU at each kind of entry.

use replayvm_cpu::{Attributes, CpuState, Segment, SegmentName, Table, cr0, cr4, efer};

use super::BootError;
use crate::machine::Machine;

const GDT: u64 = 0x1000;
const PML4: u64 = 0x2000;
const PDPT: u64 = 0x3000;
/// Four page directories: 4 GiB by pages of 2 MiB.
const DIRECTORIES: u64 = 0x4000;
const STACK_TOP: u64 = 0x1000;

const CODE_SELECTOR: u16 = 0x08;
const DATA_SELECTOR: u16 = 0x10;

const CODE_32: u16 = 0xc09b;
const CODE_64: u16 = 0xa09b;
const DATA_32: u16 = 0xc093;
const TSS_BUSY: u16 = 0x008b;

const RAX: usize = 0;
const RBX: usize = 3;
const RSP: usize = 4;
const RDI: usize = 7;

fn flat(state: &mut CpuState, code: u16) {
    for segment in &mut state.segments {
        *segment =
            Segment { selector: DATA_SELECTOR, base: 0, limit: u32::MAX, attributes: Attributes(DATA_32) };
    }
    *state.segment_mut(SegmentName::Cs) =
        Segment { selector: CODE_SELECTOR, base: 0, limit: u32::MAX, attributes: Attributes(code) };
    state.tr = Segment { selector: 0, base: 0, limit: 0xffff, attributes: Attributes(TSS_BUSY) };
    state.cr0 = cr0::PE | cr0::ET;
}

/// Flat 32-bit protected mode, paging off (Multiboot Specification 0.6.96, 3.2).
pub(super) fn protected(machine: &mut Machine, address: u64, eax: u32, ebx: u64) {
    let mut state = CpuState::power_on();
    flat(&mut state, CODE_32);
    state.rip = address & 0xffff_ffff;
    state.gpr[RAX] = u64::from(eax);
    state.gpr[RBX] = ebx;
    machine.cpu.state = state;
    machine.cpu.state_changed();
}

/// Long mode with the first 4 GiB identity-mapped, RDI at a multiboot information structure, a GDT with flat code (0x08)
/// and data (0x10), a small stack, interrupts off, SSE on.
pub(super) fn long(machine: &mut Machine, address: u64, information: u64) -> Result<(), BootError> {
    const PRESENT_WRITABLE: u64 = 3;
    const LARGE: u64 = 0x80;
    let ram = &mut machine.platform.ram;
    ram.write_slice(PML4, &(PDPT | PRESENT_WRITABLE).to_le_bytes())?;
    for gigabyte in 0..4 {
        let directory = DIRECTORIES + gigabyte * 0x1000;
        ram.write_slice(PDPT + gigabyte * 8, &(directory | PRESENT_WRITABLE).to_le_bytes())?;
        for entry in 0..512 {
            let page = ((gigabyte * 512 + entry) << 21) | PRESENT_WRITABLE | LARGE;
            ram.write_slice(directory + entry * 8, &page.to_le_bytes())?;
        }
    }
    for (index, descriptor) in [0, 0x00af_9b00_0000_ffff_u64, 0x00cf_9300_0000_ffff].iter().enumerate() {
        ram.write_slice(GDT + index as u64 * 8, &descriptor.to_le_bytes())?;
    }
    let mut state = CpuState::power_on();
    flat(&mut state, CODE_64);
    state.gdtr = Table { base: GDT, limit: 0x17 };
    state.cr0 |= cr0::PG;
    state.cr3 = PML4;
    state.cr4 = cr4::PAE | cr4::OSFXSR | cr4::OSXMMEXCPT;
    state.efer = efer::LME | efer::LMA;
    state.rip = address;
    state.gpr[RSP] = STACK_TOP;
    state.gpr[RDI] = information;
    machine.cpu.state = state;
    machine.cpu.state_changed();
    Ok(())
}
