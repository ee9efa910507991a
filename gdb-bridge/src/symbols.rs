//! The names of what is in the guest: an ELF file for the debugger to read, and a table for our own answers. Where they come
//! from is the caller's matter.

use replayvm::symbols::Symbols;

/// The section of an ELF file that names scripts for gdb to run.
const SCRIPTS_SECTION: &[u8] = b".debug_gdb_scripts";

/// The symbols of a guest.
#[derive(Debug, Default)]
pub struct GuestSymbols {
    elf: Option<Vec<u8>>,
    table: Option<Symbols>,
}

impl GuestSymbols {
    /// `elf` is what a debugger is to read; what is no ELF file is left out. It may come out of a recording that somebody has
    /// sent: the scripts that it names for gdb do not run here.
    #[must_use]
    pub fn new(mut elf: Vec<u8>, table: Option<Symbols>) -> Self {
        hide_scripts(&mut elf);
        Self { elf: elf.starts_with(b"\x7fELF").then_some(elf), table }
    }

    /// The ELF file for the debugger.
    #[must_use]
    pub fn elf(&self) -> Option<&[u8]> {
        self.elf.as_deref()
    }

    /// Names and addresses, as the guest has them.
    #[must_use]
    pub fn table(&self) -> Option<&Symbols> {
        self.table.as_ref()
    }
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
