//! Loading a guest image and setting the CPU up to enter it.

/// ACPI tables.
mod acpi;
/// ELF program headers.
mod elf;
/// The state of the CPU at each kind of entry.
mod entry;
/// Firmware, from the reset vector.
mod firmware;
/// Flat 16-bit images.
mod flat;
/// Linux by its 64-bit boot protocol.
mod linux;
/// The memory map that a guest is told.
mod map;
/// Multiboot 1.
mod multiboot;
/// PVH.
mod pvh;

use recorder::{BootKind, MachineDescription};

use super::{Machine, RamError};

/// A file that a multiboot kernel is given beside itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name, for display.
    pub name: String,
    /// Its command line.
    pub command_line: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What a guest is booted from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GuestImages {
    /// The image that is entered.
    pub kernel: Vec<u8>,
    /// Multiboot modules.
    pub modules: Vec<Module>,
    /// The initial RAM disk of a Linux or PVH kernel.
    pub initrd: Option<Vec<u8>>,
}

/// Why an image does not boot.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// Nothing that we can enter.
    #[error(
        "not a guest image: neither a Linux bzImage nor an ELF file nor a multiboot kernel nor a boot sector (0x55 0xaa at offset 510) nor firmware (64 KiB pieces with a far jump at the reset vector)"
    )]
    Unknown,
    /// A damaged or foreign ELF file.
    #[error("the ELF file cannot be used: {0}")]
    Elf(String),
    /// A multiboot header that cannot be honoured.
    #[error("the multiboot header cannot be honoured: {0}")]
    Multiboot(String),
    /// A Linux kernel that cannot be booted.
    #[error("the Linux kernel cannot be booted: {0}")]
    Linux(String),
    /// The initial RAM disk does not fit between the end of the kernel and the highest address that the kernel takes.
    #[error(
        "the initial RAM disk of {size:#x} bytes needs memory up to {end:#x}, but it must end by {top:#x}: give the machine more with --memory"
    )]
    Initrd {
        /// Its bytes.
        size: u64,
        /// Where it would end, right behind the kernel.
        end: u64,
        /// Where it has to end.
        top: u64,
    },
    /// An initial RAM disk for something other than a Linux or PVH kernel.
    #[error("only a Linux or PVH kernel takes an initial RAM disk")]
    NoInitrd,
    /// The image does not fit.
    #[error(
        "{what} needs memory up to {end:#x}, but the machine has {ram_bytes:#x} bytes: give it more with --memory"
    )]
    TooLarge {
        /// What does not fit.
        what: &'static str,
        /// First byte past it.
        end: u64,
        /// What there is.
        ram_bytes: u64,
    },
    /// Parts of the image lie where the boot information goes.
    #[error("{what} at {gpa:#x} lies below 0x10000, where the boot information goes")]
    LowMemory {
        /// What.
        what: &'static str,
        /// Where.
        gpa: u64,
    },
    /// Modules for something other than a multiboot kernel.
    #[error("only a multiboot kernel takes modules")]
    Modules,
    /// A command line that is too long.
    #[error("the command line is longer than the {limit} bytes that the guest takes")]
    CommandLine {
        /// The limit.
        limit: usize,
    },
    /// More devices than ACPI's tables have room for.
    #[error("the machine has more devices than its ACPI tables have room for")]
    Acpi,
    /// A store outside RAM.
    #[error(transparent)]
    Ram(#[from] RamError),
}

/// How an image wants to be entered.
///
/// # Errors
/// Nothing is recognised.
pub fn detect(image: &[u8]) -> Result<BootKind, BootError> {
    if multiboot::find_header(image).is_some() {
        return Ok(BootKind::Multiboot);
    }
    match image {
        [0x7f, b'E', b'L', b'F', 2, ..] if pvh::find_entry(image).is_some() => Ok(BootKind::Pvh),
        [0x7f, b'E', b'L', b'F', 2, ..] if linux::is_vmlinux(image) => Ok(BootKind::LinuxElf),
        [0x7f, b'E', b'L', b'F', 2, ..] => Ok(BootKind::Elf64),
        [0x7f, b'E', b'L', b'F', 1, ..] => Ok(BootKind::Elf32),
        _ if linux::is_bzimage(image) => Ok(BootKind::LinuxBzImage),
        _ if image.len() >= 512 && image[510..512] == [0x55, 0xaa] => Ok(BootKind::Flat16),
        _ if firmware::is_firmware(image) => Ok(BootKind::Firmware),
        _ => Err(BootError::Unknown),
    }
}

/// Loads the guest and sets the CPU up to enter it.
///
/// # Errors
/// The image is damaged, or does not fit.
pub fn load(
    machine: &mut Machine,
    description: &MachineDescription,
    images: &GuestImages,
) -> Result<(), BootError> {
    if description.boot != BootKind::Multiboot && !images.modules.is_empty() {
        return Err(BootError::Modules);
    }
    if images.initrd.is_some() && !takes_initrd(description.boot) {
        return Err(BootError::NoInitrd);
    }
    match description.boot {
        BootKind::Flat16 => flat::load(machine, &images.kernel),
        BootKind::Multiboot => {
            let entry = multiboot::load_kernel(machine, &images.kernel)?;
            let info = multiboot::write_information(machine, entry.end, description, &images.modules)?;
            entry::protected(machine, entry.address, multiboot::LOADER_MAGIC, info);
            Ok(())
        }
        BootKind::Elf32 => {
            let entry = elf::load(machine, &images.kernel)?;
            let info = multiboot::write_information(machine, entry.end, description, &[])?;
            entry::protected(machine, entry.address, 0, info);
            Ok(())
        }
        BootKind::Elf64 => {
            let entry = elf::load(machine, &images.kernel)?;
            let info = multiboot::write_information(machine, entry.end, description, &[])?;
            entry::long(machine, entry.address, info)
        }
        BootKind::LinuxBzImage => linux::load_bzimage(machine, description, images),
        BootKind::LinuxElf => linux::load_vmlinux(machine, description, images),
        BootKind::Pvh => pvh::load(machine, description, images),
        BootKind::Firmware => firmware::load(machine, &images.kernel),
        _ => Err(BootError::Unknown),
    }
}

/// Gives a bare machine what is neither RAM nor state.
///
/// # Errors
/// The image is damaged.
pub fn attach(
    machine: &mut Machine,
    description: &MachineDescription,
    images: &GuestImages,
) -> Result<(), BootError> {
    match description.boot {
        BootKind::Firmware => firmware::attach(machine, &images.kernel),
        _ => Ok(()),
    }
}

const fn takes_initrd(boot: BootKind) -> bool {
    matches!(boot, BootKind::LinuxBzImage | BootKind::LinuxElf | BootKind::Pvh)
}

/// Where a loaded image is entered, and where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    address: u64,
    end: u64,
}

/// RAM below this is for boot information: images stay out of it.
const IMAGES_START: u64 = 0x1_0000;

/// Copies a part of an image to where it belongs, zero-filled up to `memory_bytes`.
fn place(
    machine: &mut Machine,
    what: &'static str,
    gpa: u64,
    bytes: &[u8],
    memory_bytes: u64,
) -> Result<u64, BootError> {
    let ram_bytes = machine.platform.ram.bytes();
    let end = gpa.saturating_add(memory_bytes.max(bytes.len() as u64));
    if end > ram_bytes {
        return Err(BootError::TooLarge { what, end, ram_bytes });
    }
    if gpa < IMAGES_START {
        return Err(BootError::LowMemory { what, gpa });
    }
    // RAM is all zero before the image is loaded, so that what follows the bytes needs no store.
    machine.platform.ram.write_slice(gpa, bytes)?;
    Ok(end)
}

#[cfg(test)]
mod tests;
