//! Whose rules of entry apply, and the widths that they name.

use std::fs;

/// Whose virtualisation a processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// Intel's, VMX.
    Vmx,
    /// AMD's, SVM.
    Svm,
}

/// What the rules of entry depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Processor {
    /// Whose manual counts.
    pub maker: Maker,
    /// VMX: real mode and protected mode without paging run as they are. Where they do not, KVM makes them virtual-8086 mode.
    pub unrestricted: bool,
    /// Bits of a physical address.
    pub physical_bits: u8,
    /// Bits of a linear address.
    pub linear_bits: u8,
}

impl Processor {
    /// The processor that this runs on, with what KVM makes of it.
    #[must_use]
    pub fn of_this_host() -> Self {
        #[allow(unused_unsafe, reason = "CPUID is safe from some version of the toolchain on")]
        // SAFETY: every x86-64 processor has CPUID with these leaves.
        let (vendor, sizes) =
            unsafe { (std::arch::x86_64::__cpuid(0), std::arch::x86_64::__cpuid(0x8000_0008).eax) };
        // "Auth" of AuthenticAMD, "Hygo" of HygonGenuine.
        let svm = [u32::from_le_bytes(*b"Auth"), u32::from_le_bytes(*b"Hygo")].contains(&vendor.ebx);
        let unrestricted = fs::read_to_string("/sys/module/kvm_intel/parameters/unrestricted_guest");
        Self {
            maker: if svm { Maker::Svm } else { Maker::Vmx },
            unrestricted: unrestricted.map_or(true, |text| text.trim() != "N"),
            physical_bits: sizes as u8,
            linear_bits: (sizes >> 8) as u8,
        }
    }
}
