//! Multiboot 1 (Multiboot Specification 0.6.96): header, load addresses, information structure.

use recorder::MachineDescription;

use super::map::{HIGH_MEMORY, LOW_MEMORY_END, MemoryMap};
use super::{BootError, Entry, Module, elf, place};
use crate::machine::Machine;

const HEADER_MAGIC: u32 = 0x1bad_b002;
/// What EAX holds when the kernel is entered.
pub(super) const LOADER_MAGIC: u32 = 0x2bad_b002;
/// The header lies in the first 8192 bytes.
const SEARCH_BYTES: usize = 8192;

const WANTS_VIDEO: u32 = 1 << 2;
const HAS_ADDRESSES: u32 = 1 << 16;
/// Requirements that we know and meet (page-aligned modules, memory information).
const KNOWN_REQUIREMENTS: u32 = 3;

const INFORMATION: u64 = 0x9000;
const MEMORY_MAP: u64 = 0x9100;
const MODULE_LIST: u64 = 0x9200;
const MODULE_LIMIT: usize = 64;
const STRINGS: u64 = 0xa000;
const STRINGS_LIMIT: usize = 0x5000;

/// The multiboot header: where it is and what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    offset: usize,
    flags: u32,
    /// header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr.
    addresses: [u32; 5],
}

fn word(image: &[u8], offset: usize) -> Option<u32> {
    let bytes = image.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

pub(super) fn find_header(image: &[u8]) -> Option<Header> {
    (0..image.len().min(SEARCH_BYTES)).step_by(4).find_map(|offset| {
        let (magic, flags, checksum) =
            (word(image, offset)?, word(image, offset + 4)?, word(image, offset + 8)?);
        if magic != HEADER_MAGIC || magic.wrapping_add(flags).wrapping_add(checksum) != 0 {
            return None;
        }
        let mut addresses = [0; 5];
        if flags & HAS_ADDRESSES != 0 {
            for (index, address) in addresses.iter_mut().enumerate() {
                *address = word(image, offset + 12 + index * 4)?;
            }
        }
        Some(Header { offset, flags, addresses })
    })
}

pub(super) fn load_kernel(machine: &mut Machine, image: &[u8]) -> Result<Entry, BootError> {
    let header = find_header(image).ok_or(BootError::Unknown)?;
    let unknown = header.flags & 0xffff & !KNOWN_REQUIREMENTS;
    if unknown & WANTS_VIDEO != 0 {
        return Err(BootError::Multiboot("it requires a video mode".to_owned()));
    }
    if unknown != 0 {
        return Err(BootError::Multiboot(format!("it has unknown requirements (flags {unknown:#x})")));
    }
    if header.flags & HAS_ADDRESSES == 0 {
        if image.get(..4) != Some(b"\x7fELF") || image.get(4) != Some(&1) {
            return Err(BootError::Multiboot(
                "without load addresses (flag bit 16) it must be an ELF32 file".to_owned(),
            ));
        }
        return elf::load(machine, image);
    }
    let [header_address, load, load_end, bss_end, entry] = header.addresses;
    let before = header_address
        .checked_sub(load)
        .ok_or_else(|| BootError::Multiboot("load_addr lies above header_addr".to_owned()))?;
    let start = header
        .offset
        .checked_sub(before as usize)
        .ok_or_else(|| BootError::Multiboot("load_addr lies before the start of the file".to_owned()))?;
    let bytes = match load_end {
        0 => &image[start..],
        end => end
            .checked_sub(load)
            .and_then(|size| image.get(start..start.checked_add(size as usize)?))
            .ok_or_else(|| BootError::Multiboot("load_end_addr lies outside the file".to_owned()))?,
    };
    let memory_bytes = match bss_end {
        0 => bytes.len() as u64,
        end => u64::from(
            end.checked_sub(load)
                .ok_or_else(|| BootError::Multiboot("bss_end_addr lies below load_addr".to_owned()))?,
        ),
    };
    let end = place(machine, "the multiboot image", u64::from(load), bytes, memory_bytes)?;
    Ok(Entry { address: u64::from(entry), end })
}

/// Writes the information structure, memory map, command lines and modules; returns its address.
pub(super) fn write_information(
    machine: &mut Machine,
    kernel_end: u64,
    description: &MachineDescription,
    modules: &[Module],
) -> Result<u64, BootError> {
    if modules.len() > MODULE_LIMIT {
        return Err(BootError::Multiboot(format!("at most {MODULE_LIMIT} modules")));
    }
    let ram_bytes = machine.platform.ram.bytes();
    let mut strings = Strings::default();
    let command_line = strings.add(&description.command_line)?;
    let loader_name = strings.add("replayvm")?;

    let mut next = kernel_end.max(HIGH_MEMORY).next_multiple_of(4096);
    let mut list = Vec::new();
    for module in modules {
        let end = place(machine, "a module", next, &module.bytes, 0)?;
        for value in [next as u32, end as u32, strings.add(&module.command_line)?, 0] {
            list.extend_from_slice(&value.to_le_bytes());
        }
        next = end.next_multiple_of(4096);
    }

    let mut map = Vec::new();
    for range in MemoryMap::of(ram_bytes).ranges() {
        map.extend_from_slice(&20_u32.to_le_bytes());
        map.extend_from_slice(&range.base.to_le_bytes());
        map.extend_from_slice(&(range.end - range.base).to_le_bytes());
        map.extend_from_slice(&(range.kind as u32).to_le_bytes());
    }

    const MEMORY: u32 = 1;
    const COMMAND_LINE: u32 = 1 << 2;
    const MODULES: u32 = 1 << 3;
    const MAP: u32 = 1 << 6;
    const LOADER_NAME: u32 = 1 << 9;
    let mut information = [0_u32; 29];
    information[0] = MEMORY | COMMAND_LINE | MODULES | MAP | LOADER_NAME;
    information[1] = (LOW_MEMORY_END / 1024) as u32;
    information[2] = ((ram_bytes - HIGH_MEMORY) / 1024) as u32;
    information[4] = command_line;
    information[5] = modules.len() as u32;
    information[6] = MODULE_LIST as u32;
    information[11] = map.len() as u32;
    information[12] = MEMORY_MAP as u32;
    information[16] = loader_name;

    let ram = &mut machine.platform.ram;
    ram.write_slice(INFORMATION, &information.map(u32::to_le_bytes).concat())?;
    ram.write_slice(MEMORY_MAP, &map)?;
    ram.write_slice(MODULE_LIST, &list)?;
    ram.write_slice(STRINGS, &strings.bytes)?;
    Ok(INFORMATION)
}

/// Zero-terminated strings in low memory.
#[derive(Debug, Default)]
struct Strings {
    bytes: Vec<u8>,
}

impl Strings {
    fn add(&mut self, text: &str) -> Result<u32, BootError> {
        let address = STRINGS + self.bytes.len() as u64;
        if self.bytes.len() + text.len() + 1 > STRINGS_LIMIT {
            return Err(BootError::CommandLine { limit: STRINGS_LIMIT });
        }
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
        Ok(address as u32)
    }
}
