//! In what processors differ that are all right: what is not compared on a host other than the one of the profile.

use iced_x86::{Code, Instruction, Mnemonic, OpKind, RflagsBits};

use crate::catalogue;
use crate::generate::Case;

/// The count of a shift or rotation, as far as it counts.
fn count(case: &Case) -> u64 {
    let insn = &case.insn;
    let last = insn.op_count().saturating_sub(1);
    match insn.op_kind(last) {
        OpKind::Register => case.input.gpr[1] & 0x1f,
        _ => u64::from(insn.immediate8() & 0x1f),
    }
}

/// What the manuals leave undefined, in the bits of RFLAGS.
pub fn undefined_flags(case: &Case) -> u32 {
    use RflagsBits as B;
    let undefined = case.insn.rflags_undefined();
    let rotates = matches!(case.insn.mnemonic(), Mnemonic::Rcl | Mnemonic::Rcr);
    // A rotation by a multiple of its width (and CF) is none for some, and one by many for others.
    let rotated = if rotates && count(case) > 1 { B::OF } else { 0 };
    [(B::OF, 0x800), (B::SF, 0x80), (B::ZF, 0x40), (B::AF, 0x10), (B::PF, 4), (B::CF, 1)]
        .iter()
        .filter(|(bit, _)| (undefined | rotated) & bit != 0)
        .fold(0, |all, (_, flag)| all | flag)
}

/// Whether the address that a page fault is said to be at may be that of any byte of the operand.
pub fn differ_in_fault_address(case: &Case) -> bool {
    case.insn.mnemonic() == Mnemonic::Maskmovdqu
}

/// Whether either of two operands in memory may be the one at which it is said to fault.
pub fn differ_in_which_operand_faults(case: &Case) -> bool {
    matches!(case.insn.mnemonic(), Mnemonic::Cmpsb | Mnemonic::Cmpsw | Mnemonic::Cmpsd | Mnemonic::Cmpsq)
        && case.insn.is_string_instruction()
}

/// Whether processors differ in what an instruction that faults has done: CALL has pushed, a store of an MMX register has entered
/// MMX mode, the flags of a comparison or the upper halves of 32-bit counters have changed.
pub fn differ_in_what_a_fault_leaves(case: &Case) -> bool {
    let insn = &case.insn;
    let stores_mmx = insn.op0_kind() == OpKind::Memory && insn.op1_register().is_mm();
    insn.mnemonic() == Mnemonic::Call || stores_mmx || repeats(insn)
}

fn repeats(insn: &Instruction) -> bool {
    insn.is_string_instruction() && (insn.has_rep_prefix() || insn.has_repne_prefix())
}

/// Whether the result itself is one that the manuals leave undefined, or in which processors differ.
pub fn differ(case: &Case) -> bool {
    let insn = &case.insn;
    let converts = matches!(
        insn.mnemonic(),
        Mnemonic::Cvtpi2ps
            | Mnemonic::Cvtps2pi
            | Mnemonic::Cvttps2pi
            | Mnemonic::Cvtpd2pi
            | Mnemonic::Cvttpd2pi
    );
    // Which faults leave the processor in MMX mode, and whether CVTPI2PS and CVTPI2PD from memory enter it.
    let is_mode = converts && case.input.mxcsr() & 0x1f80 != 0x1f80
        || matches!(insn.mnemonic(), Mnemonic::Maskmovq)
        || matches!(insn.mnemonic(), Mnemonic::Cvtpi2ps | Mnemonic::Cvtpi2pd)
            && insn.op1_kind() == OpKind::Memory;
    let is_double = matches!(insn.mnemonic(), Mnemonic::Shld | Mnemonic::Shrd);
    // Which of several NaNs comes out.
    let chooses = matches!(insn.mnemonic(), Mnemonic::Dpps | Mnemonic::Dppd);
    // Processors differ in what they do with refused operands, and in the condition codes.
    let is_x87 = catalogue::family(insn.code()) == "x87";
    is_x87
        || is_double && insn.op1_register().size() == 2 && count(case) > 16
        || insn.code() == Code::Bswap_r16
        || is_mode
        || chooses
        || repeats(insn) && has_upper_halves(case)
}

/// Whether 32-bit counters stand in registers with something in their upper halves, which some processors clear even where nothing
/// is repeated.
fn has_upper_halves(case: &Case) -> bool {
    let is_32_bit = (0..case.insn.op_count()).any(|operand| {
        matches!(
            case.insn.op_kind(operand),
            OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI
        )
    });
    let [_, rcx, _, _, _, _, rsi, rdi, ..] = case.input.gpr;
    is_32_bit && (rcx | rsi | rdi) >> 32 != 0
}
