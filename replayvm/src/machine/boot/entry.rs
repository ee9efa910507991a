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

const CODE_32: u16 = 0xc09b;
const CODE_64: u16 = 0xa09b;
const DATA_32: u16 = 0xc093;
const TSS_BUSY: u16 = 0x008b;
/// IA32_MTRR_DEF_TYPE as firmware leaves it: MTRRs enabled, memory is write-back. Without it Linux does without PAT.
const MTRR_WRITE_BACK: u64 = 0x806;

const RAX: usize = 0;
const RBX: usize = 3;
const RSP: usize = 4;
const RSI: usize = 6;
const RDI: usize = 7;

/// A flat code and a flat data segment, and the selectors by which they are loaded.
#[derive(Clone, Copy)]
struct Flat {
    code: u16,
    data: u16,
}

/// Ours and multiboot's.
const FLAT: Flat = Flat { code: 0x08, data: 0x10 };
/// Linux's `__BOOT_CS` and `__BOOT_DS`.
const LINUX: Flat = Flat { code: 0x10, data: 0x18 };

impl Flat {
    /// Protected mode with these segments, paging off.
    fn state(self, code: u16) -> CpuState {
        let flat = |selector, attributes| Segment {
            selector,
            base: 0,
            limit: u32::MAX,
            attributes: Attributes(attributes),
        };
        let mut state = CpuState::power_on();
        state.segments.fill(flat(self.data, DATA_32));
        *state.segment_mut(SegmentName::Cs) = flat(self.code, code);
        state.tr = Segment { selector: 0, base: 0, limit: 0xffff, attributes: Attributes(TSS_BUSY) };
        state.cr0 = cr0::PE | cr0::ET;
        state
    }

    /// Writes a GDT with these segments into memory and lets the CPU point to it.
    fn write_gdt(self, machine: &mut Machine, state: &mut CpuState, code: u16) -> Result<(), BootError> {
        let descriptor = |attributes: u16| {
            0x0000_ffff
                | u64::from(attributes & 0xff) << 40
                | u64::from(attributes & 0xf000) << 40
                | 0xf << 48
        };
        let ram = &mut machine.platform.ram;
        for (selector, attributes) in [(self.code, code), (self.data, DATA_32)] {
            ram.write_slice(GDT + u64::from(selector), &descriptor(attributes).to_le_bytes())?;
        }
        state.gdtr = Table { base: GDT, limit: self.code.max(self.data) + 7 };
        Ok(())
    }
}

/// Long mode with the first 4 GiB identity-mapped.
fn long_mode(machine: &mut Machine, state: &mut CpuState) -> Result<(), BootError> {
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
    state.cr0 |= cr0::PG;
    state.cr3 = PML4;
    state.cr4 = cr4::PAE | cr4::OSFXSR | cr4::OSXMMEXCPT;
    state.efer = efer::LME | efer::LMA;
    Ok(())
}

fn enter(machine: &mut Machine, state: CpuState) {
    machine.cpu.state = state;
    machine.cpu.state_changed();
}

/// Flat 32-bit protected mode, paging off (Multiboot Specification 0.6.96, 3.2).
pub(super) fn protected(machine: &mut Machine, address: u64, eax: u32, ebx: u64) {
    let mut state = FLAT.state(CODE_32);
    state.rip = address & 0xffff_ffff;
    state.gpr[RAX] = u64::from(eax);
    state.gpr[RBX] = ebx;
    enter(machine, state);
}

/// Long mode with the first 4 GiB identity-mapped, RDI at a multiboot information structure, a GDT with flat code (0x08)
/// and data (0x10), a small stack, interrupts off, SSE on.
pub(super) fn long(machine: &mut Machine, address: u64, information: u64) -> Result<(), BootError> {
    let mut state = FLAT.state(CODE_64);
    FLAT.write_gdt(machine, &mut state, CODE_64)?;
    long_mode(machine, &mut state)?;
    state.rip = address;
    state.gpr[RSP] = STACK_TOP;
    state.gpr[RDI] = information;
    enter(machine, state);
    Ok(())
}

/// Linux's 32-bit protocol: flat protected mode, paging off, ESI at the zero page, interrupts off.
pub(super) fn linux_protected(machine: &mut Machine, address: u64, zero_page: u64) -> Result<(), BootError> {
    let mut state = LINUX.state(CODE_32);
    state.mtrr_def_type = MTRR_WRITE_BACK;
    LINUX.write_gdt(machine, &mut state, CODE_32)?;
    state.rip = address & 0xffff_ffff;
    state.gpr[RSP] = STACK_TOP;
    state.gpr[RSI] = zero_page;
    enter(machine, state);
    Ok(())
}

/// Linux's 64-bit protocol: long mode, the first 4 GiB identity-mapped, RSI at the zero page, interrupts off.
pub(super) fn linux_long(machine: &mut Machine, address: u64, zero_page: u64) -> Result<(), BootError> {
    let mut state = LINUX.state(CODE_64);
    state.mtrr_def_type = MTRR_WRITE_BACK;
    LINUX.write_gdt(machine, &mut state, CODE_64)?;
    long_mode(machine, &mut state)?;
    state.rip = address;
    state.gpr[RSP] = STACK_TOP;
    state.gpr[RSI] = zero_page;
    enter(machine, state);
    Ok(())
}

/// PVH: flat 32-bit protected mode, paging off, EBX at `hvm_start_info`, interrupts off.
pub(super) fn pvh(machine: &mut Machine, address: u32, start_info: u64) {
    let mut state = FLAT.state(CODE_32);
    state.mtrr_def_type = MTRR_WRITE_BACK;
    state.tr.limit = 0x67;
    state.rip = u64::from(address);
    state.gpr[RBX] = start_info;
    enter(machine, state);
}
