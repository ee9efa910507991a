//! `replayvm symbols`: the names that a recording has for addresses, listed, looked up, or written for a debugger.

use std::io::Write;

use replayvm::symbols::{self, Kind, Symbols};
use serde::Serialize;

use crate::args;
use crate::failure::{FINE, FOUND, Failure};
use crate::output::{self, grouped};

/// A symbol, as JSON.
#[derive(Debug, Serialize)]
struct Row<'a> {
    address: String,
    kind: &'static str,
    global: bool,
    name: &'a str,
}

/// `replayvm symbols`
pub fn run(arguments: &args::Symbols) -> Result<u8, Failure> {
    let found = symbols::of_recording(&arguments.file, arguments.symbols.as_deref())?;
    let Some(symbols) = found else {
        return Err(Failure::input_text(format!(
            "{} has no symbols: neither an image with some nor a Linux kernel that keeps its own",
            arguments.file.display()
        ))
        .hint("--symbols FILE, with a vmlinux, a System.map or a copy of /proc/kallsyms"));
    };
    if let Some(path) = &arguments.output {
        std::fs::write(path, symbols.to_elf())
            .map_err(|error| Failure::input_text(format!("cannot write {}: {error}", path.display())))?;
        let (count, origin) = (grouped(symbols.count() as u64), symbols.origin());
        println!("{}: {count} symbols of {origin}", path.display());
    }
    match &arguments.find {
        Some(wanted) => find(&symbols, wanted),
        None if arguments.output.is_some() => Ok(FINE),
        None => list(&symbols, arguments.json),
    }
}

fn find(symbols: &Symbols, wanted: &str) -> Result<u8, Failure> {
    let address = match wanted.strip_prefix("0x") {
        Some(hex) => Some(
            u64::from_str_radix(hex, 16)
                .map_err(|_| Failure::input_text(format!("`{wanted}` is neither an address nor a name")))?,
        ),
        None => None,
    };
    match address {
        Some(address) => match symbols.place(address) {
            Some(place) => println!("{address:#x} {place}"),
            None => {
                println!("{address:#x} is at no symbol");
                return Ok(FOUND);
            }
        },
        None => match symbols.address(wanted) {
            Some(address) => println!("{address:#x} {wanted}"),
            None => {
                println!("there is no symbol `{wanted}`");
                return Ok(FOUND);
            }
        },
    }
    Ok(FINE)
}

fn list(symbols: &Symbols, json: bool) -> Result<u8, Failure> {
    let kind = |kind| match kind {
        Kind::Code => "code",
        Kind::Data => "data",
        Kind::Absolute => "absolute",
    };
    if json {
        let rows: Vec<Row<'_>> = symbols
            .iter()
            .map(|symbol| Row {
                address: format!("{:#x}", symbol.address),
                kind: kind(symbol.kind),
                global: symbol.global,
                name: symbol.name,
            })
            .collect();
        output::json(&rows)?;
        return Ok(FINE);
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for symbol in symbols.iter() {
        let letter = match (symbol.kind, symbol.global) {
            (Kind::Code, true) => 'T',
            (Kind::Code, false) => 't',
            (Kind::Data, true) => 'D',
            (Kind::Data, false) => 'd',
            (Kind::Absolute, true) => 'A',
            (Kind::Absolute, false) => 'a',
        };
        if writeln!(out, "{:016x} {letter} {}", symbol.address, symbol.name).is_err() {
            // The reader has seen enough (`| head`).
            break;
        }
    }
    Ok(FINE)
}
