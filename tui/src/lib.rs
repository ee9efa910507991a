//! The terminal front end: exits, CPU and cursor of a recording on one screen.
//!
//! State is apart from view: a key becomes an [`Action`](app::Action), the [`App`](app::App) changes its
//! [`State`](app::State), and [`view`] draws nothing but that. Recordings are reached through
//! [`Timeline`](replayvm::timeline::Timeline) alone.
#![forbid(unsafe_code)]

/// State, and what each action does to it.
pub mod app;
/// How many exits of each kind there are, and where.
pub mod census;
/// The list of exits, loaded a window at a time.
pub mod exits;
/// The keys: one table.
pub mod keys;
/// What is shown of the machine under the cursor.
pub mod machine;
/// The event loop and the terminal.
pub mod run;
/// Drawing.
pub mod view;

pub use run::{TuiError, run};
