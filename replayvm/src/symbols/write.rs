//! An ELF file with nothing but symbols (System V ABI, chapter 4), for a debugger.
//!
//! Debuggers ask for the section that an address lies in. So neighbours of one kind share a section without contents,
//! which ends where the next one begins: no two overlap.

use super::table::{Kind, Table};

const HEADER_BYTES: usize = 64;
const SECTION_BYTES: usize = 64;
const SYMBOL_BYTES: usize = 24;
/// More sections than that are one.
const MAX_SECTIONS: usize = 0x8000;
/// The last section reaches so far.
const LAST_BYTES: u64 = 4096;
/// Neighbours that are farther apart are in sections of their own.
const FAR: u64 = 16 << 20;

/// The section of symbols that are in none.
const SHN_ABS: u16 = 0xfff1;
const SHT_SYMTAB: u32 = 2;
const SHT_STRTAB: u32 = 3;
const SHT_NOBITS: u32 = 8;
const SHF_WRITE: u64 = 1;
const SHF_ALLOC: u64 = 2;
const SHF_EXECINSTR: u64 = 4;

/// Section names, each with its place in [`NAMES`].
const NAMES: &[u8] = b"\0.text\0.data\0.symtab\0.strtab\0.shstrtab\0";
const TEXT: u32 = 1;
const DATA: u32 = 7;
const SYMTAB: u32 = 13;
const STRTAB: u32 = 21;
const SHSTRTAB: u32 = 29;

#[derive(Debug, Clone, Copy)]
struct Part {
    kind: Kind,
    start: u64,
    end: u64,
}

/// The sections of symbols that are sorted by address.
fn parts(table: &Table, slide: u64) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for symbol in table.iter().filter(|symbol| symbol.kind != Kind::Absolute) {
        let address = symbol.moved_by(slide).address;
        match parts.last_mut() {
            Some(part) if part.start <= address && address - part.end.min(address) < FAR => {
                // A symbol at the place where a section begins belongs to it, whatever it is.
                if part.kind == symbol.kind || address == part.start {
                    part.end = address;
                } else {
                    part.end = address;
                    parts.push(Part { kind: symbol.kind, start: address, end: address });
                }
            }
            _ => parts.push(Part { kind: symbol.kind, start: address, end: address }),
        }
    }
    let starts: Vec<u64> = parts.iter().skip(1).map(|part| part.start).chain([u64::MAX]).collect();
    for (part, next) in parts.iter_mut().zip(starts) {
        // The last symbol of a section is of unknown length.
        let end = part.end.saturating_add(LAST_BYTES);
        part.end = if next > part.start { end.min(next) } else { part.end };
    }
    if parts.len() > MAX_SECTIONS {
        let start = parts.first().map_or(0, |part| part.start);
        let end = parts.iter().map(|part| part.end).max().unwrap_or(start);
        return vec![Part { kind: Kind::Code, start, end }];
    }
    parts
}

/// The file.
pub(super) fn elf(table: &Table, slide: u64) -> Vec<u8> {
    let parts = parts(table, slide);
    let mut strings = vec![0];
    let mut symbols = vec![0; SYMBOL_BYTES];
    let mut locals = 1;
    // Local symbols come first.
    for global in [false, true] {
        let mut section = 0;
        for symbol in table.iter() {
            let is_absolute = symbol.kind == Kind::Absolute;
            let address = symbol.moved_by(slide).address;
            while !is_absolute
                && parts
                    .get(section + 1)
                    .is_some_and(|next| next.start <= address && parts[section].start < next.start)
            {
                section += 1;
            }
            if symbol.global != global {
                continue;
            }
            locals += u32::from(!global);
            let kind = if symbol.kind == Kind::Code { 2 } else { 1 };
            symbols.extend((strings.len() as u32).to_le_bytes());
            symbols.extend([u8::from(global) << 4 | kind, 0]);
            let index = if is_absolute { SHN_ABS } else { section as u16 + 1 };
            symbols.extend(index.to_le_bytes());
            symbols.extend(address.to_le_bytes());
            symbols.extend(symbol.size.to_le_bytes());
            strings.extend(symbol.name.as_bytes());
            strings.push(0);
        }
    }

    let count = parts.len() + 4;
    let symbols_at = HEADER_BYTES + count * SECTION_BYTES;
    let strings_at = symbols_at + symbols.len();
    let names_at = strings_at + strings.len();
    let mut file = Vec::with_capacity(names_at + NAMES.len());
    file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0"); // 64-bit, little-endian
    file.extend(2_u16.to_le_bytes()); // executable
    file.extend(62_u16.to_le_bytes()); // x86-64
    file.extend(1_u32.to_le_bytes());
    file.extend([0; 16]); // neither an entry nor segments
    file.extend((HEADER_BYTES as u64).to_le_bytes()); // section headers
    file.extend([0; 4]);
    file.extend((HEADER_BYTES as u16).to_le_bytes());
    file.extend([0; 4]);
    file.extend((SECTION_BYTES as u16).to_le_bytes());
    file.extend((count as u16).to_le_bytes());
    file.extend((count as u16 - 1).to_le_bytes());

    let mut header =
        |name: u32, kind: u32, flags: u64, address: u64, at: usize, size: u64, more: (u32, u32, u64)| {
            let (link, info, entry) = more;
            file.extend(name.to_le_bytes());
            file.extend(kind.to_le_bytes());
            for word in [flags, address, at as u64, size] {
                file.extend(word.to_le_bytes());
            }
            file.extend(link.to_le_bytes());
            file.extend(info.to_le_bytes());
            file.extend(1_u64.to_le_bytes());
            file.extend(entry.to_le_bytes());
        };
    header(0, 0, 0, 0, 0, 0, (0, 0, 0));
    for part in &parts {
        let (name, flags) = match part.kind {
            Kind::Code => (TEXT, SHF_ALLOC | SHF_EXECINSTR),
            Kind::Data | Kind::Absolute => (DATA, SHF_ALLOC | SHF_WRITE),
        };
        header(name, SHT_NOBITS, flags, part.start, symbols_at, part.end - part.start, (0, 0, 0));
    }
    let strtab = parts.len() as u32 + 2;
    let more = (strtab, locals, SYMBOL_BYTES as u64);
    header(SYMTAB, SHT_SYMTAB, 0, 0, symbols_at, symbols.len() as u64, more);
    header(STRTAB, SHT_STRTAB, 0, 0, strings_at, strings.len() as u64, (0, 0, 0));
    header(SHSTRTAB, SHT_STRTAB, 0, 0, names_at, NAMES.len() as u64, (0, 0, 0));
    file.extend(symbols);
    file.extend(strings);
    file.extend(NAMES);
    file
}
