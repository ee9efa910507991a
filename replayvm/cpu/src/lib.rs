//! The software x86-64 CPU: a processor as a pure function of its state and its [`Bus`].
//!
//! No I/O, no operating system, no clock. It comes in two forms that cannot be told apart by their states: the plain
//! one ([`Cpu::step`]), one instruction at a time, every flag computed, every access checked, which is the oracle; and
//! the fast one ([`Blocks::run`]), which runs decoded blocks and leaves everything unusual to the plain one.
#![deny(unsafe_code)]

/// Linear memory: segmentation, translation, page crossings, data breakpoints.
mod access;
/// For an engine that executes beside the CPU.
mod beside;
/// The fast form: decoded blocks.
mod blocks;
/// What the CPU asks of the machine around it.
mod bus;
/// The processor model.
mod cpuid;
/// Fetching and decoding.
mod decode;
/// Exceptions and interrupts: from an event to its handler.
mod deliver;
/// Changing the CPU from outside.
mod edit;
/// What instructions do, one family a file.
mod exec;
/// Faults on their way to delivery.
mod fault;
/// RFLAGS and the arithmetic that sets it.
mod flags;
/// Looking at the CPU from outside.
mod inspect;
/// What physical pages are to the CPU besides memory.
mod pages;
/// From linear to physical addresses.
mod paging;
/// Segment descriptors and their attributes.
mod segment;
/// Everything the CPU remembers.
mod state;
/// One step: boundary, interrupt, instruction, tick.
mod step;
/// Translations remembered.
mod tlb;
/// Whether a state could be one.
mod validate;

pub use blocks::{Blocks, Limits};
pub use bus::{Access, Bus, Moment, Observation};
pub use cpuid::{CpuModel, FeatureError, MODEL};
pub use fault::{Fault, Vector};
pub use flags::{FLAGS_PROFILE, Rflags};
pub use inspect::{Entry, Unmapped, Walk, translate, walk, walk_entries};
pub use segment::{Attributes, Segment, SegmentName, Table};
pub use state::{CpuState, Mode, Shadow, cr0, cr4, dr6, efer};
pub use step::{Cpu, REP_LIMIT, STALL_STEPS_KERNEL, STALL_STEPS_USER, Step};
