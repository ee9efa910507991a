//! Which engines this host can run, and why not.
//!
//! Nothing is believed that can be tried: single-stepping counts as there when three instructions have been stepped in a
//! scratch machine and left what they should.

use std::sync::OnceLock;
use std::time::Instant;

use recorder::Position;
use replayvm_cpu::{Attributes, Cpu, CpuState, FLAGS_PROFILE, Segment, SegmentName, cr0, cr4, efer};

use super::step::vcpu::{self, Unusable};
use super::step::{Stepper, Word};
use super::{Breakpoints, ENGINE_NAMES, Stop};
use crate::machine::{GuestRam, Machine, Platform};

/// What the host offers, and what can be done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The host.
    pub host: HostFacts,
    /// Each engine, in the order of [`ENGINE_NAMES`].
    pub engines: Vec<EngineReport>,
}

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
}

/// Single-stepping in one mode of the CPU, tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SteppingFacts {
    /// The mode, in words.
    pub mode: &'static str,
    /// Who executes there: the processor, or KVM's instruction emulator.
    pub by: &'static str,
    /// Nanoseconds a step, or what went wrong.
    pub ns_per_step: Result<u64, String>,
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
    let host = host_facts();
    let engines = ENGINE_NAMES.iter().map(|&name| engine_report(name, &host)).collect();
    Report { host, engines }
}

fn engine_report(name: &'static str, host: &HostFacts) -> EngineReport {
    let (problem, note) = match name {
        "auto" => (None, "stands for `soft`".to_owned()),
        "soft" => (None, "the software CPU: exact everywhere, needs nothing of the host".to_owned()),
        "plain" => (None, "the software CPU, one instruction at a time: slow, to check `soft` by".to_owned()),
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

fn host_facts() -> HostFacts {
    let (cpu_vendor, cpu_family) = processor();
    let flags_match = host_has_the_flags_profile();
    HostFacts {
        cpu_vendor,
        cpu_family,
        flags_profile: FLAGS_PROFILE,
        flags_match,
        kvm: kvm_facts().map_err(|Unusable(why)| why),
    }
}

fn kvm_facts() -> Result<KvmFacts, Unusable> {
    let kvm = vcpu::open()?;
    let features = vcpu::features(&kvm)?;
    let module = [("pvm", "kvm_pvm"), ("amd", "kvm_amd"), ("intel", "kvm_intel")]
        .into_iter()
        .find(|(_, module)| std::path::Path::new("/sys/module").join(module).exists())
        .map_or("unknown", |(name, _)| name);
    let stepping = SCRATCH_MODES
        .iter()
        .map(|&mode| SteppingFacts {
            mode: mode.words(),
            by: match (features.pvm, mode) {
                (false, _) | (true, ScratchMode::User64) => "the processor",
                (true, _) => "KVM's emulator",
            },
            ns_per_step: try_stepping(mode, TIMED_STEPS).map_err(|Unusable(why)| why),
        })
        .collect();
    Ok(KvmFacts {
        api_version: kvm.get_api_version(),
        module,
        guest_debug: true,
        guest_debug_flags: features.debug_flags,
        sync_regs: features.sync,
        stepping,
    })
}

/// Vendor and family of this processor.
fn processor() -> (String, u32) {
    #[allow(unused_unsafe, reason = "CPUID is safe from some version of the toolchain on")]
    // SAFETY: every x86-64 processor has CPUID with leaves 0 and 1.
    let (leaf0, leaf1) = unsafe { (std::arch::x86_64::__cpuid(0), std::arch::x86_64::__cpuid(1)) };
    let vendor: Vec<u8> = [leaf0.ebx, leaf0.edx, leaf0.ecx].into_iter().flat_map(u32::to_le_bytes).collect();
    let base = (leaf1.eax >> 8) & 0xf;
    let family = if base == 0xf { base + ((leaf1.eax >> 20) & 0xff) } else { base };
    (String::from_utf8_lossy(&vendor).into_owned(), family)
}

/// Whether this processor leaves in undefined flags what [`FLAGS_PROFILE`] says.
pub(super) fn host_has_the_flags_profile() -> bool {
    let (vendor, family) = processor();
    FLAGS_PROFILE == "zen" && vendor == "AuthenticAMD" && family >= 0x17
}

/// Whether this host steps: every mode is tried, until it has once worked in all.
pub(super) fn check_stepping() -> Result<(), Unusable> {
    static WORKS: OnceLock<()> = OnceLock::new();
    if WORKS.get().is_none() {
        for mode in SCRATCH_MODES {
            try_stepping(mode, 1)?;
        }
        WORKS.get_or_init(|| ());
    }
    Ok(())
}

/// Modes that are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScratchMode {
    Kernel64,
    User64,
    Kernel32,
    Real,
}

const SCRATCH_MODES: [ScratchMode; 4] =
    [ScratchMode::Kernel64, ScratchMode::User64, ScratchMode::Kernel32, ScratchMode::Real];

impl ScratchMode {
    fn words(self) -> &'static str {
        match self {
            Self::Kernel64 => "64-bit kernel mode",
            Self::User64 => "64-bit user mode",
            Self::Kernel32 => "32-bit protected mode",
            Self::Real => "real mode",
        }
    }
}

const CODE: u64 = 0x1000;
const DATA: u64 = 0x4000;
const TABLES: u64 = 0x10000;

/// Steps that are timed.
const TIMED_STEPS: u32 = 300;

/// Steps three instructions in a scratch machine (a store, an addition, a jump back), looks at what they left, and times a
/// few more. Returns nanoseconds a step.
fn try_stepping(mode: ScratchMode, timed: u32) -> Result<u64, Unusable> {
    let failed = |what: String| {
        Unusable(format!("single-stepping {} does not work on this host: {what}", mode.words()))
    };
    let mut machine = scratch(mode).map_err(|error| failed(error.to_string()))?;
    let mut stepper = Stepper::unchecked(&machine, Word::Kvm)?;
    let mut run = |machine: &mut Machine, steps: u32| {
        let now = machine.position();
        let until = Position { offset: now.offset + steps, ..now };
        match stepper.run(machine, until, &Breakpoints::default()) {
            Ok(Stop::Reached) => Ok(stepper.statistics),
            Ok(stop) => Err(failed(format!("it stopped with {stop:?}"))),
            Err(error) => Err(failed(error.to_string())),
        }
    };
    let statistics = run(&mut machine, 3)?;
    if statistics.by_kvm != 3 {
        return Err(failed(format!("of 3 instructions KVM executed {} ({statistics})", statistics.by_kvm)));
    }
    let state = &machine.cpu.state;
    let stored = machine.platform.ram.load::<2>(DATA);
    if state.rip != CODE || state.gpr[0] & 0xffff != 0x2468 || stored != Some([0x34, 0x12]) {
        return Err(failed(format!(
            "RIP {:#x}, AX {:#x}, memory {stored:?} afterwards",
            state.rip, state.gpr[0]
        )));
    }
    #[allow(clippy::disallowed_methods, reason = "how fast this host is, for a person to read")]
    let began = Instant::now();
    run(&mut machine, timed)?;
    #[allow(clippy::disallowed_methods, reason = "how fast this host is, for a person to read")]
    Ok(began.elapsed().as_nanos() as u64 / u64::from(timed.max(1)))
}

/// A machine of one megabyte in the mode given.
fn scratch(mode: ScratchMode) -> Result<Machine, crate::machine::RamError> {
    let mut ram = GuestRam::new(1 << 20)?;
    // MOV [RDI], AX (in real mode [BX]); ADD AX, AX; JMP back.
    let code: &[u8] = match mode {
        ScratchMode::Real => &[0x89, 0x07, 0x01, 0xc0, 0xeb, 0xfa],
        _ => &[0x66, 0x89, 0x07, 0x66, 0x01, 0xc0, 0xeb, 0xf8],
    };
    ram.write_slice(CODE, code)?;
    for (slot, entry) in [(0, TABLES + 0x1067), (0x1000, TABLES + 0x2067), (0x2000, 0xe7)] {
        ram.write_slice(TABLES + slot, &u64::to_le_bytes(entry))?;
    }
    let mut state = CpuState::power_on();
    state.rip = CODE;
    state.gpr[0] = 0x1234;
    state.gpr[3] = DATA;
    state.gpr[7] = DATA;
    state.gpr[4] = 0x8000;
    let ring = if mode == ScratchMode::User64 { 3 } else { 0 };
    let (code, data, limit) = match mode {
        ScratchMode::Real => (0x9b, 0x93, 0xffff),
        ScratchMode::Kernel32 => (0xc09b, 0xc093, u32::MAX),
        ScratchMode::Kernel64 | ScratchMode::User64 => (0xa09b | ring << 5, 0xc093 | ring << 5, u32::MAX),
    };
    for segment in &mut state.segments {
        *segment = Segment { selector: 0x10 | ring, base: 0, limit, attributes: Attributes(data) };
    }
    *state.segment_mut(SegmentName::Cs) =
        Segment { selector: 8 | ring, base: 0, limit, attributes: Attributes(code) };
    match mode {
        ScratchMode::Real => {}
        ScratchMode::Kernel32 => state.cr0 |= cr0::PE,
        ScratchMode::Kernel64 | ScratchMode::User64 => {
            state.cr0 = cr0::PE | cr0::PG | cr0::WP | cr0::ET | cr0::NE;
            state.cr3 = TABLES;
            state.cr4 = cr4::PAE;
            state.efer = efer::LME | efer::LMA;
        }
    }
    let mut platform = Platform::new(ram, 10);
    platform.due_tick = u64::MAX;
    Ok(Machine { cpu: Cpu::new(state), platform })
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
