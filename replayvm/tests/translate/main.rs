//! Translated code against the software CPU: the same programs by both, in this process, without KVM. What is compared is every
//! register and flag, memory, ticks, offset and instructions, at each place where native code is left and at each fault.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![cfg(target_arch = "x86_64")]

/// Programs of calls.
mod calls;
/// Compiled programs.
mod compiled;
/// Memory.
mod machine;
/// Native code.
mod native;
/// Addresses.
mod place;
/// The CPU's own random programs.
#[path = "../../cpu/tests/blocks/programs.rs"]
#[allow(dead_code, reason = "kernels are not for user mode")]
mod programs;
/// Random programs.
mod random;
/// Both ways.
mod twins;
