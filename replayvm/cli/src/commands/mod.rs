//! One file a subcommand. Each returns the exit status.

/// Figures of this host.
pub mod bench;
/// The same of the terminal front end.
mod bench_tui;
/// What the guest has printed.
pub mod console;
/// The guests that come with the command.
pub mod corpora;
/// Two recordings side by side.
pub mod diff;
/// What this host can do.
pub mod doctor;
/// Exits, counted or listed.
pub mod exits;
/// Serving gdb.
pub mod gdb;
/// Seeds until one fails.
pub mod hunt;
/// What is in a recording.
pub mod info;
/// One run.
pub mod record;
/// Replaying and checking.
pub mod replay;
/// A snapshot that goes on.
pub mod run;
/// Snapshots, saved and shown.
pub mod snapshot;
/// Names for addresses.
pub mod symbols;
/// The timeline in the terminal.
pub mod tui;
