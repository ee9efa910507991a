//! The arithmetic flags, computed when somebody asks.
//!
//! Two words hold all six. ZF is whether the result is zero; SF is its sign and PF the parity of its low byte, each
//! with a correction, so that any combination of flags can be held; the carries of the addition that made it give CF,
//! OF and AF. (The idea is that of Bochs, "lazy flags" by carry-out vectors.)

use crate::flags::{AF, ARITHMETIC, CF, PF, ZF, parity};

const CARRY: u64 = 1 << 63;
const BEFORE: u64 = 1 << 62;
const HALF: u64 = 8;

/// The six arithmetic flags.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lazy {
    /// The result, sign-extended.
    result: u64,
    /// Bit 63: CF. Bit 62: CF ^ OF. Bit 3: AF. Bits 8 to 15: what the low byte of the result is corrected by for PF. Bit
    /// 0: what SF is corrected by.
    carries: u64,
}

#[inline(always)]
pub(crate) const fn mask<const W: usize>() -> u64 {
    u64::MAX >> (64 - 8 * W)
}

#[inline(always)]
pub(crate) const fn extend<const W: usize>(value: u64) -> u64 {
    let spare = 64 - 8 * W;
    (((value << spare) as i64) >> spare) as u64
}

impl Lazy {
    /// The flags as RFLAGS has them.
    pub(crate) fn of(rflags: u64) -> Self {
        let carry = rflags & CF;
        let overflow = rflags >> 11 & 1;
        let odd = u64::from(rflags & PF == 0);
        Self {
            result: if rflags & ZF != 0 { 0 } else { 0x100 },
            carries: carry << 63 | (carry ^ overflow) << 62 | (rflags & AF) >> 1 | odd << 8 | rflags >> 7 & 1,
        }
    }

    /// RFLAGS with these flags in it.
    pub(crate) fn into(self, rflags: u64) -> u64 {
        rflags & !ARITHMETIC
            | u64::from(self.carry())
            | self.parity() << 2
            | (self.carries & HALF) << 1
            | u64::from(self.zero()) << 6
            | u64::from(self.sign()) << 7
            | u64::from(self.overflow()) << 11
    }

    #[inline(always)]
    pub(crate) fn carry(self) -> bool {
        self.carries >> 63 != 0
    }

    #[inline(always)]
    pub(crate) fn zero(self) -> bool {
        self.result == 0
    }

    #[inline(always)]
    pub(crate) fn sign(self) -> bool {
        (self.result >> 63) ^ (self.carries & 1) != 0
    }

    #[inline(always)]
    pub(crate) fn overflow(self) -> bool {
        (self.carries ^ self.carries << 1) >> 63 != 0
    }

    #[inline(always)]
    fn parity(self) -> u64 {
        parity((self.result ^ self.carries >> 8) & 0xff) >> 2
    }

    /// Condition `CC` as the instruction set numbers them.
    #[inline(always)]
    pub(crate) fn condition<const CC: u8>(self) -> bool {
        let holds = match CC >> 1 {
            0 => self.overflow(),
            1 => self.carry(),
            2 => self.zero(),
            3 => self.carry() || self.zero(),
            4 => self.sign(),
            5 => self.parity() != 0,
            6 => self.sign() != self.overflow(),
            _ => self.zero() || self.sign() != self.overflow(),
        };
        holds != (CC & 1 != 0)
    }

    /// A result without carries: AND, OR, XOR, TEST.
    #[inline(always)]
    pub(crate) const fn logic<const W: usize>(result: u64) -> Self {
        Self { result: extend::<W>(result), carries: 0 }
    }

    /// A result and the carry (or borrow) out of each bit. Neither has bits above the width.
    #[inline(always)]
    pub(crate) const fn sum<const W: usize>(result: u64, carries: u64) -> Self {
        let carries = match W {
            8 => carries & (CARRY | BEFORE | HALF),
            _ => carries << (64 - 8 * W) | carries & HALF,
        };
        Self { result: extend::<W>(result), carries }
    }

    /// A result and its three other flags, `half` being AF; the result has no bits above the width.
    #[inline(always)]
    pub(crate) const fn with<const W: usize>(result: u64, carry: u64, overflow: u64, half: bool) -> Self {
        let half = if half { HALF } else { 0 };
        Self { result: extend::<W>(result), carries: carry << 63 | (carry ^ overflow) << 62 | half }
    }

    /// These flags with another carry.
    #[inline(always)]
    pub(crate) const fn with_carry(self, carry: u64) -> Self {
        let overflow = (self.carries >> 63) ^ (self.carries >> 62 & 1);
        let carries = self.carries & !(CARRY | BEFORE) | carry << 63 | (carry ^ overflow) << 62;
        Self { result: self.result, carries }
    }

    /// These flags with another carry and overflow.
    #[inline(always)]
    pub(crate) const fn with_carry_and_overflow(self, carry: u64, overflow: u64) -> Self {
        let carries = self.carries & !(CARRY | BEFORE) | carry << 63 | (carry ^ overflow) << 62;
        Self { result: self.result, carries }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::{self, OF, SF, Width};
    use iced_x86::ConditionCode;

    #[test]
    fn every_combination_of_flags_is_held() {
        for bits in 0..64_u64 {
            let flag = |i: u64, flag: u64| if bits >> i & 1 != 0 { flag } else { 0 };
            let rflags =
                0x202 | flag(0, CF) | flag(1, PF) | flag(2, AF) | flag(3, ZF) | flag(4, SF) | flag(5, OF);
            let lazy = Lazy::of(rflags);
            assert_eq!(lazy.into(0x202 | !rflags & ARITHMETIC), rflags);
            for carry in [0, 1] {
                assert_eq!(lazy.with_carry(carry).into(rflags), rflags & !CF | carry);
            }
            macro_rules! conditions {
                ($($number:literal $name:ident),*) => {$(
                    assert_eq!(
                        lazy.condition::<$number>(),
                        flags::condition(rflags, ConditionCode::$name),
                        "{} {rflags:#x}", stringify!($name)
                    );
                )*};
            }
            conditions!(0 o, 1 no, 2 b, 3 ae, 4 e, 5 ne, 6 be, 7 a, 8 s, 9 ns, 10 p, 11 np, 12 l, 13 ge, 14 le, 15 g);
        }
    }

    #[test]
    fn sums_have_the_flags_that_the_plain_form_computes() {
        fn check<const W: usize>(width: Width, a: u64, b: u64, carry: u64) {
            let (a, b) = (a & mask::<W>(), b & mask::<W>());
            let (result, expected) = flags::add(width, a, b, carry);
            let carries = (a & b) | ((a | b) & !result);
            assert_eq!(Lazy::sum::<W>(result, carries).into(2), 2 | expected);
            let (result, expected) = flags::sub(width, a, b, carry);
            let borrows = (!a & b) | ((!a | b) & result);
            assert_eq!(Lazy::sum::<W>(result, borrows).into(2), 2 | expected);
            assert_eq!(Lazy::logic::<W>(a & b).into(2), 2 | flags::logic(width, a & b));
        }
        let mut values: Vec<u64> = (0..64).map(|i| 1_u64 << i).collect();
        values.extend((0..64).map(|i| (1_u64 << i) - 1));
        values.extend([u64::MAX, 0x1234_5678_9abc_def0]);
        for &a in &values {
            for &b in &values {
                for carry in [0, 1] {
                    check::<1>(Width::Byte, a, b, carry);
                    check::<2>(Width::Word, a, b, carry);
                    check::<4>(Width::Dword, a, b, carry);
                    check::<8>(Width::Qword, a, b, carry);
                }
            }
        }
    }
}
