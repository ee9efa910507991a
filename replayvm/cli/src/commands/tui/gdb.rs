//! gdb, from within: on the same terminal, or in a split of tmux beside it. It has a timeline of its own.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use gdb_bridge::{GdbFiles, Listen, ServeOptions, serve};
use recorder::Position;
use replayvm::timeline::{Timeline, unsupervised};

use super::Signals;
use crate::args::{Gdb, RecordedDisks, ShownAs, Tui};
use crate::commands::gdb::{guest_symbols, launch};
use crate::failure::Failure;

/// gdb on the recording that is shown.
pub struct InGdb {
    arguments: Gdb,
    signals: Signals,
    /// gdb in a split, and what ends it.
    beside: Option<(JoinHandle<()>, Arc<AtomicBool>)>,
}

impl InGdb {
    pub fn new(file: &Path, arguments: &Tui, signals: Signals) -> Self {
        let arguments = Gdb {
            file: Some(file.to_owned()),
            disks: RecordedDisks { paths: arguments.disks.paths.clone() },
            symbols: arguments.symbols.clone(),
            listen: None,
            at: String::new(),
            arch: ShownAs::Auto,
            launch: true,
            print_python: false,
            once: true,
            gdb_arguments: Vec::new(),
        };
        Self { arguments, signals, beside: None }
    }
}

/// A timeline of gdb's own.
fn open(arguments: &Gdb, at: Position) -> Result<Timeline, Failure> {
    let file = arguments.file.clone().unwrap_or_default();
    let mut timeline = Timeline::open_finding(&file, &arguments.disks.paths())?;
    timeline.seek(at, &mut unsupervised())?;
    Ok(timeline)
}

/// Where gdb has left a timeline: of a branch, where it left the recording.
fn left(timeline: &Timeline) -> Position {
    timeline.branch().map_or(timeline.position(), |branch| branch.fork())
}

impl tui::Gdb for InGdb {
    fn here(&mut self, at: Position) -> Result<Position, String> {
        let file = self.arguments.file.clone().unwrap_or_default();
        let in_gdb = || {
            let mut timeline = open(&self.arguments, at)?;
            launch(&self.arguments, &file, &mut timeline)?;
            Ok(left(&timeline))
        };
        let result = in_gdb();
        // Ctrl-C was meant for gdb.
        let terminate = self.signals.terminate.load(Ordering::Relaxed);
        self.signals.stop.store(terminate, Ordering::Relaxed);
        result.map_err(|failure: Failure| failure.line())
    }

    fn beside(&mut self, at: Position) -> Result<Receiver<Result<Position, String>>, String> {
        if std::env::var_os("TMUX").is_none() {
            return Err("this is not within tmux: `g` goes on in gdb here".to_owned());
        }
        if self.beside.as_ref().is_some_and(|(thread, _)| !thread.is_finished()) {
            return Err("gdb is open in a split already".to_owned());
        }
        // tmux does not say whether what it starts is there.
        let is_there = Command::new("gdb").arg("--version").stdout(Stdio::null()).status();
        is_there.map_err(|_| "gdb is not installed".to_owned())?;
        let (arguments, stop) = (self.arguments.clone(), Arc::new(AtomicBool::new(false)));
        let (tell, told) = channel();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            // Whoever was to be told may have left.
            let _ = tell.send(split(&arguments, at, stopped).map_err(|failure| failure.line()));
        });
        self.beside = Some((thread, stop));
        Ok(told)
    }
}

/// Serves a gdb that tmux starts in a split, until it is left.
fn split(arguments: &Gdb, at: Position, stop: Arc<AtomicBool>) -> Result<Position, Failure> {
    let internal = |error: std::io::Error| Failure::internal(&error);
    let mut timeline = open(arguments, at)?;
    let symbols = Arc::new(guest_symbols(arguments, &arguments.file.clone().unwrap_or_default(), &timeline)?);
    let files = GdbFiles::new(&symbols).map_err(internal)?;
    let folder = tempfile::Builder::new().prefix("replayvm-").tempdir().map_err(internal)?;
    let listen = Listen::Unix(folder.path().join("gdb.sock"));
    let options = ServeOptions { once: true, stop: Arc::clone(&stop), symbols, architecture: None };
    let mut started = Ok(());
    let served = serve(&mut timeline, &listen, &options, |at| {
        let gdb = files.command(at, &[]);
        let tmux =
            Command::new("tmux").arg("split-window").arg(gdb.get_program()).args(gdb.get_args()).status();
        started = match tmux {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure::input_text(format!("tmux opens no split: {status}"))),
            Err(error) => Err(Failure::input(&error)),
        };
        if started.is_err() {
            // Nobody will come.
            stop.store(true, Ordering::Relaxed);
        }
    });
    started?;
    served.map_err(|error| Failure::input(&error))?;
    Ok(left(&timeline))
}

impl Drop for InGdb {
    fn drop(&mut self) {
        if let Some((thread, stop)) = self.beside.take() {
            stop.store(true, Ordering::Relaxed);
            // If it has panicked that has been told.
            let _ = thread.join();
        }
    }
}
