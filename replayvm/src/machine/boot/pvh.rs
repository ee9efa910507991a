//! PVH: an ELF file with a Xen note that names a 32-bit entry, which gets an `hvm_start_info` structure.
//!
//! Source: Xen, docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h. Stock Linux kernels have the note (CONFIG_PVH).

use linux_loader::loader::start_info::{hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info};
use object::Endianness;
use object::elf::{EM_X86_64, FileHeader64, PT_NOTE};
use object::read::elf::{FileHeader, ProgramHeader};
use recorder::MachineDescription;
use vm_memory::ByteValued;

use super::map::{MemoryMap, place_initrd};
use super::{BootError, GuestImages, acpi, elf, entry, linux};
use crate::machine::Machine;

/// `XEN_ELFNOTE_PHYS32_ENTRY`.
const NOTE_PHYS32_ENTRY: u32 = 18;
const MAGIC: u32 = 0x336e_c578;
/// The version with a memory map.
const VERSION: u32 = 1;

const START_INFO: u64 = 0x9000;
const MEMORY_MAP: u64 = 0x9100;
const MODULE_LIST: u64 = 0x9200;

/// The entry that the note of an ELF file names, if it has one.
pub(super) fn find_entry(image: &[u8]) -> Option<u32> {
    let header = FileHeader64::<Endianness>::parse(image).ok()?;
    let endian = header.endian().ok()?;
    if header.e_machine(endian) != EM_X86_64 {
        return None;
    }
    for segment in header.program_headers(endian, image).ok()? {
        if segment.p_type(endian) != PT_NOTE {
            continue;
        }
        let Ok(Some(mut notes)) = segment.notes(endian, image) else { continue };
        while let Ok(Some(note)) = notes.next() {
            if note.name() == b"Xen" && note.n_type(endian).0 == NOTE_PHYS32_ENTRY {
                // Four or eight bytes, of which the low four count.
                return note.desc().first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
            }
        }
    }
    None
}

/// Loads the kernel with its initial RAM disk and command line, and sets the CPU up to enter it.
pub(super) fn load(
    machine: &mut Machine,
    description: &MachineDescription,
    images: &GuestImages,
) -> Result<(), BootError> {
    let address = find_entry(&images.kernel).ok_or(BootError::Unknown)?;
    let loaded = elf::load(machine, &images.kernel)?;
    let cmdline_paddr =
        linux::write_command_line(machine, &description.command_line, linux::COMMAND_LINE_VMLINUX)?;
    let rsdp_paddr = acpi::write(machine, &machine.platform.devices.mmio_slots())?;
    let ram_bytes = machine.platform.ram.bytes();
    let mut modules = Vec::new();
    if let Some(initrd) = &images.initrd {
        let paddr = place_initrd(machine, initrd, loaded.end, ram_bytes)?;
        modules.push(hvm_modlist_entry { paddr, size: initrd.len() as u64, ..hvm_modlist_entry::default() });
    }
    let map = MemoryMap::of(ram_bytes);
    let entries = map.ranges().iter().map(|range| hvm_memmap_table_entry {
        addr: range.base,
        size: range.end - range.base,
        type_: range.kind as u32,
        reserved: 0,
    });
    let entries: Vec<_> = entries.collect();
    let info = hvm_start_info {
        magic: MAGIC,
        version: VERSION,
        nr_modules: modules.len() as u32,
        modlist_paddr: MODULE_LIST,
        cmdline_paddr,
        rsdp_paddr,
        memmap_paddr: MEMORY_MAP,
        memmap_entries: entries.len() as u32,
        ..hvm_start_info::default()
    };
    let ram = &mut machine.platform.ram;
    ram.write_slice(START_INFO, info.as_slice())?;
    for (index, entry) in entries.iter().enumerate() {
        ram.write_slice(MEMORY_MAP + (index * size_of_val(entry)) as u64, entry.as_slice())?;
    }
    for (index, module) in modules.iter().enumerate() {
        ram.write_slice(MODULE_LIST + (index * size_of_val(module)) as u64, module.as_slice())?;
    }
    entry::pvh(machine, address, START_INFO);
    Ok(())
}

#[cfg(test)]
mod tests;
