//! The fast form of the CPU against the plain one: the same random programs on both, cut into runs at random, with
//! everything that a block could get wrong in them: faults in the middle, code that changes itself, page tables that
//! change under it, interrupts, breakpoints.
//!
//! `REPLAYVM_BLOCKS_SEED` and `REPLAYVM_BLOCKS_PROGRAMS` choose other programs, and more of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that clippy does not know as one"
)]
#![allow(dead_code, reason = "of the machine that another test has too, a part is used")]

#[path = "../system/machine.rs"]
mod machine;
mod programs;
mod random;
mod scenes;
mod twins;
