//! ELF program headers: loadable segments at their physical addresses.

use object::Endianness;
use object::elf::{EM_386, EM_X86_64, FileHeader32, FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};

use super::{BootError, Entry, place};
use crate::machine::Machine;

pub(super) fn load(machine: &mut Machine, image: &[u8]) -> Result<Entry, BootError> {
    match image.get(4) {
        Some(2) => load_class::<FileHeader64<Endianness>>(machine, image, EM_X86_64),
        _ => load_class::<FileHeader32<Endianness>>(machine, image, EM_386),
    }
}

fn load_class<H: FileHeader<Endian = Endianness>>(
    machine: &mut Machine,
    image: &[u8],
    architecture: object::elf::Machine,
) -> Result<Entry, BootError> {
    let wrong = |error: object::read::Error| BootError::Elf(error.to_string());
    let header = H::parse(image).map_err(wrong)?;
    let endian = header.endian().map_err(wrong)?;
    if header.e_machine(endian) != architecture {
        return Err(BootError::Elf(format!(
            "it is for another processor (e_machine {})",
            header.e_machine(endian).0
        )));
    }
    let mut end = 0;
    for segment in header.program_headers(endian, image).map_err(wrong)? {
        if segment.p_type(endian) != PT_LOAD || segment.p_memsz(endian).into() == 0 {
            continue;
        }
        let bytes = segment
            .data(endian, image)
            .map_err(|()| BootError::Elf("a segment lies outside the file".to_owned()))?;
        let gpa: u64 = segment.p_paddr(endian).into();
        end = end.max(place(machine, "an ELF segment", gpa, bytes, segment.p_memsz(endian).into())?);
    }
    if end == 0 {
        return Err(BootError::Elf("it has no loadable segment".to_owned()));
    }
    Ok(Entry { address: header.e_entry(endian).into(), end })
}
