//! `replayvm bench --tui`: how long a person waits for the terminal front end. Reported, never judged.

use std::path::Path;

use replayvm::machine::DiskPaths;
use serde::Serialize;
use tui::measure::measure;

use super::bench::Latency;
use crate::failure::{FINE, Failure};
use crate::output;

#[derive(Debug, Serialize)]
struct Report {
    exits: u64,
    open_ms: f64,
    read_ms: f64,
    symbols_ms: f64,
    redraw: Latency,
    seek: Latency,
    landmark: Latency,
    step: Latency,
    index_bytes: usize,
    /// Bytes of this process that are no file's: what is mapped from the recording is not counted.
    anonymous_bytes: Option<u64>,
}

pub fn run(recording: &Path, json: bool) -> Result<u8, Failure> {
    let figures = measure(recording, &DiskPaths::default())?;
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    let report = Report {
        exits: figures.exits,
        open_ms: ms(figures.open),
        read_ms: ms(figures.read),
        symbols_ms: ms(figures.symbols),
        redraw: Latency::of(figures.redraw),
        seek: Latency::of(figures.seek),
        landmark: Latency::of(figures.landmark),
        step: Latency::of(figures.step),
        index_bytes: figures.index_bytes,
        anonymous_bytes: anonymous_bytes(),
    };
    if json {
        output::json(&report)?;
        return Ok(FINE);
    }
    println!("{:<44} {:>10.1} ms", "open, to the first frame", report.open_ms);
    println!(
        "{:<44} {:>10.1} ms, behind the screen",
        format!("read {} exits, console, inputs", output::grouped(report.exits)),
        report.read_ms
    );
    println!("{:<44} {:>10.1} ms, behind the screen", "find symbols", report.symbols_ms);
    report.redraw.print("redraw, every zoom, 200x60");
    report.seek.print("jump to a random place, and redraw");
    report.landmark.print("jump to an interrupt, exception or exit");
    report.step.print("step forward and back there");
    println!("{:<44} {:>10}", "index of exits", output::bytes(report.index_bytes as u64));
    if let Some(bytes) = report.anonymous_bytes {
        println!("{:<44} {:>10}", "memory that is no file's", output::bytes(bytes));
    }
    Ok(FINE)
}

fn anonymous_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}
