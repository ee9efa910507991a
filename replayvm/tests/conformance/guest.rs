//! Small guests, assembled in the test, and the machines that they run in.

use iced_x86::code_asm::CodeAssembler;
use recorder::{BootKind, MachineDescription};
use replayvm::machine::Machine;
use replayvm_cpu::{Attributes, CpuState, Segment, SegmentName, Table, cr0, cr4, efer};

/// Where programs begin.
pub const CODE: u64 = 0x2_0000;
/// Where user programs begin.
pub const USER_CODE: u64 = 0x3_0000;
/// Data that programs use.
pub const DATA: u64 = 0x4_0000;
/// Top of the kernel's stack.
pub const STACK: u64 = 0x9_0000;
/// Top of a user program's stack.
pub const USER_STACK: u64 = 0xa_0000;
/// A page that is not mapped at first; [`page_entry`] maps it.
pub const HOLE: u64 = 0x7_0000;
/// Where exception and interrupt handlers are put.
pub const HANDLERS: u64 = 0x5_0000;

const GDT: u64 = 0x1000;
const IDT: u64 = 0x2000;
const TSS: u64 = 0x3000;
const TABLES: u64 = 0x1_0000;

/// Kernel code and data, user data and code (the order that SYSRET wants).
pub const KERNEL_CODE: u16 = 0x08;
pub const KERNEL_DATA: u16 = 0x10;
pub const USER_DATA: u16 = 0x1b;
pub const USER_CODE_SELECTOR: u16 = 0x23;

/// The address of the page-table entry of a linear address below 2 MiB.
pub const fn page_entry(linear: u64) -> u64 {
    TABLES + 0x3000 + (linear >> 12) * 8
}

/// A machine with so much memory.
pub fn description(memory_bytes: u64) -> MachineDescription {
    MachineDescription {
        memory_bytes,
        ns_per_tick: 100,
        rules_version: recorder::RULES_VERSION,
        cpu_model: replayvm_cpu::MODEL.to_owned(),
        flags_profile: replayvm_cpu::FLAGS_PROFILE.to_owned(),
        boot: BootKind::Elf64,
        command_line: String::new(),
        guest_name: "conformance".to_owned(),
        seed: 0,
        engine: "soft".to_owned(),
        pass_code: 0,
        disks: Vec::new(),
        entropy_device: false,
        cpu_features: Vec::new(),
    }
}

fn bare() -> Machine {
    let mut machine = Machine::bare(&description(2 << 20)).unwrap();
    machine.platform.devices_changed(0);
    machine
}

/// Machine code for an address.
pub fn assemble(bitness: u32, at: u64, program: impl FnOnce(&mut CodeAssembler)) -> Vec<u8> {
    let mut assembler = CodeAssembler::new(bitness).unwrap();
    program(&mut assembler);
    assembler.assemble(at).unwrap()
}

/// Puts a program into memory.
pub fn place(machine: &mut Machine, bitness: u32, at: u64, program: impl FnOnce(&mut CodeAssembler)) {
    machine.platform.ram.write_slice(at, &assemble(bitness, at, program)).unwrap();
}

fn put(machine: &mut Machine, at: u64, value: u64) {
    machine.platform.ram.write_slice(at, &value.to_le_bytes()).unwrap();
}

fn flat(state: &mut CpuState, code: u16) {
    for segment in &mut state.segments {
        *segment =
            Segment { selector: KERNEL_DATA, base: 0, limit: u32::MAX, attributes: Attributes(0xc093) };
    }
    *state.segment_mut(SegmentName::Cs) =
        Segment { selector: KERNEL_CODE, base: 0, limit: u32::MAX, attributes: Attributes(code) };
}

/// Long mode at CPL 0: pages of 4 KiB, mapped one to one, neither accessed nor dirty, open to user mode but for the hole;
/// GDT, TSS, and an IDT whose vector `v` leads to `HANDLERS + 16 v`.
pub fn long64(program: impl FnOnce(&mut CodeAssembler)) -> Machine {
    let mut machine = bare();
    for (slot, table) in [(0, 1), (0x1000, 2), (0x2000, 3)] {
        put(&mut machine, TABLES + slot, TABLES + table * 0x1000 + 7);
    }
    for page in 0..512_u64 {
        let present = u64::from(page != HOLE >> 12);
        put(&mut machine, TABLES + 0x3000 + page * 8, page << 12 | 6 | present);
    }
    for (index, descriptor) in [
        (1, 0x00af_9b00_0000_ffff_u64),
        (2, 0x00cf_9300_0000_ffff),
        (3, 0x00cf_f300_0000_ffff),
        (4, 0x00af_fb00_0000_ffff),
        (5, 0x0000_8b00_0000_0067 | (TSS & 0xff_ffff) << 16),
    ] {
        put(&mut machine, GDT + index * 8, descriptor);
    }
    put(&mut machine, TSS + 4, STACK - 0x800);
    for vector in 0..256_u64 {
        let handler = HANDLERS + vector * 16;
        let gate = (handler & 0xffff)
            | u64::from(KERNEL_CODE) << 16
            | 0xee00 << 32
            | ((handler >> 16) & 0xffff) << 48;
        put(&mut machine, IDT + vector * 16, gate);
    }
    let mut state = CpuState::power_on();
    flat(&mut state, 0xa09b);
    state.tr = Segment { selector: 0x28, base: TSS, limit: 0x67, attributes: Attributes(0x8b) };
    state.gdtr = Table { base: GDT, limit: 0x3f };
    state.idtr = Table { base: IDT, limit: 0xfff };
    state.cr0 = cr0::PE | cr0::PG | cr0::WP | cr0::ET | cr0::NE | cr0::MP;
    state.cr3 = TABLES;
    state.cr4 = cr4::PAE | cr4::OSFXSR | cr4::OSXMMEXCPT;
    state.efer = efer::LME | efer::LMA | efer::SCE;
    state.rip = CODE;
    state.gpr[4] = STACK;
    start(machine, state, 64, program)
}

/// Flat 32-bit protected mode at CPL 0, paging off.
pub fn protected32(program: impl FnOnce(&mut CodeAssembler)) -> Machine {
    let mut state = CpuState::power_on();
    flat(&mut state, 0xc09b);
    state.cr0 = cr0::PE | cr0::ET | cr0::NE;
    state.cr4 = cr4::OSFXSR;
    state.rip = CODE;
    state.gpr[4] = STACK;
    start(bare(), state, 32, program)
}

/// Real mode, all segments at 0x20000.
pub fn real(program: impl FnOnce(&mut CodeAssembler)) -> Machine {
    let mut state = CpuState::power_on();
    for segment in &mut state.segments {
        segment.selector = 0x2000;
        segment.base = CODE;
    }
    state.cr0 = cr0::ET;
    state.rip = 0;
    state.gpr[4] = 0xfff0;
    start(bare(), state, 16, program)
}

fn start(
    mut machine: Machine,
    state: CpuState,
    bitness: u32,
    program: impl FnOnce(&mut CodeAssembler),
) -> Machine {
    let at = if bitness == 16 { 0 } else { CODE };
    let code = assemble(bitness, at, program);
    machine.platform.ram.write_slice(CODE, &code).unwrap();
    machine.cpu.state = state;
    machine.cpu.state_changed();
    machine
}
