//! What a person sees of the I/O APIC: its redirection table (82093AA datasheet, 3.2.4).

use std::fmt::Write;

use super::{ENTRY_LEVEL, ENTRY_LOGICAL, ENTRY_MASKED, ENTRY_REMOTE_IRR, Ioapic};
use crate::devices::lapic::DeliveryMode;

/// Bit 13: active low. Kept, without effect.
const ENTRY_LOW: u64 = 1 << 13;

impl Ioapic {
    /// Tells of every pin that is not masked, or high.
    #[must_use]
    pub(crate) fn inspect(&self) -> String {
        let mut text = format!("I/O APIC at {:#x}, ID {}\n", super::IOAPIC_BASE, self.state.id >> 24);
        let mut quiet = 0;
        for (pin, entry) in self.state.table.iter().enumerate() {
            let high = self.state.lines >> pin & 1 != 0;
            if entry & ENTRY_MASKED != 0 && !high {
                quiet += 1;
                continue;
            }
            let trigger = if entry & ENTRY_LEVEL != 0 { "level" } else { "edge" };
            let polarity = if entry & ENTRY_LOW != 0 { "low" } else { "high" };
            let kind = if entry & ENTRY_LOGICAL != 0 { "logical" } else { "physical" };
            let _ = write!(
                text,
                "  pin {pin:<2} vector {:#04x} {}, {trigger}, active {polarity}, to {kind} {:#x}",
                entry & 0xff,
                DeliveryMode::from_bits((entry >> 8) as u32).name(),
                entry >> 56
            );
            for (holds, what) in [
                (entry & ENTRY_MASKED != 0, ", masked"),
                (entry & ENTRY_REMOTE_IRR != 0, ", waits for EOI"),
                (high, ", line high"),
            ] {
                text.push_str(if holds { what } else { "" });
            }
            text.push('\n');
        }
        let _ = writeln!(text, "  {quiet} pins masked and low");
        text
    }
}
