//! What KVM of this kernel offers, and what has to be there.

use std::path::Path;

use kvm_bindings::{
    KVM_CAP_EXT_CPUID, KVM_CAP_SET_GUEST_DEBUG, KVM_CAP_SET_GUEST_DEBUG2, KVM_CAP_SYNC_REGS,
    KVM_CAP_USER_MEMORY, KVM_CAP_VCPU_EVENTS, KVM_CAP_XSAVE, KVM_SYNC_X86_EVENTS, KVM_SYNC_X86_REGS,
};
use kvm_ioctls::Kvm;

use super::Unusable;

/// What no engine on KVM does without: the capability, its name, and what it is for.
const NEEDED: &[(u32, &str, &str)] = &[
    (KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY", "share guest memory"),
    (KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID", "say what its processor has"),
    (KVM_CAP_SET_GUEST_DEBUG, "KVM_CAP_SET_GUEST_DEBUG", "single-step"),
    (KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS", "show pending exceptions"),
    (KVM_CAP_XSAVE, "KVM_CAP_XSAVE", "exchange vector registers"),
];

/// What this host's KVM offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Features {
    /// The vendor module is PVM: CPL 0 to 2 and everything but 64-bit CPL 3 is emulated by the kernel, and CPL 3 cannot be
    /// single-stepped through guest debugging.
    pub(crate) pvm: bool,
    /// Registers and events are exchanged through the shared page.
    pub(crate) sync: bool,
    /// The flags that `KVM_SET_GUEST_DEBUG` takes, 0 where KVM does not say.
    pub(crate) debug_flags: u32,
}

/// What KVM offers, if it is enough.
pub(crate) fn features(kvm: &Kvm) -> Result<Features, Unusable> {
    features_by(|number| kvm.check_extension_raw(u64::from(number)))
}

/// `capability` says what `KVM_CHECK_EXTENSION` does: zero or less for what is not there.
fn features_by(capability: impl Fn(u32) -> i32) -> Result<Features, Unusable> {
    for (number, name, purpose) in NEEDED {
        if capability(*number) <= 0 {
            return Err(Unusable(format!(
                "this kernel's KVM cannot {purpose} ({name} is missing): use a newer kernel, or engine `soft`"
            )));
        }
    }
    let exchanged = (KVM_SYNC_X86_REGS | KVM_SYNC_X86_EVENTS) as i32;
    let capability = |number| capability(number).max(0);
    Ok(Features {
        pvm: is_pvm(),
        sync: capability(KVM_CAP_SYNC_REGS) & exchanged == exchanged,
        debug_flags: capability(KVM_CAP_SET_GUEST_DEBUG2) as u32,
    })
}

/// Whether the vendor module is PVM.
fn is_pvm() -> bool {
    Path::new("/sys/module/kvm_pvm").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_needed_capability_that_is_missing_is_named() {
        for (missing, name, purpose) in NEEDED {
            for says in [0, -1] {
                let Err(Unusable(why)) = features_by(|number| if number == *missing { says } else { 1 })
                else {
                    panic!("{name} is not missed");
                };
                assert_eq!(
                    why,
                    format!(
                        "this kernel's KVM cannot {purpose} ({name} is missing): use a newer kernel, or engine `soft`"
                    )
                );
            }
        }
    }

    #[test]
    fn what_is_only_faster_may_be_missing() {
        let needed = |number| i32::from(NEEDED.iter().any(|(needed, ..)| *needed == number));
        let features = features_by(needed).unwrap();
        assert_eq!((features.sync, features.debug_flags), (false, 0));
        let features = features_by(|_| 5).unwrap();
        assert_eq!((features.sync, features.debug_flags), (true, 5));
        // Registers alone are not enough.
        let features = features_by(|_| 1).unwrap();
        assert!(!features.sync);
    }
}
