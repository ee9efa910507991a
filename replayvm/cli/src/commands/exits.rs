//! `replayvm exits`: exits counted by reason, or listed.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use recorder::{Exit, ExitKind, Position};
use replayvm::recording::OpenRecording;
use replayvm::symbols::{self, Place, Symbols};
use replayvm::timeline::{Progress, Reason, Timeline};
use serde::Serialize;

use crate::args::Exits;
use crate::failure::{FINE, Failure, INTERRUPTED};
use crate::output::{self, grouped};

#[derive(Debug, Serialize)]
struct Row {
    kind: &'static str,
    count: u64,
    share: f64,
    first: String,
    last: String,
}

#[derive(Debug, Serialize)]
struct Listed {
    position: String,
    exit: String,
    rip: Option<String>,
    place: Option<String>,
}

/// Where in the program exits are made: found by going there.
struct Places {
    timeline: Timeline,
    symbols: Option<Symbols>,
    started: bool,
    stop: Arc<AtomicBool>,
}

impl Places {
    fn new(arguments: &Exits) -> Result<Self, Failure> {
        Ok(Self {
            symbols: symbols::of_recording(&arguments.file, arguments.symbols.as_deref())?,
            timeline: Timeline::open_finding(&arguments.file, &arguments.disks.paths())?,
            started: false,
            stop: crate::interrupt_flag()?,
        })
    }

    /// The instruction pointer before the step at `at`, and what is there. `None`: somebody wants to stop.
    fn at(&mut self, at: Position) -> Result<Option<(u64, Option<Place>)>, Failure> {
        let stop = Arc::clone(&self.stop);
        let mut go_on = |_: Progress| !stop.load(Ordering::Relaxed);
        // The first one may be far from the begin; each of the others is a little after the one before.
        let landing = if std::mem::replace(&mut self.started, true) {
            self.timeline.run_to(at, &mut go_on)?
        } else {
            self.timeline.seek(at, &mut go_on)?
        };
        if landing.reason == Reason::Interrupted {
            return Ok(None);
        }
        let rip = self.timeline.cpu().linear_rip();
        Ok(Some((rip, self.symbols.as_ref().and_then(|symbols| symbols.place(rip)))))
    }
}

/// `replayvm exits`
pub fn run(arguments: &Exits) -> Result<u8, Failure> {
    let kind = arguments.kind.as_deref().map(kind_named).transpose()?;
    let (opened, _) = OpenRecording::open(&arguments.file)?;
    let from = arguments.from.unwrap_or(Position::START);
    let to = arguments.to.unwrap_or(Position::MAX);
    let chosen = opened
        .recording()
        .exits_from(from)
        .take_while(|exit| !matches!(exit, Ok((at, _)) if *at >= to))
        .filter(|exit| match exit {
            Ok((at, exit)) => *at >= from && kind.is_none_or(|kind| kind == exit.kind()),
            Err(_) => true,
        })
        .map(|exit| exit.map_err(|error| Failure::input(&error)));
    if arguments.list && (arguments.places || arguments.symbols.is_some()) {
        return list_places(chosen, arguments);
    }
    if arguments.list { list(chosen, arguments.json) } else { count(chosen, arguments.json) }
}

fn kind_named(name: &str) -> Result<ExitKind, Failure> {
    ExitKind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
        let known = ExitKind::ALL.map(ExitKind::name).join(", ");
        Failure::input_text(format!("there is no kind of exit `{name}`; there are: {known}"))
    })
}

fn list(exits: impl Iterator<Item = Result<(Position, Exit), Failure>>, json: bool) -> Result<u8, Failure> {
    if json {
        let listed: Vec<Listed> =
            exits.map(|exit| exit.map(|(at, exit)| listed(at, &exit, None))).collect::<Result<_, _>>()?;
        output::json(&listed)?;
        return Ok(FINE);
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for exit in exits {
        let (at, exit) = exit?;
        if writeln!(out, "{at:>20}  {exit}").is_err() {
            // The reader has seen enough (`| head`).
            break;
        }
    }
    Ok(FINE)
}

fn listed(at: Position, exit: &Exit, place: Option<(u64, Option<Place>)>) -> Listed {
    Listed {
        position: at.to_string(),
        exit: exit.to_string(),
        rip: place.as_ref().map(|(rip, _)| format!("{rip:#x}")),
        place: place.and_then(|(_, place)| place).map(|place| place.to_string()),
    }
}

/// The list with where in the program each exit was made.
fn list_places(
    exits: impl Iterator<Item = Result<(Position, Exit), Failure>>,
    arguments: &Exits,
) -> Result<u8, Failure> {
    let mut places = Places::new(arguments)?;
    let mut rows = Vec::new();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut status = FINE;
    for exit in exits {
        let (at, exit) = exit?;
        let Some(place) = places.at(at)? else {
            status = INTERRUPTED;
            break;
        };
        if arguments.json {
            rows.push(listed(at, &exit, Some(place)));
            continue;
        }
        let name = place.1.map(|place| place.to_string()).unwrap_or_default();
        if writeln!(out, "{at:>20}  {:>18}  {exit}  {name}", format!("{:#x}", place.0)).is_err() {
            break;
        }
    }
    if arguments.json {
        output::json(&rows)?;
    }
    Ok(status)
}

fn count(exits: impl Iterator<Item = Result<(Position, Exit), Failure>>, json: bool) -> Result<u8, Failure> {
    let mut counts = [0_u64; ExitKind::ALL.len()];
    let mut first = [Position::START; ExitKind::ALL.len()];
    let mut last = [Position::START; ExitKind::ALL.len()];
    let mut total = 0_u64;
    for exit in exits {
        let (at, exit) = exit?;
        let index = exit.kind() as usize;
        if counts[index] == 0 {
            first[index] = at;
        }
        last[index] = at;
        counts[index] += 1;
        total += 1;
    }
    let mut rows: Vec<Row> = ExitKind::ALL
        .into_iter()
        .filter(|kind| counts[*kind as usize] > 0)
        .map(|kind| Row {
            kind: kind.name(),
            count: counts[kind as usize],
            share: counts[kind as usize] as f64 * 100.0 / total.max(1) as f64,
            first: first[kind as usize].to_string(),
            last: last[kind as usize].to_string(),
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.count));
    if json {
        output::json(&rows)?;
        return Ok(FINE);
    }
    println!("{:<20} {:>12} {:>8}  {:>18}  {:>18}", "exit", "count", "share", "first", "last");
    for row in &rows {
        println!(
            "{:<20} {:>12} {:>7.2}%  {:>18}  {:>18}",
            row.kind,
            grouped(row.count),
            row.share,
            row.first,
            row.last
        );
    }
    println!("{:<20} {:>12}", "total", grouped(total));
    Ok(FINE)
}
