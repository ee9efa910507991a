//! Linux by its 64-bit boot protocol: a bzImage or a vmlinux, an initial RAM disk, a command line, the zero page.
//!
//! Source: Documentation/arch/x86/boot.rst and zero-page.rst of the kernel. A bzImage goes to where it prefers to run, so
//! that its decompressor need not move it away first; a kernel without a 64-bit entry is entered by the 32-bit protocol.

use std::io::Cursor;
use std::mem::size_of;

use linux_loader::loader::bootparam::{boot_e820_entry, boot_params, setup_header};
use linux_loader::loader::{BzImage, KernelLoader};
use object::Endianness;
use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use recorder::MachineDescription;
use vm_memory::{ByteValued, GuestAddress};

use super::map::{HIGH_MEMORY, MemoryMap, place_initrd};
use super::{BootError, GuestImages, acpi, elf, entry};
use crate::machine::Machine;

/// Where the setup header lies in a bzImage and in the zero page.
const HEADER: usize = 0x1f1;
const HEADER_MAGIC: u32 = 0x5372_6448;
const BOOT_FLAG: u16 = 0xaa55;
/// Since 2.05 a kernel says whether it is relocatable, since 2.06 how long its command line may be, since 2.10 where it
/// prefers to be and how much memory it needs, since 2.12 whether it has a 64-bit entry.
const VERSION_RELOCATABLE: u16 = 0x205;
const VERSION_COMMAND_LINE: u16 = 0x206;
const VERSION_INIT_SIZE: u16 = 0x20a;
const VERSION_XLOADFLAGS: u16 = 0x20c;
/// The oldest protocol with a protected-mode kernel at 1 MiB, an initial RAM disk and a command-line pointer.
const VERSION_OLDEST: u16 = 0x202;
const LOADED_HIGH: u8 = 1;
const CAN_USE_HEAP: u8 = 1 << 7;
const HAS_64_BIT_ENTRY: u16 = 1;
/// The 64-bit entry of a bzImage, from its load address.
const ENTRY_64: u64 = 0x200;
/// A boot loader without a number of its own.
const LOADER_UNDEFINED: u8 = 0xff;

const ZERO_PAGE: u64 = 0x9000;
const COMMAND_LINE: u64 = 0x2_0000;
/// Room for it, of which the kernel usually takes 2047 bytes.
const COMMAND_LINE_ROOM: usize = 0x1_0000;
/// What a kernel takes that does not say (before 2.06, and a vmlinux: COMMAND_LINE_SIZE of x86).
const COMMAND_LINE_OLD: usize = 255;
pub(super) const COMMAND_LINE_VMLINUX: usize = 2047;
/// The highest byte of an initial RAM disk, for a kernel that does not say.
const INITRD_MAX: u64 = 0x37ff_ffff;
const INITRD_MAX_VMLINUX: u64 = 0x7fff_ffff;

/// Whether an image has a bzImage's setup header.
pub(super) fn is_bzimage(image: &[u8]) -> bool {
    read_header(image).is_some()
}

/// The setup header, cut to the length that it states; `None` without its magic numbers.
fn read_header(image: &[u8]) -> Option<setup_header> {
    // The byte at 0x201 is the target of a short jump over the header: 0x202 and that is its end.
    let end = 0x202 + usize::from(*image.get(0x201)?);
    let bytes = image.get(HEADER..end)?;
    let mut header = setup_header::default();
    let length = bytes.len().min(size_of::<setup_header>());
    header.as_mut_slice()[..length].copy_from_slice(&bytes[..length]);
    (header.boot_flag == BOOT_FLAG && header.header == HEADER_MAGIC).then_some(header)
}

/// What the loader has to know of a kernel that is in memory.
struct Kernel {
    header: setup_header,
    /// First byte past all that it needs before it has a memory map of its own.
    end: u64,
    entry: u64,
    long: bool,
    command_line_limit: usize,
    initrd_max: u64,
}

/// Loads a bzImage with its initial RAM disk and command line, and sets the CPU up to enter it.
pub(super) fn load_bzimage(
    machine: &mut Machine,
    description: &MachineDescription,
    images: &GuestImages,
) -> Result<(), BootError> {
    let wrong = |why: &str| BootError::Linux(why.to_owned());
    let image = &images.kernel;
    let mut header = read_header(image).ok_or(BootError::Unknown)?;
    let version = header.version;
    if version < VERSION_OLDEST || header.loadflags & LOADED_HIGH == 0 {
        return Err(wrong("its boot protocol is older than 2.02, or it is a zImage"));
    }
    let sectors = if header.setup_sects == 0 { 4 } else { usize::from(header.setup_sects) };
    let setup_bytes = (sectors + 1) * 512;
    let size = image.len().saturating_sub(setup_bytes) as u64;
    // SYSSIZE counts in paragraphs; a file that is shorter was cut off.
    if size == 0 || size < u64::from(header.syssize).saturating_mul(16).saturating_sub(15) {
        return Err(wrong("the file is cut off"));
    }
    let preferred = version >= VERSION_INIT_SIZE && header.relocatable_kernel != 0;
    let load = if preferred { header.pref_address } else { u64::from(header.code32_start) };
    let alignment = u64::from(header.kernel_alignment);
    if load < HIGH_MEMORY
        || version >= VERSION_RELOCATABLE && preferred && alignment != 0 && !load.is_multiple_of(alignment)
    {
        return Err(wrong(&format!("it wants to be loaded at {load:#x}")));
    }
    let needs = if version >= VERSION_INIT_SIZE { u64::from(header.init_size).max(size) } else { size };
    let ram_bytes = machine.platform.ram.bytes();
    let end = load.checked_add(needs).ok_or_else(|| wrong("it has no sensible load address"))?;
    if end > ram_bytes {
        return Err(BootError::TooLarge { what: "the kernel", end, ram_bytes });
    }
    BzImage::load(
        machine.platform.ram.memory(),
        Some(GuestAddress(load)),
        &mut Cursor::new(image),
        Some(GuestAddress(HIGH_MEMORY)),
    )
    .map_err(|error| BootError::Linux(error.to_string()))?;
    machine.platform.ram.device_wrote(load, size);
    header.code32_start = load as u32;

    let long = version >= VERSION_XLOADFLAGS && header.xloadflags & HAS_64_BIT_ENTRY != 0;
    let kernel = Kernel {
        end,
        entry: if long { load + ENTRY_64 } else { load },
        long,
        command_line_limit: match header.cmdline_size as usize {
            limit if version >= VERSION_COMMAND_LINE && limit != 0 => limit,
            _ => COMMAND_LINE_OLD,
        },
        initrd_max: match u64::from(header.initrd_addr_max) {
            max if version >= 0x203 && max != 0 => max,
            _ => INITRD_MAX,
        },
        header,
    };
    enter(machine, description, images, kernel)
}

/// Loads a vmlinux with its initial RAM disk and command line, and sets the CPU up to enter it at its 64-bit entry.
pub(super) fn load_vmlinux(
    machine: &mut Machine,
    description: &MachineDescription,
    images: &GuestImages,
) -> Result<(), BootError> {
    let loaded = elf::load(machine, &images.kernel)?;
    let header = setup_header {
        boot_flag: BOOT_FLAG,
        header: HEADER_MAGIC,
        version: 0x20f,
        kernel_alignment: 0x20_0000,
        ..setup_header::default()
    };
    let kernel = Kernel {
        header,
        end: loaded.end,
        entry: loaded.address,
        long: true,
        command_line_limit: COMMAND_LINE_VMLINUX,
        initrd_max: INITRD_MAX_VMLINUX,
    };
    enter(machine, description, images, kernel)
}

/// Writes a command line of at most `limit` bytes into memory, which is zero behind it; returns where.
pub(super) fn write_command_line(
    machine: &mut Machine,
    command_line: &str,
    limit: usize,
) -> Result<u64, BootError> {
    let limit = limit.min(COMMAND_LINE_ROOM - 1);
    if command_line.len() > limit {
        return Err(BootError::CommandLine { limit });
    }
    machine.platform.ram.write_slice(COMMAND_LINE, command_line.as_bytes())?;
    Ok(COMMAND_LINE)
}

/// Whether an ELF file looks like a vmlinux: it lies in the upper half of the address space and is entered by its physical
/// address.
pub(super) fn is_vmlinux(image: &[u8]) -> bool {
    const KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
    let parse = || {
        let header = FileHeader64::<Endianness>::parse(image).ok()?;
        let endian = header.endian().ok()?;
        let entry = header.e_entry(endian);
        let segments = header.program_headers(endian, image).ok()?;
        let mut loaded = segments.iter().filter(|segment| segment.p_type(endian) == PT_LOAD);
        Some(entry < KERNEL_MAP && loaded.any(|segment| segment.p_vaddr(endian) >= KERNEL_MAP))
    };
    parse().unwrap_or(false)
}

/// Places what the kernel is given, writes the zero page, and sets the CPU up.
fn enter(
    machine: &mut Machine,
    description: &MachineDescription,
    images: &GuestImages,
    kernel: Kernel,
) -> Result<(), BootError> {
    let mut header = kernel.header;
    header.type_of_loader = LOADER_UNDEFINED;
    header.loadflags |= LOADED_HIGH;
    header.loadflags &= !CAN_USE_HEAP;
    header.cmd_line_ptr =
        write_command_line(machine, &description.command_line, kernel.command_line_limit)? as u32;
    header.cmdline_size = kernel.command_line_limit as u32;
    if let Some(initrd) = &images.initrd {
        let placed = place_initrd(machine, initrd, kernel.end, kernel.initrd_max)?;
        header.ramdisk_image = placed as u32;
        header.ramdisk_size = initrd.len() as u32;
    }

    let slots = machine.platform.devices.mmio_slots();
    let acpi_rsdp_addr = acpi::write(machine, &slots)?;
    let mut page = boot_params { hdr: header, acpi_rsdp_addr, ..boot_params::default() };
    let map = MemoryMap::of(machine.platform.ram.bytes());
    for (slot, range) in page.e820_table.iter_mut().zip(map.ranges()) {
        *slot = boot_e820_entry { addr: range.base, size: range.end - range.base, r#type: range.kind as u32 };
    }
    page.e820_entries = map.ranges().len() as u8;
    machine.platform.ram.write_slice(ZERO_PAGE, page.as_slice())?;
    if kernel.long {
        entry::linux_long(machine, kernel.entry, ZERO_PAGE)
    } else {
        entry::linux_protected(machine, kernel.entry, ZERO_PAGE)
    }
}

#[cfg(test)]
mod tests;
