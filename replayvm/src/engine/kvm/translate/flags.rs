//! What instructions do to the arithmetic flags, by the profile, and what this host may do otherwise.

use iced_x86::{Instruction, Mnemonic, OpKind, Register, RflagsBits};

pub(super) const CF: u16 = 1;
pub(super) const PF: u16 = 1 << 2;
pub(super) const AF: u16 = 1 << 4;
pub(super) const ZF: u16 = 1 << 6;
pub(super) const SF: u16 = 1 << 7;
pub(super) const OF: u16 = 1 << 11;
pub(super) const ALL: u16 = CF | PF | AF | ZF | SF | OF;

/// How an instruction sets flags that the manuals leave undefined. Counts are masked and not 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It leaves none undefined, or every processor does as the profile.
    Defined,
    /// SHL, SHR, SAR by a constant.
    Shift(Turn),
    /// ROL, ROR, RCL, RCR by a constant.
    Rotate(Turn),
    /// SHL, SHR, SAR by CL.
    ShiftByCl(Turn),
    /// ROL, ROR, RCL, RCR by CL.
    RotateByCl(Turn),
    /// SHLD and SHRD by a constant.
    Double {
        /// By one.
        once: bool,
    },
    /// SHLD and SHRD by CL.
    DoubleByCl,
    /// MUL and IMUL.
    Multiply,
    /// DIV and IDIV.
    Divide,
    /// BSF and BSR.
    Scan,
    /// TZCNT and LZCNT.
    Zeros,
}

/// What OF is a function of, after a shift or rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    /// To the left: whether the highest bit and CF differ; to the right: whether the two highest bits do.
    pub(super) left: bool,
    /// Of the operand.
    pub(super) bits: u32,
    /// 0 if it is in CL.
    pub(super) count: u8,
}

impl Turn {
    /// OF by the profile, from the result and CF.
    pub(super) fn overflow(self, result: u64, carry: bool) -> bool {
        let bit = |i: u32| result >> (i & 63) & 1 != 0;
        let top = bit(self.bits - 1);
        if self.left { top != carry } else { top != bit(self.bits - 2) }
    }

    /// A count as far as it counts.
    pub(super) fn masked(self, count: u64) -> u64 {
        count & if self.bits == 64 { 63 } else { 31 }
    }
}

/// What an instruction does to flags.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effect {
    /// Needs these to be right.
    pub(super) reads: u16,
    /// Leaves nothing of what these were.
    pub(super) kills: u16,
    pub(super) kind: Kind,
}

fn bits(rflags: u32) -> u16 {
    use RflagsBits as B;
    [(B::OF, OF), (B::SF, SF), (B::ZF, ZF), (B::AF, AF), (B::PF, PF), (B::CF, CF)]
        .iter()
        .filter(|(bit, _)| rflags & bit != 0)
        .fold(0, |all, (_, flag)| all | flag)
}

impl Effect {
    pub(super) const NONE: Self = Self { reads: 0, kills: 0, kind: Kind::Defined };

    /// Of an instruction, on a host that may leave anything in undefined flags.
    pub(super) fn of(insn: &Instruction) -> Self {
        use Mnemonic as M;
        let reads = bits(insn.rflags_read());
        let defined = |kills| Self { reads, kills, kind: Kind::Defined };
        match insn.mnemonic() {
            // AF is cleared, by every processor.
            M::And | M::Or | M::Xor | M::Test => defined(ALL),
            // All but CF is left, by every processor.
            M::Bt | M::Bts | M::Btr | M::Btc => defined(CF),
            M::Shl | M::Sal | M::Shr | M::Sar | M::Rol | M::Ror | M::Rcl | M::Rcr => {
                Self::of_turn(insn, reads)
            }
            M::Shld | M::Shrd => {
                let long = insn.op1_register().size() == 8;
                if insn.op2_kind() == OpKind::Register {
                    Self { reads: ALL, kills: 0, kind: Kind::DoubleByCl }
                } else {
                    match insn.immediate8() & if long { 63 } else { 31 } {
                        0 => defined(0),
                        count => Self { reads, kills: ALL, kind: Kind::Double { once: count == 1 } },
                    }
                }
            }
            M::Mul | M::Imul => Self { reads, kills: CF | OF, kind: Kind::Multiply },
            M::Div | M::Idiv => Self { reads, kills: SF | ZF | AF | PF, kind: Kind::Divide },
            M::Bsf | M::Bsr => Self { reads, kills: ALL, kind: Kind::Scan },
            M::Tzcnt | M::Lzcnt => Self { reads, kills: ALL & !OF, kind: Kind::Zeros },
            _ => {
                let repeats =
                    insn.is_string_instruction() && (insn.has_rep_prefix() || insn.has_repne_prefix());
                // Repeated no times it leaves them all.
                if repeats && insn.rflags_modified() != 0 {
                    Self { reads: ALL, kills: 0, kind: Kind::Defined }
                } else {
                    defined(bits(insn.rflags_modified() & !insn.rflags_undefined()))
                }
            }
        }
    }

    fn of_turn(insn: &Instruction, reads: u16) -> Self {
        use Mnemonic as M;
        let mnemonic = insn.mnemonic();
        let bytes = match insn.op0_kind() {
            OpKind::Register => insn.op0_register().size(),
            _ => insn.memory_size().size(),
        };
        let left = matches!(mnemonic, M::Shl | M::Sal | M::Rol | M::Rcl);
        let shifts = matches!(mnemonic, M::Shl | M::Sal | M::Shr | M::Sar);
        let mut turn = Turn { left, bits: bytes as u32 * 8, count: 0 };
        if insn.op1_kind() == OpKind::Register && insn.op1_register() == Register::CL {
            // By nothing it leaves them all.
            let kind = if shifts { Kind::ShiftByCl(turn) } else { Kind::RotateByCl(turn) };
            return Self { reads: ALL, kills: 0, kind };
        }
        turn.count = turn.masked(u64::from(insn.immediate8())) as u8;
        let reads = if matches!(mnemonic, M::Rcl | M::Rcr) { CF } else { reads & !CF };
        match (turn.count, shifts) {
            (0, _) => Self { reads, ..Self::NONE },
            (_, true) => Self { reads, kills: ALL, kind: Kind::Shift(turn) },
            (_, false) => Self { reads, kills: CF | OF, kind: Kind::Rotate(turn) },
        }
    }
}
