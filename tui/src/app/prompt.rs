//! A line that is asked for, and what it may mean.

use recorder::Position;

use crate::exits::number;

/// Longest line.
const MAX_TEXT: usize = 200;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Where to go.
    GoTo,
    /// Which exits to list.
    Filter,
    /// What to look for.
    Find,
    /// How to call the place of the cursor.
    Mark,
    /// Which address to show.
    Address,
    /// Where to stop.
    Breakpoint,
}

impl Question {
    /// What is asked, and what an answer may be.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::GoTo => "go to (1234+5, 2.5ms, 50%, begin, end, mark, symbol, -symbol)",
            Self::Filter => "exits (port-write interrupt port=0x3f8 msr=N vector=N words)",
            Self::Find => "find",
            Self::Mark => "name of this place",
            Self::Address => "address (0x1234, symbol, register to follow)",
            Self::Breakpoint => "breakpoint (0x1234, symbol)",
        }
    }
}

/// A line that is being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// What for.
    pub question: Question,
    /// The line so far.
    pub text: String,
}

impl Prompt {
    /// Asks.
    #[must_use]
    pub fn new(question: Question, text: impl Into<String>) -> Self {
        Self { question, text: text.into() }
    }

    /// One more character.
    pub fn push(&mut self, c: char) {
        if self.text.chars().count() < MAX_TEXT && !c.is_control() {
            self.text.push(c);
        }
    }
}

/// A place that somebody has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A position.
    Position(Position),
    /// A time in nanoseconds.
    Time(u64),
    /// Thousandths of the run.
    Part(u64),
    /// A name: a mark, or a symbol to be executed; `-` before it: backward.
    Name {
        /// The name.
        name: String,
        /// Which way.
        back: bool,
    },
    /// An address to be executed.
    Address {
        /// The address.
        address: u64,
        /// Which way.
        back: bool,
    },
}

impl Target {
    /// What is meant. Whatever is nothing else is a name.
    #[must_use]
    pub fn parse(text: &str, begin: Position, end: Position) -> Option<Self> {
        let text = text.trim();
        match text {
            "" => return None,
            "begin" | "start" => return Some(Self::Position(begin)),
            "end" => return Some(Self::Position(end)),
            _ => {}
        }
        if let Ok(position) = text.parse::<Position>() {
            return Some(Self::Position(position));
        }
        if let Some(percent) = text.strip_suffix('%') {
            let part = percent.trim().parse::<f64>().ok().filter(|part| (0.0..=100.0).contains(part));
            return part.map(|part| Self::Part((part * 10.0) as u64));
        }
        if let Some(ns) = time(text) {
            return Some(Self::Time(ns));
        }
        let (name, back) = match text.strip_prefix('-') {
            Some(name) => (name, true),
            None => (text, false),
        };
        if name.starts_with("0x") {
            return number(name).map(|address| Self::Address { address, back });
        }
        Some(Self::Name { name: name.to_owned(), back })
    }
}

/// A number with a unit of time, in nanoseconds.
fn time(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    let ns = number.parse::<f64>().ok()? * factor;
    // Beyond that nothing is exact, and no run is that long.
    (ns < 9e18).then(|| ns.round() as u64)
}

/// Bytes that somebody has written: hexadecimal, or text in quotes.
#[must_use]
pub fn bytes(text: &str) -> Option<Vec<u8>> {
    if let Some(quoted) = text.strip_prefix('"') {
        let plain = quoted.strip_suffix('"').unwrap_or(quoted);
        return (!plain.is_empty()).then(|| plain.as_bytes().to_vec());
    }
    if let Some(value) = text.strip_prefix("0x") {
        // A number, as memory has it: the lowest byte first.
        let size = value.len().div_ceil(2);
        let value = u64::from_str_radix(value, 16).ok()?;
        return value.to_le_bytes().get(..size.next_power_of_two()).map(<[u8]>::to_vec);
    }
    let digits: String = text.split_whitespace().collect();
    if digits.is_empty() || !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Option<Target> {
        Target::parse(text, Position::new(1, 0), Position::new(99, 3))
    }

    #[test]
    fn places_are_positions_times_parts_and_names() {
        assert_eq!(target(" 12+3 "), Some(Target::Position(Position::new(12, 3))));
        assert_eq!(target("end"), Some(Target::Position(Position::new(99, 3))));
        assert_eq!(target("2.5ms"), Some(Target::Time(2_500_000)));
        assert_eq!(target("3 s"), Some(Target::Time(3_000_000_000)));
        assert_eq!(target("12.5%"), Some(Target::Part(125)));
        assert_eq!(target("120%"), None);
        assert_eq!(target("-do_exit"), Some(Target::Name { name: "do_exit".to_owned(), back: true }));
        assert_eq!(target("0x10_0"), None);
        assert_eq!(target("-0x100"), Some(Target::Address { address: 0x100, back: true }));
        assert_eq!(target(""), None);
    }

    #[test]
    fn bytes_are_hexadecimal_numbers_or_text() {
        assert_eq!(bytes("de ad BE ef"), Some(vec![0xde, 0xad, 0xbe, 0xef]));
        assert_eq!(bytes("0x1234"), Some(vec![0x34, 0x12]));
        assert_eq!(bytes("0x12345"), Some(vec![0x45, 0x23, 0x01, 0x00]));
        assert_eq!(bytes("\"FAIL\""), Some(b"FAIL".to_vec()));
        for wrong in ["", "abc", "xy", "\"", "0x", "0x11223344556677889", "ää"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }
}
