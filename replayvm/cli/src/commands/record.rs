//! `replayvm record`: one run.

use std::path::{Path, PathBuf};

use replayvm::machine::boot;
use replayvm::session::{RecordOutcome, RecordSession};
use serde::Serialize;

use crate::args::Record;
use crate::failure::Failure;
use crate::guest::{self, Purpose};
use crate::live::{self, Seat};
use crate::output::{self, this_command};

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
    settings.realtime = arguments.live.realtime;
    let path = arguments.output.clone().unwrap_or_else(|| default_output(&guest.name, arguments.seed));
    let mut seat = Seat::new(&arguments.live, boot::detect(&guest.images.kernel).ok())?;
    if seat.is_interactive() && arguments.guest.limit.is_none() {
        // A person ends it.
        settings.limit_ticks = u64::MAX;
    }
    let (host, stop) = (seat.host.take(), seat.stop.clone());
    let session = RecordSession::start(&path, &guest.name, &guest.images, &settings, host, stop)?;
    let outcome = seat.run(session, &format!("{} into {}", guest.name, path.display()))?;
    live::report((&guest.name, arguments.seed), &outcome, Some(&path), arguments.live.json)
}
