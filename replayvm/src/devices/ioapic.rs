//! The I/O APIC at 0xfec00000: 24 pins and their redirection table.
//!
//! Source: Intel 82093AA datasheet (290566), section 3.2. Version 0x11: no EOI register, remote IRR is cleared by the EOI
//! that the local APIC broadcasts, or by making the pin edge-triggered. ISA lines arrive at the pins of their number, but
//! line 0, the timer, at pin 2; pin 0 is the output of the 8259 pair. Line levels are logical: the polarity bits are kept and mean
//! nothing. SMI, INIT and ExtINT entries other than pin 0's are not delivered, but for INIT, which asks for a reset.

use rkyv::{Archive, Deserialize, Serialize};

use super::lapic::{DeliveryMode, Destination, Lapic, Message};
use super::saved::SavedState;

/// What a person sees.
mod inspect;

/// Guest-physical address of the register page.
pub const IOAPIC_BASE: u64 = 0xfec0_0000;
/// Length of the page.
pub(super) const LENGTH: u64 = 0x1000;

const PINS: usize = 24;
/// The pin that is wired to the output of the 8259 pair.
pub(super) const PIC_PIN: u8 = 0;

const SELECT: u64 = 0x00;
const WINDOW: u64 = 0x10;
const REGISTER_ID: u8 = 0;
const REGISTER_VERSION: u8 = 1;
const REGISTER_ARBITRATION: u8 = 2;
const REGISTER_TABLE: u8 = 0x10;
/// Version 0x11, last entry 23.
const VERSION: u32 = 0x0017_0011;
const ID_MASK: u32 = 0x0f00_0000;

const ENTRY_LOGICAL: u64 = 1 << 11;
const ENTRY_REMOTE_IRR: u64 = 1 << 14;
const ENTRY_LEVEL: u64 = 1 << 15;
const ENTRY_MASKED: u64 = 1 << 16;
/// Vector, delivery mode, destination mode, polarity, trigger mode, mask; destination.
const ENTRY_WRITABLE: u64 = 0xff00_0000_0001_afff;

/// The line's pin.
pub(super) fn pin_of_irq(irq: u8) -> Option<u8> {
    match irq {
        0 => Some(2),
        // The cascade reaches no pin.
        2 => None,
        irq @ 1..16 => Some(irq),
        _ => None,
    }
}

/// The saved state.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub(super) struct State {
    select: u8,
    id: u32,
    table: [u64; PINS],
    /// The levels of the pins.
    lines: u32,
}

impl SavedState for State {
    const NAME: &'static str = "ioapic";
    const VERSION: u32 = 1;

    fn validate(&self) -> Result<(), &'static str> {
        if self.id & !ID_MASK != 0 || self.lines >> PINS != 0 {
            return Err("bits that do not exist are set");
        }
        for entry in self.table {
            if entry & !(ENTRY_WRITABLE | ENTRY_REMOTE_IRR) != 0 {
                return Err("a redirection entry has bits that do not exist");
            }
            if entry & ENTRY_REMOTE_IRR != 0 && entry & ENTRY_LEVEL == 0 {
                return Err("an edge-triggered entry waits for an EOI");
            }
        }
        Ok(())
    }
}

/// The I/O APIC.
#[derive(Debug, Clone)]
pub struct Ioapic {
    state: State,
}

impl Ioapic {
    /// All pins masked.
    pub(super) fn new(lines_high: u32) -> Self {
        Self { state: State { select: 0, id: 0, table: [ENTRY_MASKED; PINS], lines: lines_high } }
    }

    pub(super) fn from_state(state: State) -> Self {
        Self { state }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Reads a register of the page; everything but the select and window registers reads zero.
    pub(super) fn read(&self, offset: u64) -> u32 {
        match offset {
            SELECT => u32::from(self.state.select),
            WINDOW => match self.state.select {
                // The arbitration ID is loaded with the ID.
                REGISTER_ID | REGISTER_ARBITRATION => self.state.id,
                REGISTER_VERSION => VERSION,
                select => match self.table_index(select) {
                    Some((pin, false)) => self.state.table[pin] as u32,
                    Some((pin, true)) => (self.state.table[pin] >> 32) as u32,
                    None => 0,
                },
            },
            _ => 0,
        }
    }

    /// Writes a register of the page.
    pub(super) fn write(&mut self, offset: u64, value: u32, lapic: &mut Lapic) {
        match offset {
            SELECT => self.state.select = value as u8,
            WINDOW => match self.state.select {
                REGISTER_ID => self.state.id = value & ID_MASK,
                select => {
                    if let Some((pin, high)) = self.table_index(select) {
                        self.write_entry(pin, high, value);
                        self.service(lapic);
                    }
                }
            },
            _ => {}
        }
    }

    /// Sets the level of a pin. An edge on a masked pin is lost (datasheet, "Interrupt mask").
    pub(super) fn set_line(&mut self, pin: u8, high: bool, lapic: &mut Lapic) {
        let bit = 1u32 << (pin & 31);
        let Some(entry) = self.state.table.get(usize::from(pin)).copied() else { return };
        let rises = high && self.state.lines & bit == 0;
        if high {
            self.state.lines |= bit;
        } else {
            self.state.lines &= !bit;
        }
        if entry & ENTRY_MASKED != 0 {
            return;
        }
        if entry & ENTRY_LEVEL != 0 {
            self.service_pin(usize::from(pin), lapic);
        } else if rises {
            lapic.deliver(message(entry));
        }
    }

    /// Sends what level-triggered pins have waiting.
    pub(super) fn service(&mut self, lapic: &mut Lapic) {
        if self.state.lines == 0 {
            return;
        }
        for pin in 0..PINS {
            self.service_pin(pin, lapic);
        }
    }

    fn service_pin(&mut self, pin: usize, lapic: &mut Lapic) {
        let entry = self.state.table[pin];
        let high = self.state.lines & (1 << pin) != 0;
        let blocked = entry & (ENTRY_MASKED | ENTRY_REMOTE_IRR) != 0;
        if high && !blocked && entry & ENTRY_LEVEL != 0 && lapic.deliver(message(entry)) {
            self.state.table[pin] |= ENTRY_REMOTE_IRR;
        }
    }

    /// The EOI broadcast: entries of this vector may send again.
    pub(super) fn end_of_interrupt(&mut self, vector: u8, lapic: &mut Lapic) {
        for entry in &mut self.state.table {
            if *entry as u8 == vector {
                *entry &= !ENTRY_REMOTE_IRR;
            }
        }
        self.service(lapic);
    }

    /// Whether pin 0 hands the 8259's interrupts on to this CPU.
    pub(super) fn passes_external_interrupts(&self, lapic: &Lapic) -> bool {
        let entry = self.state.table[usize::from(PIC_PIN)];
        let message = message(entry);
        entry & ENTRY_MASKED == 0
            && message.mode == DeliveryMode::External
            && lapic.is_destination(message.destination)
    }

    /// A table register: its pin, and whether it is the high half.
    fn table_index(&self, select: u8) -> Option<(usize, bool)> {
        let index = usize::from(select.checked_sub(REGISTER_TABLE)?);
        (index / 2 < PINS).then_some((index / 2, index % 2 != 0))
    }

    fn write_entry(&mut self, pin: usize, high: bool, value: u32) {
        let entry = &mut self.state.table[pin];
        let written = if high {
            *entry & 0xffff_ffff | u64::from(value) << 32
        } else {
            *entry & !0xffff_ffff | u64::from(value)
        };
        let remote_irr = if written & ENTRY_LEVEL != 0 { *entry & ENTRY_REMOTE_IRR } else { 0 };
        *entry = written & ENTRY_WRITABLE | remote_irr;
    }
}

fn message(entry: u64) -> Message {
    let id = entry >> 56;
    Message {
        vector: entry as u8,
        mode: DeliveryMode::from_bits((entry >> 8) as u32),
        level: entry & ENTRY_LEVEL != 0,
        destination: Destination::from_xapic(id as u8, entry & ENTRY_LOGICAL != 0),
    }
}

#[cfg(test)]
mod tests;
