//! `replayvm tui`: the timeline of a recording in the terminal.

/// gdb, from within.
mod gdb;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::flag::register;
use tui::{Options, Place, TuiError};

use crate::args::Tui;
use crate::failure::{FINE, Failure};
use crate::output::this_command;

/// Signals, as flags: whoever gets one gives the terminal back first.
#[derive(Debug, Clone, Default)]
struct Signals {
    /// It is to end.
    stop: Arc<AtomicBool>,
    /// The same, but not for Ctrl-C, which may be meant for gdb.
    terminate: Arc<AtomicBool>,
    /// It is to be suspended.
    suspend: Arc<AtomicBool>,
}

impl Signals {
    fn register(&self) -> std::io::Result<()> {
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
            register(signal, Arc::clone(&self.stop))?;
        }
        for signal in [SIGTERM, SIGHUP] {
            register(signal, Arc::clone(&self.terminate))?;
        }
        register(SIGTSTP, Arc::clone(&self.suspend))?;
        Ok(())
    }
}

/// `replayvm tui`
pub fn run(arguments: &Tui) -> Result<u8, Failure> {
    let signals = Signals::default();
    let at = match arguments.at.as_str() {
        "begin" | "start" => Place::Begin,
        "end" => Place::End,
        text => Place::At(text.parse().map_err(|error| Failure::input(&error))?),
    };
    let mut gdb = gdb::InGdb::new(arguments, signals.clone());
    let options = Options {
        disks: arguments.disks.paths(),
        symbols: arguments.symbols.clone(),
        at,
        elsewhere: arguments.print_position,
        // https://no-color.org: set, and not empty.
        plain: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
        settings: settings(),
        on_screen: &mut || signals.register(),
        stop: &signals.stop,
        suspend: &signals.suspend,
        gdb: &mut gdb,
    };
    match tui::run(&arguments.file, options) {
        Ok(position) => {
            if arguments.print_position {
                println!("{position}");
            }
            Ok(FINE)
        }
        Err(TuiError::Timeline(error)) => Err(error.into()),
        Err(TuiError::Beyond { at, end }) => Err(Failure::beyond(at, end).hint("--at end")),
        Err(error @ TuiError::NoTerminal) => {
            let file = arguments.file.display();
            Err(Failure::input(&error).hint(format!("{} exits {file} --list", this_command())))
        }
        Err(error) => Err(Failure::internal(&error)),
    }
}

/// The file of what the panes were, by the XDG base directory specification.
fn settings() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = folder("XDG_STATE_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/state")));
    Some(state?.join("replayvm/tui"))
}
