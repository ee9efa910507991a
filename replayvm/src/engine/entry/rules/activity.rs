//! Non-register state: activity, interrupt shadow, pending debug exceptions (SDM vol. 3, 27.3.1.5). AMD's manual demands
//! nothing of it.

use replayvm_cpu::{CpuState, Rflags, SegmentName, Shadow, dr6};

use super::{Field, Register, Rule};

const SDM: &str = "27.3.1.5";
/// Bits 11:4, 13, 15, and 63:17.
const RESERVED: u64 = 0xffff_ffff_fffe_aff0;

/// Debug exceptions are held back.
fn holds_back(state: &CpuState) -> bool {
    state.shadow != Shadow::None || state.halted
}

fn steps(state: &CpuState) -> bool {
    state.rflags & Rflags::TF.bits() != 0
}

pub(super) const RULES: &[Rule] = &[
    Rule::state("HLT needs CPL 0 (DPL of SS)", &[Field::Activity, Field::Segment(Register::Ss)], |s, _| {
        s.halted && s.segment(SegmentName::Ss).attributes.dpl() != 0
    })
    .vmx(SDM),
    Rule::state(
        "a CPU that STI or MOV SS shields from interrupts must be active",
        &[Field::Activity, Field::Shadow],
        |s, _| s.shadow != Shadow::None && (s.halted || s.shutdown),
    )
    .vmx(SDM),
    Rule::state("blocking by STI needs RFLAGS.IF", &[Field::Shadow, Field::Rflags], |s, _| {
        s.shadow == Shadow::Sti && s.rflags & Rflags::IF.bits() == 0
    })
    .vmx(SDM),
    Rule::state("a reserved bit of the pending debug exceptions is set", &[Field::PendingDebug], |s, _| {
        s.pending_debug & RESERVED != 0
    })
    .vmx(SDM),
    Rule::state(
        "with RFLAGS.TF, a shadow or HLT needs a pending single step (BS)",
        &[Field::Rflags, Field::Shadow, Field::Activity, Field::PendingDebug],
        |s, _| holds_back(s) && steps(s) && s.pending_debug & dr6::BS == 0,
    )
    .vmx(SDM),
    Rule::state(
        "without RFLAGS.TF, a shadow or HLT allows no pending single step (BS)",
        &[Field::Rflags, Field::Shadow, Field::Activity, Field::PendingDebug],
        |s, _| holds_back(s) && !steps(s) && s.pending_debug & dr6::BS != 0,
    )
    .vmx(SDM),
];
