//! Random numbers from the processor's generator.

use core::arch::asm;
use core::arch::x86_64::__cpuid;

/// A random number: RDRAND, or the time stamp counter stirred well where the processor has no RDRAND.
pub fn random() -> u64 {
    if has_rdrand() {
        loop {
            let (value, ok): (u64, u8);
            // SAFETY: CPUID says that the instruction exists.
            unsafe { asm!("rdrand {}", "setc {}", out(reg) value, out(reg_byte) ok, options(nomem, nostack)) }
            if ok != 0 {
                return value;
            }
        }
    }
    let mut stirred = crate::cpu::rdtsc();
    for _ in 0..4 {
        stirred = (stirred ^ (stirred >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    stirred ^ (stirred >> 29)
}

fn has_rdrand() -> bool {
    __cpuid(1).ecx & (1 << 30) != 0
}

/// A small generator for work that should vary but need not be unpredictable (xorshift64*).
pub struct Random(u64);

impl Random {
    /// A generator that always gives the same numbers for the same seed.
    pub const fn new(seed: u64) -> Random {
        Random(seed | 1)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
