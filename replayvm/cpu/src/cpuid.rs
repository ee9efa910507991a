//! The processor model `replayvm-v1`: what CPUID says, independent of the host.
//!
//! A change here changes what guests do; recordings name the model, so that a second one would get a name of its own.

use crate::paging::PHYSICAL_BITS;

/// The name of the model.
pub const MODEL: &str = "replayvm-v1";

/// Twelve bytes that no kernel takes for a vendor with quirks.
const VENDOR: [u8; 12] = *b"ReplayvmCPU ";
const BRAND: [u8; 48] = *b"Replayvm virtual CPU, model replayvm-v1\0\0\0\0\0\0\0\0\0";

/// Leaf 1 EDX: fpu de pse tsc msr pae mce cx8 sep mtrr pge cmov pat pse36 clflush fxsr sse sse2.
const FEATURES_EDX: u32 = 1
    | 1 << 2
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 6
    | 1 << 7
    | 1 << 8
    | 1 << 11
    | 1 << 12
    | 1 << 13
    | 1 << 15
    | 1 << 16
    | 1 << 17
    | 1 << 19
    | 1 << 24
    | 1 << 25
    | 1 << 26;
const APIC: u32 = 1 << 9;
/// Leaf 1 ECX: cx16 rdrand.
const FEATURES_ECX: u32 = 1 << 13 | 1 << 30;
/// Leaf 1 ECX, where there is a local APIC: x2apic and TSC deadline.
const APIC_ECX: u32 = 1 << 21 | 1 << 24;
/// Leaf 7 EBX: fsgsbase tsc_adjust smep rdseed smap.
const FEATURES_7: u32 = 1 | 1 << 1 | 1 << 7 | 1 << 18 | 1 << 20;
/// Leaf 8000_0001h EDX: syscall nx 1-GiB-pages rdtscp lm.
const EXTENDED_EDX: u32 = 1 << 11 | 1 << 20 | 1 << 26 | 1 << 27 | 1 << 29;
/// Leaf 8000_0001h ECX: lahf in 64-bit mode.
const EXTENDED_ECX: u32 = 1;
/// The frequency of the time-stamp counter.
const TSC_HZ: u32 = 1_000_000_000;

fn word(bytes: &[u8], i: usize) -> u32 {
    bytes.iter().skip(4 * i).take(4).rev().fold(0, |word, &byte| word << 8 | u32::from(byte))
}

/// EAX, EBX, ECX, EDX of a leaf. `apic_base` is IA32_APIC_BASE, `None` in a machine without a local APIC.
#[must_use]
pub fn cpuid(leaf: u32, subleaf: u32, apic_base: Option<u64>) -> [u32; 4] {
    match leaf {
        0 => [0x15, word(&VENDOR, 0), word(&VENDOR, 2), word(&VENDOR, 1)],
        1 => {
            let enabled = apic_base.is_some_and(|base| base & 1 << 11 != 0);
            // Family 6, model 1, stepping 1; cache lines of 64 bytes; one processor, APIC 0.
            [
                0x611,
                8 << 8 | 1 << 16,
                FEATURES_ECX | if apic_base.is_some() { APIC_ECX } else { 0 },
                FEATURES_EDX | if enabled { APIC } else { 0 },
            ]
        }
        7 if subleaf == 0 => [0, FEATURES_7, 0, 0],
        0x15 => [1, 1, TSC_HZ, 0],
        0x8000_0000 => [0x8000_0008, 0, 0, 0],
        0x8000_0001 => [0, 0, EXTENDED_ECX, EXTENDED_EDX],
        0x8000_0002..=0x8000_0004 => {
            let first = (leaf - 0x8000_0002) as usize * 4;
            std::array::from_fn(|i| word(&BRAND, first + i))
        }
        // The time-stamp counter never stops or changes pace.
        0x8000_0007 => [0, 0, 0, 1 << 8],
        0x8000_0008 => [PHYSICAL_BITS | 48 << 8, 0, 0, 0],
        _ => [0; 4],
    }
}
