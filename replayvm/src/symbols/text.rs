//! `System.map` and `/proc/kallsyms`: a line a symbol, address, type letter, name and perhaps a module in brackets.

use super::table::{Kind, Symbol, Table};

/// The symbols of such a text. `None`: it is something else.
pub(super) fn symbols(bytes: &[u8]) -> Option<Table> {
    let mut table = Table::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        let line = std::str::from_utf8(line).ok()?.trim();
        if line.is_empty() {
            continue;
        }
        let mut words = line.split_ascii_whitespace();
        let (Some(address), Some(letter), Some(name)) = (words.next(), words.next(), words.next()) else {
            return None;
        };
        // What comes after the name is its module; other words are prose.
        if words.next().is_some_and(|word| !word.starts_with('[')) || words.next().is_some() {
            return None;
        }
        let (address, letter) = (u64::from_str_radix(address, 16).ok()?, one(letter)?);
        // Undefined ones, and what the kernel does not show to everybody.
        if matches!(letter, b'U') || (address == 0 && letter != b'A' && letter != b'a') {
            continue;
        }
        if !table.push(symbol(address, letter, name)) {
            return None;
        }
    }
    table.sort();
    Some(table)
}

fn one(word: &str) -> Option<u8> {
    match word.as_bytes() {
        [letter] if letter.is_ascii_alphabetic() => Some(*letter),
        _ => None,
    }
}

/// A symbol by the type letter of `nm`.
pub(super) fn symbol(address: u64, letter: u8, name: &str) -> Symbol<'_> {
    let kind = match letter {
        b't' | b'T' | b'w' | b'W' => Kind::Code,
        b'a' | b'A' => Kind::Absolute,
        _ => Kind::Data,
    };
    Symbol { address, size: 0, kind, global: letter.is_ascii_uppercase(), name }
}
