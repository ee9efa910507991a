//! What a session is asked to do.

use recorder::{BootKind, MachineDescription, RULES_VERSION};

use super::Perturbation;
use crate::machine::{DEFAULT_MEMORY_BYTES, DEFAULT_NS_PER_TICK, DiskImage};

/// What a recording session can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of RAM.
    pub memory_bytes: u64,
    /// Nanoseconds of virtual time a tick.
    pub ns_per_tick: u32,
    /// The guest's command line.
    pub command_line: String,
    /// Seed of everything that is left to chance.
    pub seed: u64,
    /// How far chance may go.
    pub perturbation: Perturbation,
    /// Ticks between checkpoints.
    pub checkpoint_ticks: u64,
    /// Ticks after which the run is ended.
    pub limit_ticks: u64,
    /// The value at isa-debug-exit that means that the guest's own check passed.
    pub pass_code: u32,
    /// Until the guest has printed this text, nothing is left to chance and every seed runs alike.
    pub vary_after: Option<String>,
    /// Engine by name.
    pub engine: String,
    /// Whether an idle guest waits in the host's time.
    pub realtime: bool,
    /// Disks, in the order in which the guest finds them.
    pub disks: Vec<DiskImage>,
    /// Whether there is an entropy device; `None`: for guests that are known to find it, which are Linux kernels.
    pub entropy_device: Option<bool>,
    /// Changes of the features that CPUID tells, `+name` or `-name`, in this order.
    pub cpu_features: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            memory_bytes: DEFAULT_MEMORY_BYTES,
            ns_per_tick: DEFAULT_NS_PER_TICK,
            command_line: String::new(),
            seed: 0,
            perturbation: Perturbation::default(),
            checkpoint_ticks: 250_000,
            limit_ticks: 1_000_000_000,
            pass_code: 0x10,
            vary_after: None,
            engine: "soft".to_owned(),
            realtime: false,
            disks: Vec::new(),
            entropy_device: None,
            cpu_features: Vec::new(),
        }
    }
}

impl Settings {
    /// The machine that a recording with these settings describes.
    #[must_use]
    pub fn description(&self, guest_name: &str, boot: BootKind) -> MachineDescription {
        MachineDescription {
            memory_bytes: self.memory_bytes,
            ns_per_tick: self.ns_per_tick,
            rules_version: RULES_VERSION,
            cpu_model: replayvm_cpu::MODEL.to_owned(),
            flags_profile: replayvm_cpu::FLAGS_PROFILE.to_owned(),
            boot,
            command_line: self.command_line.clone(),
            guest_name: guest_name.to_owned(),
            seed: self.seed,
            engine: self.engine.clone(),
            pass_code: self.pass_code,
            disks: self.disks.iter().map(|image| image.disk().clone()).collect(),
            entropy_device: self
                .entropy_device
                .unwrap_or(matches!(boot, BootKind::LinuxBzImage | BootKind::LinuxElf)),
            cpu_features: self.cpu_features.clone(),
        }
    }
}
