//! The terminal front end: a recording as a place to look around in.
//!
//! A key becomes an [`Action`](action::Action), the [`App`](app::App) changes its [`State`](app::State), and [`view`] draws
//! nothing but that. What takes time is done by two threads: the [`worker`] moves the machine, by
//! [`Timeline`](replayvm::timeline::Timeline) alone, and the [`library`] reads the recording. The screen never waits for them.
#![forbid(unsafe_code)]

/// What a person may want.
pub mod action;
/// State, and what each action does to it.
pub mod app;
/// The list of exits, loaded a window at a time.
pub mod exits;
/// What is in the recording: counts of exits, console, inputs.
pub mod index;
/// The keys: one table.
pub mod keys;
/// The panes, and where on the screen everything is.
pub mod layout;
/// The threads that read the recording.
pub mod library;
/// What is shown of the machine under the cursor.
pub mod machine;
/// Named places, in a file beside the recording.
pub mod marks;
/// How fast it is on a recording.
pub mod measure;
/// Which panes were where.
pub mod settings;
/// Colours.
pub mod theme;
/// Drawing.
pub mod view;
/// The thread that moves the machine.
pub mod worker;

/// The event loop.
mod run;
/// The terminal while it is ours.
mod terminal;

pub use run::{Gdb, Left, Options, Place, TuiError, run};
