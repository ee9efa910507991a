//! RIP and RFLAGS (SDM vol. 3, 27.3.1.4). AMD's processors sign-extend RIP instead (APM vol. 2, 15.5.1).

use replayvm_cpu::{CpuState, Rflags, SegmentName, cr0};

use super::{Field, Register, Rule, canonical};

const SDM: &str = "27.3.1.4";
/// Bits 63:22, 15, 5 and 3.
const RESERVED: u64 = 0xffff_ffff_ffc0_8028;

fn wide(state: &CpuState) -> bool {
    state.long_mode() && state.segment(SegmentName::Cs).attributes.long()
}

pub(super) const RULES: &[Rule] = &[
    Rule::state(
        "outside 64-bit mode bits 63:32 of RIP must be 0",
        &[Field::Rip, Field::Segment(Register::Cs)],
        |s, _| !wide(s) && s.rip >> 32 != 0,
    )
    .vmx(SDM),
    Rule::state("in 64-bit mode RIP must be canonical", &[Field::Rip], |s, p| {
        wide(s) && !canonical(s.rip, p)
    })
    .vmx(SDM),
    Rule::state("a reserved bit of RFLAGS is set", &[Field::Rflags], |s, _| s.rflags & RESERVED != 0)
        .vmx(SDM),
    Rule::state("bit 1 of RFLAGS must be 1", &[Field::Rflags], |s, _| s.rflags & Rflags::FIXED.bits() == 0)
        .vmx(SDM),
    Rule::state("RFLAGS.VM must be 0 in long mode", &[Field::Rflags, Field::Efer], |s, _| {
        s.rflags & Rflags::VM.bits() != 0 && s.long_mode()
    })
    .vmx(SDM),
    Rule::state("RFLAGS.VM needs CR0.PE", &[Field::Rflags, Field::Cr0], |s, _| {
        s.rflags & Rflags::VM.bits() != 0 && s.cr0 & cr0::PE == 0
    })
    .vmx(SDM),
];
