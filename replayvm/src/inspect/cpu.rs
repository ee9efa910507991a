//! The CPU's registers with the names of their bits: RFLAGS (SDM vol. 1, 3.4.3), control registers (vol. 3, 2.5), segments with
//! their hidden parts (3.4.3), debug registers (17.2), model-specific registers (vol. 4, 2.1).
//!
//! Not here: general and vector registers, which every debugger shows.

use std::fmt::Write;

use replayvm_cpu::{Attributes, CpuState, Mode, Segment, SegmentName, Shadow};

use super::descriptors::type_text;
use super::{Bits, Names, named, set_names};
use crate::machine::Machine;

const RFLAGS: Bits = &[
    (0, "CF"),
    (2, "PF"),
    (4, "AF"),
    (6, "ZF"),
    (7, "SF"),
    (8, "TF"),
    (9, "IF"),
    (10, "DF"),
    (11, "OF"),
    (14, "NT"),
    (16, "RF"),
    (17, "VM"),
    (18, "AC"),
    (19, "VIF"),
    (20, "VIP"),
    (21, "ID"),
];
/// Bit 1, which is always set, and IOPL.
const RFLAGS_UNNAMED: u64 = 1 << 1 | 3 << 12;

const CR0: Bits = &[
    (0, "PE"),
    (1, "MP"),
    (2, "EM"),
    (3, "TS"),
    (4, "ET"),
    (5, "NE"),
    (16, "WP"),
    (18, "AM"),
    (29, "NW"),
    (30, "CD"),
    (31, "PG"),
];
const CR3: Bits = &[(3, "PWT"), (4, "PCD")];
const CR4: Bits = &[
    (0, "VME"),
    (1, "PVI"),
    (2, "TSD"),
    (3, "DE"),
    (4, "PSE"),
    (5, "PAE"),
    (6, "MCE"),
    (7, "PGE"),
    (8, "PCE"),
    (9, "OSFXSR"),
    (10, "OSXMMEXCPT"),
    (11, "UMIP"),
    (16, "FSGSBASE"),
    (17, "PCIDE"),
    (18, "OSXSAVE"),
    (20, "SMEP"),
    (21, "SMAP"),
];
const EFER: Bits = &[(0, "SCE"), (8, "LME"), (10, "LMA"), (11, "NXE")];
const DR6: Bits = &[(0, "B0"), (1, "B1"), (2, "B2"), (3, "B3"), (13, "BD"), (14, "BS"), (15, "BT")];
/// The bits of DR6 that are always set.
const DR6_FIXED: u64 = 0xffff_0ff0;
const MXCSR: Bits = &[
    (0, "IE"),
    (1, "DE"),
    (2, "ZE"),
    (3, "OE"),
    (4, "UE"),
    (5, "PE"),
    (6, "DAZ"),
    (7, "IM"),
    (8, "DM"),
    (9, "ZM"),
    (10, "OM"),
    (11, "UM"),
    (12, "PM"),
    (15, "FZ"),
];

pub(super) fn text(machine: &Machine, names: Names<'_>) -> String {
    let state = &machine.cpu.state;
    let mut text = String::new();
    let _ = writeln!(text, "{}, CPL {}{}", mode(state), state.cpl(), condition(machine));
    let _ = writeln!(text, "RIP     {}", named(state.linear_rip(), names));
    let flags = set_names(state.rflags & !RFLAGS_UNNAMED, RFLAGS);
    let _ = writeln!(text, "RFLAGS  {:#x}: {flags} IOPL={}", state.rflags, state.rflags >> 12 & 3);
    let _ = writeln!(text, "CR0     {:#x}: {}", state.cr0, set_names(state.cr0, CR0));
    let _ = writeln!(text, "CR2     {}", named(state.cr2, names));
    let root = state.cr3 & !0xfff;
    let _ = writeln!(
        text,
        "CR3     {:#x}: tables at {root:#x}, {}",
        state.cr3,
        set_names(state.cr3 & 0xfff, CR3)
    );
    let _ = writeln!(text, "CR4     {:#x}: {}", state.cr4, set_names(state.cr4, CR4));
    let _ = writeln!(text, "CR8     {:#x}", machine.platform.devices.tpr());
    let _ = writeln!(text, "EFER    {:#x}: {}", state.efer, set_names(state.efer, EFER));
    for (name, register) in [
        ("ES", SegmentName::Es),
        ("CS", SegmentName::Cs),
        ("SS", SegmentName::Ss),
        ("DS", SegmentName::Ds),
        ("FS", SegmentName::Fs),
        ("GS", SegmentName::Gs),
    ] {
        segment(&mut text, name, state.segment(register), state.long_mode());
    }
    segment(&mut text, "LDTR", &state.ldtr, state.long_mode());
    segment(&mut text, "TR", &state.tr, state.long_mode());
    let _ = writeln!(text, "GDTR    {:#x}, limit {:#x}", state.gdtr.base, state.gdtr.limit);
    let _ = writeln!(text, "IDTR    {:#x}, limit {:#x}", state.idtr.base, state.idtr.limit);
    for (number, address) in state.dr.iter().enumerate() {
        let enabled = state.dr7 >> (2 * number) & 3;
        if enabled != 0 {
            let _ =
                writeln!(text, "DR{number}     {}: {}", named(*address, names), watched(state.dr7, number));
        }
    }
    let _ = writeln!(text, "DR6     {:#x}: {}", state.dr6, set_names(state.dr6 & !DR6_FIXED, DR6));
    let _ = writeln!(text, "DR7     {:#x}", state.dr7);
    let _ =
        writeln!(text, "MXCSR   {:#x}: {}", state.mxcsr, set_names(u64::from(state.mxcsr & !0x6000), MXCSR));
    for (name, value) in [
        ("IA32_STAR", state.star),
        ("IA32_FMASK", state.fmask),
        ("IA32_KERNEL_GS_BASE", state.kernel_gs_base),
        ("IA32_SYSENTER_CS", state.sysenter_cs),
        ("IA32_SYSENTER_ESP", state.sysenter_esp),
        ("IA32_PAT", state.pat),
        ("IA32_TSC_AUX", state.tsc_aux),
        ("IA32_MISC_ENABLE", state.misc_enable),
        ("IA32_MTRR_DEF_TYPE", state.mtrr_def_type),
    ] {
        let _ = writeln!(text, "{name:<20} {value:#x}");
    }
    for (name, value) in
        [("IA32_LSTAR", state.lstar), ("IA32_CSTAR", state.cstar), ("IA32_SYSENTER_EIP", state.sysenter_eip)]
    {
        let _ = writeln!(text, "{name:<20} {}", named(value, names));
    }
    text
}

fn mode(state: &CpuState) -> &'static str {
    match (state.mode(), state.long_mode()) {
        (Mode::Real, _) => "real mode",
        (Mode::Virtual8086, _) => "virtual-8086 mode",
        (Mode::Protected16, false) => "protected mode, 16-bit code",
        (Mode::Protected32, false) => "protected mode, 32-bit code",
        (Mode::Protected16, true) => "compatibility mode, 16-bit code",
        (Mode::Protected32, true) => "compatibility mode, 32-bit code",
        (Mode::Long64, _) => "64-bit mode",
    }
}

/// What the next step does instead of the instruction at RIP, and what holds it back.
fn condition(machine: &Machine) -> String {
    let state = &machine.cpu.state;
    let devices = &machine.platform.devices;
    let mut text = String::new();
    for (holds, what) in [
        (state.shutdown, "shut down after a triple fault"),
        (state.halted, "halted"),
        (state.shadow == Shadow::Sti, "in the shadow of STI"),
        (state.shadow == Shadow::MovSs, "in the shadow of MOV SS"),
        (state.nmi_blocked, "NMIs blocked until IRET"),
        (devices.nmi_pending(), "an NMI is pending"),
        (devices.interrupt_pending(), "an interrupt is pending"),
        (state.pending_debug != 0, "a debug exception is pending"),
    ] {
        if holds {
            let _ = write!(text, "; {what}");
        }
    }
    text
}

fn segment(text: &mut String, name: &str, segment: &Segment, long: bool) {
    let Segment { selector, base, limit, attributes } = *segment;
    let kind = if attributes == Attributes(0) { "null".to_owned() } else { type_text(attributes, long) };
    let _ = writeln!(text, "{name:<7} {selector:#06x} base {base:#x} limit {limit:#x} {kind}");
}

/// What a debug register stops on (SDM vol. 3, 17.2.4).
fn watched(dr7: u64, number: usize) -> String {
    let field = dr7 >> (16 + 4 * number);
    let bytes = [1, 2, 8, 4][(field >> 2 & 3) as usize];
    match field & 3 {
        0 => "execution".to_owned(),
        1 => format!("writes to {bytes} bytes"),
        2 => format!("I/O of {bytes} bytes"),
        _ => format!("accesses to {bytes} bytes"),
    }
}
