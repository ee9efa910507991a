//! Names for addresses: of a file that the person has, of the guest's own image, or of the guest's memory.
//!
//! A distribution's kernel comes without symbols, but carries them in itself: the tables from which it prints its own
//! backtraces (`kallsyms`). They are read out of guest memory, so that such a kernel has symbols wherever it was
//! loaded, with no file at all. All of it is untrusted: it is bounded and checked, and at worst there are no symbols.

/// ELF files, read.
mod elf;
/// The tables of a Linux kernel, in memory.
mod kallsyms;
/// Where the symbols of a recording come from.
mod source;
/// Addresses and names.
mod table;
/// `System.map` and `/proc/kallsyms`.
mod text;
/// An ELF file with nothing but symbols, written.
mod write;

pub use source::{Origin, of_machine, of_recording};
pub use table::{Kind, Symbol, Table};

use std::path::PathBuf;

use elf::SourceLines;

/// Why there are no symbols where there should be some.
#[derive(Debug, thiserror::Error)]
pub enum SymbolsError {
    /// The file.
    #[error("cannot read {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is larger than any that is read.
    #[error("{path} is larger than {limit} bytes")]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// There are none in it.
    #[error(
        "{name} has no symbols: an ELF file with a symbol table, a System.map or a copy of /proc/kallsyms is wanted"
    )]
    None {
        /// What was read.
        name: String,
    },
    /// The recording.
    #[error(transparent)]
    Timeline(#[from] crate::timeline::TimelineError),
    /// An image of the recording.
    #[error("an image of the recording cannot be read")]
    Image(#[from] recorder::ReadError),
}

/// A place in the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The name of the symbol, demangled.
    pub name: String,
    /// Bytes from its begin.
    pub offset: u64,
    /// File and line of the source, where that is known.
    pub line: Option<String>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+{:#x}", self.name, self.offset)?;
        match &self.line {
            Some(line) => write!(f, " ({line})"),
            None => Ok(()),
        }
    }
}

/// The symbols of a guest.
#[derive(Debug)]
pub struct Symbols {
    table: Table,
    lines: Option<SourceLines>,
    /// How far the guest runs from where the symbols say.
    slide: u64,
    origin: Origin,
}

impl Symbols {
    /// Reads a file: ELF, `System.map`, or `/proc/kallsyms`. `None`: it has no symbols.
    #[must_use]
    pub fn parse(bytes: &[u8], origin: Origin) -> Option<Self> {
        let (table, lines) = if bytes.starts_with(b"\x7fELF") {
            (elf::symbols(bytes)?, SourceLines::of(bytes))
        } else {
            (text::symbols(bytes)?, None)
        };
        (!table.is_empty()).then_some(Self { table, lines, slide: 0, origin })
    }

    /// The symbols that a Linux kernel keeps in its memory, `ram`, for itself. `translate` gives the physical address of a
    /// linear one, if that is mapped.
    #[must_use]
    pub fn of_kernel_memory(ram: &[u8], translate: impl Fn(u64) -> Option<u64>) -> Option<Self> {
        let table = kallsyms::find(ram, translate)?;
        Some(Self { table, lines: None, slide: 0, origin: Origin::Memory })
    }

    /// How far the guest runs from where the file of its symbols says.
    #[must_use]
    pub fn slide(&self) -> u64 {
        self.slide
    }

    /// Where they come from.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The symbols as the guest has them, by address.
    pub fn iter(&self) -> impl Iterator<Item = Symbol<'_>> {
        self.table.iter().map(|symbol| symbol.moved_by(self.slide))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.table.len()
    }

    /// Where the guest has a symbol of this name, mangled or not.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<u64> {
        self.table.named(name).map(|symbol| symbol.moved_by(self.slide).address)
    }

    /// What the guest has at an address.
    #[must_use]
    pub fn place(&self, address: u64) -> Option<Place> {
        let address = address.wrapping_sub(self.slide);
        let (symbol, offset) = self.table.covering(address)?;
        let line = self.lines.as_ref().and_then(|lines| lines.line(address));
        Some(Place { name: table::demangled(symbol.name), offset, line })
    }

    /// An ELF file with these symbols and nothing else, for a debugger.
    #[must_use]
    pub fn to_elf(&self) -> Vec<u8> {
        write::elf(&self.table, self.slide)
    }

    /// The guest runs elsewhere than the symbols say: its kernel has been moved, so that `anchor` is at `address`.
    fn slide_to(&mut self, anchor: &str, address: u64) {
        /// Kernels are moved by whole pages of 2 MiB, and stay in their 2 GiB of the address space.
        const PAGE: u64 = 2 << 20;
        const RANGE: u64 = 2 << 30;
        let Some(symbol) = self.table.named(anchor) else { return };
        let slide = address.wrapping_sub(symbol.address);
        if slide % PAGE == 0 && (slide < RANGE || slide.wrapping_neg() < RANGE) {
            self.slide = slide;
        }
    }
}

#[cfg(test)]
mod tests;
