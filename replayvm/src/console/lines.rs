//! Lines out of bytes.

use recorder::{Position, ReadError};

use super::Printed;

/// A line that goes on for longer is broken: the guest decides how much it prints without an end of line.
pub const LINE_BYTES: usize = 1 << 16;

/// A line of the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its number, from 1.
    pub number: u64,
    /// Where its first byte was printed.
    pub at: Position,
    /// Where its last byte was printed, its line feed included.
    pub last: Position,
    /// What it says, without the line feed and the carriage returns before it.
    pub bytes: Vec<u8>,
    /// Whether a line feed (or the limit of [`LINE_BYTES`]) ended it: the guest may still be at the last line of a console.
    pub ended: bool,
}

/// Makes lines out of printed bytes.
#[derive(Debug)]
pub struct Lines<I> {
    printed: I,
    number: u64,
}

impl<I: Iterator<Item = Result<Printed, ReadError>>> Lines<I> {
    /// The lines of what was printed.
    pub fn new(printed: I) -> Self {
        Self { printed, number: 0 }
    }
}

impl<I: Iterator<Item = Result<Printed, ReadError>>> Iterator for Lines<I> {
    type Item = Result<Line, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line: Option<Line> = None;
        loop {
            let printed = match self.printed.next() {
                Some(Ok(printed)) => printed,
                Some(Err(error)) => return Some(Err(error)),
                None => break,
            };
            let line = line.get_or_insert_with(|| Line {
                number: self.number + 1,
                at: printed.at,
                last: printed.at,
                bytes: Vec::new(),
                ended: false,
            });
            line.last = printed.at;
            if printed.byte == b'\n' {
                line.ended = true;
                while line.bytes.last() == Some(&b'\r') {
                    line.bytes.pop();
                }
            } else {
                line.bytes.push(printed.byte);
                line.ended = line.bytes.len() >= LINE_BYTES;
            }
            if line.ended {
                break;
            }
        }
        self.number += u64::from(line.is_some());
        line.map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Source;

    fn lines(text: &[u8]) -> Vec<Line> {
        let printed = (10..).zip(text).map(|(tick, byte)| {
            Ok(Printed { at: Position::new(tick, 0), source: Source::Serial, byte: *byte })
        });
        Lines::new(printed).map(Result::unwrap).collect()
    }

    #[test]
    fn a_line_knows_where_it_begins_and_ends() {
        let found = lines(b"ab\r\n\ncd");
        let shown: Vec<_> = found
            .iter()
            .map(|l| {
                (l.number, l.at.tick, l.last.tick, String::from_utf8_lossy(&l.bytes).into_owned(), l.ended)
            })
            .collect();
        assert_eq!(
            shown,
            [
                (1, 10, 13, "ab".to_owned(), true),
                (2, 14, 14, String::new(), true),
                (3, 15, 16, "cd".to_owned(), false)
            ]
        );
    }

    #[test]
    fn a_line_without_an_end_is_broken() {
        let found = lines(&vec![b'x'; LINE_BYTES + 3]);
        assert_eq!(found.iter().map(|line| line.bytes.len()).collect::<Vec<_>>(), [LINE_BYTES, 3]);
        assert!(found[0].ended && !found[1].ended);
    }

    #[test]
    fn nothing_printed_is_no_line() {
        assert_eq!(lines(b""), []);
    }
}
