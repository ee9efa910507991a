//! `replayvm tui`: the timeline of a recording in the terminal.

/// Another recording beside it.
mod against;
/// gdb, from within.
mod gdb;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::flag::register;
use tui::worker::Results;
use tui::{Left, Options, Place, TuiError};

use against::Compared;

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
    let at = arguments.at.as_deref().map(place).transpose()?;
    let compared = arguments.against.as_deref().map(|other| Compared::new(arguments, other)).transpose()?;
    let mut at = at.or(compared.as_ref().and_then(Compared::place)).unwrap_or_default();
    let mut file = &arguments.file;
    loop {
        let shown = usize::from(*file != arguments.file);
        match show(
            file,
            at,
            arguments,
            compared.as_ref().map(|compared| compared.lists[shown].clone()),
            &signals,
        )? {
            Left { position, swap: true } => {
                file = match &arguments.against {
                    Some(other) if shown == 0 => other,
                    _ => &arguments.file,
                };
                // The other one may be shorter.
                let ends = compared.as_ref().map(|compared| compared.ends[1 - shown]);
                at = Place::At(ends.map_or(position, |end| position.min(end)));
            }
            Left { position, swap: false } => {
                if arguments.print_position {
                    println!("{position}");
                }
                return Ok(FINE);
            }
        }
    }
}

fn place(text: &str) -> Result<Place, Failure> {
    match text {
        "begin" | "start" => Ok(Place::Begin),
        "end" => Ok(Place::End),
        text => Ok(Place::At(text.parse().map_err(|error| Failure::input(&error))?)),
    }
}

/// One recording, until it is left.
fn show(
    file: &Path,
    at: Place,
    arguments: &Tui,
    against: Option<Results>,
    signals: &Signals,
) -> Result<Left, Failure> {
    let mut gdb = gdb::InGdb::new(file, arguments, signals.clone());
    let options = Options {
        disks: arguments.disks.paths(),
        symbols: arguments.symbols.clone(),
        at,
        elsewhere: arguments.print_position,
        against,
        // https://no-color.org: set, and not empty.
        plain: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
        settings: settings(),
        on_screen: &mut || signals.register(),
        stop: &signals.stop,
        suspend: &signals.suspend,
        gdb: &mut gdb,
    };
    tui::run(file, options).map_err(|error| match error {
        TuiError::Timeline(error) => error.into(),
        TuiError::Beyond { at, end } => Failure::beyond(at, end).hint("--at end"),
        error @ TuiError::NoTerminal => {
            let file = file.display();
            Failure::input(&error).hint(format!("{} exits {file} --list", this_command()))
        }
        error => Failure::internal(&error),
    })
}

/// The file of what the panes were, by the XDG base directory specification.
fn settings() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = folder("XDG_STATE_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/state")));
    Some(state?.join("replayvm/tui"))
}
