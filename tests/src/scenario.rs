//! Scenarios: what a person types to gdb, and what they see. This file reads them and compares; it knows nothing of gdb.
//!
//! ```text
//! # What it is about.
//! guest lost-update --seed 16
//! mode batch
//!
//! > watch lost_update::COUNTER
//! Hardware watchpoint 1: {}
//! > commands 1
//! . silent
//! . end
//! > p $tick
//! $1 = {tick}
//! ! Error
//! ```
//!
//! `guest` is what `replayvm record` is told. A line after `>` is typed, lines after `.` with it; the lines below it are
//! expected in what gdb then prints, whole, in this order, with others between them; after `!` stands what must not be there.
//! `{}` is any text, `{tick}` a word that is the same wherever this name stands. In mode `mi`, `^C` presses Ctrl-C as
//! soon as the machine runs, and waits until it stands.

use std::collections::BTreeMap;
use std::fmt::Write;

/// How gdb is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A script, from its first line to its last.
    Batch,
    /// The machine interface: a line, its answer, the next line.
    Mi,
}

/// A line that is typed, and what is expected of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// What is typed: more than one line for a command that asks for more.
    pub typed: Vec<String>,
    /// Whether the machine is interrupted as soon as it runs.
    pub interrupted: bool,
    expected: Vec<Expected>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expected {
    Line(String),
    Never(String),
}

/// A scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// What `replayvm record` is told.
    pub guest: String,
    /// How gdb is spoken to.
    pub mode: Mode,
    /// What is said.
    pub exchanges: Vec<Exchange>,
}

impl Scenario {
    /// Reads one.
    ///
    /// # Errors
    /// A line that means nothing, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut guest, mut mode, mut exchanges) = (None, None, Vec::<Exchange>::new());
        for (number, line) in text.lines().enumerate() {
            let wrong = |what: &str| format!("line {}: {what}: {line}", number + 1);
            let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
            match (first, exchanges.last_mut()) {
                ("" | "#", _) => {}
                ("guest", None) => guest = Some(rest.to_owned()),
                ("mode", None) => {
                    mode = Some(match rest {
                        "batch" => Mode::Batch,
                        "mi" => Mode::Mi,
                        _ => return Err(wrong("there is no such mode")),
                    });
                }
                (">", _) => {
                    exchanges.push(Exchange {
                        typed: vec![rest.to_owned()],
                        interrupted: false,
                        expected: Vec::new(),
                    });
                }
                (_, None) => return Err(wrong("before the first `>` there are `guest` and `mode`")),
                (".", Some(exchange)) => exchange.typed.push(rest.to_owned()),
                ("^C", Some(exchange)) => exchange.interrupted = true,
                ("!", Some(exchange)) => exchange.expected.push(Expected::Never(rest.to_owned())),
                (_, Some(exchange)) => exchange.expected.push(Expected::Line(line.to_owned())),
            }
        }
        let guest = guest.ok_or("there is no line `guest`")?;
        let mode = mode.ok_or("there is no line `mode`")?;
        if exchanges.iter().any(|exchange| exchange.interrupted) && mode != Mode::Mi {
            return Err("`^C` is for mode `mi`".to_owned());
        }
        Ok(Self { guest, mode, exchanges })
    }

    /// Compares what gdb has printed for each exchange.
    ///
    /// # Errors
    /// What is missing, with all that was typed, expected and printed.
    pub fn compare(&self, answers: &[String]) -> Result<(), String> {
        let mut names = BTreeMap::new();
        for (index, exchange) in self.exchanges.iter().enumerate() {
            let answer = answers.get(index).map_or("", String::as_str);
            if let Err(what) = exchange.compare(answer, &mut names) {
                let said = self.transcript(answers, index);
                return Err(format!(
                    "{what}\n{said}--- expected of the last one:\n{}",
                    exchange.expectation()
                ));
            }
        }
        Ok(())
    }

    /// What was typed, up to this exchange, and what gdb has printed.
    pub fn transcript(&self, answers: &[String], last: usize) -> String {
        let mut text = String::new();
        for (index, exchange) in self.exchanges.iter().enumerate().take(last + 1) {
            let _ = writeln!(text, "> {}", exchange.typed.join("\n. "));
            let _ = writeln!(text, "{}", answers.get(index).map_or("(no answer)", |answer| answer.trim()));
        }
        text
    }
}

impl Exchange {
    fn expectation(&self) -> String {
        self.expected.iter().fold(String::new(), |mut text, expected| {
            let _ = match expected {
                Expected::Line(line) => writeln!(text, "{line}"),
                Expected::Never(line) => writeln!(text, "! {line}"),
            };
            text
        })
    }

    fn compare(&self, answer: &str, names: &mut BTreeMap<String, String>) -> Result<(), String> {
        let mut lines = answer.lines();
        for expected in &self.expected {
            match expected {
                Expected::Line(pattern) => {
                    if !lines.any(|line| matches(pattern, line.trim_end(), names)) {
                        return Err(format!("`{pattern}` does not come ({names:?})"));
                    }
                }
                Expected::Never(pattern) => {
                    let anywhere = format!("{{}}{pattern}{{}}");
                    if let Some(line) = answer.lines().find(|line| matches(&anywhere, line, names)) {
                        return Err(format!("`{pattern}` is in `{line}`"));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The next hole of a pattern: what is before it, its name, what is behind it.
fn hole(pattern: &str) -> Option<(&str, &str, &str)> {
    pattern.match_indices('{').find_map(|(at, _)| {
        let (name, rest) = pattern[at + 1..].split_once('}')?;
        let is_name = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        is_name.then_some((&pattern[..at], name, rest))
    })
}

/// Whether the whole line is as the pattern has it. Names that it gives are kept if it is.
fn matches(pattern: &str, line: &str, names: &mut BTreeMap<String, String>) -> bool {
    let Some((before, name, rest)) = hole(pattern) else { return pattern == line };
    let Some(line) = line.strip_prefix(before) else { return false };
    if let Some(known) = names.get(name) {
        let known = known.clone();
        return line.strip_prefix(&*known).is_some_and(|line| matches(rest, line, names));
    }
    let ends = line.char_indices().map(|(at, _)| at).chain([line.len()]);
    for end in ends {
        let (text, behind) = line.split_at(end);
        if !name.is_empty() {
            if text.contains(char::is_whitespace) {
                return false;
            }
            if text.is_empty() {
                continue;
            }
            names.insert(name.to_owned(), text.to_owned());
        }
        if matches(rest, behind, names) {
            return true;
        }
        names.remove(name);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_like(pattern: &str, line: &str) -> bool {
        matches(pattern, line, &mut BTreeMap::new())
    }

    #[test]
    fn a_hole_is_any_text_and_a_name_a_word_that_stays_the_same() {
        assert!(is_like("a {} c", "a b b c") && is_like("{}", "") && is_like("a{}", "a"));
        assert!(!is_like("a", "a b") && !is_like("a {} c", "a c"));
        assert!(is_like("{x} = {x}", "12 = 12") && !is_like("{x} = {x}", "12 = 13"));
        assert!(!is_like("{x}", "two words") && !is_like("<{x}>", "<>"));
        assert!(is_like("frame={addr=\"{at}\"}", "frame={addr=\"0x10\"}"));
    }

    #[test]
    fn a_line_that_does_not_match_leaves_no_names_behind() {
        let mut names = BTreeMap::new();
        assert!(!matches("{x} {} z", "1 2 y", &mut names));
        assert!(names.is_empty());
        assert!(matches("{x} {} z", "1 2 z", &mut names));
        assert_eq!(names["x"], "1");
    }

    #[test]
    fn lines_are_expected_in_order_of_their_own_command_and_others_never() {
        let scenario = Scenario::parse("guest g\nmode batch\n> one\nA\nB\n> two\n! error\n").unwrap();
        let told = |one: &str, two: &str| scenario.compare(&[one.to_owned(), two.to_owned()]);
        assert_eq!(told("A\nx\nB\n", "fine\n"), Ok(()));
        assert!(told("B\nA\n", "").unwrap_err().starts_with("`B` does not come"));
        assert!(told("A\n", "B\n").is_err());
        assert!(told("A\nB\n", "an error\n").unwrap_err().contains("is in `an error`"));
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for text in
            ["> x", "guest g\n> x", "guest g\nmode of\n", "guest g\nmode batch\n> x\n^C\n", "guest g\nx\n"]
        {
            assert!(Scenario::parse(text).is_err(), "{text}");
        }
    }
}
