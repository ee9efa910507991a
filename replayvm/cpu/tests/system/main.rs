//! The CPU's system side: paging, events, privilege, time. Each test is a guest and a sentence about it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod debug;
mod edits;
mod events;
mod machine;
mod modes;
mod paging;
mod privilege;
mod robustness;
mod ticks;
