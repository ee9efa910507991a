//! `replayvm hunt`: seeds until the guest's own check fails.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use recorder::EndReason;
use replayvm::session::{Fork, ForkRunner, RecordOutcome, RecordSession, Start};
use serde::Serialize;
use tempfile::{Builder, TempPath};

use super::record::{Report, default_output};
use crate::args::Hunt;
use crate::failure::{FINE, FOUND, Failure};
use crate::guest::{self, Guest, Purpose};
use crate::output::{self, grouped};

/// What a hunt came to, as JSON.
#[derive(Debug, Serialize)]
struct HuntReport {
    guest: String,
    seeds_run: u64,
    failures: u64,
    failing_seeds: Vec<u64>,
    first_failure: Option<Report>,
}

/// What the workers share.
#[derive(Default)]
struct Shared {
    next: AtomicU64,
    run: AtomicU64,
    /// The lowest failing seed so far; seeds above it need not be run.
    lowest: AtomicU64,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    failing: Vec<u64>,
    kept: Option<(u64, RecordOutcome, TempPath)>,
    failure: Option<Failure>,
}

/// `replayvm hunt`
pub fn run(arguments: &Hunt, stop: &Arc<AtomicBool>) -> Result<u8, Failure> {
    let guest = guest::find(&arguments.guest)?;
    let seeds = arguments.seeds.clone();
    let jobs =
        arguments.jobs.map_or_else(|| thread::available_parallelism().map_or(1, usize::from), usize::from);
    if let Some(path) = arguments.output.as_deref().filter(|path| path.is_dir()) {
        // Better now than when the failing seed is found.
        let text = format!("cannot keep a recording as {}: it is a directory", path.display());
        return Err(Failure::input_text(text).hint("the name of a file with --output"));
    }
    let folder = match arguments.output.as_deref().and_then(Path::parent) {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    if !arguments.json {
        println!("{}: seeds {}..{}, {jobs} at a time", guest.name, seeds.start, seeds.end);
    }
    let fork = match guest.vary_after(&arguments.guest) {
        Some(text) => match fork(&guest, arguments, &text, stop)? {
            Some(fork) => Some(Arc::new(*fork)),
            None => {
                println!("interrupted: 0 seeds run, none failed");
                return Ok(FINE);
            }
        },
        None => None,
    };
    let shared =
        Shared { next: AtomicU64::new(seeds.start), lowest: AtomicU64::new(u64::MAX), ..Shared::default() };
    let bar = output::progress(seeds.end - seeds.start, "{bar:40} {pos}/{len} seeds, {per_sec}, {eta} left");
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                let seeker = Seeker { guest: &guest, arguments, folder: &folder, fork: fork.as_ref(), stop };
                worker(&seeker, &shared, &bar);
            });
        }
    });
    bar.finish_and_clear();

    let found = shared.found.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(failure) = found.failure {
        return Err(failure);
    }
    let runs = shared.run.load(Ordering::Relaxed);
    let mut failing = found.failing;
    failing.sort_unstable();
    let first = match found.kept {
        Some((seed, outcome, file)) => {
            let path = arguments.output.clone().unwrap_or_else(|| default_output(&guest.name, seed));
            file.persist(&path).map_err(|error| {
                let text = format!("cannot keep the recording as {}: {}", path.display(), error.error);
                Failure::input_text(text)
            })?;
            Some(Report::new(&guest.name, seed, &outcome, Some(&path)))
        }
        None => None,
    };
    let status = if first.is_some() { FOUND } else { FINE };
    if arguments.json {
        output::json(&HuntReport {
            guest: guest.name,
            seeds_run: runs,
            failures: failing.len() as u64,
            failing_seeds: failing,
            first_failure: first,
        })?;
        return Ok(status);
    }
    match first {
        Some(report) => print_failure(&report),
        None if stop.load(Ordering::Relaxed) => println!("interrupted: {runs} seeds run, none failed"),
        None => println!("{runs} seeds run, none failed"),
    }
    if arguments.all && runs > 0 {
        let rate = failing.len() as f64 * 100.0 / runs as f64;
        println!("{} of {runs} seeds fail ({rate:.1} %)", failing.len());
    }
    Ok(status)
}

fn print_failure(report: &Report) {
    println!(
        "seed {} FAILED: {} at {}, {} instructions",
        report.seed,
        report.reason,
        report.position,
        grouped(report.instructions)
    );
    for line in report.console.lines() {
        println!("  | {line}");
    }
    report.print_next();
}

/// Runs the start that all seeds have in common. `None`: interrupted.
fn fork(
    guest: &Guest,
    arguments: &Hunt,
    text: &str,
    stop: &AtomicBool,
) -> Result<Option<Box<Fork>>, Failure> {
    let settings = guest::settings(&arguments.guest, guest, Purpose::Hunt, arguments.seeds.start);
    match Fork::prepare(&guest.name, &guest.images, &settings, stop)? {
        Start::Ready(fork) => {
            if !arguments.json {
                let (at, instructions) = (fork.position(), grouped(fork.instructions()));
                println!("all seeds alike up to {at}, {instructions} instructions; they vary from there");
            }
            Ok(Some(fork))
        }
        Start::Ended(EndReason::Interrupted, _) => Ok(None),
        Start::Ended(reason, at) => {
            let how = reason.to_string();
            let text = format!("the guest ended ({how}) at {at} without having printed `{text}`");
            Err(Failure::input_text(text).hint("--vary-after with a text that the guest prints"))
        }
    }
}

/// What a worker hunts with.
struct Seeker<'h> {
    guest: &'h Guest,
    arguments: &'h Hunt,
    folder: &'h Path,
    fork: Option<&'h Arc<Fork>>,
    stop: &'h Arc<AtomicBool>,
}

/// How the run of one seed ended.
enum Outcome {
    Passed,
    /// With its recording, unless a lower seed has failed.
    Failed(Option<(Box<RecordOutcome>, TempPath)>),
    Interrupted,
}

/// Runs seeds until there are no more, or until no lower one is left to run.
fn worker(seeker: &Seeker, shared: &Shared, bar: &indicatif::ProgressBar) {
    let arguments = seeker.arguments;
    let mut runner = None;
    loop {
        let seed = shared.next.fetch_add(1, Ordering::Relaxed);
        let passed_by = !arguments.all && seed > shared.lowest.load(Ordering::Relaxed);
        if seed >= arguments.seeds.end || passed_by || seeker.stop.load(Ordering::Relaxed) {
            return;
        }
        let result = match seeker.fork {
            Some(fork) => {
                let wanted = seed < shared.lowest.load(Ordering::Relaxed);
                seeker.forked_run(fork, &mut runner, seed, wanted)
            }
            None => seeker.whole_run(seed),
        };
        let mut found = shared.found.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(Outcome::Interrupted) => return,
            Ok(Outcome::Passed) => {
                shared.run.fetch_add(1, Ordering::Relaxed);
                bar.inc(1);
            }
            Ok(Outcome::Failed(recorded)) => {
                shared.run.fetch_add(1, Ordering::Relaxed);
                bar.inc(1);
                shared.lowest.fetch_min(seed, Ordering::Relaxed);
                found.failing.push(seed);
                if let Some((outcome, file)) = recorded
                    && found.kept.as_ref().is_none_or(|(kept, ..)| seed < *kept)
                {
                    found.kept = Some((seed, *outcome, file));
                }
            }
            Err(failure) => {
                found.failure.get_or_insert(failure);
                // Nobody needs to go on.
                shared.next.store(arguments.seeds.end, Ordering::Relaxed);
                return;
            }
        }
    }
}

impl Seeker<'_> {
    /// One run from power-on, into a file that vanishes unless it is kept.
    fn whole_run(&self, seed: u64) -> Result<Outcome, Failure> {
        let file = Builder::new()
            .prefix(&format!(".{}-{seed}-", self.guest.name))
            .suffix(".rvm.partial")
            .tempfile_in(self.folder)
            .map_err(|error| {
                Failure::input_text(format!("cannot write into {}: {error}", self.folder.display()))
            })?
            .into_temp_path();
        let settings = guest::settings(&self.arguments.guest, self.guest, Purpose::Hunt, seed);
        let (guest, stop) = (self.guest, Arc::clone(self.stop));
        let session = RecordSession::start(&file, &guest.name, &guest.images, &settings, None, stop)?;
        let outcome = session.run()?;
        Ok(match outcome.end.reason {
            EndReason::Interrupted => Outcome::Interrupted,
            _ if outcome.passed => Outcome::Passed,
            _ => Outcome::Failed(Some((Box::new(outcome), file))),
        })
    }

    /// One run from the fork; if it fails and is wanted, the same from power-on, recorded.
    fn forked_run(
        &self,
        fork: &Arc<Fork>,
        runner: &mut Option<ForkRunner>,
        seed: u64,
        wanted: bool,
    ) -> Result<Outcome, Failure> {
        let runner = match runner {
            Some(runner) => runner,
            None => runner.insert(fork.runner()?),
        };
        let forked = runner.run(seed, self.stop)?;
        if forked.reason == EndReason::Interrupted {
            return Ok(Outcome::Interrupted);
        }
        if forked.passed {
            return Ok(Outcome::Passed);
        }
        if !wanted {
            return Ok(Outcome::Failed(None));
        }
        let whole = self.whole_run(seed)?;
        let same = match &whole {
            Outcome::Interrupted => true,
            Outcome::Failed(Some((outcome, _))) => {
                (outcome.end.position, outcome.end.digest) == (forked.position, forked.digest)
            }
            Outcome::Passed | Outcome::Failed(None) => false,
        };
        if same {
            return Ok(whole);
        }
        let text =
            format!("seed {seed} fails at {} from the fork, but not so from power-on", forked.position);
        Err(Failure::internal_text(text))
    }
}
