//! What a person sees of the 8254: mode, count and output of each channel (datasheet, "Mode definitions"), and port 0x61.

use std::fmt::Write;

use super::{GATE2, PIT_HZ, Pit, channel, clocks_at};

impl Pit {
    /// Tells of it at a moment of virtual time.
    #[must_use]
    pub(crate) fn inspect(&self, now_ns: u64) -> String {
        let clock = clocks_at(now_ns);
        let mut text = format!("8254 at {PIT_HZ} Hz\n");
        for (number, state) in self.state.channels.iter().enumerate() {
            let mut channel = state.clone();
            // What waited for the end of a period is taken when somebody accesses the channel: a copy sees it now.
            channel.sync(clock);
            let _ = writeln!(text, "  channel {number}: {}", channel::inspect::text(&channel, clock));
        }
        let speaker = if self.state.port61 & 2 != 0 { "on" } else { "off" };
        let gate = if self.state.port61 & GATE2 != 0 { "high" } else { "low" };
        let _ = writeln!(text, "  port 0x61: gate of channel 2 {gate}, speaker {speaker}");
        let line = if self.state.line { "high" } else { "low" };
        let _ = writeln!(text, "  IRQ 0 is {line}, rises next {}", self.state.deadline.in_words(now_ns));
        text
    }
}
