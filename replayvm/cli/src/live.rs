//! What runs live: who sits at the guest's console, and what is said of the run when it is over.

use std::io::{IsTerminal, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, sync_channel};

use recorder::{BootKind, EndReason};
use replayvm::console::{Cleaner, Colours};
use replayvm::session::{ConsoleSink, RecordOutcome, RecordSession};

use crate::args::LiveOptions;
use crate::commands::record::Report;
use crate::failure::{FINE, FOUND, Failure};
use crate::output::{self, grouped};
use crate::terminal::{self, RawTerminal};

/// Who is at the other end of the guest's console.
#[derive(Debug)]
pub struct Seat {
    interactive: bool,
    /// What the guest prints is printed while it comes.
    echo: bool,
    /// Becomes true when somebody wants to stop.
    pub stop: Arc<AtomicBool>,
    /// What comes for the guest's serial port.
    pub host: Option<Receiver<Vec<u8>>>,
}

impl Seat {
    /// As the options say: for a guest of this kind, if it is known.
    pub fn new(options: &LiveOptions, boot: Option<BootKind>) -> Result<Self, Failure> {
        let interactive = interactive(options, boot)?;
        let stop = if interactive { terminal::interrupt_flag()? } else { crate::interrupt_flag()? };
        let host = match (interactive, options.stdin) {
            (true, _) => Some(terminal::keyboard(Arc::clone(&stop))),
            (false, true) => Some(standard_input()),
            (false, false) => None,
        };
        Ok(Self { interactive, echo: !options.json, stop, host })
    }

    /// Whether a person sits there, who ends the run when they like.
    pub fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// Runs a session to its end. `what` runs, a person is told.
    pub fn run(self, mut session: RecordSession, what: &str) -> Result<RecordOutcome, Failure> {
        let raw = if self.interactive {
            println!("{what}: Ctrl-A X leaves, Ctrl-A H helps");
            session.set_console(Box::new(Through));
            Some(RawTerminal::enter().map_err(|error| Failure::internal(&error))?)
        } else {
            if self.echo {
                session.set_console(Box::new(Echo::new()));
            }
            None
        };
        let outcome = session.run();
        drop(raw);
        let outcome = outcome?;
        if self.interactive {
            // The guest's last line may have no end.
            println!("");
        }
        Ok(outcome)
    }
}

/// Says what a run came to; returns the exit status.
pub fn report(
    (guest, seed): (&str, u64),
    outcome: &RecordOutcome,
    recording: Option<&Path>,
    json: bool,
) -> Result<u8, Failure> {
    let report = Report::new(guest, seed, outcome, recording);
    if json {
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
fn interactive(options: &LiveOptions, boot: Option<BootKind>) -> Result<bool, Failure> {
    if options.interactive {
        return if std::io::stdin().is_terminal() {
            Ok(true)
        } else {
            Err(Failure::input_text("standard input is no terminal")
                .hint("--stdin, to hand it to the guest as it is"))
        };
    }
    let linux = boot.is_some_and(crate::guest::is_linux);
    Ok(linux && !options.stdin && !options.json && terminal::is_interactive())
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
