//! What a person sees of the 8259A pair: registers by the datasheet's names, and its inputs in words.

use std::fmt::Write;

use super::{Chip, Expect, Pic};

impl Pic {
    /// Tells of both chips.
    #[must_use]
    pub(crate) fn inspect(&self) -> String {
        let mut text = format!("8259A pair, INT is {}\n", if self.output() { "high" } else { "low" });
        chip(&mut text, "first", &self.state.first, 0);
        chip(&mut text, "second", &self.state.second, 8);
        text
    }
}

fn chip(text: &mut String, name: &str, chip: &Chip, first_irq: u8) {
    let (last_irq, base) = (first_irq + 7, chip.vector_base);
    let _ = writeln!(text, "{name}: IRQ {first_irq} to {last_irq}, vectors {base:#04x} to {:#04x}", base | 7);
    let (requests, in_service, mask) = (chip.requests(), chip.in_service, chip.mask);
    let level = chip.level_inputs();
    let _ = writeln!(
        text,
        "  IRR {requests:#04x} ISR {in_service:#04x} IMR {mask:#04x} lines {:#04x} level-triggered {level:#04x}",
        chip.lines
    );
    for (what, inputs) in [("requested", requests), ("in service", in_service), ("not masked", !mask)] {
        let _ = writeln!(text, "  {what:<11} {}", irqs(inputs, first_irq));
    }
    let next = chip.pending().map_or_else(|| "-".to_owned(), |input| format!("IRQ {}", first_irq + input));
    let _ = writeln!(text, "  next        {next}");
    let _ = writeln!(text, "  lowest      IRQ {}{}", first_irq + (chip.lowest & 7), modes(chip));
}

fn irqs(inputs: u8, first_irq: u8) -> String {
    let set: Vec<String> = (0..8)
        .filter(|input| inputs >> input & 1 != 0)
        .map(|input| (first_irq + input).to_string())
        .collect();
    if set.is_empty() { "-".to_owned() } else { format!("IRQ {}", set.join(" ")) }
}

fn modes(chip: &Chip) -> String {
    let mut text = String::new();
    for (on, mode) in [
        (chip.auto_eoi, "automatic EOI"),
        (chip.rotate_on_auto_eoi, "rotate in automatic EOI mode"),
        (chip.special_fully_nested, "special fully nested"),
        (chip.special_mask, "special mask"),
        (chip.read_in_service, "the command port reads ISR"),
        (chip.poll, "the next read polls"),
        (chip.single, "single"),
        (chip.expect == Expect::Icw2, "waits for ICW2"),
        (chip.expect == Expect::Icw3, "waits for ICW3"),
        (chip.expect == Expect::Icw4, "waits for ICW4"),
    ] {
        if on {
            let _ = write!(text, ", {mode}");
        }
    }
    text
}
