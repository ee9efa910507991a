//! Direct execution of user mode in KVM.

/// From guest code to code that counts.
pub mod translate;
