//! `replayvm exits`: exits counted by reason, or listed.

use std::io::Write;

use recorder::{Exit, ExitKind, Position};
use replayvm::recording::OpenRecording;
use serde::Serialize;

use crate::args::Exits;
use crate::failure::{FINE, Failure};
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
        let listed: Vec<Listed> = exits
            .map(|exit| exit.map(|(at, exit)| Listed { position: at.to_string(), exit: exit.to_string() }))
            .collect::<Result<_, _>>()?;
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
