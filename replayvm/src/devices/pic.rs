//! The pair of 8259A interrupt controllers of a PC, the second cascaded into input 2 of the first.
//!
//! Source: Intel 8259A datasheet (231468), whose command names (ICW1 to ICW4, OCW1 to OCW3) are used here; the
//! edge/level registers ELCR at 0x4d0 and 0x4d1 are those of the 82371 (PIIX). Both chips live in 8086 mode: the MCS-80 call
//! sequence and the buffered mode have no effect on a PC and are accepted without one.

use rkyv::{Archive, Deserialize, Serialize};

use super::saved::SavedState;

/// What a person sees.
mod inspect;

/// The input of the first chip that the second one drives.
const CASCADE: u8 = 2;
/// Which inputs may be level-triggered (82371, ELCR: never 0, 1, 2, 8 and 13).
const ELCR_MASKS: [u8; 2] = [0xf8, 0xde];

const ICW1: u8 = 0x10;
const ICW1_NEEDS_ICW4: u8 = 0x01;
const ICW1_SINGLE: u8 = 0x02;
const ICW1_LEVEL: u8 = 0x08;
const ICW4_AUTO_EOI: u8 = 0x02;
const ICW4_SPECIAL_FULLY_NESTED: u8 = 0x10;
const OCW3: u8 = 0x08;
const OCW3_READ: u8 = 0x02;
const OCW3_READ_IN_SERVICE: u8 = 0x01;
const OCW3_POLL: u8 = 0x04;
const OCW3_SPECIAL_MASK: u8 = 0x20;
const OCW3_SET_SPECIAL_MASK: u8 = 0x40;
const POLL_PENDING: u8 = 0x80;

/// Which initialisation word the chip expects next at its second port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
enum Expect {
    /// Not initialising: OCW1, the mask.
    Mask,
    Icw2,
    Icw3,
    Icw4,
}

/// One 8259A.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
struct Chip {
    /// The levels of the input lines.
    lines: u8,
    /// Edges seen and not yet acknowledged, on lines that are still high.
    edges: u8,
    in_service: u8,
    mask: u8,
    /// ELCR.
    level: u8,
    /// ICW1's LTIM: all inputs are level-triggered.
    all_level: bool,
    vector_base: u8,
    expect: Expect,
    needs_icw4: bool,
    single: bool,
    auto_eoi: bool,
    rotate_on_auto_eoi: bool,
    special_fully_nested: bool,
    special_mask: bool,
    /// OCW3: the first port reads ISR instead of IRR.
    read_in_service: bool,
    /// OCW3: the next read is an acknowledgement.
    poll: bool,
    /// The input with the lowest priority; the one after it has the highest.
    lowest: u8,
}

impl Chip {
    fn new() -> Self {
        Self {
            lines: 0,
            edges: 0,
            in_service: 0,
            // The datasheet leaves power-on undefined. All masked is what a kernel finds after firmware.
            mask: 0xff,
            level: 0,
            all_level: false,
            vector_base: 0,
            expect: Expect::Mask,
            needs_icw4: false,
            single: false,
            auto_eoi: false,
            rotate_on_auto_eoi: false,
            special_fully_nested: false,
            special_mask: false,
            read_in_service: false,
            poll: false,
            lowest: 7,
        }
    }

    fn level_inputs(&self) -> u8 {
        if self.all_level { 0xff } else { self.level }
    }

    /// IRR: an input must stay high until it is acknowledged, in both modes (datasheet, "Edge and level triggered modes").
    fn requests(&self) -> u8 {
        let level = self.level_inputs();
        self.lines & (level | self.edges)
    }

    fn set_line(&mut self, input: u8, high: bool) {
        let bit = 1u8 << (input & 7);
        if !high {
            self.lines &= !bit;
            self.edges &= !bit;
        } else if self.lines & bit == 0 {
            self.lines |= bit;
            self.edges |= bit;
        }
    }

    /// The input of `set` with the highest priority, as (rank, input); rank 0 is the highest.
    fn first(&self, set: u8) -> Option<(u8, u8)> {
        (0..8)
            .map(|rank| (rank, self.lowest.wrapping_add(1).wrapping_add(rank) & 7))
            .find(|(_, input)| set & (1 << input) != 0)
    }

    /// The request that INT stands for: unmasked, and of higher priority than all that blocks it.
    fn pending(&self) -> Option<u8> {
        let (rank, input) = self.first(self.requests() & !self.mask)?;
        let mut blocking = self.in_service;
        if self.special_mask {
            blocking &= !self.mask;
        }
        if self.special_fully_nested && input == CASCADE {
            // The second chip may interrupt itself: it has resolved priority already.
            blocking &= !(1 << CASCADE);
        }
        match self.first(blocking) {
            Some((blocked_from, _)) if rank >= blocked_from => None,
            _ => Some(input),
        }
    }

    /// The INTA cycle: the input it is for, or `None` for the default IR7, which sets no bit in ISR.
    fn acknowledge(&mut self) -> Option<u8> {
        let input = self.pending()?;
        self.edges &= !(1 << input);
        if !self.auto_eoi {
            self.in_service |= 1 << input;
        } else if self.rotate_on_auto_eoi {
            self.lowest = input;
        }
        Some(input)
    }

    /// What a non-specific EOI ends. In special mask mode masked inputs are not ended.
    fn in_service_first(&self) -> Option<u8> {
        let set = if self.special_mask { self.in_service & !self.mask } else { self.in_service };
        self.first(set).map(|(_, input)| input)
    }

    fn write_command(&mut self, value: u8) {
        if value & ICW1 != 0 {
            // The edge sense circuit is reset: an input must rise again. ELCR and the lines are outside the chip.
            *self = Self {
                lines: self.lines,
                level: self.level,
                mask: 0,
                expect: Expect::Icw2,
                all_level: value & ICW1_LEVEL != 0,
                single: value & ICW1_SINGLE != 0,
                needs_icw4: value & ICW1_NEEDS_ICW4 != 0,
                vector_base: self.vector_base,
                ..Self::new()
            };
        } else if value & OCW3 != 0 {
            if value & OCW3_SET_SPECIAL_MASK != 0 {
                self.special_mask = value & OCW3_SPECIAL_MASK != 0;
            }
            if value & OCW3_POLL != 0 {
                self.poll = true;
            } else if value & OCW3_READ != 0 {
                self.read_in_service = value & OCW3_READ_IN_SERVICE != 0;
            }
        } else {
            self.write_ocw2(value);
        }
    }

    fn write_ocw2(&mut self, value: u8) {
        let input = value & 7;
        match value >> 5 {
            // Rotate in automatic EOI mode: clear and set.
            0b000 => self.rotate_on_auto_eoi = false,
            0b100 => self.rotate_on_auto_eoi = true,
            // Non-specific EOI, without and with rotation.
            0b001 | 0b101 => {
                if let Some(first) = self.in_service_first() {
                    self.in_service &= !(1 << first);
                    if value >> 5 == 0b101 {
                        self.lowest = first;
                    }
                }
            }
            // Specific EOI, without and with rotation.
            0b011 => self.in_service &= !(1 << input),
            0b111 => {
                self.in_service &= !(1 << input);
                self.lowest = input;
            }
            0b110 => self.lowest = input,
            _ => {}
        }
    }

    fn write_data(&mut self, value: u8) {
        match self.expect {
            Expect::Mask => self.mask = value,
            Expect::Icw2 => {
                self.vector_base = value & 0xf8;
                self.expect = if !self.single {
                    Expect::Icw3
                } else if self.needs_icw4 {
                    Expect::Icw4
                } else {
                    Expect::Mask
                };
            }
            // How the pair is cascaded is wired: the word has no other meaning on a PC.
            Expect::Icw3 => self.expect = if self.needs_icw4 { Expect::Icw4 } else { Expect::Mask },
            Expect::Icw4 => {
                self.auto_eoi = value & ICW4_AUTO_EOI != 0;
                self.special_fully_nested = value & ICW4_SPECIAL_FULLY_NESTED != 0;
                self.expect = Expect::Mask;
            }
        }
    }

    fn read_register(&self, data_port: bool) -> u8 {
        if data_port {
            self.mask
        } else if self.read_in_service {
            self.in_service
        } else {
            self.requests()
        }
    }

    fn validate(&self) -> Result<(), &'static str> {
        if self.edges & !self.lines != 0 {
            return Err("an edge is latched on a line that is low");
        }
        if self.lowest > 7 || self.vector_base & 7 != 0 {
            return Err("a priority or a vector base is out of range");
        }
        Ok(())
    }
}

/// The saved state: both chips.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub(super) struct State {
    first: Chip,
    second: Chip,
}

impl SavedState for State {
    const NAME: &'static str = "pic";
    const VERSION: u32 = 1;

    fn validate(&self) -> Result<(), &'static str> {
        self.first.validate()?;
        self.second.validate()?;
        if self.first.level & !ELCR_MASKS[0] != 0 || self.second.level & !ELCR_MASKS[1] != 0 {
            return Err("an input is level-triggered that cannot be");
        }
        if (self.first.lines & (1 << CASCADE) != 0) != self.second.pending().is_some() {
            return Err("the cascade line differs from the second chip's output");
        }
        Ok(())
    }
}

/// The two 8259A.
#[derive(Debug, Clone)]
pub struct Pic {
    state: State,
}

impl Pic {
    /// Both chips masked and not initialised; the lines that are high at power-on have had no edge.
    pub(super) fn new(lines_high: u16) -> Self {
        let [first, second] = lines_high.to_le_bytes();
        let chip = |lines| Chip { lines, ..Chip::new() };
        Self { state: State { first: chip(first & !(1 << CASCADE)), second: chip(second) } }
    }

    pub(super) fn from_state(state: State) -> Self {
        Self { state }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Sets the level of interrupt line 0 to 15. Line 2 is the cascade and belongs to the pair.
    pub(super) fn set_line(&mut self, irq: u8, high: bool) {
        match irq {
            CASCADE => {}
            0..8 => self.state.first.set_line(irq, high),
            8..16 => {
                self.state.second.set_line(irq - 8, high);
                self.update_cascade();
            }
            _ => {}
        }
    }

    /// The INT output of the pair, as it reaches LINT0 and input 0 of the I/O APIC.
    #[must_use]
    pub fn output(&self) -> bool {
        self.state.first.pending().is_some()
    }

    /// The two INTA pulses: the vector. Without a request that still stands it is the spurious one: input 7 of the
    /// chip that was asked, and no bit in that chip's ISR.
    pub(super) fn acknowledge(&mut self) -> u8 {
        match self.state.first.acknowledge() {
            Some(CASCADE) => {
                let input = self.acknowledge_second().unwrap_or(7);
                self.state.second.vector_base | input
            }
            input => self.state.first.vector_base | input.unwrap_or(7),
        }
    }

    /// Reads port 0x20, 0x21 (`second` false), 0xa0 or 0xa1; `data_port` is the odd one.
    pub(super) fn read(&mut self, second: bool, data_port: bool) -> u8 {
        let chip = if second { &mut self.state.second } else { &mut self.state.first };
        if !std::mem::take(&mut chip.poll) {
            return chip.read_register(data_port);
        }
        let input = if second { self.acknowledge_second() } else { self.state.first.acknowledge() };
        input.map_or(0, |input| POLL_PENDING | input)
    }

    /// Writes port 0x20, 0x21, 0xa0 or 0xa1.
    pub(super) fn write(&mut self, second: bool, data_port: bool, value: u8) {
        let chip = if second { &mut self.state.second } else { &mut self.state.first };
        if data_port {
            chip.write_data(value);
        } else {
            chip.write_command(value);
        }
        self.update_cascade();
    }

    /// Reads ELCR, at 0x4d0 or 0x4d1.
    pub(super) fn read_elcr(&self, second: bool) -> u8 {
        if second { self.state.second.level } else { self.state.first.level }
    }

    /// Writes ELCR. The inputs that are wired to edge sources stay so.
    pub(super) fn write_elcr(&mut self, second: bool, value: u8) {
        if second {
            self.state.second.level = value & ELCR_MASKS[1];
        } else {
            self.state.first.level = value & ELCR_MASKS[0];
        }
        self.update_cascade();
    }

    /// INT of the second chip falls during its INTA and rises again if another request stands: an edge for the first.
    fn acknowledge_second(&mut self) -> Option<u8> {
        let input = self.state.second.acknowledge();
        self.state.first.set_line(CASCADE, false);
        self.update_cascade();
        input
    }

    fn update_cascade(&mut self) {
        let output = self.state.second.pending().is_some();
        self.state.first.set_line(CASCADE, output);
    }
}

#[cfg(test)]
mod tests;
