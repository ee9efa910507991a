//! The state of CPU and devices as a person wants to see it: flags by the manual's names, addresses with their symbols.
//!
//! Looking changes nothing: no device notices a read. The guest's tables are untrusted: what is shown of them is bounded. A device
//! tells of itself in a file beside its own (`devices/…/inspect.rs`); page tables have a search of their own
//! ([`MappedRanges`](crate::inspect::MappedRanges)), because listing them may take long.

/// Control registers, segments, model-specific registers.
mod cpu;
/// GDT, LDT, IDT.
mod descriptors;
/// Bits and their names.
mod flags;
/// What is mapped where.
mod ranges;
/// The walk to one address, entry by entry.
mod tables;
/// The task state.
mod task;

pub(crate) use flags::{Bits, set_names};
pub use ranges::{Found, MappedRange, MappedRanges, Rights};
pub use tables::walk_text;

use crate::machine::Machine;

/// Names for addresses.
pub type Names<'n> = &'n dyn Fn(u64) -> Option<String>;

/// What can be told of a machine in one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The pair of 8259A.
    Pic,
    /// The local APIC.
    Apic,
    /// The I/O APIC.
    Ioapic,
    /// The 8254 and port 0x61.
    Pit,
    /// The clock and its CMOS RAM.
    Rtc,
    /// COM1.
    Uart,
    /// The global descriptor table.
    Gdt,
    /// The local descriptor table.
    Ldt,
    /// The interrupt descriptor table.
    Idt,
    /// The task state.
    Tss,
    /// Registers that a debugger does not show, with the names of their bits.
    Cpu,
}

impl Subject {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Pic,
        Self::Apic,
        Self::Ioapic,
        Self::Pit,
        Self::Rtc,
        Self::Uart,
        Self::Gdt,
        Self::Ldt,
        Self::Idt,
        Self::Tss,
        Self::Cpu,
    ];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pic => "pic",
            Self::Apic => "apic",
            Self::Ioapic => "ioapic",
            Self::Pit => "pit",
            Self::Rtc => "rtc",
            Self::Uart => "uart",
            Self::Gdt => "gdt",
            Self::Ldt => "ldt",
            Self::Idt => "idt",
            Self::Tss => "tss",
            Self::Cpu => "cpu",
        }
    }

    /// Tells of it, in lines.
    #[must_use]
    pub fn text(self, machine: &Machine, names: Names<'_>) -> String {
        let devices = &machine.platform.devices;
        let now_ns = machine.platform.clock.ns_at(machine.position().tick);
        match self {
            Self::Pic => devices.pic.inspect(),
            Self::Apic => devices.lapic.inspect(now_ns),
            Self::Ioapic => devices.ioapic.inspect(),
            Self::Pit => devices.pit.inspect(now_ns),
            Self::Rtc => devices.rtc.inspect(now_ns),
            Self::Uart => devices.uart.inspect(),
            Self::Gdt => descriptors::global(machine),
            Self::Ldt => descriptors::local(machine),
            Self::Idt => descriptors::interrupts(machine, names),
            Self::Tss => task::text(machine, names),
            Self::Cpu => cpu::text(machine, names),
        }
    }
}

/// An address and, where it has one, its name.
fn named(address: u64, names: Names<'_>) -> String {
    match names(address) {
        Some(name) => format!("{address:#x} {name}"),
        None => format!("{address:#x}"),
    }
}
