//! Replayvm under gdb: a recording looks like a live machine that also runs backwards.
//!
//! The way of a command: [`server`] accepts gdb, [`session`] feeds its bytes to gdbstub, gdbstub calls [`target`], and the
//! target moves or reads the [`Timeline`](replayvm::timeline::Timeline). Nothing here ever changes the recorded machine: what gdb
//! changes is a branch of it.
#![forbid(unsafe_code)]

/// The architecture as gdbstub wants it.
pub mod arch;
/// As what a debugger is shown the machine.
pub mod architecture;
/// The target description.
pub mod description;
/// The registers that gdb sees.
pub mod registers;

/// Where clients come in.
mod door;
/// The connection to one client: bytes out, bytes in, and whether somebody pressed Ctrl-C.
pub mod link;
/// Why a request is refused, and how gdb is told.
mod refusal;
/// A socket to one client.
pub mod stream;

/// Changing registers and memory.
mod edits;
/// The guest's ELF file, for a debugger to read.
mod files;
/// Memory, by the guest's page tables or physical.
mod memory;
/// The commands of `monitor`.
mod monitor;
/// Steps back over interrupts.
mod over_interrupts;
/// Breakpoints and watchpoints.
mod points;
/// Stepping and running, forwards and backwards.
mod resume;
/// Breakpoints that belong to an address space.
mod spaces;
/// The names of what is in the guest.
pub mod symbols;
/// What gdb stands before: the timeline with gdb's breakpoints.
pub mod target;
/// The vCPU as gdb's thread.
mod thread;

/// How long commands take.
mod timing;

/// Starting gdb.
pub mod launch;
/// Serving one client after the other.
pub mod server;
/// One client's packets.
pub mod session;

pub use door::{Listen, ServeError};
pub use launch::{GDB_COMMANDS, GDB_PYTHON, GdbFiles, launch_gdb};
pub use server::{ServeOptions, serve};
pub use session::{Goodbye, SessionError, serve_client};
pub use symbols::GuestSymbols;
