//! The front end on real recordings, without a terminal and in one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

/// Damaged recordings.
mod damage;
/// The documentation.
mod documentation;
/// A guest of which every byte is known.
mod guest;
/// A Linux boot.
mod linux;
/// Lists: exits, console, marks, results.
mod lists;
/// Whatever somebody presses.
mod monkey;
/// Moving the cursor.
mod moves;
/// What is looked for.
mod searches;
/// Recordings, screens, and the front end without its threads.
mod support;
/// The command in a real terminal.
mod terminal;
/// What is drawn.
mod views;
