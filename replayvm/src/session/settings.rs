//! What a session is asked to do.

use recorder::{BootKind, MachineDescription, RULES_VERSION};

use super::Perturbation;
use crate::machine::{DEFAULT_MEMORY_BYTES, DEFAULT_NS_PER_TICK};

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
    /// Engine by name.
    pub engine: String,
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
            engine: "soft".to_owned(),
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
            disks: Vec::new(),
            entropy_device: false,
            cpu_features: self.cpu_features.clone(),
        }
    }
}
