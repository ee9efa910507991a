//! One 8254 channel: control word, count register, counting element, latches.
//!
//! Time is in clocks since power-on. The counting element is not stepped: its value and its output are computed from the
//! clock at which the count was loaded. Not here: nanoseconds, ports, interrupts.

use rkyv::{Archive, Deserialize, Serialize};

/// What a person sees.
pub(super) mod inspect;

/// A clock that never comes: a count that waits for its trigger.
const NEVER: i64 = i64::MAX;
/// The largest clock that a saved state may name, far beyond what 64-bit nanoseconds reach.
const MAX_CLOCK: i64 = 1 << 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// 0: interrupt on terminal count.
    TerminalCount,
    /// 1: hardware retriggerable one-shot.
    OneShot,
    /// 2: rate generator.
    Rate,
    /// 3: square wave.
    Square,
    /// 4: software triggered strobe.
    SoftwareStrobe,
    /// 5: hardware triggered strobe.
    HardwareStrobe,
}

/// A count that is loaded later: at the end of a period, or with a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
struct Reload {
    count: u32,
    at_clock: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub(super) struct Channel {
    /// The low six bits of the last control word.
    control: u8,
    /// The count that the element runs with: 1 to 65,536. Zero before the first.
    count: u32,
    /// The element has been loaded, or is with the next clock.
    loaded: bool,
    /// The clock at which the element got its count.
    load_clock: i64,
    /// Clocks counted when the gate stopped the element.
    paused: Option<i64>,
    next: Option<Reload>,
    /// What the element reads as while it is not loaded.
    held: u32,
    pub(super) gate: bool,
    /// The first byte of a two-byte count, waiting for the second.
    low_byte: Option<u8>,
    /// The next byte read is the high one.
    read_high: bool,
    latched_count: Option<u16>,
    latched_status: Option<u8>,
}

impl Channel {
    /// Mode 3, binary, two bytes, no count.
    pub(super) fn new(gate: bool) -> Self {
        Self {
            control: 0x36,
            count: 0,
            loaded: false,
            load_clock: 0,
            paused: None,
            next: None,
            held: 0,
            gate,
            low_byte: None,
            read_high: false,
            latched_count: None,
            latched_status: None,
        }
    }

    fn mode(&self) -> Mode {
        match (self.control >> 1) & 7 {
            0 => Mode::TerminalCount,
            1 => Mode::OneShot,
            2 | 6 => Mode::Rate,
            3 | 7 => Mode::Square,
            4 => Mode::SoftwareStrobe,
            _ => Mode::HardwareStrobe,
        }
    }

    fn is_bcd(&self) -> bool {
        self.control & 1 != 0
    }

    /// 1: low byte, 2: high byte, 3: low then high.
    fn access(&self) -> u8 {
        (self.control >> 4) & 3
    }

    fn modulus(&self) -> i64 {
        if self.is_bcd() { 10_000 } else { 65_536 }
    }

    /// A count from its register: zero stands for the modulus.
    fn decode(&self, register: u16) -> u32 {
        let value = if self.is_bcd() {
            let digit = |shift: u32| u32::from((register >> shift) & 0xf);
            (digit(12) * 1000 + digit(8) * 100 + digit(4) * 10 + digit(0)) % 10_000
        } else {
            u32::from(register)
        };
        if value == 0 { u32::try_from(self.modulus()).unwrap_or(65_536) } else { value }
    }

    fn encode(&self, value: u32) -> u16 {
        let value = if self.is_bcd() {
            let v = value % 10_000;
            ((v / 1000) << 12) | ((v / 100 % 10) << 8) | ((v / 10 % 10) << 4) | (v % 10)
        } else {
            value
        };
        (value & 0xffff) as u16
    }

    /// Clocks of the high half of a square wave: (N + 1) / 2 for odd N.
    fn high_clocks(count: u32) -> i64 {
        i64::from(count.div_ceil(2))
    }

    /// Clocks counted since the load; negative before the clock that loads.
    fn elapsed(&self, clock: i64) -> i64 {
        self.paused.unwrap_or_else(|| clock.saturating_sub(self.load_clock))
    }

    /// Loads the count that waited for the end of a period, if that has come.
    pub(super) fn sync(&mut self, clock: i64) {
        let Some(next) = self.next else { return };
        if next.at_clock > clock || next.at_clock == NEVER {
            return;
        }
        let falls = self.mode() == Mode::Square && !self.is_rise(next.at_clock);
        // A square wave goes on with its low half: as if the high half of the new count had just passed.
        let passed = if falls { Self::high_clocks(next.count) } else { 0 };
        self.load_clock = next.at_clock.saturating_sub(passed);
        self.count = next.count;
        self.next = None;
    }

    fn is_rise(&self, clock: i64) -> bool {
        clock.saturating_sub(self.load_clock) % i64::from(self.count.max(1)) == 0
    }

    /// The counting element's value.
    fn value(&self, clock: i64) -> u32 {
        let elapsed = self.elapsed(clock);
        if !self.loaded || elapsed < 0 {
            return self.held;
        }
        let count = i64::from(self.count.max(1));
        let value = match self.mode() {
            Mode::Rate => count - elapsed % count,
            Mode::Square => {
                let position = elapsed % count;
                let high = Self::high_clocks(self.count);
                // Counts down by two, from the even number at or below the count.
                (count & !1) - 2 * if position < high { position } else { position - high }
            }
            _ => (count - elapsed % self.modulus()).rem_euclid(self.modulus()),
        };
        u32::try_from(value.rem_euclid(self.modulus())).unwrap_or(0)
    }

    /// The level of OUT.
    pub(super) fn output(&self, clock: i64) -> bool {
        let elapsed = self.elapsed(clock);
        let count = i64::from(self.count.max(1));
        let running = self.loaded && elapsed >= 0;
        match self.mode() {
            Mode::TerminalCount => running && elapsed >= count,
            Mode::OneShot => !(running && elapsed < count),
            // The gate holds OUT high in both.
            Mode::Rate => !running || self.paused.is_some() || elapsed % count != count - 1,
            Mode::Square => {
                !running || self.paused.is_some() || elapsed % count < Self::high_clocks(self.count)
            }
            Mode::SoftwareStrobe | Mode::HardwareStrobe => !running || elapsed != count,
        }
    }

    /// The level of OUT while nothing happens: low in mode 0, high in all others.
    pub(super) fn idle_output(&self) -> bool {
        self.mode() != Mode::TerminalCount
    }

    /// The first clock after `clock` at which OUT rises, from now on and without a change of the gate.
    pub(super) fn next_edge(&self, clock: i64) -> Option<i64> {
        if !self.loaded || self.paused.is_some() {
            return None;
        }
        let count = i64::from(self.count.max(1));
        let elapsed = self.elapsed(clock);
        let edge = match self.mode() {
            Mode::TerminalCount => self.load_clock.saturating_add(count),
            Mode::SoftwareStrobe => self.load_clock.saturating_add(count).saturating_add(1),
            // Channel 0's gate never changes: nothing triggers these.
            Mode::OneShot | Mode::HardwareStrobe => return None,
            Mode::Rate | Mode::Square => {
                if let Some(next) = self.next.filter(|next| next.at_clock != NEVER && next.at_clock > clock) {
                    let low_half = self.mode() == Mode::Square && !self.is_rise(next.at_clock);
                    let low = i64::from(next.count) - Self::high_clocks(next.count);
                    next.at_clock.saturating_add(if low_half { low } else { 0 })
                } else if count < 2 {
                    return None;
                } else {
                    let periods = elapsed.max(0) / count + 1;
                    self.load_clock.saturating_add(periods.saturating_mul(count))
                }
            }
        };
        (edge > clock).then_some(edge)
    }

    /// Writes a control word: OUT goes to its idle level, counting stops until a count is written.
    pub(super) fn set_control(&mut self, clock: i64, control: u8) {
        let held = self.value(clock);
        *self = Self {
            control,
            held,
            gate: self.gate,
            latched_count: self.latched_count,
            latched_status: self.latched_status,
            ..Self::new(self.gate)
        };
    }

    /// Writes a byte of the count. `true` when the count is loaded with the next clock.
    pub(super) fn write(&mut self, clock: i64, value: u8) -> bool {
        let register = match (self.access(), self.low_byte) {
            (1, _) => u16::from(value),
            (2, _) => u16::from(value) << 8,
            (_, None) => {
                self.low_byte = Some(value);
                if self.mode() == Mode::TerminalCount {
                    // "Writing the first byte disables counting. OUT is set low immediately."
                    self.stop(clock);
                    return true;
                }
                return false;
            }
            (_, Some(low)) => u16::from_le_bytes([low, value]),
        };
        self.low_byte = None;
        let count = self.decode(register);
        match self.mode() {
            Mode::TerminalCount | Mode::SoftwareStrobe => self.load(clock, count),
            Mode::OneShot | Mode::HardwareStrobe => {
                self.next = Some(Reload { count, at_clock: NEVER });
                return false;
            }
            Mode::Rate | Mode::Square if !self.loaded => self.load(clock, count),
            Mode::Rate | Mode::Square => {
                let at_clock = self.end_of_period(clock);
                self.next = Some(Reload { count, at_clock });
                return false;
            }
        }
        true
    }

    /// Takes the gate's level.
    pub(super) fn set_gate(&mut self, clock: i64, high: bool) {
        if self.gate == high {
            return;
        }
        self.gate = high;
        match self.mode() {
            // A trigger.
            Mode::OneShot | Mode::HardwareStrobe if high => self.trigger(clock),
            Mode::OneShot | Mode::HardwareStrobe => {}
            Mode::Rate | Mode::Square if high => {
                if self.loaded {
                    self.trigger(clock);
                }
            }
            Mode::TerminalCount | Mode::SoftwareStrobe if high => {
                if let Some(elapsed) = self.paused.take() {
                    self.load_clock = clock.saturating_sub(elapsed);
                }
            }
            _ => {
                if self.loaded {
                    self.paused = Some(self.elapsed(clock).max(0));
                    if let Some(next) = &mut self.next {
                        next.at_clock = NEVER;
                    }
                }
            }
        }
    }

    /// Reads a byte: latched status first, then latched count, then the count itself.
    pub(super) fn read(&mut self, clock: i64) -> u8 {
        if let Some(status) = self.latched_status.take() {
            return status;
        }
        let register = self.latched_count.unwrap_or_else(|| self.encode(self.value(clock)));
        let [low, high] = register.to_le_bytes();
        let (byte, last) = match self.access() {
            1 => (low, true),
            2 => (high, true),
            _ => {
                let second = self.read_high;
                self.read_high = !second;
                (if second { high } else { low }, second)
            }
        };
        if last {
            self.latched_count = None;
        }
        byte
    }

    /// Latches count and status. What is latched already stays.
    pub(super) fn read_back(&mut self, clock: i64, count: bool, status: bool) {
        if count && self.latched_count.is_none() {
            self.latched_count = Some(self.encode(self.value(clock)));
        }
        if status && self.latched_status.is_none() {
            let output = u8::from(self.output(clock)) << 7;
            let null_count = u8::from(self.is_null(clock)) << 6;
            self.latched_status = Some(output | null_count | self.control);
        }
    }

    /// NULL COUNT: what was written last is not in the counting element yet.
    fn is_null(&self, clock: i64) -> bool {
        !self.loaded || self.next.is_some() || self.elapsed(clock) < 0
    }

    /// Loads the element with the next clock; the gate says whether it counts from there.
    fn load(&mut self, clock: i64, count: u32) {
        self.held = self.value(clock);
        self.count = count;
        self.loaded = true;
        self.load_clock = clock.saturating_add(1);
        self.paused = (!self.gate).then_some(0);
        self.next = None;
    }

    fn stop(&mut self, clock: i64) {
        self.held = self.value(clock);
        self.loaded = false;
        self.load_clock = 0;
        self.paused = None;
        self.next = None;
        self.count = 0;
    }

    /// A rising gate reloads the element with the next clock, from the count written last.
    fn trigger(&mut self, clock: i64) {
        let count = self.next.take().map_or(self.count, |next| next.count);
        if count != 0 {
            self.load(clock, count);
        }
    }

    /// When a count written now replaces the one that runs: with the next half period of a square wave, the next
    /// period of a rate generator, or the next trigger where the gate has stopped them.
    fn end_of_period(&self, clock: i64) -> i64 {
        if self.paused.is_some() {
            return NEVER;
        }
        let elapsed = self.elapsed(clock);
        if elapsed < 0 {
            return self.load_clock;
        }
        let count = i64::from(self.count.max(1));
        let start = self.load_clock.saturating_add(elapsed / count * count);
        let high = Self::high_clocks(self.count);
        if self.mode() == Mode::Square && elapsed % count < high && high < count {
            start.saturating_add(high)
        } else {
            start.saturating_add(count)
        }
    }

    pub(super) fn validate(&self) -> Result<(), &'static str> {
        let counts = 1..=65_536;
        if self.control > 0x3f || self.access() == 0 {
            return Err("a control word that is a command");
        }
        if self.loaded && !counts.contains(&self.count) || !self.loaded && self.count != 0 {
            return Err("a count is out of range");
        }
        if self.next.is_some_and(|next| !counts.contains(&next.count) || next.at_clock < 0) {
            return Err("a waiting count is out of range");
        }
        if self.next.is_some_and(|next| next.at_clock != NEVER && next.at_clock > MAX_CLOCK) {
            return Err("a waiting count's clock is out of range");
        }
        if !(-65_536..=MAX_CLOCK).contains(&self.load_clock)
            || self.paused.is_some_and(|elapsed| !(0..=MAX_CLOCK).contains(&elapsed))
            || self.held > 65_536
        {
            return Err("a clock or a value is out of range");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
