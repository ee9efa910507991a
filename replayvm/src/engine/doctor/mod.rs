//! Which engines this host can run, and why not.
//!
//! Nothing is believed that can be tried: single-stepping counts as there when three instructions have been stepped in a
//! scratch machine and left what they should.

/// The processor's branch counter.
mod counter;
/// Direct execution, tried.
mod direct;
/// Facts about the processor and KVM.
mod host;
/// Single-stepping, tried.
mod stepping;

pub use counter::BranchCounter;
pub use direct::DirectFacts;
pub use host::{HostFacts, KvmFacts};
pub use stepping::SteppingFacts;

pub(super) use direct::check_direct;
pub(super) use host::host_has_the_flags_profile;
pub(super) use stepping::check_stepping;

use super::ENGINE_NAMES;

/// What the host offers, and what can be done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The host.
    pub host: HostFacts,
    /// The processor's counter of retired conditional branches.
    pub branch_counter: BranchCounter,
    /// Each engine, in the order of [`ENGINE_NAMES`].
    pub engines: Vec<EngineReport>,
}

/// One engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineReport {
    /// Its name.
    pub name: &'static str,
    /// Why it cannot be used and what to do, or else nothing.
    pub problem: Option<String>,
    /// What there is to know about it here.
    pub note: String,
}

/// Looks at this host.
#[must_use]
pub fn doctor() -> Report {
    let processor = host::processor();
    let host = host::host_facts(&processor);
    let branch_counter = counter::branch_counter(&processor);
    let engines = ENGINE_NAMES.iter().map(|&name| engine_report(name, &host)).collect();
    Report { host, branch_counter, engines }
}

fn engine_report(name: &'static str, host: &HostFacts) -> EngineReport {
    let (problem, note) = match name {
        "auto" => {
            let direct = host.kvm.as_ref().is_ok_and(|kvm| kvm.direct.is_ok());
            (None, format!("stands for `{}`", if direct { "kvm" } else { "soft" }))
        }
        "soft" => (None, "the software CPU: exact everywhere, needs nothing of the host".to_owned()),
        "plain" => (None, "the software CPU, one instruction at a time: slow, to check `soft` by".to_owned()),
        "kvm" => match &host.kvm {
            Err(why) => (Some(why.clone()), String::new()),
            Ok(kvm) => match &kvm.direct {
                Err(why) => (Some(format!("{why}; use engine `soft`")), String::new()),
                Ok(direct) => (
                    None,
                    format!(
                        "user code natively ({:.1} instructions a nanosecond, {:.0} us a way in and back), everything else by `soft`; it \
                         counts its ticks itself",
                        direct.instructions_per_second as f64 / 1e9,
                        direct.ns_per_stretch as f64 / 1000.0
                    ),
                ),
            },
        },
        _ => match &host.kvm {
            Err(why) => (Some(why.clone()), String::new()),
            Ok(kvm) => stepping_report(name, host, kvm),
        },
    };
    EngineReport { name, problem, note }
}

fn stepping_report(name: &'static str, host: &HostFacts, kvm: &KvmFacts) -> (Option<String>, String) {
    let mut parts = Vec::new();
    for facts in &kvm.stepping {
        match &facts.ns_per_step {
            Ok(ns) => {
                parts.push(format!("{}: by {}, {:.1} us a step", facts.mode, facts.by, *ns as f64 / 1000.0))
            }
            Err(why) => {
                return (
                    Some(format!("single-stepping {} fails: {why}; use engine `soft`", facts.mode)),
                    String::new(),
                );
            }
        }
    }
    if !host.flags_match {
        parts.push(match name {
            "step" => format!(
                "undefined flags of this processor are not those of profile `{}`: such instructions are left to the software CPU",
                host.flags_profile
            ),
            _ => "undefined flags are not compared".to_owned(),
        });
    }
    (None, parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_names_every_engine_and_soft_is_always_usable() {
        let report = doctor();
        assert_eq!(report.engines.iter().map(|e| e.name).collect::<Vec<_>>(), ENGINE_NAMES);
        assert!(report.engines.iter().any(|e| e.name == "soft" && e.problem.is_none()));
        println!("{report:#?}");
    }
}
