//! Printing: numbers, sizes, progress, JSON.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use replayvm::console::{Cleaner, Colours};
use replayvm::engine::Statistics;
use serde::Serialize;

use crate::failure::Failure;

/// Instead of the standard library's in this command: that one panics when the reader has seen enough (`| head`).
macro_rules! print {
    ($($words:tt)*) => { $crate::output::print(format_args!($($words)*)) };
}

/// As `print!`, with the end of a line.
macro_rules! println {
    ($($words:tt)*) => { $crate::output::print(format_args!("{}\n", format_args!($($words)*))) };
}

/// Prints to standard output. If nobody reads it any more, whatever else the command does still counts.
pub fn print(words: fmt::Arguments<'_>) {
    let _ = std::io::stdout().write_fmt(words);
}

/// Prints a value as indented JSON.
pub fn json<T: Serialize>(value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::internal(&error))?;
    println!("{text}");
    Ok(())
}

/// A number with its digits in groups of three.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the unit that suits them.
pub fn bytes(number: u64) -> String {
    match number {
        0..1024 => format!("{number} B"),
        1024..1_048_576 => format!("{:.1} KiB", number as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", number as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", number as f64 / 1_073_741_824.0),
    }
}

/// How to call this command in a hint: as the user did.
pub fn this_command() -> &'static str {
    if std::env::var_os("CARGO").is_some() { "cargo run --release --" } else { "replayvm" }
}

/// A progress bar on stderr, if that is a terminal.
pub fn progress(length: u64, template: &str) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(10)
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Console output of a guest, made fit for a terminal: control characters but line feeds and tabs are dropped, and escape
/// sequences are dropped whole.
pub fn console(bytes: &[u8]) -> String {
    Cleaner::whole(Colours::Dropped, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1,000");
        assert_eq!(grouped(12_345_678), "12,345,678");
    }
}

/// What an engine has counted.
#[derive(Debug, Serialize)]
pub struct EngineCounts {
    engine: String,
    counts: Vec<(String, u64)>,
}

impl EngineCounts {
    /// The counts of an engine.
    pub fn new(engine: &str, statistics: &Statistics) -> Self {
        let counts = statistics.rows().into_iter().map(|row| (row.name, row.count)).collect();
        Self { engine: engine.to_owned(), counts }
    }

    /// As a table.
    pub fn print(&self) {
        if self.counts.is_empty() {
            println!("engine {} counts nothing: it does everything itself", self.engine);
        }
        for (name, count) in &self.counts {
            println!("  {:<48} {:>16}", format!("{}: {name}", self.engine), grouped(*count));
        }
    }
}
