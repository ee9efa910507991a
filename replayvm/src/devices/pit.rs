//! The 8254 programmable interval timer at ports 0x40 to 0x43, and port 0x61, which gates its channel 2.
//!
//! Source: Intel 8254 datasheet (231164), "Mode definitions" and "Read operations". Counts are pure functions of virtual
//! time: 1,193,182 clocks a second, converted exactly, so that nothing drifts. Channel 0 drives interrupt line 0; only its
//! rising edges are events, because that is all that an interrupt controller sees of it. Channel 1 (once DRAM refresh)
//! counts and is connected to nothing; the refresh toggle of port 0x61 is derived from the clock.
//!
//! Not here: sound. In modes 2 and 3 the count 1 is illegal; it yields no edges.

use rkyv::{Archive, Deserialize, Serialize};

use super::deadline::Deadline;
use super::saved::SavedState;

/// One channel: its counting element and its latches.
mod channel;
/// What a person sees.
mod inspect;

use channel::Channel;

/// Interrupt line of channel 0.
pub(super) const IRQ: u8 = 0;
/// Clocks a second.
pub const PIT_HZ: u64 = 1_193_182;

const NS_PER_SECOND: u128 = 1_000_000_000;
/// Refresh requests came every 18 clocks, 15.09 microseconds.
const REFRESH_CLOCKS: i64 = 18;

// Port 0x61.
const GATE2: u8 = 0x01;
const PORT61_WRITABLE: u8 = 0x0f;
const PORT61_REFRESH: u8 = 0x10;
const PORT61_OUT2: u8 = 0x20;

/// Clocks completed at `now_ns`.
fn clocks_at(now_ns: u64) -> i64 {
    let clocks = u128::from(now_ns) * u128::from(PIT_HZ) / NS_PER_SECOND;
    i64::try_from(clocks).unwrap_or(i64::MAX)
}

/// The first nanosecond at which `clock` clocks are complete; `None` when time does not reach that far.
fn ns_of_clock(clock: i64) -> Option<u64> {
    let clock = u128::try_from(clock).unwrap_or(0);
    u64::try_from((clock * NS_PER_SECOND).div_ceil(u128::from(PIT_HZ))).ok()
}

/// The saved state.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub(super) struct State {
    channels: [Channel; 3],
    /// The four writable bits of port 0x61.
    port61: u8,
    /// The level of interrupt line 0, without the falls that the next rise follows at once.
    line: bool,
    /// The next rising edge of channel 0.
    deadline: Deadline,
}

impl SavedState for State {
    const NAME: &'static str = "pit";
    const VERSION: u32 = 1;

    fn validate(&self) -> Result<(), &'static str> {
        for channel in &self.channels {
            channel.validate()?;
        }
        if !self.channels[0].gate || !self.channels[1].gate {
            return Err("the gates of channels 0 and 1 are wired high");
        }
        if self.port61 & !PORT61_WRITABLE != 0 || (self.port61 & GATE2 != 0) != self.channels[2].gate {
            return Err("port 0x61 and the gate of channel 2 disagree");
        }
        if !self.deadline.is_valid() {
            return Err("a delay without a deadline");
        }
        Ok(())
    }
}

/// The timer and its gate port.
#[derive(Debug, Clone)]
pub struct Pit {
    state: State,
}

impl Pit {
    /// Power-on is undefined by the datasheet: here all outputs are high (mode 3) and nothing counts.
    pub(super) fn new() -> Self {
        let channels = [Channel::new(true), Channel::new(true), Channel::new(false)];
        Self { state: State { channels, port61: 0, line: true, deadline: Deadline::default() } }
    }

    pub(super) fn from_state(state: State) -> Self {
        Self { state }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// The level of interrupt line 0.
    pub(super) fn line(&self) -> bool {
        self.state.line
    }

    pub(super) fn deadline(&self) -> &Deadline {
        &self.state.deadline
    }

    pub(super) fn deadline_mut(&mut self) -> &mut Deadline {
        &mut self.state.deadline
    }

    /// Fires channel 0 when it is due. `true`: the line has fallen and risen; an edge. Periods that have been missed
    /// altogether are one edge, as for a controller that was not looking.
    pub(super) fn advance(&mut self, now_ns: u64) -> bool {
        if !self.state.deadline.is_due(now_ns) {
            return false;
        }
        let clock = clocks_at(now_ns);
        self.state.channels[0].sync(clock);
        self.state.deadline.clear();
        self.state.deadline.set(self.next_edge(clock));
        self.state.line = true;
        true
    }

    /// Reads port 0x40, 0x41 or 0x42 (the control port, 0x43, cannot be read).
    pub(super) fn read_channel(&mut self, now_ns: u64, channel: usize) -> u8 {
        let clock = clocks_at(now_ns);
        match self.state.channels.get_mut(channel) {
            Some(channel) => {
                channel.sync(clock);
                channel.read(clock)
            }
            None => 0xff,
        }
    }

    /// Writes a byte of a count.
    pub(super) fn write_channel(&mut self, now_ns: u64, index: usize, value: u8) {
        let clock = clocks_at(now_ns);
        let Some(channel) = self.state.channels.get_mut(index) else { return };
        channel.sync(clock);
        let loads_now = channel.write(clock, value);
        if index != 0 {
            return;
        }
        self.state.line = self.state.channels[0].idle_output();
        // A count that waits for the end of the period does not take back an edge that is late.
        if loads_now || !self.state.deadline.is_overdue(now_ns) {
            let next = self.next_edge(clock);
            if loads_now {
                self.state.deadline.clear();
            }
            self.state.deadline.set(next);
        }
    }

    /// Writes the control port: a control word, a counter latch or a read-back command.
    pub(super) fn write_control(&mut self, now_ns: u64, value: u8) {
        let clock = clocks_at(now_ns);
        for channel in &mut self.state.channels {
            channel.sync(clock);
        }
        let select = usize::from(value >> 6);
        if select == 3 {
            for (index, channel) in self.state.channels.iter_mut().enumerate() {
                if value & (2 << index) != 0 {
                    // Both bits are active low.
                    channel.read_back(clock, value & 0x20 == 0, value & 0x10 == 0);
                }
            }
        } else if let Some(channel) = self.state.channels.get_mut(select) {
            if value & 0x30 == 0 {
                channel.read_back(clock, true, false);
            } else {
                channel.set_control(clock, value & 0x3f);
                if select == 0 {
                    self.state.line = self.state.channels[0].idle_output();
                    self.state.deadline.clear();
                }
            }
        }
    }

    /// Reads port 0x61. Bits 6 and 7 (parity and channel check) are always clear.
    pub(super) fn read_port61(&mut self, now_ns: u64) -> u8 {
        let clock = clocks_at(now_ns);
        self.state.channels[2].sync(clock);
        let refresh = if (clock / REFRESH_CLOCKS) & 1 != 0 { PORT61_REFRESH } else { 0 };
        let out2 = if self.state.channels[2].output(clock) { PORT61_OUT2 } else { 0 };
        self.state.port61 | refresh | out2
    }

    /// Writes port 0x61: bit 0 gates channel 2, bit 1 gates the speaker, which there is not.
    pub(super) fn write_port61(&mut self, now_ns: u64, value: u8) {
        self.state.port61 = value & PORT61_WRITABLE;
        let clock = clocks_at(now_ns);
        self.state.channels[2].sync(clock);
        self.state.channels[2].set_gate(clock, value & GATE2 != 0);
    }

    fn next_edge(&self, clock: i64) -> Option<u64> {
        self.state.channels[0].next_edge(clock).and_then(ns_of_clock)
    }
}

#[cfg(test)]
mod tests;
