//! `replayvm console`: what the guest has printed, with the positions at which it did.

use std::io::{IsTerminal, Write};

use recorder::{Position, ReadError};
use replayvm::console::{self, Cleaner, Colours, Line, Lines, Printed, Source};
use replayvm::recording::OpenRecording;
use serde::Serialize;

use crate::args::{Console, ConsoleSource};
use crate::failure::{FINE, Failure};
use crate::output;

/// A line, as JSON.
#[derive(Debug, Serialize)]
struct Row {
    line: u64,
    position: String,
    last: String,
    text: String,
    ended: bool,
}

/// `replayvm console`
pub fn run(arguments: &Console) -> Result<u8, Failure> {
    let (opened, _) = OpenRecording::open(&arguments.file)?;
    let recording = opened.recording();
    let from = arguments.from.unwrap_or(Position::START);
    let to = arguments.at.or(arguments.to).unwrap_or(Position::MAX);
    let shown = |printed: &Result<Printed, ReadError>| match printed {
        Ok(printed) => match arguments.source {
            ConsoleSource::All => true,
            ConsoleSource::Serial => printed.source == Source::Serial,
            ConsoleSource::Debug => printed.source == Source::Debug,
        },
        Err(_) => true,
    };
    let printed = console::printed(recording)
        .take_while(move |printed| !matches!(printed, Ok(printed) if printed.at >= to))
        .filter(shown);
    if let Some(number) = arguments.line.or(arguments.to_line) {
        return one(printed, number, arguments);
    }
    let whole = !(arguments.positions || arguments.json);
    if whole {
        let since = printed.filter(|p| !matches!(p, Ok(printed) if printed.at < from));
        return as_it_was(since, arguments);
    }
    // Lines have the numbers that they have in the whole console.
    let lines = Lines::new(printed).filter(|line| !matches!(line, Ok(line) if line.last < from));
    if arguments.json {
        let rows: Vec<Row> =
            lines.map(|line| Ok(row(&line?))).collect::<Result<_, ReadError>>().map_err(read)?;
        output::json(&rows)?;
        return Ok(FINE);
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in lines {
        let line = line.map_err(read)?;
        if writeln!(out, "{:>6} {:>20}  {}", line.number, line.at, text(&line, arguments)).is_err() {
            // The reader has seen enough (`| head`).
            break;
        }
    }
    Ok(FINE)
}

fn read(error: ReadError) -> Failure {
    Failure::input(&error)
}

fn colours() -> Colours {
    if std::io::stdout().is_terminal() { Colours::Kept } else { Colours::Dropped }
}

fn text(line: &Line, arguments: &Console) -> String {
    if arguments.raw {
        String::from_utf8_lossy(&line.bytes).into_owned()
    } else {
        Cleaner::whole(colours(), &line.bytes)
    }
}

fn row(line: &Line) -> Row {
    Row {
        line: line.number,
        position: line.at.to_string(),
        last: line.last.to_string(),
        text: Cleaner::whole(Colours::Dropped, &line.bytes),
        ended: line.ended,
    }
}

/// The bytes, as a terminal would have got them.
fn as_it_was(
    printed: impl Iterator<Item = Result<Printed, ReadError>>,
    arguments: &Console,
) -> Result<u8, Failure> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut cleaner = Cleaner::new(colours());
    let mut bytes = Vec::new();
    let mut write = |bytes: &[u8], last: bool| {
        if arguments.raw {
            return out.write_all(bytes).and_then(|()| if last { out.flush() } else { Ok(()) });
        }
        out.write_all(cleaner.piece(bytes).as_bytes())?;
        if last { out.write_all(cleaner.finish().as_bytes()).and_then(|()| out.flush()) } else { Ok(()) }
    };
    for printed in printed {
        bytes.push(printed.map_err(read)?.byte);
        if bytes.len() >= 4096 {
            if write(&bytes, false).is_err() {
                return Ok(FINE);
            }
            bytes.clear();
        }
    }
    // Whoever does not read the end does not want it.
    let _ = write(&bytes, true);
    Ok(FINE)
}

/// One line, or where it is.
fn one(
    printed: impl Iterator<Item = Result<Printed, ReadError>>,
    number: u64,
    arguments: &Console,
) -> Result<u8, Failure> {
    let mut last = 0;
    for line in Lines::new(printed) {
        let line = line.map_err(read)?;
        last = line.number;
        if line.number < number {
            continue;
        }
        if arguments.json {
            output::json(&row(&line))?;
        } else if arguments.to_line.is_some() {
            println!("{}", line.at);
        } else if arguments.positions {
            println!("{:>6} {:>20}  {}", line.number, line.at, text(&line, arguments));
        } else {
            println!("{}", text(&line, arguments));
        }
        return Ok(FINE);
    }
    Err(Failure::input_text(match last {
        0 => format!("there is no line {number}: the guest has printed nothing"),
        last => format!("there is no line {number}: the guest has printed {last}"),
    }))
}
