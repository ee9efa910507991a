//! What a recording is: where things happened, what happened, and the file that says so.
//!
//! A leaf: it knows nothing of KVM, of a CPU or of a device.
#![forbid(unsafe_code)]

/// Where in a run: tick and offset.
mod position;
/// Inputs: what the guest could not have computed.
mod event;
/// Consequences: what the guest did that left the CPU.
mod exit;
/// Named, versioned pieces of machine state.
mod section;
/// What the machine was and what it booted.
mod description;

pub use description::{BootKind, End, EndReason, Image, ImageRole, MachineDescription, RULES_VERSION};
pub use event::Event;
pub use exit::{Exit, ExitKind};
pub use position::{ParsePositionError, Position};
pub use section::{Digest, Section};
