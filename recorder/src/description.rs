//! What was recorded: the machine, what it booted, and how the run ended.

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};

use crate::{Digest, Position};

/// The version of the rules by which positions and virtual time are counted.
pub const RULES_VERSION: u32 = 1;

/// Everything needed to build the machine of a recording again, but for the bytes of its images.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct MachineDescription {
    /// Bytes of RAM, a multiple of 4096.
    pub memory_bytes: u64,
    /// Nanoseconds of virtual time that a tick takes.
    pub ns_per_tick: u32,
    /// [`RULES_VERSION`] of the recorder.
    pub rules_version: u32,
    /// Name of the CPUID model.
    pub cpu_model: String,
    /// Features added to the model (`+name`) or taken from it (`-name`), in the order given.
    pub cpu_features: Vec<String>,
    /// Name of the profile that undefined flags follow.
    pub flags_profile: String,
    /// How the guest is started.
    pub boot: BootKind,
    /// The guest's command line.
    pub command_line: String,
    /// What the guest is called: a corpora name or the file name of its image.
    pub guest_name: String,
    /// Seed of the session's perturbation, for display: replay never uses it.
    pub seed: u64,
    /// Engine that recorded, for display.
    pub engine: String,
    /// The value at isa-debug-exit that means that the guest's own check passed.
    pub pass_code: u32,
    /// Disks, in the order in which the guest finds them.
    pub disks: Vec<Disk>,
    /// Whether there is an entropy device (virtio-rng).
    pub entropy_device: bool,
}

/// A disk of the machine: what it held at power-on. What the guest has written since belongs to the machine's state.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Disk {
    /// File name of the raw image, without its folder.
    pub name: String,
    /// Where the image lay when the recording was made, for an image that is not in the recording.
    pub path: String,
    /// BLAKE3 of the image.
    pub hash: [u8; 32],
    /// Bytes of the image.
    pub size: u64,
    /// Whether the recording holds the image itself, as [`ImageRole::Disk`].
    pub embedded: bool,
    /// Whether the guest may only read.
    pub read_only: bool,
}

/// How a guest image is loaded and entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
#[non_exhaustive]
pub enum BootKind {
    /// ELF64 entered in long mode, the first 4 GiB identity-mapped.
    Elf64,
    /// ELF32 entered in flat 32-bit protected mode, paging off.
    Elf32,
    /// Multiboot 1.
    Multiboot,
    /// A flat image at 0x7c00 entered in real mode.
    Flat16,
    /// A Linux bzImage, entered by the 64-bit boot protocol.
    LinuxBzImage,
    /// A Linux kernel as ELF (vmlinux), entered by the 64-bit boot protocol.
    LinuxElf,
    /// An ELF file with a PVH note, entered in flat 32-bit protected mode with `hvm_start_info`.
    Pvh,
    /// Firmware that ends below 4 GiB, entered at the reset vector.
    Firmware,
}

/// An image stored in a recording.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Image {
    /// What the image is to the guest.
    pub role: ImageRole,
    /// File name, without its folder, or the corpora name.
    pub name: String,
    /// A module's command line.
    pub command_line: String,
    /// BLAKE3 of the bytes.
    pub hash: [u8; 32],
    /// Bytes.
    pub size: u64,
}

/// What an image is to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ImageRole {
    /// The kernel or program that is entered.
    Kernel,
    /// A multiboot module.
    Module,
    /// The initial RAM disk of a Linux or PVH kernel.
    Initrd,
    /// What a disk held at power-on.
    Disk,
    /// Symbols of the kernel (System.map), for whoever reads the recording.
    Symbols,
}

/// How a recorded run ended.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct End {
    /// Where.
    pub position: Position,
    /// Instructions retired, for display.
    pub instructions: u64,
    /// Digest of the whole machine there.
    pub digest: Digest,
    /// Why.
    pub reason: EndReason,
}

/// Why a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
#[non_exhaustive]
pub enum EndReason {
    /// The guest wrote to isa-debug-exit.
    DebugExit {
        /// The value written.
        code: u32,
    },
    /// The guest reset the machine through a port.
    Reset,
    /// The guest turned the machine off (ACPI S5).
    PowerOff,
    /// A triple fault.
    TripleFault,
    /// The CPU is idle and nothing will ever wake it.
    Hung,
    /// The recording session's limit of ticks was reached.
    TickLimit,
    /// The person recording stopped it.
    Interrupted,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DebugExit { code } => write!(f, "exit code {code:#x}"),
            Self::Reset => f.write_str("reset"),
            Self::PowerOff => f.write_str("power off"),
            Self::TripleFault => f.write_str("triple fault"),
            Self::Hung => f.write_str("hung: the CPU is idle and nothing will wake it"),
            Self::TickLimit => f.write_str("limit of ticks reached"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl Image {
    /// Describes an image of these bytes.
    #[must_use]
    pub fn describe(
        role: ImageRole,
        name: impl Into<String>,
        command_line: impl Into<String>,
        bytes: &[u8],
    ) -> Self {
        let hash = *blake3::hash(bytes).as_bytes();
        Self { role, name: name.into(), command_line: command_line.into(), hash, size: bytes.len() as u64 }
    }
}
