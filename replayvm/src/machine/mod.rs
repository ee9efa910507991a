//! The machine: RAM, CPU state, devices, virtual time.
//!
//! A machine is a pure function of its initial state and of the inputs that a session gives it.

/// Loading a guest image and setting the CPU up to enter it.
pub mod boot;
/// Virtual time.
mod clock;
/// Disk images.
mod disk;
/// Pages that are not RAM: what the guest has written to its disks.
mod hidden;
/// Looking at memory.
mod look;
/// The machine around the CPU, as the CPU's bus.
mod platform;
/// Guest RAM.
mod ram;
/// Read-only memory that ends at 4 GiB.
mod rom;
/// Saving and restoring as named, versioned sections; digests.
mod saved;
/// Watched ranges of physical memory.
mod watch;

pub use clock::VirtualClock;
pub use disk::{
    DEFAULT_EMBEDDED_BYTES, DiskError, DiskImage, DiskPaths, MAX_DISK_BYTES, MAX_DISKS, SECTOR_BYTES,
    WrittenPages,
};
pub use hidden::FIRST_HIDDEN_GFN;
pub use platform::{Entropy, ExitFilter, Platform, position};
pub use ram::{GuestRam, MAX_RAM_BYTES, PAGE_BYTES, RamDigest, RamError, WrittenElsewhere};
pub use rom::Rom;
pub use saved::RestoreError;
pub use watch::{Watch, WatchHit, WatchKind, WatchSet};

use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter, Instruction, Mnemonic};
use recorder::{BootKind, MachineDescription, Position};
use replayvm_cpu::{Cpu, CpuModel, CpuState, FeatureError};

use crate::devices::Virtio;
use crate::engine::Breakpoints;

pub use boot::{BootError, GuestImages, Module};

/// Nanoseconds of virtual time that a tick takes unless the description says otherwise.
pub const DEFAULT_NS_PER_TICK: u32 = 10;
/// RAM of a guest that does not ask for more.
pub const DEFAULT_MEMORY_BYTES: u64 = 64 << 20;

/// Why a machine could not be built.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// RAM.
    #[error(transparent)]
    Ram(#[from] RamError),
    /// A disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The guest image.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// Positions are counted by rules that this version does not know.
    #[error("positions are counted by rules version {0} here; this command knows version {known}: use a newer one", known = recorder::RULES_VERSION)]
    Rules(u32),
    /// No virtual time would ever pass.
    #[error("a tick of 0 ns is no tick")]
    TicksTakeNoTime,
    /// Undefined flags follow a profile that this version does not have.
    #[error("the flags profile `{0}` is unknown to this command")]
    FlagsProfile(String),
    /// The description names a CPU model that this version does not have.
    #[error("the CPU model `{0}` is unknown to this command")]
    CpuModel(String),
    /// A change of the model's features that this version cannot make.
    #[error(transparent)]
    CpuFeature(#[from] FeatureError),
}

/// Whether this version can build the machine of a description, which may come from anywhere. Allocates nothing.
///
/// # Errors
/// The first thing in it that this version does not have.
pub fn check(description: &MachineDescription) -> Result<(), MachineError> {
    if description.rules_version != recorder::RULES_VERSION {
        return Err(MachineError::Rules(description.rules_version));
    }
    if description.cpu_model != replayvm_cpu::MODEL {
        return Err(MachineError::CpuModel(description.cpu_model.clone()));
    }
    CpuModel::with_changes(&description.cpu_features)?;
    if description.flags_profile != replayvm_cpu::FLAGS_PROFILE {
        return Err(MachineError::FlagsProfile(description.flags_profile.clone()));
    }
    if description.ns_per_tick == 0 {
        return Err(MachineError::TicksTakeNoTime);
    }
    disk::check(&description.disks)?;
    Ok(GuestRam::check_size(description.memory_bytes)?)
}

/// The number past the last page that the machine of a description has, what is written to its disks included.
#[must_use]
pub fn tracked_pages(description: &MachineDescription) -> u64 {
    GuestRam::pages_tracked(description.memory_bytes, disk::layout(&description.disks).1)
}

/// A whole machine.
#[derive(Debug)]
pub struct Machine {
    /// The CPU: its state is the same whatever engine executes.
    pub cpu: Cpu,
    /// All around the CPU.
    pub platform: Platform,
}

impl Machine {
    /// A machine with nothing loaded: all RAM zero, CPU and devices as after power-on, disks without their images.
    ///
    /// # Errors
    /// The description asks for something that this host or this version does not have.
    pub fn bare(description: &MachineDescription) -> Result<Self, MachineError> {
        check(description)?;
        let (written, hidden_pages) = disk::layout(&description.disks);
        let ram = GuestRam::with_hidden(description.memory_bytes, hidden_pages)?;
        let mut platform = Platform::new(ram, description.ns_per_tick);
        platform.devices.set_memory_size(description.memory_bytes, 0);
        platform.devices.set_virtio(Virtio::new(description, &written));
        if description.boot == BootKind::Firmware {
            platform.devices.enable_firmware_configuration(description.memory_bytes);
        }
        let model = CpuModel::with_changes(&description.cpu_features)?;
        Ok(Self { cpu: Cpu::with_model(CpuState::power_on(), model), platform })
    }

    /// A machine with its guest loaded, ready for its first instruction.
    ///
    /// # Errors
    /// As [`Machine::bare`], or the image does not load.
    pub fn boot(description: &MachineDescription, images: &GuestImages) -> Result<Self, MachineError> {
        let mut machine = Self::bare(description)?;
        boot::load(&mut machine, description, images)?;
        Ok(machine)
    }

    /// Puts the images into the machine's disks, in their order. To be done before it runs.
    ///
    /// # Errors
    /// They are not as many as the disks of `description`.
    pub fn insert_disks(
        &mut self,
        description: &MachineDescription,
        images: &[DiskImage],
    ) -> Result<(), MachineError> {
        let (found, expected) = (images.len(), description.disks.len());
        if found != expected
            || images.iter().zip(&description.disks).any(|(image, disk)| image.disk() != disk)
        {
            return Err(DiskError::Count { found, expected }.into());
        }
        self.platform.devices.set_disk_images(images);
        Ok(())
    }

    /// Reads a disk from `place` on as it is now, as the guest would. Looking changes nothing. `false`: there is no such disk, or not that
    /// much of it.
    #[must_use]
    pub fn read_disk(&self, disk: usize, place: u64, into: &mut [u8]) -> bool {
        self.platform.devices.virtio.read_disk(disk, place, &self.platform.ram, into)
    }

    /// To be called after each step, before anything else looks at the machine: what the step has asked of devices is done now, and
    /// the CPU forgets what it remembers of memory that they have written.
    #[inline(always)]
    pub fn after_step(&mut self) {
        if self.platform.has_requests() {
            self.serve_requests();
        }
    }

    #[cold]
    fn serve_requests(&mut self) {
        if self.platform.serve_requests() {
            self.cpu.state_changed();
        }
    }

    /// Gives a bare machine what belongs to it of a recording's images beside its state: the ROM.
    ///
    /// # Errors
    /// The images are not of such a machine.
    pub fn attach(
        &mut self,
        description: &MachineDescription,
        images: &GuestImages,
    ) -> Result<(), MachineError> {
        Ok(boot::attach(self, description, images)?)
    }

    /// Where the machine is.
    #[inline(always)]
    #[must_use]
    pub fn position(&self) -> Position {
        position(self.cpu.state.now)
    }

    /// Whether the next step executes the instruction at one of these addresses (and does not deliver an event first).
    #[must_use]
    pub fn stops_at(&self, breakpoints: &Breakpoints) -> bool {
        !breakpoints.is_empty()
            && breakpoints.holds(&self.cpu.state)
            && !self.cpu.state.halted
            && !self.cpu.delivers_next(&self.platform)
    }

    /// The instruction at CS:RIP, disassembled (AT&T syntax); empty where no memory is mapped.
    #[must_use]
    pub fn disassemble_next(&self) -> String {
        let mut text = String::new();
        if let Some(instruction) = self.instruction_at(self.cpu.state.rip) {
            GasFormatter::new().format(&instruction, &mut text);
        }
        text
    }

    /// Whether the CPU is in a loop of nothing but NOP, PAUSE and direct JMP, which only an interrupt leaves.
    #[must_use]
    pub fn loops_idly(&self) -> bool {
        let start = self.cpu.state.rip;
        let mut rip = start;
        for _ in 0..replayvm_cpu::STALL_STEPS_KERNEL {
            let Some(instruction) = self.instruction_at(rip) else { return false };
            rip = match instruction.mnemonic() {
                Mnemonic::Nop | Mnemonic::Pause => instruction.next_ip(),
                Mnemonic::Jmp if instruction.is_jmp_short_or_near() => instruction.near_branch_target(),
                _ => return false,
            };
            if rip == start {
                return true;
            }
        }
        false
    }

    /// The instruction at an address of the code segment, if memory is mapped there. Looking changes nothing.
    fn instruction_at(&self, rip: u64) -> Option<Instruction> {
        let state = &self.cpu.state;
        let ram = &self.platform.ram;
        let linear = state.linear_rip().wrapping_sub(state.rip).wrapping_add(rip);
        let rom = &self.platform.rom;
        let read = |gpa| ram.load(gpa).map(u64::from_le_bytes);
        let bytes: Vec<u8> = (0..15)
            .map_while(|n| replayvm_cpu::translate(state, linear.wrapping_add(n), read))
            .map_while(|gpa| ram.load::<1>(gpa).or_else(|| rom.load(gpa)).map(|[byte]| byte))
            .collect();
        let mut decoder = Decoder::with_ip(state.mode().bitness(), &bytes, rip, DecoderOptions::NONE);
        (!bytes.is_empty()).then(|| decoder.decode())
    }

    /// Instructions retired since power-on.
    #[must_use]
    pub fn instructions(&self) -> u64 {
        self.cpu.state.instructions
    }
}
