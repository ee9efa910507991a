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
use crate::output::{self, bytes, grouped};

#[derive(Debug, Serialize)]
struct Report {
    file: String,
    file_bytes: u64,
    guest: String,
    boot: String,
    command_line: String,
    memory_bytes: u64,
    ns_per_tick: u32,
    cpu_model: String,
    cpu_features: Vec<String>,
    flags_profile: String,
    rules_version: u32,
    seed: u64,
    engine: String,
    images: Vec<ImageRow>,
    disks: Vec<DiskRow>,
    entropy_device: bool,
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
struct ImageRow {
    role: String,
    name: String,
    size: u64,
    blake3: String,
}

#[derive(Debug, Serialize)]
struct DiskRow {
    name: String,
    path: String,
    size: u64,
    blake3: String,
    embedded: bool,
    read_only: bool,
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
    println!("{}: {} of guest `{}`", report.file, bytes(report.file_bytes), report.guest);
    let changes: String =
        report.cpu_features.iter().map(|change| format!(" {}", change.escape_debug())).collect();
    println!(
        "  machine      {} RAM, CPU {}{changes}, flags {}, {} ns a tick, rules {}",
        bytes(report.memory_bytes),
        report.cpu_model,
        report.flags_profile,
        report.ns_per_tick,
        report.rules_version
    );
    println!("  boot         {}, command line `{}`", report.boot, report.command_line);
    println!("  recorded     engine {}, seed {}", report.engine, report.seed);
    for image in &report.images {
        println!(
            "  {:<12} {} ({}), blake3 {}",
            image.role,
            image.name,
            bytes(image.size),
            &image.blake3[..16]
        );
    }
    for disk in &report.disks {
        let access = if disk.read_only { ", read only" } else { "" };
        let place = match disk.embedded {
            true => "in the recording".to_owned(),
            false => format!("blake3 {}, not in the recording, was {}", &disk.blake3[..16], disk.path),
        };
        println!("  virtio-blk   {} ({}{access}), {place}", disk.name, bytes(disk.size));
    }
    if report.entropy_device {
        println!("  virtio-rng   entropy device");
    }
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

fn hex(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn report(arguments: &Info) -> Result<Report, Failure> {
    let (opened, _) = OpenRecording::open(&arguments.file)?;
    let recording = opened.recording();
    let description = recording.description();
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
        guest: description.guest_name.clone(),
        boot: format!("{:?}", description.boot).to_lowercase(),
        command_line: description.command_line.clone(),
        memory_bytes: description.memory_bytes,
        ns_per_tick: description.ns_per_tick,
        cpu_model: description.cpu_model.clone(),
        cpu_features: description.cpu_features.clone(),
        flags_profile: description.flags_profile.clone(),
        rules_version: description.rules_version,
        seed: description.seed,
        engine: description.engine.clone(),
        images: recording
            .images()
            .iter()
            .map(|image| ImageRow {
                role: format!("{:?}", image.role).to_lowercase(),
                name: image.name.clone(),
                size: image.size,
                blake3: hex(&image.hash),
            })
            .collect(),
        disks: description
            .disks
            .iter()
            .map(|disk| DiskRow {
                name: disk.name.clone(),
                path: disk.path.clone(),
                size: disk.size,
                blake3: hex(&disk.hash),
                embedded: disk.embedded,
                read_only: disk.read_only,
            })
            .collect(),
        entropy_device: description.entropy_device,
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
