//! As what a debugger is shown the machine: the x86 of 64-, of 32- or of 16-bit code.
//!
//! Debuggers know one architecture at a time, by which they disassemble, name the registers and unwind the stack; the guest
//! changes its own as it boots. A debugger takes what the target description says, and the layout of the registers in
//! packets is that of the description which it has read last: see [`Shown`](crate::architecture::Shown).

use std::cell::Cell;

use object::Architecture as Machine;

/// An architecture, as gdb tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// 64-bit code.
    X86_64,
    /// 32-bit code.
    I386,
    /// 16-bit code.
    I8086,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::X86_64, Self::I386, Self::I8086];

    /// The one for code of so many bits.
    #[must_use]
    pub const fn of_code(bits: u32) -> Self {
        match bits {
            16 => Self::I8086,
            32 => Self::I386,
            _ => Self::X86_64,
        }
    }

    /// The one that an ELF file is for.
    #[must_use]
    pub fn of_elf(bytes: &[u8]) -> Option<Self> {
        match object::File::parse(bytes).map(|file| object::Object::architecture(&file)) {
            Ok(Machine::X86_64 | Machine::X86_64_X32) => Some(Self::X86_64),
            Ok(Machine::I386) => Some(Self::I386),
            _ => None,
        }
    }

    /// Whether its instruction pointer has room for an address.
    #[must_use]
    pub const fn reaches(self, address: u64) -> bool {
        match self {
            Self::X86_64 => true,
            Self::I386 | Self::I8086 => address <= u32::MAX as u64,
        }
    }

    /// As gdb's `set architecture` and the target description call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "i386:x86-64",
            Self::I386 => "i386",
            Self::I8086 => "i8086",
        }
    }
}

/// As what the machine is shown to one client.
#[derive(Debug)]
pub struct Shown {
    /// What the person has asked for; else it is chosen at each reading of the description.
    pub wanted: Option<Architecture>,
    /// What the first description is of, if it is not of the guest's mode.
    first: Option<Architecture>,
    read: Cell<Option<Architecture>>,
}

impl Shown {
    /// To a client that is to read the file `elf`. gdb refuses a file and a description that do not go together, so that the
    /// first description is of the file's architecture, if there is one.
    #[must_use]
    pub fn with_file(elf: Option<&[u8]>) -> Self {
        Self { wanted: None, first: elf.and_then(Architecture::of_elf), read: Cell::new(None) }
    }

    /// What the client takes the machine for: registers have its layout.
    #[must_use]
    pub fn now(&self) -> Architecture {
        self.read.get().unwrap_or(Architecture::X86_64)
    }

    /// The client begins to read the description while the guest runs code of `bits`.
    pub fn begin_reading(&self, bits: u32) {
        let first = self.first.filter(|_| self.read.get().is_none());
        let shown = self.wanted.or(first).unwrap_or(Architecture::of_code(bits));
        self.read.set(Some(shown));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_changes_when_the_description_is_read_and_not_before() {
        let mut shown = Shown::with_file(None);
        assert_eq!(shown.now(), Architecture::X86_64);
        shown.begin_reading(16);
        assert_eq!(shown.now(), Architecture::I8086);
        shown.wanted = Some(Architecture::I386);
        assert_eq!(shown.now(), Architecture::I8086);
        shown.begin_reading(64);
        assert_eq!(shown.now(), Architecture::I386);
        shown.wanted = None;
        shown.begin_reading(64);
        assert_eq!(shown.now(), Architecture::X86_64);
    }

    #[test]
    fn narrow_registers_do_not_reach_the_upper_half() {
        for architecture in Architecture::ALL {
            assert!(architecture.reaches(0xffff_ffff));
            assert_eq!(architecture.reaches(0xffff_ffff_8000_0000), architecture == Architecture::X86_64);
        }
    }

    #[test]
    fn the_first_description_is_that_of_the_file_whatever_mode_the_guest_is_in() {
        let mut elf = [0; 64];
        elf[..20].copy_from_slice(b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0");
        assert_eq!(Architecture::of_elf(&elf), Some(Architecture::I386));
        let shown = Shown::with_file(Some(&elf));
        shown.begin_reading(16);
        assert_eq!(shown.now(), Architecture::I386);
        shown.begin_reading(16);
        assert_eq!(shown.now(), Architecture::I8086);
        assert_eq!(Architecture::of_elf(b"\x7fELF"), None);
    }
}
