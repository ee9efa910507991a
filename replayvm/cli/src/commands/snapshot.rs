//! `replayvm snapshot`: one position of a recording as a file from which the machine goes on.

use std::collections::BTreeMap;
use std::path::Path;

use replayvm::snapshot::{OpenSnapshot, save};
use replayvm::timeline::{Timeline, unsupervised};
use serde::Serialize;

use crate::args::{SaveSnapshot, ShowSnapshot, Snapshot};
use crate::failure::{FINE, Failure};
use crate::machine::{Machine, hex};
use crate::output::{self, bytes, grouped, this_command};
use crate::place;

/// `replayvm snapshot`
pub fn run(arguments: &Snapshot) -> Result<u8, Failure> {
    match arguments {
        Snapshot::Save(arguments) => save_one(arguments),
        Snapshot::Show(arguments) => show(arguments),
    }
}

#[derive(Debug, Serialize)]
struct SavedReport {
    snapshot: String,
    snapshot_bytes: u64,
    recording: String,
    position: String,
    digest: String,
    pages: u64,
    disks_left_out: Vec<String>,
}

fn save_one(arguments: &SaveSnapshot) -> Result<u8, Failure> {
    let Some((file, at)) = arguments.from.rsplit_once('@').filter(|(file, _)| !file.is_empty()) else {
        return Err(Failure::input_text(format!("`{}` does not say where", arguments.from))
            .hint("FILE@POS: the recording, and TICK, TICK+OFFSET, begin or end"));
    };
    let mut timeline = Timeline::open_finding(Path::new(file), &arguments.disks.paths())?;
    if let Some(recovered) = timeline.opened().recording().recovery() {
        eprintln!("replayvm: {file}: {recovered}");
    }
    let at = place::of(at, &timeline)?;
    timeline.seek(at, &mut unsupervised())?;
    let saved = save(&mut timeline, &arguments.output, arguments.embed_disks_up_to)?;
    let path = arguments.output.display().to_string();
    if arguments.json {
        output::json(&SavedReport {
            snapshot: path,
            snapshot_bytes: saved.bytes,
            recording: file.to_owned(),
            position: saved.position.to_string(),
            digest: saved.digest.to_string(),
            pages: saved.pages,
            disks_left_out: saved.disks_left_out,
        })?;
        return Ok(FINE);
    }
    println!("snapshot: {path} ({}) of {file} at {}", bytes(saved.bytes), saved.position);
    println!("  digest {}", saved.digest);
    for disk in &saved.disks_left_out {
        println!("  the disk image {disk} is not in it: it must be had, unchanged, to go on");
    }
    println!("  {} run {path}    go on from there", this_command());
    Ok(FINE)
}

#[derive(Debug, Serialize)]
struct Report {
    file: String,
    file_bytes: u64,
    format_version: u32,
    source: String,
    source_blake3: String,
    position: String,
    virtual_ns: u64,
    instructions: u64,
    digest: String,
    #[serde(flatten)]
    machine: Machine,
    sections: Vec<SectionRow>,
    ram_pages: u64,
    disk_pages: u64,
    stored_pages: u64,
    bytes_by_kind: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
struct SectionRow {
    name: String,
    version: u32,
    bytes: u64,
    digest: String,
}

fn show(arguments: &ShowSnapshot) -> Result<u8, Failure> {
    let report = report(&OpenSnapshot::open(&arguments.file)?);
    if arguments.json {
        output::json(&report)?;
        return Ok(FINE);
    }
    let Report { file, source, position, .. } = &report;
    println!("{file}: {} of guest `{}`, a snapshot", bytes(report.file_bytes), report.machine.guest);
    println!(
        "  taken from   {} at {position}, blake3 {}",
        source.escape_debug(),
        &report.source_blake3[..16]
    );
    println!(
        "  stands at    {position}, virtual time {} ns, {} instructions, digest {}",
        report.virtual_ns,
        grouped(report.instructions),
        report.digest
    );
    report.machine.print("snapshot");
    println!(
        "  pages        {} of RAM, {} of disks, {} different",
        grouped(report.ram_pages),
        grouped(report.disk_pages),
        grouped(report.stored_pages)
    );
    println!("  sections     {}", report.sections.len());
    for section in &report.sections {
        let SectionRow { name, version, digest, .. } = section;
        println!("    {name:<16} version {version}, {:>9}, digest {digest}", bytes(section.bytes));
    }
    println!("  verified     every section, every page, and the whole");
    Ok(FINE)
}

fn report(opened: &OpenSnapshot) -> Report {
    let (snapshot, manifest) = (opened.snapshot(), opened.snapshot().manifest());
    let statistics = snapshot.recording().statistics();
    let (ram_pages, disk_pages) = opened.pages();
    let section = |entry: &recorder::SectionEntry| SectionRow {
        name: entry.name.clone(),
        version: entry.version,
        bytes: entry.size,
        digest: entry.digest.to_string(),
    };
    Report {
        file: opened.path().display().to_string(),
        file_bytes: snapshot.recording().file_bytes(),
        format_version: snapshot.header().format_version,
        source: manifest.source.name.clone(),
        source_blake3: hex(&manifest.source.hash),
        position: manifest.position.to_string(),
        virtual_ns: opened.virtual_ns(),
        instructions: manifest.instructions,
        digest: manifest.digest.to_string(),
        machine: Machine::new(snapshot.description(), snapshot.images()),
        sections: manifest.sections.iter().map(section).collect(),
        ram_pages,
        disk_pages,
        stored_pages: statistics.stored_pages,
        bytes_by_kind: statistics
            .by_kind()
            .filter(|(_, frames, _)| *frames > 0)
            .map(|(kind, _, size)| (kind.to_string(), size))
            .collect(),
    }
}
