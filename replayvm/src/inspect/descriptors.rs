//! GDT, LDT and IDT as they are in memory: segment descriptors (SDM vol. 3, 3.4.5), system descriptors (3.5), gates (6.11, 6.14.1),
//! and the vectors of real mode (vol. 1, 20.1.4).

use std::fmt::Write;

use replayvm_cpu::{Attributes, CpuState, Table, cr0};

use super::{Names, named};
use crate::machine::Machine;

/// Entries of a table that are shown.
const SHOWN_MAX: usize = 256;

/// One entry; its upper half is zero where it has none.
struct Descriptor {
    low: u64,
    high: u64,
}

impl Descriptor {
    fn attributes(&self) -> Attributes {
        Attributes((self.low >> 40 & 0xf0ff) as u16)
    }

    fn base(&self) -> u64 {
        self.low >> 16 & 0xff_ffff | self.low >> 32 & 0xff00_0000 | self.high << 32
    }

    fn limit(&self) -> u32 {
        let limit = (self.low & 0xffff | self.low >> 32 & 0xf_0000) as u32;
        if self.attributes().granular() { limit << 12 | 0xfff } else { limit }
    }

    fn gate_selector(&self) -> u16 {
        (self.low >> 16) as u16
    }

    /// Of the kind of gate that it is: those of 16 bits have 16 bits of it.
    fn gate_offset(&self) -> u64 {
        let wide = self.attributes().kind() & 8 != 0;
        let upper = if wide { self.low >> 32 & 0xffff_0000 } else { 0 };
        self.low & 0xffff | upper | self.high << 32
    }
}

/// The type of a segment or system descriptor, with its privilege and flags.
pub(super) fn type_text(attributes: Attributes, long: bool) -> String {
    let kind = attributes.kind();
    let mut text = if attributes.is_code() {
        let size = match (attributes.long(), attributes.big()) {
            (true, _) => "code64",
            (false, true) => "code32",
            (false, false) => "code16",
        };
        let conforming = if kind & 4 != 0 { " conforming" } else { "" };
        let rights = if kind & 2 != 0 { " execute/read" } else { " execute" };
        format!("{size}{rights}{conforming}{}", accessed(kind))
    } else if attributes.is_code_or_data() {
        let size = if attributes.big() { "data32" } else { "data16" };
        let down = if kind & 4 != 0 { " expand-down" } else { "" };
        let rights = if kind & 2 != 0 { " read/write" } else { " read" };
        format!("{size}{rights}{down}{}", accessed(kind))
    } else {
        system_text(kind, long).to_owned()
    };
    let _ = write!(text, " DPL={}", attributes.dpl());
    if !attributes.present() {
        text.push_str(" not present");
    }
    text
}

fn accessed(kind: u8) -> &'static str {
    if kind & 1 != 0 { " accessed" } else { "" }
}

/// SDM vol. 3, table 3-2.
const fn system_text(kind: u8, long: bool) -> &'static str {
    match (kind, long) {
        (1, false) => "TSS16 available",
        (2, _) => "LDT",
        (3, false) => "TSS16 busy",
        (4, false) => "call gate16",
        (5, false) => "task gate",
        (6, false) => "interrupt gate16",
        (7, false) => "trap gate16",
        (9, false) => "TSS32 available",
        (9, true) => "TSS64 available",
        (11, false) => "TSS32 busy",
        (11, true) => "TSS64 busy",
        (12, false) => "call gate32",
        (12, true) => "call gate64",
        (14, false) => "interrupt gate32",
        (14, true) => "interrupt gate64",
        (15, false) => "trap gate32",
        (15, true) => "trap gate64",
        _ => "reserved",
    }
}

pub(super) fn global(machine: &Machine) -> String {
    let Table { base, limit } = machine.cpu.state.gdtr;
    format!("GDT at {base:#x}, limit {limit:#x}\n{}", segments(machine, base, u64::from(limit), 0))
}

pub(super) fn local(machine: &Machine) -> String {
    let ldtr = &machine.cpu.state.ldtr;
    if ldtr.selector & !3 == 0 || !ldtr.attributes.present() {
        return format!("there is no LDT: LDTR is {:#x}\n", ldtr.selector);
    }
    let (base, limit) = (ldtr.base, ldtr.limit);
    let table = segments(machine, base, u64::from(limit.min(0xffff)), 4);
    format!("LDT {:#x} at {base:#x}, limit {limit:#x}\n{table}", ldtr.selector)
}

/// Null descriptors are left out. `table` is the table indicator of selectors.
fn segments(machine: &Machine, base: u64, limit: u64, table: u64) -> String {
    let long = machine.cpu.state.long_mode();
    let mut lines = Lines::default();
    let mut offset = 0;
    while offset + 7 <= limit {
        let Some(low) = word(machine, base, offset) else {
            lines.end(base.wrapping_add(offset));
            break;
        };
        let mut descriptor = Descriptor { low, high: 0 };
        let attributes = descriptor.attributes();
        // In long mode system descriptors have sixteen bytes, but for those of type 0.
        let is_wide = long && !attributes.is_code_or_data() && attributes.kind() != 0;
        if is_wide && offset + 15 <= limit {
            descriptor.high = word(machine, base, offset + 8).unwrap_or(0) & 0xffff_ffff;
        }
        let selector = offset | table;
        if low != 0 {
            lines.add(&format!("{selector:#06x} {}", describe(&descriptor, long)));
        }
        offset += if is_wide { 16 } else { 8 };
    }
    lines.text()
}

fn describe(descriptor: &Descriptor, long: bool) -> String {
    let attributes = descriptor.attributes();
    let kind = type_text(attributes, long);
    if !attributes.is_code_or_data() && matches!(attributes.kind(), 4..=7 | 12 | 14 | 15) {
        let (selector, offset) = (descriptor.gate_selector(), descriptor.gate_offset());
        return format!("{kind} to {selector:#06x}:{offset:#x}");
    }
    format!("base {:#x} limit {:#x} {kind}", descriptor.base(), descriptor.limit())
}

pub(super) fn interrupts(machine: &Machine, names: Names<'_>) -> String {
    let state = &machine.cpu.state;
    let Table { base, limit } = state.idtr;
    let (name, table) = if state.cr0 & cr0::PE == 0 {
        ("interrupt vectors of real mode", real_vectors(machine, base, limit, names))
    } else {
        ("IDT", gates(machine, base, limit, names))
    };
    format!("{name} at {base:#x}, limit {limit:#x}\n{table}")
}

/// Entries that are all zero are left out.
fn gates(machine: &Machine, base: u64, limit: u16, names: Names<'_>) -> String {
    let state = &machine.cpu.state;
    let long = state.long_mode();
    let bytes = if long { 16 } else { 8 };
    let mut lines = Lines::default();
    for vector in 0..256 {
        let offset = vector * bytes;
        if offset + bytes - 1 > u64::from(limit) {
            break;
        }
        let Some(low) = word(machine, base, offset) else {
            lines.end(base.wrapping_add(offset));
            break;
        };
        let high = if long { word(machine, base, offset + 8).unwrap_or(0) & 0xffff_ffff } else { 0 };
        if low == 0 && high == 0 {
            continue;
        }
        let gate = Descriptor { low, high };
        let attributes = gate.attributes();
        let kind = type_text(attributes, long);
        let selector = gate.gate_selector();
        if attributes.kind() == 5 && !long {
            lines.add(&format!("{vector:#04x} {kind}, task {selector:#06x}"));
            continue;
        }
        let stack = match low >> 32 & 7 {
            ist @ 1.. if long => format!(" IST={ist}"),
            _ => String::new(),
        };
        let target = named(code_address(state, gate.gate_offset()), names);
        lines.add(&format!("{vector:#04x} {kind}{stack} {selector:#06x}:{target}"));
    }
    lines.text()
}

/// Where an offset of a flat code segment is.
fn code_address(state: &CpuState, offset: u64) -> u64 {
    if state.long_mode() { offset } else { offset & 0xffff_ffff }
}

fn real_vectors(machine: &Machine, base: u64, limit: u16, names: Names<'_>) -> String {
    let mut lines = Lines::default();
    for vector in (0..256_u64).take_while(|vector| vector * 4 + 3 <= u64::from(limit)) {
        let mut bytes = [0; 4];
        if machine.read_linear(base.wrapping_add(vector * 4) & 0xffff_ffff, &mut bytes) < bytes.len() {
            lines.end(base.wrapping_add(vector * 4));
            break;
        }
        let [offset, segment] = [&bytes[..2], &bytes[2..]].map(|half| u16::from_le_bytes([half[0], half[1]]));
        if (offset, segment) != (0, 0) {
            let linear = u64::from(segment) * 16 + u64::from(offset);
            lines.add(&format!("{vector:#04x} {segment:04x}:{offset:04x}, linear {}", named(linear, names)));
        }
    }
    lines.text()
}

/// Eight bytes of a table.
fn word(machine: &Machine, base: u64, offset: u64) -> Option<u64> {
    let linear = base.wrapping_add(offset);
    let linear = if machine.cpu.state.long_mode() { linear } else { linear & 0xffff_ffff };
    let mut bytes = [0; 8];
    (machine.read_linear(linear, &mut bytes) == bytes.len()).then(|| u64::from_le_bytes(bytes))
}

/// Lines, not too many.
#[derive(Default)]
struct Lines {
    text: String,
    count: usize,
}

impl Lines {
    fn add(&mut self, line: &str) {
        self.count += 1;
        if self.count <= SHOWN_MAX {
            let _ = writeln!(self.text, "  {line}");
        }
    }

    fn end(&mut self, linear: u64) {
        let _ = writeln!(self.text, "  the table goes on at {linear:#x}, where nothing is mapped");
    }

    fn text(mut self) -> String {
        if let Some(more @ 1..) = self.count.checked_sub(SHOWN_MAX) {
            let _ = writeln!(self.text, "  and {more} more");
        }
        if self.text.is_empty() {
            self.text.push_str("  no entry is in use\n");
        }
        self.text
    }
}
