//! The walk to one address, entry by entry: entries of page tables and their flags (SDM vol. 3, tables 4-5 to 4-20).

use std::fmt::Write;

use replayvm_cpu::{Entry, cr0};

use super::{Bits, set_names};
use crate::machine::Machine;

const TABLE: Bits = &[(0, "P"), (1, "R/W"), (2, "U/S"), (3, "PWT"), (4, "PCD"), (5, "A"), (63, "XD")];
const PAGE: Bits =
    &[(0, "P"), (1, "R/W"), (2, "U/S"), (3, "PWT"), (4, "PCD"), (5, "A"), (6, "D"), (8, "G"), (63, "XD")];
const LARGE: u32 = 7;
const LARGE_PAT: u32 = 12;

/// Tells of every entry on the walk to a linear address, and where it ends.
#[must_use]
pub fn walk_text(machine: &Machine, linear: u64) -> String {
    let state = &machine.cpu.state;
    let mut text = String::new();
    if state.cr0 & cr0::PG == 0 {
        let _ = writeln!(text, "paging is off: linear addresses are physical");
    } else {
        let _ = writeln!(text, "CR3 {:#x}", state.cr3);
    }
    let walk = machine.walk_tables(linear);
    for entry in walk.entries() {
        let Entry { name, gpa, value, reserved, .. } = *entry;
        let _ = write!(text, "{name:<5} at {gpa:#x}: {value:#018x} {}", flags(entry));
        let _ = match reserved {
            0 => writeln!(text),
            bits => writeln!(text, ", reserved bits set: {bits:#x}"),
        };
    }
    let _ = match walk.end {
        Ok(gpa) => writeln!(text, "{linear:#x} is physical {gpa:#x}, in a page of {}", size(walk.shift)),
        Err(why) => writeln!(text, "{linear:#x} is not mapped: {why}"),
    };
    text
}

fn flags(entry: &Entry) -> String {
    let value = entry.value;
    if value & 1 == 0 {
        // All other bits are the operating system's.
        return "not present".to_owned();
    }
    let is_large = entry.maps && entry.shift != 12;
    let pat = if is_large { LARGE_PAT } else { LARGE };
    let bits = if entry.maps { PAGE } else { TABLE };
    let known = bits.iter().fold(0, |known, (bit, _)| known | 1_u64 << bit);
    let mut names = set_names(value & known, bits);
    if is_large {
        names.push_str(" PS");
    }
    if entry.maps && value >> pat & 1 != 0 {
        names.push_str(" PAT");
    }
    names
}

/// 2 to the power of `shift` bytes, in words.
pub(super) fn size(shift: u32) -> &'static str {
    match shift {
        12 => "4 KiB",
        21 => "2 MiB",
        22 => "4 MiB",
        30 => "1 GiB",
        _ => "no size that pages have",
    }
}
