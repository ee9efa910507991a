//! `replayvm bench`: figures of this host. They are reported, never judged.
#![allow(clippy::disallowed_methods, reason = "it measures what people wait for")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use recorder::{FrameKind, Position};
use replayvm::machine::GuestImages;
use replayvm::recording::OpenRecording;
use replayvm::session::{RecordSession, ReplaySession, Settings};
use replayvm::timeline::{Timeline, unsupervised};
use serde::Serialize;

use crate::args::Bench;
use crate::failure::{FINE, Failure};
use crate::output;

/// Latencies in microseconds.
#[derive(Debug, Serialize)]
pub(super) struct Latency {
    samples: usize,
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
}

impl Latency {
    pub(super) fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        let at = |share: f64| {
            let index = ((samples.len().max(1) - 1) as f64 * share).round() as usize;
            samples.get(index).map_or(0.0, |sample| sample.as_secs_f64() * 1e6)
        };
        Self { samples: samples.len(), p50_us: at(0.5), p99_us: at(0.99), max_us: at(1.0) }
    }

    pub(super) fn print(&self, what: &str) {
        println!(
            "{what:<44} p50 {:>10.1} us   p99 {:>10.1} us   max {:>10.1} us   ({} samples)",
            self.p50_us, self.p99_us, self.max_us, self.samples
        );
    }
}

#[derive(Debug, Serialize)]
struct Speed {
    engine: String,
    instructions: u64,
    record_mips: f64,
    replay_mips: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    processor: String,
    speeds: Vec<Speed>,
    log_bytes_per_thousand_instructions: f64,
    checkpoint_pages: f64,
    checkpoint_pause: Latency,
    #[serde(flatten)]
    moves: Latencies,
}

/// `replayvm bench`
pub fn run(arguments: &Bench) -> Result<u8, Failure> {
    if let Some(recording) = &arguments.tui {
        return super::bench_tui::run(recording, arguments.json);
    }
    if let Some(recording) = &arguments.recording {
        return in_recording(recording, arguments);
    }
    let folder = tempfile::tempdir().map_err(|error| Failure::internal(&error))?;
    let long = folder.path().join("long.rvm");
    let bar = output::progress(5, "{msg} {elapsed}");

    bar.set_message("recording on engine soft");
    let soft = speed(&long, "soft", arguments.instructions.max(1) * 1_000_000)?;
    bar.set_message("recording on engine step");
    let short = folder.path().join("short.rvm");
    // One step is some microseconds: a hundredth of the instructions take as long.
    let step = speed(&short, "step", (arguments.instructions * 10_000).max(100_000));
    bar.set_message("checkpoints of a 1 GiB guest");
    let (pages, pauses) = checkpoint_pauses(&folder.path().join("dirty.rvm"))?;
    bar.set_message("seeks and reverse steps");
    let (opened, _) = OpenRecording::open(&long)?;
    let log_bytes: u64 = opened
        .recording()
        .statistics()
        .by_kind()
        .filter(|(kind, ..)| *kind == FrameKind::Log)
        .map(|(.., bytes)| bytes)
        .sum();
    drop(opened);
    let moves = moves(&long, arguments.seeks)?;
    bar.finish_and_clear();

    let log_share = log_bytes as f64 * 1000.0 / soft.instructions as f64;
    let mut speeds = vec![soft];
    match step {
        Ok(step) => speeds.push(step),
        Err(failure) => {
            eprintln!("replayvm: engine step is not measured:");
            failure.print();
        }
    }
    let report = Report {
        processor: processor(),
        speeds,
        log_bytes_per_thousand_instructions: log_share,
        checkpoint_pages: pages,
        checkpoint_pause: Latency::of(pauses),
        moves: Latencies::of(moves),
    };
    if arguments.json {
        output::json(&report)?;
        return Ok(FINE);
    }
    println!("processor: {}", report.processor);
    for speed in &report.speeds {
        println!(
            "engine {:<5} {:>12} instructions: record {:>8.2} MIPS, replay {:>8.2} MIPS",
            speed.engine,
            output::grouped(speed.instructions),
            speed.record_mips,
            speed.replay_mips
        );
    }
    println!(
        "recording without checkpoints: {:.3} bytes per thousand instructions",
        report.log_bytes_per_thousand_instructions
    );
    report
        .checkpoint_pause
        .print(&format!("checkpoint of 1 GiB, {:.0} pages written", report.checkpoint_pages));
    report.moves.print();
    Ok(FINE)
}

/// Seeks and reverse steps.
#[derive(Debug, Serialize)]
struct Latencies {
    seek: Latency,
    land: Latency,
    reverse_step_after_seek: Latency,
    reverse_step_near_cursor: Latency,
}

impl Latencies {
    fn of(moves: Moves) -> Self {
        Self {
            seek: Latency::of(moves.seek),
            land: Latency::of(moves.land),
            reverse_step_after_seek: Latency::of(moves.first),
            reverse_step_near_cursor: Latency::of(moves.near),
        }
    }

    fn print(&self) {
        self.seek.print("seek to a random position");
        self.land.print("run to one up to 10,000 ticks on from there");
        self.reverse_step_after_seek.print("first reverse step there");
        self.reverse_step_near_cursor.print("reverse steps after that");
    }
}

/// What is reported of a recording that there is.
#[derive(Debug, Serialize)]
struct OfRecording {
    processor: String,
    #[serde(flatten)]
    moves: Latencies,
}

fn in_recording(recording: &Path, arguments: &Bench) -> Result<u8, Failure> {
    let moves = Latencies::of(moves(recording, arguments.seeks)?);
    let report = OfRecording { processor: processor(), moves };
    if arguments.json {
        output::json(&report)?;
        return Ok(FINE);
    }
    println!("processor: {}", report.processor);
    report.moves.print();
    Ok(FINE)
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        text.lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split_once(':'))
            .map_or("?", |(_, value)| value.trim())
            .to_owned()
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{} family {} model {}, {processors} processors",
        field("model name"),
        field("cpu family"),
        field("model\t")
    )
}

fn images(image: &[u8]) -> GuestImages {
    GuestImages { kernel: image.to_vec(), ..GuestImages::default() }
}

/// Records and replays a workload of about so many instructions.
fn speed(path: &Path, engine: &str, instructions: u64) -> Result<Speed, Failure> {
    let guest = images(corpora::workload());
    let mut settings = Settings { engine: engine.to_owned(), seed: 1, ..Settings::default() };
    // How many instructions a tick of this workload is.
    settings.limit_ticks = 400_000;
    let start =
        |settings: &Settings| RecordSession::start(path, "workload", &guest, settings, None, Arc::default());
    let probe = start(&settings)?.run()?.end;
    settings.limit_ticks = instructions * probe.position.tick / probe.instructions.max(1);
    let session = start(&settings)?;
    let began = Instant::now();
    let end = session.run()?.end;
    let recorded = began.elapsed();
    let mut replay = ReplaySession::open(path, engine)?;
    let began = Instant::now();
    let report = replay.run(None, &Arc::default(), |_| {})?;
    let replayed = began.elapsed();
    let mips = |time: Duration| end.instructions as f64 / time.as_secs_f64() / 1e6;
    if report.digest != end.digest {
        return Err(Failure::input_text("the replay came to another digest than the recording"));
    }
    Ok(Speed {
        engine: engine.to_owned(),
        instructions: end.instructions,
        record_mips: mips(recorded),
        replay_mips: mips(replayed),
    })
}

/// Pauses of checkpoints of a 1 GiB guest that writes about a thousand pages between them: pages on average, and times.
fn checkpoint_pauses(path: &Path) -> Result<(f64, Vec<Duration>), Failure> {
    const TICKS: u64 = 1_000;
    let settings = Settings { memory_bytes: 1 << 30, ..Settings::default() };
    let guest = images(corpora::dirty_pages());
    let mut session = RecordSession::start(path, "dirty", &guest, &settings, None, Arc::default())?;
    // Past the guest's own start.
    session.advance(1_000_000)?;
    session.checkpoint()?;
    let (mut pages, mut pauses) = (0, Vec::new());
    for _ in 0..50 {
        session.advance(session.position().tick + TICKS)?;
        session.flush()?;
        let began = Instant::now();
        session.checkpoint()?;
        pauses.push(began.elapsed());
        pages += session.written_pages();
    }
    Ok((pages as f64 / pauses.len() as f64, pauses))
}

/// Times of moves on a timeline.
#[derive(Debug, Default)]
struct Moves {
    seek: Vec<Duration>,
    land: Vec<Duration>,
    first: Vec<Duration>,
    near: Vec<Duration>,
}

/// Ticks within which a run from a position lands.
const NEAR_TICKS: u64 = 10_000;

/// Times of seeks to random positions, of runs from there to random positions soon after, each with the first reverse step there and
/// five more.
fn moves(path: &Path, count: usize) -> Result<Moves, Failure> {
    let mut timeline = Timeline::open(path)?;
    let end = timeline.end().tick;
    // A fixed walk: the same positions every time (a linear congruential generator).
    let mut state = 1_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 16) % below.max(1)
    };
    let mut moves = Moves::default();
    for _ in 0..count {
        let target = Position::new(random(end), 0);
        let began = Instant::now();
        timeline.seek(target, &mut unsupervised())?;
        moves.seek.push(began.elapsed());
        let there = timeline.position().tick;
        let soon = Position::new(there.saturating_add(random(NEAR_TICKS)), random(8) as u32);
        let began = Instant::now();
        timeline.run_to(soon, &mut unsupervised())?;
        moves.land.push(began.elapsed());
        timeline.seek(target, &mut unsupervised())?;
        for step in 0..6 {
            let began = Instant::now();
            timeline.step_backward()?;
            if step == 0 { &mut moves.first } else { &mut moves.near }.push(began.elapsed());
        }
    }
    Ok(moves)
}
