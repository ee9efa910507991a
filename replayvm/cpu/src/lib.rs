//! The software x86-64 CPU: a processor as a pure function of its state and its [`Bus`].
//!
//! No I/O, no operating system, no clock. This is the plain form: one instruction at a time, every flag computed,
//! every access translated; it is the oracle that faster forms are tested against.
#![forbid(unsafe_code)]

/// Linear memory: segmentation, translation, page crossings, data breakpoints.
mod access;
/// What the CPU asks of the machine around it.
mod bus;
/// Fetching and decoding.
mod decode;
/// What instructions do, one family a file.
mod exec;
/// Faults on their way to delivery.
mod fault;
/// RFLAGS and the arithmetic that sets it.
mod flags;
/// Segment descriptors and their attributes.
mod segment;
/// Everything the CPU remembers.
mod state;
/// One step: boundary, interrupt, instruction, tick.
mod step;

pub use bus::{Access, Bus, Moment, Observation};
pub use fault::{Fault, Vector};
pub use flags::Rflags;
pub use segment::{Attributes, Segment, SegmentName, Table};
pub use state::{CpuState, Mode, Shadow};
pub use step::{Cpu, REP_LIMIT, STALL_STEPS_KERNEL, STALL_STEPS_USER, Step};
