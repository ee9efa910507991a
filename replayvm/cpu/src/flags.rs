//! RFLAGS and the arithmetic that sets it.
//!
//! The functions here are pure: operands and width in, result and arithmetic flags out. What the manual leaves
//! undefined follows one profile, [`FLAGS_PROFILE`].

use iced_x86::ConditionCode;

/// The name of the rules for the flags that the manual leaves undefined: what an AMD Zen 5 processor does, found by
/// exhaustive or random comparison with one. In this list a rotation count or shift count is the masked one, and
/// `top` is the highest bit of the result, `next` the one below it.
///
/// | instruction | flags |
/// |---|---|
/// | any shift or rotation by 0 | all unchanged |
/// | AND, OR, XOR, TEST | AF = 0 |
/// | ROL, RCL by any count | OF = CF ^ `top` |
/// | ROR, RCR by any count | OF = `top` ^ `next` |
/// | SHL, SHR, SAR by any count | AF = 1; CF is the last bit out, 0 (SAR: the sign) once the operand is used up |
/// | SHL by any count | OF = CF ^ `top` |
/// | SHR, SAR by any count | OF = `top` ^ `next` |
/// | SHLD | AF = 1; OF = CF ^ the highest bit of the first operand shifted alone |
/// | SHRD | AF = 1; OF = `top` ^ `next` |
/// | SHLD, SHRD of 16 bits by more than 16 | the second operand follows itself in; CF = 0 |
/// | MUL, IMUL | SF, ZF, AF, PF unchanged |
/// | DIV, IDIV | CF, OF unchanged; AF = 1; SF = ZF = PF = 0 |
/// | BSF, BSR | CF = OF = SF = AF = 0; PF by the result. Of zero: ZF = PF = 1, the destination wholly unchanged |
/// | TZCNT, LZCNT | OF unchanged; SF = AF = PF = 0 |
/// | BT, BTS, BTR, BTC | all but CF unchanged |
/// | AAA, AAS | SF, ZF, PF, OF by the 16-bit addition of 0x106 (subtraction), before AL is masked |
/// | DAA, DAS | OF by the one addition (subtraction) of the whole adjustment |
/// | AAM | CF = AF = OF = 0 |
/// | AAD | CF, AF, OF by the 8-bit addition of AL and AH * base |
pub const FLAGS_PROFILE: &str = "zen";

bitflags::bitflags! {
    /// RFLAGS (SDM vol. 1, 3.4.3).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Rflags: u64 {
        /// Carry.
        const CF = 1 << 0;
        /// Always set.
        const FIXED = 1 << 1;
        /// Parity of the low byte.
        const PF = 1 << 2;
        /// Carry out of bit 3.
        const AF = 1 << 4;
        /// Zero.
        const ZF = 1 << 6;
        /// Sign.
        const SF = 1 << 7;
        /// Single step.
        const TF = 1 << 8;
        /// Maskable interrupts are taken.
        const IF = 1 << 9;
        /// String instructions go down.
        const DF = 1 << 10;
        /// Signed overflow.
        const OF = 1 << 11;
        /// I/O privilege level.
        const IOPL = 3 << 12;
        /// Nested task.
        const NT = 1 << 14;
        /// No instruction breakpoint at this instruction.
        const RF = 1 << 16;
        /// Virtual-8086 mode.
        const VM = 1 << 17;
        /// Alignment check, or SMAP override.
        const AC = 1 << 18;
        /// Virtual interrupt flag.
        const VIF = 1 << 19;
        /// Virtual interrupt pending.
        const VIP = 1 << 20;
        /// CPUID can be executed.
        const ID = 1 << 21;
        /// The six arithmetic flags.
        const ARITHMETIC = 0x8d5;
    }
}

/// The width of an integer operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Width {
    Byte = 1,
    Word = 2,
    Dword = 4,
    Qword = 8,
}

impl Width {
    /// The width of so many bytes: 1, 2, 4, and 8 for anything else.
    #[inline]
    pub(crate) const fn of_bytes(bytes: usize) -> Self {
        match bytes {
            1 => Self::Byte,
            2 => Self::Word,
            4 => Self::Dword,
            _ => Self::Qword,
        }
    }

    /// Bytes.
    #[inline]
    pub(crate) const fn bytes(self) -> u64 {
        self as u64
    }

    /// Bits.
    #[inline]
    pub(crate) const fn bits(self) -> u32 {
        self as u32 * 8
    }

    /// All bits of the width.
    #[inline]
    pub(crate) const fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }

    /// The low bits of a value, as signed.
    #[inline]
    pub(crate) const fn sign_extend(self, value: u64) -> i64 {
        let spare = 64 - self.bits();
        ((value << spare) as i64) >> spare
    }
}

pub(crate) const CF: u64 = 1;
pub(crate) const PF: u64 = 1 << 2;
pub(crate) const AF: u64 = 1 << 4;
pub(crate) const ZF: u64 = 1 << 6;
pub(crate) const SF: u64 = 1 << 7;
pub(crate) const OF: u64 = 1 << 11;
/// CF, PF, AF, ZF, SF and OF.
pub(crate) const ARITHMETIC: u64 = CF | PF | AF | ZF | SF | OF;

/// PF of a value: set if its low byte has an even number of ones.
#[inline(always)]
pub(crate) const fn parity(value: u64) -> u64 {
    let folded = (value ^ (value >> 4)) & 15;
    ((0x9669 >> folded) & 1) << 2
}

/// SF, ZF and PF of a result that has no bits above its width.
#[inline(always)]
pub(crate) const fn sign_zero_parity(width: Width, result: u64) -> u64 {
    let sign = (result >> (width.bits() - 1)) << 7;
    sign | ((result == 0) as u64) << 6 | parity(result)
}

/// `a + b + carry` and its six flags. The operands have no bits above the width; `carry` is 0 or 1.
#[inline(always)]
pub(crate) const fn add(width: Width, a: u64, b: u64, carry: u64) -> (u64, u64) {
    let result = a.wrapping_add(b).wrapping_add(carry) & width.mask();
    let carries = (a & b) | ((a | b) & !result);
    (result, from_carries(width, result, carries, (a ^ result) & (b ^ result)))
}

/// `a - b - borrow` and its six flags. The operands have no bits above the width; `borrow` is 0 or 1.
#[inline(always)]
pub(crate) const fn sub(width: Width, a: u64, b: u64, borrow: u64) -> (u64, u64) {
    let result = a.wrapping_sub(b).wrapping_sub(borrow) & width.mask();
    let borrows = (!a & b) | ((!a | b) & result);
    (result, from_carries(width, result, borrows, (a ^ b) & (a ^ result)))
}

/// The six flags of a sum: the carry out of each bit, and the overflow at each bit.
#[inline(always)]
const fn from_carries(width: Width, result: u64, carries: u64, overflow: u64) -> u64 {
    let top = width.bits() - 1;
    sign_zero_parity(width, result)
        | (carries >> top) & 1
        | (carries & 8) << 1
        | ((overflow >> top) & 1) << 11
}

/// The six flags of AND, OR, XOR and TEST.
#[inline(always)]
pub(crate) const fn logic(width: Width, result: u64) -> u64 {
    sign_zero_parity(width, result)
}

/// Whether a condition holds in RFLAGS.
#[inline]
pub(crate) fn condition(rflags: u64, code: ConditionCode) -> bool {
    let any = |flags: u64| rflags & flags != 0;
    let less = || ((rflags >> 7) ^ (rflags >> 11)) & 1 != 0;
    match code {
        ConditionCode::None => true,
        ConditionCode::o => any(OF),
        ConditionCode::no => !any(OF),
        ConditionCode::b => any(CF),
        ConditionCode::ae => !any(CF),
        ConditionCode::e => any(ZF),
        ConditionCode::ne => !any(ZF),
        ConditionCode::be => any(CF | ZF),
        ConditionCode::a => !any(CF | ZF),
        ConditionCode::s => any(SF),
        ConditionCode::ns => !any(SF),
        ConditionCode::p => any(PF),
        ConditionCode::np => !any(PF),
        ConditionCode::l => less(),
        ConditionCode::ge => !less(),
        ConditionCode::le => any(ZF) || less(),
        ConditionCode::g => !any(ZF) && !less(),
    }
}
