//! The task state: of 64 bits (SDM vol. 3, 7.7), 32 bits (7.2.1) and 16 bits (7.6).

use std::fmt::Write;

use super::descriptors::type_text;
use super::{Names, named};
use crate::machine::Machine;

/// A field: its name, offset and bytes.
type Field = (&'static str, u64, usize);

const FIELDS_64: &[Field] = &[
    ("RSP0", 0x04, 8),
    ("RSP1", 0x0c, 8),
    ("RSP2", 0x14, 8),
    ("IST1", 0x24, 8),
    ("IST2", 0x2c, 8),
    ("IST3", 0x34, 8),
    ("IST4", 0x3c, 8),
    ("IST5", 0x44, 8),
    ("IST6", 0x4c, 8),
    ("IST7", 0x54, 8),
    ("I/O map base", 0x66, 2),
];
const FIELDS_32: &[Field] = &[
    ("previous task", 0x00, 2),
    ("ESP0", 0x04, 4),
    ("SS0", 0x08, 2),
    ("ESP1", 0x0c, 4),
    ("SS1", 0x10, 2),
    ("ESP2", 0x14, 4),
    ("SS2", 0x18, 2),
    ("CR3", 0x1c, 4),
    ("EIP", 0x20, 4),
    ("EFLAGS", 0x24, 4),
    ("ESP", 0x38, 4),
    ("CS", 0x4c, 2),
    ("SS", 0x50, 2),
    ("DS", 0x54, 2),
    ("LDT", 0x60, 2),
    ("I/O map base", 0x66, 2),
];
const FIELDS_16: &[Field] = &[
    ("previous task", 0x00, 2),
    ("SP0", 0x02, 2),
    ("SS0", 0x04, 2),
    ("SP1", 0x06, 2),
    ("SS1", 0x08, 2),
    ("SP2", 0x0a, 2),
    ("SS2", 0x0c, 2),
    ("IP", 0x0e, 2),
    ("FLAGS", 0x10, 2),
    ("SP", 0x1a, 2),
    ("CS", 0x24, 2),
    ("LDT", 0x2a, 2),
];

pub(super) fn text(machine: &Machine, names: Names<'_>) -> String {
    let state = &machine.cpu.state;
    let tr = &state.tr;
    let kind = type_text(tr.attributes, state.long_mode());
    if tr.selector & !3 == 0 {
        return format!("there is no task: TR is {:#x}\n", tr.selector);
    }
    let mut text = format!("TSS {:#x} at {:#x}, limit {:#x}, {kind}\n", tr.selector, tr.base, tr.limit);
    let fields = match (state.long_mode(), tr.attributes.kind() & 8 != 0) {
        (true, _) => FIELDS_64,
        (false, true) => FIELDS_32,
        (false, false) => FIELDS_16,
    };
    for (name, offset, bytes) in fields {
        if offset + *bytes as u64 - 1 > u64::from(tr.limit) {
            let _ = writeln!(text, "  {name:<13} past the limit");
            continue;
        }
        let mut value = [0; 8];
        let linear = tr.base.wrapping_add(*offset);
        if machine.read_linear(linear, &mut value[..*bytes]) < *bytes {
            let _ = writeln!(text, "  {name:<13} not mapped at {linear:#x}");
            continue;
        }
        let _ = writeln!(text, "  {name:<13} {}", named(u64::from_le_bytes(value), names));
    }
    text
}
