//! `fork`, `return`, `type`: leaving the recording, coming back, and talking to a guest that runs live.

use std::collections::VecDeque;
use std::fmt::Write;

use recorder::Position;
use replayvm::console::{Cleaner, Colours, Lines};
use replayvm::timeline::EditError;

use super::chain;
use super::lists::{LINE_CHARS, line_text};
use crate::target::ReplayTarget;

fn failed(error: &EditError) -> String {
    match error {
        EditError::Recording => "this is a recording: `monitor fork` begins a branch".to_owned(),
        EditError::InBranch(_) => format!("{error}: `monitor return` first"),
        error => chain(error),
    }
}

impl ReplayTarget<'_> {
    pub(super) fn fork(&mut self, seed: u64) -> Result<String, String> {
        self.timeline.fork(seed).map_err(|error| failed(&error))?;
        Ok(format!(
            "position {}, the begin of the branch\n{}registers and memory can be changed, and the machine runs live; `monitor \
             return` throws the branch away\n",
            self.timeline.position(),
            self.branch_text(),
        ))
    }

    pub(super) fn return_to_recording(&mut self) -> Result<(), String> {
        self.timeline.return_to_recording().map(|_| ()).map_err(|error| failed(&error))
    }

    pub(super) fn type_text(&mut self, text: &[u8]) -> Result<String, String> {
        self.timeline.type_text(text).map_err(|error| failed(&error))?;
        let left = self.timeline.branch().map_or(0, replayvm::timeline::Branch::undelivered_bytes);
        Ok(format!("{left} bytes wait for the guest: it gets them as it runs\n"))
    }

    /// What `when` says of the branch; nothing in a recording.
    pub(super) fn branch_text(&self) -> String {
        let Some(branch) = self.timeline.branch() else { return String::new() };
        let mut text = format!("branch of {}, seed {}", branch.fork(), branch.seed());
        if branch.begin() > branch.fork() {
            let _ = write!(text, ", changed last at {}", branch.begin());
        }
        text.push('\n');
        if let Some(words) = self.over_text().filter(|_| self.timeline.position() >= self.timeline.end()) {
            text.push_str(&words);
        }
        text
    }

    /// How the guest's run is over, if this is a branch and it is.
    pub(crate) fn over_text(&self) -> Option<String> {
        let over = self.timeline.branch()?.over()?;
        Some(if over.waits {
            "the guest waits for input, and nothing else will wake it: `monitor type` brings some\n"
                .to_owned()
        } else {
            format!("the guest's run is over: {}\n", over.reason)
        })
    }

    /// In a branch, where nothing is recorded, says so.
    pub(super) fn demand_recording(&self, what: &str) -> Result<(), String> {
        match self.timeline.branch() {
            None => Ok(()),
            Some(branch) => Err(format!(
                "this is a branch, and {what} of a branch are not recorded; its inputs are decided by seed {} and by what is typed. \
                 `monitor return` leads back to the recording",
                branch.seed()
            )),
        }
    }

    /// The last lines that the branch has printed before here, since the fork.
    pub(super) fn branch_console(&self, here: Position, count: usize) -> Option<String> {
        let branch = self.timeline.branch()?;
        let mut last = VecDeque::new();
        for line in Lines::new(branch.printed_before(here).map(|printed| Ok(*printed))).flatten() {
            if last.len() == count {
                last.pop_front();
            }
            let text = Cleaner::whole(Colours::Dropped, &line.bytes);
            last.push_back((line.at, text.chars().take(LINE_CHARS).collect::<String>()));
        }
        if last.is_empty() {
            return Some(match branch.printed_from() {
                kept if kept > branch.fork() => format!("what is printed before {kept} is no longer kept\n"),
                fork => format!("nothing is printed between the fork at {fork} and {here}\n"),
            });
        }
        Some(last.iter().map(|(at, line)| line_text(*at, line)).collect())
    }
}

/// A text in which `\n`, `\r`, `\t`, `\e`, `\\`, `\"`, `\xHH` and `\ooo` stand for bytes, in quotes or not.
pub(super) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, after) = rest.split_at(at);
        bytes.extend_from_slice(before.as_bytes());
        let after = &after[1..];
        let wrong = || format!("`\\{}` is no escape: there are \\n \\r \\t \\e \\\\ \\\" \\xHH \\ooo", after);
        let kind = after.chars().next().ok_or_else(wrong)?;
        let digits = |from: usize, most: usize, radix: u32| {
            let digits = after[from..].chars().take(most).take_while(|digit| digit.is_digit(radix)).count();
            let value = u32::from_str_radix(&after[from..from + digits], radix).ok();
            value
                .and_then(|value| u8::try_from(value).ok())
                .map(|byte| (byte, from + digits))
                .ok_or_else(wrong)
        };
        let (byte, length) = match kind {
            'n' => (b'\n', 1),
            'r' => (b'\r', 1),
            't' => (b'\t', 1),
            'e' => (0x1b, 1),
            '\\' | '"' => (kind as u8, 1),
            'x' => digits(1, 2, 16)?,
            '0'..='7' => digits(0, 3, 8)?,
            _ => return Err(wrong()),
        };
        bytes.push(byte);
        rest = &after[length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_stand_for_bytes_and_others_are_refused() {
        assert_eq!(unescape(r"uname -r\n").unwrap(), b"uname -r\n");
        assert_eq!(unescape(r#""a \"b\"\t\\ \x03\0\101""#).unwrap(), b"a \"b\"\t\\ \x03\0A");
        assert_eq!(unescape("").unwrap(), b"");
        assert_eq!(unescape(r"\x3g").unwrap(), b"\x03g");
        for wrong in [r"\q", r"a\", r"\xg", r"\777", "\\é"] {
            assert!(unescape(wrong).is_err_and(|error| error.contains("is no escape")), "{wrong}");
        }
    }
}
