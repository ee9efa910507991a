//! Facts about the processor and KVM.

use replayvm_cpu::FLAGS_PROFILE;

use super::direct::{DirectFacts, direct_facts};
use super::stepping::{SteppingFacts, stepping_facts};
use crate::engine::hypervisor::{self, Unusable};

/// Facts about the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// As CPUID tells it, `AuthenticAMD` for example.
    pub cpu_vendor: String,
    /// CPU family.
    pub cpu_family: u32,
    /// The profile of undefined flags that recordings follow.
    pub flags_profile: &'static str,
    /// Whether this processor leaves in undefined flags what the profile does.
    pub flags_match: bool,
    /// KVM, or why it cannot be used: what is missing and what to do.
    pub kvm: Result<KvmFacts, String>,
}

/// Facts about KVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvmFacts {
    /// Always 12.
    pub api_version: i32,
    /// The vendor module: `pvm`, `amd`, `intel`, or `unknown`.
    pub module: &'static str,
    /// KVM_CAP_SET_GUEST_DEBUG.
    pub guest_debug: bool,
    /// KVM_CAP_SET_GUEST_DEBUG2: the flags taken.
    pub guest_debug_flags: u32,
    /// KVM_CAP_SYNC_REGS with registers and events.
    pub sync_regs: bool,
    /// What has been stepped.
    pub stepping: Vec<SteppingFacts>,
    /// What running user code natively came to, or what went wrong.
    pub direct: Result<DirectFacts, String>,
}

pub(super) fn host_facts(processor: &Processor) -> HostFacts {
    let flags_match = host_has_the_flags_profile();
    HostFacts {
        cpu_vendor: processor.vendor.clone(),
        cpu_family: processor.family,
        flags_profile: FLAGS_PROFILE,
        flags_match,
        kvm: kvm_facts().map_err(|Unusable(why)| why),
    }
}

fn kvm_facts() -> Result<KvmFacts, Unusable> {
    let kvm = hypervisor::open()?;
    let features = hypervisor::features(&kvm)?;
    let module = [("pvm", "kvm_pvm"), ("amd", "kvm_amd"), ("intel", "kvm_intel")]
        .into_iter()
        .find(|(_, module)| std::path::Path::new("/sys/module").join(module).exists())
        .map_or("unknown", |(name, _)| name);
    Ok(KvmFacts {
        api_version: kvm.get_api_version(),
        module,
        guest_debug: true,
        guest_debug_flags: features.debug_flags,
        sync_regs: features.sync,
        stepping: stepping_facts(features),
        direct: direct_facts().map_err(|Unusable(why)| why),
    })
}

/// This processor, as CPUID tells it.
pub(super) struct Processor {
    pub(super) vendor: String,
    pub(super) family: u32,
    pub(super) model: u32,
}

/// Asks it (SDM vol. 2, CPUID, figure 3-6).
pub(super) fn processor() -> Processor {
    #[allow(unused_unsafe, reason = "CPUID is safe from some version of the toolchain on")]
    // SAFETY: every x86-64 processor has CPUID with leaves 0 and 1.
    let (leaf0, leaf1) = unsafe { (std::arch::x86_64::__cpuid(0), std::arch::x86_64::__cpuid(1)) };
    let vendor: Vec<u8> = [leaf0.ebx, leaf0.edx, leaf0.ecx].into_iter().flat_map(u32::to_le_bytes).collect();
    let base = (leaf1.eax >> 8) & 0xf;
    let family = if base == 0xf { base + ((leaf1.eax >> 20) & 0xff) } else { base };
    let model = (leaf1.eax >> 4) & 0xf | (leaf1.eax >> 12) & 0xf0;
    Processor { vendor: String::from_utf8_lossy(&vendor).into_owned(), family, model }
}

/// Whether this processor leaves in undefined flags what [`FLAGS_PROFILE`] says.
pub(in crate::engine) fn host_has_the_flags_profile() -> bool {
    let Processor { vendor, family, .. } = processor();
    FLAGS_PROFILE == "zen" && vendor == "AuthenticAMD" && family >= 0x17
}
