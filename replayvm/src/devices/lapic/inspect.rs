//! What a person sees of the local APIC: its registers by the manual's names (SDM vol. 3, table 11-1).

use std::fmt::Write;

use super::{
    BASE_ADDRESS, ICR_LOGICAL, LVT_LEVEL, LVT_MASKED, LVT_REMOTE_IRR, Lapic, SVR_ENABLED, Vectors, has_bit,
};
use crate::devices::lapic::DeliveryMode;

/// The names of the LVT entries, from register 0x32.
const LVT_NAMES: [&str; 6] = ["timer", "thermal", "performance", "LINT0", "LINT1", "error"];
/// The entry for the timer has no delivery mode, the one for errors neither.
const HAS_NO_MODE: [usize; 2] = [0, 5];

impl Lapic {
    /// Tells of it at a moment of virtual time.
    #[must_use]
    pub(crate) fn inspect(&self, now_ns: u64) -> String {
        let state = &self.state;
        let mode = match (self.is_enabled(), self.is_x2apic()) {
            (false, _) => "disabled".to_owned(),
            (true, true) => "x2APIC mode".to_owned(),
            (true, false) => format!("xAPIC mode, registers at {:#x}", state.base & BASE_ADDRESS),
        };
        let mut text = format!("local APIC 0, {mode}\n");
        let enabled = if state.svr & SVR_ENABLED != 0 { "enabled" } else { "disabled" };
        let _ = writeln!(
            text,
            "  SVR {:#x}: software {enabled}, spurious vector {:#04x}",
            state.svr,
            state.svr & 0xff
        );
        let _ = writeln!(text, "  TPR {:#04x} PPR {:#04x}", state.tpr, self.ppr());
        let model = if state.destination_model == 15 { "flat" } else { "cluster" };
        let _ = writeln!(text, "  logical ID {:#04x}, {model} model", state.logical_id);
        for (name, vectors) in [("IRR", &state.requests), ("ISR", &state.in_service)] {
            let _ = writeln!(text, "  {name} {}", vectors_text(vectors));
        }
        let next = self.deliverable().map_or_else(|| "-".to_owned(), |vector| format!("{vector:#04x}"));
        let _ = writeln!(text, "  next {next}{}", if state.nmi_pending { ", an NMI is pending" } else { "" });
        let _ = writeln!(
            text,
            "  ESR {:#04x}, errors since it was written {:#04x}",
            state.error_status, state.errors
        );
        let logical = if state.icr & u64::from(ICR_LOGICAL) != 0 { "logical" } else { "physical" };
        let _ = writeln!(
            text,
            "  ICR {:#018x}: vector {:#04x} {}, {logical}",
            state.icr,
            state.icr & 0xff,
            DeliveryMode::from_bits((state.icr >> 8) as u32).name()
        );
        for (index, (name, entry)) in LVT_NAMES.iter().zip(state.lvt).enumerate() {
            let _ = write!(text, "  LVT {name:<11} {entry:#07x}: vector {:#04x}", entry & 0xff);
            if !HAS_NO_MODE.contains(&index) {
                let _ = write!(text, " {}", DeliveryMode::from_bits(entry >> 8).name());
            }
            if index == 0 {
                let _ = write!(
                    text,
                    " {}",
                    ["one-shot", "periodic", "TSC deadline", "reserved"][(entry >> 17 & 3) as usize]
                );
            }
            for (bit, what) in
                [(LVT_LEVEL, ", level"), (LVT_REMOTE_IRR, ", waits for EOI"), (LVT_MASKED, ", masked")]
            {
                text.push_str(if entry & bit != 0 { what } else { "" });
            }
            text.push('\n');
        }
        let timer = &state.timer;
        let _ = writeln!(
            text,
            "  timer: initial count {:#x}, current count {:#x}, {} ns a count, TSC deadline {:#x}",
            timer.initial_count(),
            timer.current_count(now_ns, state.lvt[0]),
            timer.divisor(),
            timer.tsc_deadline()
        );
        let _ = writeln!(text, "  timer fires {}", timer.deadline.in_words(now_ns));
        text
    }
}

/// The vectors whose bits are set; of level-triggered ones no more is known here.
fn vectors_text(vectors: &Vectors) -> String {
    let set: Vec<String> =
        (0..=255).filter(|vector| has_bit(vectors, *vector)).map(|vector| format!("{vector:#04x}")).collect();
    if set.is_empty() { "-".to_owned() } else { set.join(" ") }
}
