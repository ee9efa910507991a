//! `replayvm info`: what is in a recording.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use recorder::End;
use replayvm::recording::OpenRecording;
use replayvm::session::ReplaySession;
use replayvm::symbols;
use replayvm::timeline::{Timeline, unsupervised};
use serde::Serialize;

use crate::args::Info;
use crate::failure::{FINE, Failure};
use crate::machine::Machine;
use crate::output::{self, bytes, grouped};

#[derive(Debug, Serialize)]
struct Report {
    file: String,
    file_bytes: u64,
    #[serde(flatten)]
    machine: Machine,
    events: BTreeMap<String, u64>,
    exits: u64,
    checkpoints: Vec<CheckpointRow>,
    bytes_by_kind: BTreeMap<String, u64>,
    end: Option<EndRow>,
    last_position: String,
    recovered: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    engine_stats: Option<output::EngineCounts>,
}

#[derive(Debug, Serialize)]
struct CheckpointRow {
    position: String,
    instructions: u64,
}

#[derive(Debug, Serialize)]
struct EndRow {
    position: String,
    rip: Option<String>,
    place: Option<String>,
    reason: String,
    instructions: u64,
    digest: String,
}

/// `replayvm info`
pub fn run(arguments: &Info, stop: &Arc<AtomicBool>) -> Result<u8, Failure> {
    let mut report = report(arguments)?;
    if arguments.engine_stats {
        report.engine_stats = Some(engine_counts(arguments, stop)?);
    }
    if arguments.json {
        output::json(&report)?;
        return Ok(FINE);
    }
    println!("{}: {} of guest `{}`", report.file, bytes(report.file_bytes), report.machine.guest);
    report.machine.print("recording");
    let events: Vec<_> =
        report.events.iter().map(|(kind, count)| format!("{} {kind}", grouped(*count))).collect();
    println!("  events       {}", events.join(", "));
    println!("  exits        {}", grouped(report.exits));
    println!("  checkpoints  {}", grouped(report.checkpoints.len() as u64));
    for (kind, size) in &report.bytes_by_kind {
        println!("    {kind:<16} {}", bytes(*size));
    }
    match &report.end {
        Some(end) => {
            println!(
                "  end          {} at {}, {} instructions, digest {}",
                end.reason,
                end.position,
                grouped(end.instructions),
                end.digest
            );
            if let Some(rip) = &end.rip {
                println!("  at the end   rip {rip} {}", end.place.as_deref().unwrap_or_default());
            }
        }
        None => println!("  end          none: the recording was cut off after {}", report.last_position),
    }
    if let Some(recovered) = &report.recovered {
        println!("  recovered    {recovered}");
    }
    if let Some(counts) = &report.engine_stats {
        counts.print();
    }
    Ok(FINE)
}

fn report(arguments: &Info) -> Result<Report, Failure> {
    let (opened, _) = OpenRecording::open(&arguments.file)?;
    let recording = opened.recording();
    let mut events = BTreeMap::new();
    for (_, event) in opened.inputs().events() {
        let kind = match event {
            recorder::Event::Clock { .. } => "clock",
            recorder::Event::Entropy { .. } => "entropy",
            recorder::Event::DeviceEntropy { .. } => "device-entropy",
            recorder::Event::Serial { .. } => "serial",
            recorder::Event::Idle { .. } => "idle",
            recorder::Event::TimerDelay { .. } => "timer-delay",
            recorder::Event::InterruptHold { .. } => "interrupt-hold",
            _ => "other",
        };
        *events.entry(kind.to_owned()).or_insert(0) += 1;
    }
    let mut exits = 0;
    for exit in recording.exits() {
        exit.map_err(|error| Failure::input(&error))?;
        exits += 1;
    }
    let end = recording.end().map(|end| end_row(end, arguments)).transpose()?;
    Ok(Report {
        file: arguments.file.display().to_string(),
        file_bytes: std::fs::metadata(&arguments.file).map_or(0, |metadata| metadata.len()),
        machine: Machine::new(recording.description(), recording.images()),
        events,
        exits,
        checkpoints: recording
            .checkpoints()
            .iter()
            .map(|info| CheckpointRow {
                position: info.position.to_string(),
                instructions: info.instructions,
            })
            .collect(),
        bytes_by_kind: recording
            .statistics()
            .by_kind()
            .filter(|(_, frames, _)| *frames > 0)
            .map(|(kind, _, size)| (format!("{kind:?}").to_lowercase(), size))
            .collect(),
        end,
        last_position: opened.last_position().to_string(),
        recovered: recording.recovery().map(ToString::to_string),
        engine_stats: None,
    })
}

/// Replays the recording for what its engine counts.
fn engine_counts(arguments: &Info, stop: &Arc<AtomicBool>) -> Result<output::EngineCounts, Failure> {
    let mut session = ReplaySession::open(&arguments.file, &arguments.engine)?;
    let last = session.opened().last_position();
    let bar = output::progress(last.tick, "{bar:40} {percent}% of {len} ticks, {eta} left");
    let result = session.run(None, stop, |at| bar.set_position(at.tick));
    bar.finish_and_clear();
    result?;
    Ok(output::EngineCounts::new(session.engine_name(), &session.statistics()))
}

/// How the run ended, and where in the program: the last checkpoint of a recording that was closed is of its end.
fn end_row(end: &End, arguments: &Info) -> Result<EndRow, Failure> {
    let mut timeline = Timeline::open_to_look(&arguments.file)?;
    let opened = timeline.opened();
    let last = opened.checkpoint_position(opened.checkpoints().saturating_sub(1));
    let (mut rip, mut place) = (None, None);
    if last == end.position {
        timeline.seek(last, &mut unsupervised())?;
        let address = timeline.cpu().linear_rip();
        rip = Some(format!("{address:#x}"));
        let symbols =
            symbols::of_machine(timeline.opened(), timeline.machine(), arguments.symbols.as_deref())?;
        place = symbols.and_then(|symbols| symbols.place(address)).map(|place| place.to_string());
    }
    Ok(EndRow {
        position: end.position.to_string(),
        rip,
        place,
        reason: end.reason.to_string(),
        instructions: end.instructions,
        digest: end.digest.to_string(),
    })
}
