//! What the end-to-end tests share: the command, built and run; recordings; damage; random numbers.
//!
//! The tests are in `tests/tests`, one subject a file. They use the command as a user does, from outside.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

/// Building with cargo.
mod cargo;
/// Building the command and running it.
mod command;
/// What the host has, and what else it does.
mod host;
/// The command on a terminal of its own.
mod pty;
/// Recordings, made and looked at.
mod recording;
/// A recording in a folder, and what must be refused.
mod scene;
/// A recording, served to a debugger.
mod serving;

/// Patching recordings, byte by byte.
pub mod damage;
/// Random numbers from a seed.
pub mod random;
/// What a person types to gdb, and what they see.
pub mod scenario;

pub use cargo::executable;
pub use command::{Finished, Replayvm, Running, binary, replayvm};
pub use host::{Busy, is_installed};
pub use pty::{Attributes, Person};
pub use recording::{Ended, end_of, folder, info, path_text, position, record, replay_end};
pub use scene::{Scene, every_reader_refuses, record_bytes, record_corpora};
pub use serving::Serving;
