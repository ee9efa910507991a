//! The processor model `replayvm-v2`: what CPUID says, independent of the host. It is x86-64-v2 and what else the CPU has.
//!
//! A change here changes what guests do; recordings name the model, so that a second one would get a name of its own.
//! What CPUID says is not what the CPU does: an instruction whose feature is taken away still executes.

use crate::paging::PHYSICAL_BITS;

/// The name of the model.
pub const MODEL: &str = "replayvm-v2";

/// Twelve bytes that no kernel takes for a vendor with quirks.
const VENDOR: [u8; 12] = *b"ReplayvmCPU ";
const BRAND: [u8; 48] = *b"Replayvm virtual CPU, model replayvm-v2\0\0\0\0\0\0\0\0\0";
/// The frequency of the time-stamp counter.
const TSC_HZ: u32 = 1_000_000_000;

/// A register of a leaf, with features in it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    /// Leaf 1.
    Edx1,
    Ecx1,
    /// Leaf 7, subleaf 0.
    Ebx7,
    /// Leaf 8000_0001h.
    EdxExtended,
    EcxExtended,
    /// Leaf 8000_0007h.
    EdxPower,
}
use Word::{Ebx7, Ecx1, EcxExtended, Edx1, EdxExtended, EdxPower};

const WORDS: usize = 6;

/// A feature that the CPU has: its name in Linux's `/proc/cpuinfo`, and its bit.
struct Feature(&'static str, Word, u8);

/// What the model says it has.
static FEATURES: [Feature; 45] = [
    Feature("fpu", Edx1, 0),
    Feature("de", Edx1, 2),
    Feature("pse", Edx1, 3),
    Feature("tsc", Edx1, 4),
    Feature("msr", Edx1, 5),
    Feature("pae", Edx1, 6),
    Feature("mce", Edx1, 7),
    Feature("cx8", Edx1, 8),
    Feature("apic", Edx1, 9),
    Feature("sep", Edx1, 11),
    Feature("mtrr", Edx1, 12),
    Feature("pge", Edx1, 13),
    Feature("cmov", Edx1, 15),
    Feature("pat", Edx1, 16),
    Feature("pse36", Edx1, 17),
    Feature("clflush", Edx1, 19),
    Feature("mmx", Edx1, 23),
    Feature("fxsr", Edx1, 24),
    Feature("sse", Edx1, 25),
    Feature("sse2", Edx1, 26),
    Feature("pni", Ecx1, 0),
    Feature("ssse3", Ecx1, 9),
    Feature("cx16", Ecx1, 13),
    Feature("sse4_1", Ecx1, 19),
    Feature("sse4_2", Ecx1, 20),
    Feature("x2apic", Ecx1, 21),
    Feature("movbe", Ecx1, 22),
    Feature("popcnt", Ecx1, 23),
    Feature("tsc_deadline_timer", Ecx1, 24),
    Feature("rdrand", Ecx1, 30),
    Feature("fsgsbase", Ebx7, 0),
    Feature("tsc_adjust", Ebx7, 1),
    Feature("smep", Ebx7, 7),
    Feature("rdseed", Ebx7, 18),
    Feature("smap", Ebx7, 20),
    Feature("syscall", EdxExtended, 11),
    Feature("nx", EdxExtended, 20),
    Feature("pdpe1gb", EdxExtended, 26),
    Feature("rdtscp", EdxExtended, 27),
    Feature("lm", EdxExtended, 29),
    Feature("lahf_lm", EcxExtended, 0),
    Feature("abm", EcxExtended, 5),
    Feature("3dnowprefetch", EcxExtended, 8),
    // The counter never stops and never changes its pace: Linux has two names for this.
    Feature("constant_tsc", EdxPower, 8),
    Feature("nonstop_tsc", EdxPower, 8),
];

/// What the CPU has or can claim as well, and the model does not say unless it is asked to.
static EXTRA: [Feature; 2] = [Feature("hypervisor", Ecx1, 31), Feature("erms", Ebx7, 9)];

/// Names of Linux's for what the CPU does not have, so that a mistake and a wish get different answers.
static ABSENT: [&str; 46] = [
    "vme",
    "mca",
    "ss",
    "ht",
    "acpi",
    "pclmulqdq",
    "monitor",
    "vmx",
    "svm",
    "fma",
    "pcid",
    "aes",
    "xsave",
    "osxsave",
    "xsaveopt",
    "xsavec",
    "xsaves",
    "avx",
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512cd",
    "avx512dq",
    "avx512vl",
    "f16c",
    "bmi1",
    "bmi2",
    "hle",
    "rtm",
    "invpcid",
    "adx",
    "clflushopt",
    "clwb",
    "sha_ni",
    "umip",
    "pku",
    "la57",
    "rdpid",
    "fsrm",
    "mmxext",
    "fxsr_opt",
    "3dnow",
    "3dnowext",
    "sse4a",
    "misalignsse",
];

/// A wish about features that cannot be met. The words come from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeatureError {
    /// Neither `+name` nor `-name`.
    Sign(String),
    /// Nobody calls a feature so.
    Unknown(String),
    /// The CPU does not have it.
    Absent(String),
}

impl std::fmt::Display for FeatureError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sign(word) => write!(
                f,
                "`{}` is no change of a CPU feature: `+name` adds one, `-name` takes one away",
                word.escape_debug()
            ),
            Self::Unknown(name) => write!(
                f,
                "there is no CPU feature `{}` (names are those of Linux's /proc/cpuinfo)",
                name.escape_debug()
            ),
            Self::Absent(name) => {
                write!(f, "the CPU does not have the feature `{}`: it is {MODEL}", name.escape_debug())
            }
        }
    }
}

impl std::error::Error for FeatureError {}

/// What CPUID says: the model, and what has been added to it and taken from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuModel {
    words: [u32; WORDS],
}

impl Default for CpuModel {
    fn default() -> Self {
        let mut model = Self { words: [0; WORDS] };
        FEATURES.iter().for_each(|feature| model.set(feature, true));
        model
    }
}

impl CpuModel {
    /// [`MODEL`] with changes, `+name` or `-name`, made in the order given.
    ///
    /// # Errors
    /// The first change that is not one, or that asks for what the CPU does not have. Taking away what it does not have
    /// anyway is no error.
    pub fn with_changes<S: AsRef<str>>(changes: &[S]) -> Result<Self, FeatureError> {
        let mut model = Self::default();
        for change in changes {
            let change = change.as_ref();
            let (on, name) = match (change.strip_prefix('+'), change.strip_prefix('-')) {
                (Some(name), _) => (true, name),
                (_, Some(name)) => (false, name),
                _ => return Err(FeatureError::Sign(change.to_owned())),
            };
            match FEATURES.iter().chain(&EXTRA).find(|feature| feature.0 == name) {
                Some(feature) => model.set(feature, on),
                None if !ABSENT.contains(&name) => return Err(FeatureError::Unknown(name.to_owned())),
                None if on => return Err(FeatureError::Absent(name.to_owned())),
                None => {}
            }
        }
        Ok(model)
    }

    fn set(&mut self, &Feature(_, word, bit): &Feature, on: bool) {
        let word = &mut self.words[word as usize];
        *word = *word & !(1 << bit) | u32::from(on) << bit;
    }

    fn word(&self, word: Word) -> u32 {
        self.words[word as usize]
    }

    /// EAX, EBX, ECX, EDX of a leaf. `apic_base` is IA32_APIC_BASE, `None` in a machine without a local APIC.
    #[must_use]
    pub fn cpuid(&self, leaf: u32, subleaf: u32, apic_base: Option<u64>) -> [u32; 4] {
        match leaf {
            0 => [0x15, chunk(&VENDOR, 0), chunk(&VENDOR, 2), chunk(&VENDOR, 1)],
            1 => {
                let mut without = [0; 2];
                if apic_base.is_none() {
                    without[0] = X2APIC | TSC_DEADLINE;
                }
                // The guest can switch it off.
                if apic_base.is_none_or(|base| base & 1 << 11 == 0) {
                    without[1] = APIC;
                }
                // Family 6, model 1, stepping 1; cache lines of 64 bytes; one processor, APIC 0.
                [0x611, 8 << 8 | 1 << 16, self.word(Ecx1) & !without[0], self.word(Edx1) & !without[1]]
            }
            7 if subleaf == 0 => [0, self.word(Ebx7), 0, 0],
            0x15 => [1, 1, TSC_HZ, 0],
            0x8000_0000 => [0x8000_0008, 0, 0, 0],
            0x8000_0001 => [0, 0, self.word(EcxExtended), self.word(EdxExtended)],
            0x8000_0002..=0x8000_0004 => {
                let first = (leaf - 0x8000_0002) as usize * 4;
                std::array::from_fn(|i| chunk(&BRAND, first + i))
            }
            0x8000_0007 => [0, 0, 0, self.word(EdxPower)],
            0x8000_0008 => [PHYSICAL_BITS | 48 << 8, 0, 0, 0],
            // Leaves 4, 0Bh and 0Dh too: caches and topology are not told, and there is no XSAVE.
            _ => [0; 4],
        }
    }
}

/// Leaf 1 EDX.
const APIC: u32 = 1 << 9;
/// Leaf 1 ECX.
const X2APIC: u32 = 1 << 21;
const TSC_DEADLINE: u32 = 1 << 24;

/// Four bytes of a string.
fn chunk(bytes: &[u8], i: usize) -> u32 {
    bytes.iter().skip(4 * i).take(4).rev().fold(0, |word, &byte| word << 8 | u32::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// IA32_APIC_BASE with the local APIC on.
    const ENABLED: Option<u64> = Some(0xfee0_0900);

    fn features(changes: &[&str]) -> [u32; 2] {
        let [_, _, ecx, edx] = CpuModel::with_changes(changes).unwrap().cpuid(1, 0, ENABLED);
        [ecx, edx]
    }

    #[test]
    fn the_model_has_all_of_x86_64_v2() {
        let [ecx, edx] = features(&[]);
        // cmov cx8 fpu fxsr mmx sse sse2, then pni ssse3 cx16 sse4_1 sse4_2 popcnt.
        let baseline = 1 << 15 | 1 << 8 | 1 | 1 << 24 | 1 << 23 | 1 << 25 | 1 << 26;
        let v2 = 1 | 1 << 9 | 1 << 13 | 1 << 19 | 1 << 20 | 1 << 23;
        assert_eq!((edx & baseline, ecx & v2), (baseline, v2));
        let extended = CpuModel::default().cpuid(0x8000_0001, 0, ENABLED);
        // lahf_lm; syscall lm.
        assert_eq!((extended[2] & 1, extended[3] & (1 << 11 | 1 << 29)), (1, 1 << 11 | 1 << 29));
    }

    #[test]
    fn the_model_has_neither_avx_nor_xsave_nor_monitor() {
        let [ecx, _] = features(&[]);
        assert_eq!(ecx & (1 << 3 | 1 << 12 | 1 << 26 | 1 << 27 | 1 << 28), 0);
        assert_eq!(CpuModel::default().cpuid(0xd, 0, ENABLED), [0; 4]);
    }

    #[test]
    fn changes_change_their_bits_and_no_others() {
        let [ecx, edx] = features(&[]);
        assert_eq!(features(&["-sse4_2"]), [ecx & !(1 << 20), edx]);
        assert_eq!(features(&["-mmx", "-popcnt"]), [ecx & !(1 << 23), edx & !(1 << 23)]);
        assert_eq!(features(&["+hypervisor"]), [ecx | 1 << 31, edx]);
        assert_eq!(features(&["-sse4_2", "+sse4_2", "-avx"]), [ecx, edx]);
    }

    #[test]
    fn a_change_that_cannot_be_made_is_named() {
        let error = |change: &str| CpuModel::with_changes(&["-mmx", change]).unwrap_err();
        assert_eq!(error("mmx"), FeatureError::Sign("mmx".to_owned()));
        assert_eq!(error("+sse3"), FeatureError::Unknown("sse3".to_owned()));
        assert_eq!(error("-"), FeatureError::Unknown(String::new()));
        assert_eq!(error("+avx2"), FeatureError::Absent("avx2".to_owned()));
    }

    #[test]
    fn what_hangs_on_the_local_apic_is_not_there_without_it() {
        let model = CpuModel::default();
        let bits = |base| {
            let [_, _, ecx, edx] = model.cpuid(1, 0, base);
            (ecx & (X2APIC | TSC_DEADLINE), edx & APIC)
        };
        assert_eq!(bits(None), (0, 0));
        assert_eq!(bits(Some(0xfee0_0100)), (X2APIC | TSC_DEADLINE, 0));
        assert_eq!(bits(ENABLED), (X2APIC | TSC_DEADLINE, APIC));
    }

    #[test]
    fn no_name_stands_for_two_things() {
        let mut names: Vec<_> = FEATURES.iter().chain(&EXTRA).map(|feature| feature.0).collect();
        names.extend(ABSENT);
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
