//! When KVM or the processor does not run a guest: why, in words.
//!
//! KVM says a number. What stands behind it is the processor's reason (`decode`), and a rule of the manual that the state
//! breaks (`check`), in this register, by this value. The state is the one that KVM holds.

/// Giving KVM a machine as it is.
mod attempt;
/// The manuals' numbers.
mod codes;
/// KVM's exits in words.
mod decode;
/// Whose rules apply.
mod processor;
/// What a processor demands of a guest's state.
mod rules;

pub use attempt::{Attempt, attempt};
pub use processor::{Maker, Processor};
pub use rules::{Rule, Source, Violation, check, check_system_registers};

pub(crate) use decode::{InternalError, exit, failed_entry};
