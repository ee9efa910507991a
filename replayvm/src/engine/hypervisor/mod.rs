//! What the engines on KVM share: the device, what it offers, and the CPU's state in its structures.

/// What KVM of this kernel offers, and what has to be there.
mod capabilities;
/// `/dev/kvm`: opening it, and what may be in the way.
mod device;
/// The CPU's state in KVM's structures.
pub(crate) mod registers;

pub(crate) use capabilities::{Features, features};
pub(crate) use device::{open, refusal};

/// Why KVM cannot be used, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unusable(pub(crate) String);
