//! The names of what is in the guest: an ELF file for the debugger to read, and a table for our own answers. Where they come
//! from is the caller's matter.

use object::{Object, ObjectSegment};
use replayvm::symbols::Symbols;

/// The section of an ELF file that names scripts for gdb to run.
const SCRIPTS_SECTION: &[u8] = b".debug_gdb_scripts";

/// The symbols of a guest.
#[derive(Debug, Default)]
pub struct GuestSymbols {
    elf: Option<Vec<u8>>,
    /// How far the guest runs from where the file says.
    slide: u64,
    table: Option<Symbols>,
}

impl GuestSymbols {
    /// Of a file, that may have more to tell a debugger than names, and of the names in it as the guest has them. Where the
    /// file is not ELF, or cannot be moved to where the guest runs, a debugger gets an ELF file with the names alone.
    ///
    /// The file may come out of a recording that somebody has sent: the scripts that it names for gdb do not run here.
    #[must_use]
    pub fn new(mut file: Vec<u8>, table: Option<Symbols>) -> Self {
        let slide = table.as_ref().map_or(0, Symbols::slide);
        if is_elf(&file) && (slide == 0 || first_segment(&file).is_some()) {
            hide_scripts(&mut file);
            return Self { elf: Some(file), slide, table };
        }
        Self { elf: table.as_ref().map(Symbols::to_elf), slide: 0, table }
    }

    /// The ELF file for the debugger.
    #[must_use]
    pub fn elf(&self) -> Option<&[u8]> {
        self.elf.as_deref()
    }

    /// How far the guest runs from where the ELF file says.
    #[must_use]
    pub fn slide(&self) -> u64 {
        self.slide
    }

    /// Where the first segment of the ELF file is in a guest that runs elsewhere than the file says.
    #[must_use]
    pub fn first_segment(&self) -> Option<u64> {
        let elf = self.elf().filter(|_| self.slide != 0)?;
        Some(first_segment(elf)?.wrapping_add(self.slide))
    }

    /// Names and addresses, as the guest has them.
    #[must_use]
    pub fn table(&self) -> Option<&Symbols> {
        self.table.as_ref()
    }
}

fn is_elf(file: &[u8]) -> bool {
    file.starts_with(b"\x7fELF")
}

/// Where a file says that its first segment is.
fn first_segment(elf: &[u8]) -> Option<u64> {
    let file = object::File::parse(elf).ok()?;
    file.segments().next().map(|segment| segment.address())
}

/// Gives the section that names scripts another name.
fn hide_scripts(elf: &mut [u8]) {
    let mut at = 0;
    while let Some(dot) = elf.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'.')) {
        at += dot + 1;
        let name = elf.get_mut(at..at + SCRIPTS_SECTION.len() - 1);
        if let Some(name) = name.filter(|name| **name == SCRIPTS_SECTION[1..]) {
            name.fill(b'x');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_that_a_recording_s_image_names_are_not_found() {
        let hidden = |text: &[u8]| {
            let mut bytes = text.to_vec();
            hide_scripts(&mut bytes);
            bytes
        };
        assert_eq!(hidden(b"a\0.debug_gdb_scripts\0b"), b"a\0.xxxxxxxxxxxxxxxxx\0b");
        assert_eq!(hidden(b"..debug_gdb_scripts"), b"..xxxxxxxxxxxxxxxxx");
        assert_eq!(hidden(b".debug_gdb_script"), b".debug_gdb_script");
        assert_eq!(hidden(b""), b"");
    }

    #[test]
    fn an_image_that_is_no_elf_file_is_nothing_for_a_debugger() {
        assert_eq!(GuestSymbols::new(b"\x55\xaa".to_vec(), None).elf(), None);
        assert_eq!(GuestSymbols::new(b"\x7fELF".to_vec(), None).elf(), Some(&b"\x7fELF"[..]));
    }
}
