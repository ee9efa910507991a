//! Inputs of a run.

use rkyv::{Archive, Deserialize, Serialize};

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
