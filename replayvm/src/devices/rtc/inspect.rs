//! What a person sees of the clock: time, alarm, registers A to C (MC146818A datasheet, "Registers"), and CMOS RAM.

use std::fmt::Write;

use super::{
    A_UIP, C_REQUEST, HOURS_ALARM, MINUTES_ALARM, REGISTER_A, REGISTER_B, Rtc, SECONDS_ALARM, calendar,
};
use crate::inspect::{Bits, set_names};

const B: Bits =
    &[(0, "DSE"), (1, "24/12"), (2, "DM"), (3, "SQWE"), (4, "UIE"), (5, "AIE"), (6, "PIE"), (7, "SET")];
const C: Bits = &[(4, "UF"), (5, "AF"), (6, "PF"), (7, "IRQF")];

impl Rtc {
    /// Tells of it at a moment of virtual time.
    #[must_use]
    pub(crate) fn inspect(&self, now_ns: u64) -> String {
        let ram = &self.state.ram;
        let mut text = format!("clock: {}\n", calendar::text(self.time(now_ns), self.format()));
        let [hours, minutes, seconds] = [HOURS_ALARM, MINUTES_ALARM, SECONDS_ALARM].map(|at| ram[at]);
        let _ = writeln!(text, "  alarm bytes {hours:02x}:{minutes:02x}:{seconds:02x}");
        let update = if self.update_in_progress(now_ns) { A_UIP } else { 0 };
        let a = ram[REGISTER_A] | update;
        let divider = if self.divider_runs() { "runs" } else { "stopped" };
        let progress = if update != 0 { ", UIP" } else { "" };
        let _ = writeln!(text, "  A {a:#04x}: divider {divider}, rate {}{progress}", a & 0xf);
        let _ = writeln!(text, "  B {:#04x}: {}", ram[REGISTER_B], set_names(u64::from(ram[REGISTER_B]), B));
        // Flags as far as they have been computed: reading them is what makes the clock look.
        let c = self.state.flags | if self.line() { C_REQUEST } else { 0 };
        let _ = writeln!(text, "  C {c:#04x}: {}", set_names(u64::from(c), C));
        let _ = writeln!(
            text,
            "  index {:#04x}, IRQ 8 is {}",
            self.state.index,
            if self.line() { "high" } else { "low" }
        );
        for (name, deadline) in [("periodic", &self.state.periodic), ("update or alarm", &self.state.update)]
        {
            let _ = writeln!(text, "  {name} interrupt {}", deadline.in_words(now_ns));
        }
        for (row, bytes) in ram.chunks(16).enumerate() {
            let _ = write!(text, "  {:#04x}:", row * 16);
            let _ = writeln!(
                text,
                "{}",
                bytes.iter().fold(String::new(), |line, byte| format!("{line} {byte:02x}"))
            );
        }
        text
    }
}
