//! What a person sees of a channel.

use std::fmt::Write;

use super::super::PIT_HZ;
use super::{Channel, Mode};

/// A channel at a clock, in a line.
pub(in super::super) fn text(channel: &Channel, clock: i64) -> String {
    let mode = match channel.mode() {
        Mode::TerminalCount => "mode 0, interrupt on terminal count",
        Mode::OneShot => "mode 1, one-shot",
        Mode::Rate => "mode 2, rate generator",
        Mode::Square => "mode 3, square wave",
        Mode::SoftwareStrobe => "mode 4, software strobe",
        Mode::HardwareStrobe => "mode 5, hardware strobe",
    };
    let digits = if channel.is_bcd() { "BCD" } else { "binary" };
    let access = ["latch", "low byte", "high byte", "two bytes"][usize::from(channel.access() & 3)];
    let mut text = format!("{mode}, {digits}, {access}");
    if channel.loaded {
        let _ = write!(text, ", reload {}, count {}", channel.count, channel.value(clock));
        if matches!(channel.mode(), Mode::Rate | Mode::Square) {
            // Thousandths of a hertz: no floating point for so little.
            let thousandths = PIT_HZ * 1000 / u64::from(channel.count.max(1));
            let _ = write!(text, ", {}.{:03} Hz", thousandths / 1000, thousandths % 1000);
        }
    } else {
        text.push_str(", no count");
    }
    let level = |high| if high { "high" } else { "low" };
    let _ = write!(text, ", gate {}, output {}", level(channel.gate), level(channel.output(clock)));
    if let Some(next) = channel.next {
        let _ = write!(text, ", reload {} waits", next.count);
    }
    if channel.latched_count.is_some() || channel.latched_status.is_some() {
        text.push_str(", latched");
    }
    text
}
