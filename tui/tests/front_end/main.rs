//! The front end on real recordings, without a terminal and in one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

/// What each action does.
mod actions;
/// What a longer recording asks of the list.
mod lists;
/// Recordings and screens that several tests need.
mod support;
/// The command in a real terminal.
mod terminal;
/// What is drawn.
mod views;
