//! What a person sees of COM1: registers by the datasheet's names (PC16550D, section 8).

use std::fmt::Write;

use super::{State, Uart};
use crate::inspect::{Bits, set_names};

const IER: Bits = &[(0, "ERBFI"), (1, "ETBEI"), (2, "ELSI"), (3, "EDSSI")];
const MCR: Bits = &[(0, "DTR"), (1, "RTS"), (2, "OUT1"), (3, "OUT2"), (4, "LOOP")];
/// Bytes of input that are shown.
const SHOWN_BYTES: usize = 16;
/// 1.8432 MHz by 16.
const BAUD_BASE: u32 = 115_200;

impl Uart {
    /// Tells of it.
    #[must_use]
    pub(crate) fn inspect(&self) -> String {
        let State {
            divisor,
            interrupt_enable,
            line_control,
            modem_control,
            scratch,
            fifos_enabled,
            thr_empty_pending,
            received,
        } = self.state();
        let mut text = format!("16550A at 0x3f8, IRQ 4 is {}\n", if self.line() { "high" } else { "low" });
        let rate = u16::from_le_bytes(divisor);
        let baud = BAUD_BASE.checked_div(u32::from(rate)).unwrap_or(0);
        let frame =
            format!("{}{}{}", 5 + (line_control & 3), parity(line_control), 1 + (line_control >> 2 & 1));
        let dlab = if line_control & 0x80 != 0 { ", DLAB" } else { "" };
        let _ = writeln!(text, "  divisor {rate} ({baud} baud), LCR {line_control:#04x}: {frame}{dlab}");
        let _ =
            writeln!(text, "  IER {interrupt_enable:#04x}: {}", set_names(u64::from(interrupt_enable), IER));
        let _ = writeln!(text, "  MCR {modem_control:#04x}: {}", set_names(u64::from(modem_control), MCR));
        let _ = writeln!(text, "  FIFOs {}, SCR {scratch:#04x}", if fifos_enabled { "on" } else { "off" });
        if thr_empty_pending {
            text.push_str("  the transmitter's interrupt is pending\n");
        }
        let shown = &received[..received.len().min(SHOWN_BYTES)];
        let more = if received.len() > SHOWN_BYTES { "..." } else { "" };
        let _ = writeln!(text, "  {} bytes received: \"{}\"{more}", received.len(), shown.escape_ascii());
        text
    }
}

/// None, odd, even, mark, space: bits 3 to 5 of LCR.
const fn parity(line_control: u8) -> char {
    match line_control >> 3 & 7 {
        1 => 'O',
        3 => 'E',
        5 => 'M',
        7 => 'S',
        _ => 'N',
    }
}
