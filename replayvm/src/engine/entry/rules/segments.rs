//! Segment registers (SDM vol. 3, 27.3.1.2) and descriptor tables (27.3.1.3). AMD's processors take nearly everything, and
//! sign-extend bases (APM vol. 2, 15.5.1).
//!
//! A segment that is not present is unusable: KVM makes the one of the other. Limits of GDTR and IDTR have 16 bits here.

use replayvm_cpu::{CpuState, Rflags, Segment, SegmentName, cr0, cr4, efer};

use super::Register::{Cs, Ds, Es, Fs, Gs, Ldtr, Ss, Tr};
use super::Scope::{Always, Rights, Usable};
use super::{Field, Register, Rule, canonical};

const SDM: &str = "27.3.1.2";
const SDM_TABLES: &str = "27.3.1.3";
const APM: &str = "15.5.1";

const PLAIN: &[Register] = &[Cs, Ss, Ds, Es, Fs, Gs];
const DATA: &[Register] = &[Ds, Es, Fs, Gs];
const ALL: &[Register] = &[Cs, Ss, Ds, Es, Fs, Gs, Ldtr, Tr];

fn virtual_8086(state: &CpuState) -> bool {
    state.rflags & Rflags::VM.bits() != 0
}

fn cs(state: &CpuState) -> &Segment {
    state.segment(SegmentName::Cs)
}

fn dpl_of_ss(state: &CpuState) -> u8 {
    state.segment(SegmentName::Ss).attributes.dpl()
}

fn rpl(segment: &Segment) -> u8 {
    (segment.selector & 3) as u8
}

pub(super) const RULES: &[Rule] = &[
    // Selectors.
    Rule::segments("the selector must be one of the GDT (TI 0)", &[Tr, Ldtr], Usable, |_, it, _| {
        it.selector & 4 != 0
    })
    .vmx(SDM),
    Rule::segments("without unrestricted guests its RPL must be that of CS", &[Ss], Always, |s, it, _| {
        !virtual_8086(s) && rpl(it) != rpl(cs(s))
    })
    .vmx(SDM)
    .restricted(),
    // Bases and limits.
    Rule::segments(
        "in virtual-8086 mode the base must be the selector times 16",
        PLAIN,
        Always,
        |s, it, _| virtual_8086(s) && it.base != u64::from(it.selector) << 4,
    )
    .vmx(SDM),
    Rule::segments("the base must be canonical", &[Tr, Fs, Gs], Always, |_, it, p| !canonical(it.base, p))
        .vmx(SDM),
    Rule::segments("the base must be canonical", &[Ldtr], Usable, |_, it, p| !canonical(it.base, p)).vmx(SDM),
    Rule::segments("bits 63:32 of the base must be 0", &[Cs, Ss, Ds, Es], Usable, |_, it, _| {
        it.base >> 32 != 0
    })
    .vmx(SDM),
    Rule::segments("in virtual-8086 mode the limit must be 0xffff", PLAIN, Always, |s, it, _| {
        virtual_8086(s) && it.limit != 0xffff
    })
    .vmx(SDM),
    // Access rights of code, stack and data.
    Rule::segments("in virtual-8086 mode the access rights must be 0xf3", PLAIN, Always, |s, it, _| {
        virtual_8086(s) && it.attributes.0 != 0xf3
    })
    .vmx(SDM),
    Rule::segments("the type must be accessed code (9, 11, 13 or 15), or 3", &[Cs], Rights, |_, it, _| {
        !matches!(it.attributes.kind(), 3 | 9 | 11 | 13 | 15)
    })
    .vmx(SDM),
    Rule::segments("without unrestricted guests the type may not be 3", &[Cs], Rights, |_, it, _| {
        it.attributes.kind() == 3
    })
    .vmx(SDM)
    .restricted(),
    Rule::segments("the type must be accessed, writable data (3 or 7)", &[Ss], Rights, |_, it, _| {
        !matches!(it.attributes.kind(), 3 | 7)
    })
    .vmx(SDM),
    Rule::segments("the type must be an accessed one (bit 0)", DATA, Rights, |_, it, _| {
        it.attributes.kind() & 1 == 0
    })
    .vmx(SDM),
    Rule::segments("code must be readable (bit 1 of the type)", DATA, Rights, |_, it, _| {
        it.attributes.kind() & 0xa == 8
    })
    .vmx(SDM),
    Rule::segments("S must be 1 (code or data)", PLAIN, Rights, |_, it, _| !it.attributes.is_code_or_data())
        .vmx(SDM),
    Rule::segments("of type 3 it must have DPL 0", &[Cs], Rights, |_, it, _| {
        it.attributes.kind() == 3 && it.attributes.dpl() != 0
    })
    .vmx(SDM),
    Rule::segments("non-conforming code must have the DPL of SS", &[Cs], Rights, |s, it, _| {
        matches!(it.attributes.kind(), 9 | 11) && it.attributes.dpl() != dpl_of_ss(s)
    })
    .vmx(SDM),
    Rule::segments("conforming code may not have a DPL above that of SS", &[Cs], Rights, |s, it, _| {
        matches!(it.attributes.kind(), 13 | 15) && it.attributes.dpl() > dpl_of_ss(s)
    })
    .vmx(SDM),
    Rule::segments("without unrestricted guests its DPL must be its RPL", &[Ss], Always, |s, it, _| {
        !virtual_8086(s) && it.attributes.dpl() != rpl(it)
    })
    .vmx(SDM)
    .restricted(),
    Rule::segments("without CR0.PE, or with a CS of type 3, its DPL must be 0", &[Ss], Always, |s, it, _| {
        let real = s.cr0 & cr0::PE == 0 || cs(s).attributes.kind() == 3;
        !virtual_8086(s) && real && it.attributes.dpl() != 0
    })
    .vmx(SDM),
    Rule::segments(
        "without unrestricted guests its DPL may not be below its RPL",
        DATA,
        Rights,
        |_, it, _| it.attributes.kind() <= 11 && it.attributes.dpl() < rpl(it),
    )
    .vmx(SDM)
    .restricted(),
    Rule::segments("in long mode L and D do not go together", &[Cs], Rights, |s, it, _| {
        s.long_mode() && it.attributes.long() && it.attributes.big()
    })
    .vmx(SDM),
    Rule::state(
        "with EFER.LME, CR0.PG and CR4.PAE, L and D of CS do not go together",
        &[Field::Segment(Cs), Field::Efer, Field::Cr0, Field::Cr4],
        |s, _| {
            let paging = s.efer & efer::LME != 0 && s.cr0 & cr0::PG != 0 && s.cr4 & cr4::PAE != 0;
            paging && cs(s).attributes.long() && cs(s).attributes.big()
        },
    )
    .svm(APM),
    Rule::state("a CS with L needs long mode (EFER.LMA)", &[Field::Segment(Cs), Field::Efer], |s, _| {
        !s.long_mode() && cs(s).attributes.long()
    })
    .kvm(),
    // Access rights of system segments.
    Rule::segments(
        "outside long mode the type must be a busy task state (3 or 11)",
        &[Tr],
        Always,
        |s, it, _| !s.long_mode() && !matches!(it.attributes.kind(), 3 | 11),
    )
    .vmx(SDM),
    Rule::segments(
        "in long mode the type must be a busy 64-bit task state (11)",
        &[Tr],
        Always,
        |s, it, _| s.long_mode() && it.attributes.kind() != 11,
    )
    .vmx(SDM),
    Rule::segments("the type must be a local descriptor table (2)", &[Ldtr], Usable, |_, it, _| {
        it.attributes.kind() != 2
    })
    .vmx(SDM),
    Rule::segments("S must be 0 (a system segment)", &[Tr, Ldtr], Usable, |_, it, _| {
        it.attributes.is_code_or_data()
    })
    .vmx(SDM),
    // Of all.
    Rule::segments("it must be usable and present (P)", &[Cs, Tr], Rights, |_, it, _| {
        !it.attributes.present()
    })
    .vmx(SDM),
    Rule::segments("bits 11:8 of the access rights must be 0", ALL, Rights, |_, it, _| {
        it.attributes.0 & 0x0f00 != 0
    })
    .vmx(SDM),
    Rule::segments("with G set, bits 11:0 of the limit must all be 1", ALL, Rights, |_, it, _| {
        it.attributes.granular() && it.limit & 0xfff != 0xfff
    })
    .vmx(SDM),
    Rule::segments("with G clear, bits 31:20 of the limit must all be 0", ALL, Rights, |_, it, _| {
        !it.attributes.granular() && it.limit >> 20 != 0
    })
    .vmx(SDM),
    // Descriptor tables.
    Rule::state("the base must be canonical", &[Field::Gdtr], |s, p| !canonical(s.gdtr.base, p))
        .vmx(SDM_TABLES),
    Rule::state("the base must be canonical", &[Field::Idtr], |s, p| !canonical(s.idtr.base, p))
        .vmx(SDM_TABLES),
];
