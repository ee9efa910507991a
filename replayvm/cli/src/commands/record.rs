//! `replayvm record`: one run.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use recorder::{BootKind, EndReason};
use replayvm::console::{Cleaner, Colours};
use replayvm::machine::boot;
use replayvm::session::{ConsoleSink, RecordOutcome, RecordSession};
use serde::Serialize;

use crate::args::Record;
use crate::failure::{FINE, FOUND, Failure};
use crate::guest::{self, Guest, Purpose};
use crate::output::{self, grouped, this_command};
use crate::terminal::{self, RawTerminal};

/// What a run came to, as JSON.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The guest.
    pub guest: String,
    /// Its seed.
    pub seed: u64,
    /// Whether the guest's own check passed.
    pub passed: bool,
    /// How it ended.
    pub reason: String,
    /// Where.
    pub position: String,
    /// Instructions retired.
    pub instructions: u64,
    /// Digest of the machine at the end.
    pub digest: String,
    /// The recording, if it was kept.
    pub recording: Option<PathBuf>,
    /// Bytes of the recording.
    pub recording_bytes: u64,
    /// What the guest said.
    pub console: String,
}

impl Report {
    /// The report of a run.
    pub fn new(guest: &str, seed: u64, outcome: &RecordOutcome, recording: Option<&Path>) -> Self {
        Self {
            guest: guest.to_owned(),
            seed,
            passed: outcome.passed,
            reason: outcome.end.reason.to_string(),
            position: outcome.end.position.to_string(),
            instructions: outcome.end.instructions,
            digest: outcome.end.digest.to_string(),
            recording: recording.map(Path::to_owned),
            recording_bytes: recording.and_then(|path| std::fs::metadata(path).ok()).map_or(0, |m| m.len()),
            console: output::console(&outcome.console),
        }
    }

    /// What to do with the recording.
    pub fn print_next(&self) {
        let Some(path) = &self.recording else { return };
        let (command, path) = (this_command(), path.display());
        println!("recording: {path} ({})", output::bytes(self.recording_bytes));
        println!("  {command} replay {path}          run it again, every exit and digest checked");
        println!("  {command} gdb {path} --launch    debug it, forwards and backwards");
    }
}

/// The file of a run that is not told where to go.
pub fn default_output(guest: &str, seed: u64) -> PathBuf {
    PathBuf::from(format!("{guest}-{seed}.rvm"))
}

/// `replayvm record`
pub fn run(arguments: &Record) -> Result<u8, Failure> {
    let guest = guest::find(&arguments.guest)?;
    let mut settings = guest::settings(&arguments.guest, &guest, Purpose::Record, arguments.seed);
    settings.realtime = arguments.realtime;
    let path = arguments.output.clone().unwrap_or_else(|| default_output(&guest.name, arguments.seed));
    let interactive = interactive(arguments, &guest)?;
    let stop = if interactive { terminal::interrupt_flag()? } else { crate::interrupt_flag()? };
    let host = match (interactive, arguments.stdin) {
        (true, _) => Some(terminal::keyboard(Arc::clone(&stop))),
        (false, true) => Some(standard_input()),
        (false, false) => None,
    };
    if interactive && arguments.guest.limit.is_none() {
        // A person ends it.
        settings.limit_ticks = u64::MAX;
    }
    let mut session = RecordSession::start(&path, &guest.name, &guest.images, &settings, host, stop)?;
    let raw = if interactive {
        println!("{} into {}: Ctrl-A X leaves, Ctrl-A H helps", guest.name, path.display());
        session.set_console(Box::new(Through));
        Some(RawTerminal::enter().map_err(|error| Failure::internal(&error))?)
    } else {
        if !arguments.json {
            session.set_console(Box::new(Echo::new()));
        }
        None
    };
    let outcome = session.run();
    drop(raw);
    let outcome = outcome?;
    if interactive {
        // The guest's last line may have no end.
        println!("");
    }
    let report = Report::new(&guest.name, arguments.seed, &outcome, Some(&path));
    if arguments.json {
        output::json(&report)?;
    } else {
        let verdict = match (&outcome.end.reason, outcome.passed) {
            (EndReason::Interrupted | EndReason::TickLimit, _) => "stopped",
            (_, true) => "passed",
            (_, false) => "FAILED",
        };
        println!(
            "{}: seed {} {verdict} ({}) at {}, {} instructions",
            report.guest,
            report.seed,
            report.reason,
            report.position,
            grouped(report.instructions)
        );
        report.print_next();
    }
    // A person's wish to stop is no failure of the guest, and neither is a limit here: a hunt is for that.
    let fine = outcome.passed || matches!(outcome.end.reason, EndReason::Interrupted | EndReason::TickLimit);
    Ok(if fine { FINE } else { FOUND })
}

/// Whether a person is to sit at the guest's console.
fn interactive(arguments: &Record, guest: &Guest) -> Result<bool, Failure> {
    if arguments.interactive {
        return if std::io::stdin().is_terminal() {
            Ok(true)
        } else {
            Err(Failure::input_text("standard input is no terminal")
                .hint("--stdin, to hand it to the guest as it is"))
        };
    }
    let linux = matches!(
        boot::detect(&guest.images.kernel),
        Ok(BootKind::LinuxBzImage | BootKind::LinuxElf | BootKind::Pvh)
    );
    Ok(linux && !arguments.stdin && !arguments.json && terminal::is_interactive())
}

/// Hands the guest's console output on, made fit for a terminal.
#[derive(Debug)]
struct Echo(Cleaner);

impl Echo {
    fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self(Cleaner::new(if terminal { Colours::Kept } else { Colours::Dropped }))
    }
}

impl ConsoleSink for Echo {
    fn output(&mut self, bytes: &[u8]) {
        let mut out = std::io::stdout().lock();
        // A terminal that is gone must not end the recording.
        let _ = out.write_all(self.0.piece(bytes).as_bytes()).and_then(|()| out.flush());
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        print!("{}", self.0.finish());
    }
}

/// Hands the guest's console output on as it is: the terminal is the guest's.
#[derive(Debug)]
struct Through;

impl ConsoleSink for Through {
    fn output(&mut self, bytes: &[u8]) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(bytes).and_then(|()| out.flush());
    }
}

/// Standard input, read on a thread of its own.
fn standard_input() -> Receiver<Vec<u8>> {
    let (sender, receiver) = sync_channel(16);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        let mut input = std::io::stdin().lock();
        while let Ok(count) = input.read(&mut buffer) {
            if count == 0 || sender.send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}
