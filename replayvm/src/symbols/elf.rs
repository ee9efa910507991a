//! ELF files: their symbol table, and the lines of their DWARF.

use std::sync::Mutex;

use gimli::{EndianArcSlice, RunTimeEndian};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind, SymbolSection};

use super::table::{Kind, Symbol, Table};

/// The symbols of an ELF file. `None`: it is damaged, or too large.
pub(super) fn symbols(bytes: &[u8]) -> Option<Table> {
    let file = object::File::parse(bytes).ok()?;
    let mut table = Table::default();
    for symbol in file.symbols() {
        if symbol.is_undefined() {
            continue;
        }
        let Ok(name) = symbol.name() else { continue };
        let kind = match symbol.kind() {
            _ if symbol.section() == SymbolSection::Absolute => Kind::Absolute,
            SymbolKind::Text => Kind::Code,
            SymbolKind::Data | SymbolKind::Tls => Kind::Data,
            SymbolKind::Unknown | SymbolKind::Label => {
                let section = symbol.section_index().and_then(|index| file.section_by_index(index).ok());
                match section.map(|section| section.kind()) {
                    Some(SectionKind::Text) => Kind::Code,
                    _ => Kind::Data,
                }
            }
            _ => continue,
        };
        let (address, size, global) = (symbol.address(), symbol.size(), symbol.is_global());
        if !table.push(Symbol { address, size, kind, global, name }) {
            return None;
        }
    }
    table.sort();
    Some(table)
}

/// Source lines by address. What has been read is kept, so that only one thread at a time can look.
pub(super) struct SourceLines(Mutex<addr2line::Context<EndianArcSlice<RunTimeEndian>>>);

impl std::fmt::Debug for SourceLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceLines").finish_non_exhaustive()
    }
}

impl SourceLines {
    /// Of an ELF file that has debug information, uncompressed.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let file = object::File::parse(bytes).ok()?;
        file.section_by_name(".debug_info")?;
        let endian = if file.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
        let section = |id: gimli::SectionId| -> Result<_, gimli::Error> {
            let section = file.section_by_name(id.name());
            let plain = section.filter(|section| {
                section.compressed_file_range().is_ok_and(|r| r.format == object::CompressionFormat::None)
            });
            let data = plain.and_then(|section| section.data().ok()).unwrap_or_default();
            Ok(EndianArcSlice::new(data.into(), endian))
        };
        let dwarf = gimli::Dwarf::load(section).ok()?;
        addr2line::Context::from_dwarf(dwarf).ok().map(|context| Self(Mutex::new(context)))
    }

    /// File and line at an address, as the compiler was called.
    pub(super) fn line(&self, address: u64) -> Option<String> {
        let context = self.0.lock().ok()?;
        let found = context.find_location(address).ok()??;
        let file: String = found.file?.chars().filter(|c| !c.is_control()).take(4096).collect();
        Some(match found.line {
            Some(line) => format!("{file}:{line}"),
            None => file,
        })
    }
}
