//! Inputs of a run.

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};

/// Bytes of an input that are shown.
const SHOWN_BYTES: usize = 32;

/// One nondeterministic input, applied at the [`Position`](crate::Position) it is logged with.
///
/// Everything but entropy and [`Event::Clock`] is asynchronous and sits at offset 0. Entropy is read by an
/// instruction and sits at the position before that instruction.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Event {
    /// The wall clock at power-on, in seconds since the Unix epoch; only ever at `0+0`.
    Clock {
        /// Seconds since 1970-01-01T00:00:00Z.
        unix_seconds: u64,
    },
    /// What one RDRAND or RDSEED returned.
    Entropy {
        /// The value, zero-extended from the operand's size.
        value: u64,
    },
    /// What the entropy device (virtio-rng) handed to the guest for one request, at the position before the instruction
    /// that asked for it.
    DeviceEntropy {
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Bytes that arrived at the first serial port.
    Serial {
        /// The bytes, in order of arrival.
        bytes: Vec<u8>,
    },
    /// How far virtual time jumped while the CPU was idle, where that was not simply to the next device deadline
    /// (a session in real time).
    Idle {
        /// Nanoseconds of virtual time.
        ns: u64,
    },
    /// A perturbation: the timer whose deadline was reached here fires this much later.
    TimerDelay {
        /// Which timer (the numbers of `replayvm::devices::TimerSource`).
        source: u8,
        /// Nanoseconds of virtual time.
        ns: u64,
    },
    /// A perturbation: the CPU takes no interrupt for this many ticks from here.
    InterruptHold {
        /// Ticks.
        ticks: u32,
    },
}

impl Event {
    /// Whether who stands at the event's position has it still to come: what an instruction reads is; what comes by itself has been
    /// applied.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        matches!(self, Self::Entropy { .. } | Self::DeviceEntropy { .. })
    }
}

/// An input, in a few words.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clock { unix_seconds } => write!(f, "clock {unix_seconds} s since 1970"),
            Self::Entropy { value } => write!(f, "entropy {value:#x}"),
            Self::DeviceEntropy { bytes } => {
                write!(f, "entropy device, {} bytes:", bytes.len())?;
                bytes.iter().take(SHOWN_BYTES).try_for_each(|byte| write!(f, " {byte:02x}"))?;
                f.write_str(if bytes.len() > SHOWN_BYTES { " ..." } else { "" })
            }
            Self::Serial { bytes } => {
                let shown = &bytes[..bytes.len().min(SHOWN_BYTES)];
                let more = if bytes.len() > SHOWN_BYTES { "..." } else { "" };
                write!(f, "serial, {} bytes: \"{}\"{more}", bytes.len(), shown.escape_ascii())
            }
            Self::Idle { ns } => write!(f, "idle for {ns} ns"),
            Self::TimerDelay { source, ns } => write!(f, "timer {source} delayed by {ns} ns"),
            Self::InterruptHold { ticks } => write!(f, "interrupts held for {ticks} ticks"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_shown_in_few_words() {
        let serial = Event::Serial { bytes: b"ls\r\x1b".to_vec() };
        assert_eq!(serial.to_string(), "serial, 4 bytes: \"ls\\r\\x1b\"");
        assert!(Event::DeviceEntropy { bytes: vec![7; 4096] }.to_string().len() < 200);
        assert_eq!(Event::Entropy { value: 16 }.to_string(), "entropy 0x10");
    }
}
