//! Named places, kept in a file beside the recording and never in it.
//!
//! One line a mark: the position, a blank, the name. The file may come from anywhere: its size, the number of marks and their
//! names are bounded, and what is no mark is left out.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use recorder::Position;

const FIRST_LINE: &str = "replayvm marks 1";
/// Bytes of a file that are read.
const MAX_FILE: u64 = 1 << 20;
/// Marks of a recording.
const MAX_MARKS: usize = 1000;
/// Characters of a name.
const MAX_NAME: usize = 60;

/// The marks of a recording.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// By place, then name.
    places: BTreeMap<(Position, String), ()>,
}

/// Why marks are not kept.
#[derive(Debug, thiserror::Error)]
pub enum MarksError {
    /// There are enough.
    #[error("there are {MAX_MARKS} marks already")]
    Many,
    /// The file.
    #[error("marks cannot be kept in {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The file of a recording's marks.
#[must_use]
pub fn path_beside(recording: &Path) -> PathBuf {
    let mut path = OsString::from(recording);
    path.push(".marks");
    path.into()
}

/// A name as it is kept: short, and nothing that a terminal obeys.
fn clean(name: &str) -> String {
    let plain: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.trim().chars().take(MAX_NAME).collect()
}

impl Marks {
    /// Those of a text that are not past the end.
    #[must_use]
    pub fn parse(text: &str, end: Position) -> Self {
        let mut marks = Self::default();
        let mut lines = text.lines();
        if lines.next() != Some(FIRST_LINE) {
            return marks;
        }
        for line in lines {
            let Some((position, name)) = line.split_once(' ') else { continue };
            if let Ok(position) = position.parse::<Position>()
                && position <= end
            {
                // What is too much is left out, as is what is no mark.
                let _ = marks.add(position, name);
            }
        }
        marks
    }

    /// Reads the marks of a recording that ends there. No file, no marks.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(path: &Path, end: Position) -> Result<Self, MarksError> {
        let wrong = |source| MarksError::File { path: path.to_owned(), source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(wrong(error)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut bytes).map_err(wrong)?;
        Ok(Self::parse(&String::from_utf8_lossy(&bytes), end))
    }

    /// Writes them; the file is there whole or as it was.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), MarksError> {
        let wrong = |source| MarksError::File { path: path.to_owned(), source };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(wrong)?;
        file.write_all(self.text().as_bytes()).map_err(wrong)?;
        file.persist(path).map_err(|error| wrong(error.error))?;
        Ok(())
    }

    /// The text of the file.
    #[must_use]
    pub fn text(&self) -> String {
        let lines = self.places.keys().map(|(position, name)| format!("{position} {name}\n"));
        format!("{FIRST_LINE}\n{}", lines.collect::<String>())
    }

    /// Marks a place. One name is at one place.
    ///
    /// # Errors
    /// There are too many.
    pub fn add(&mut self, position: Position, name: &str) -> Result<(), MarksError> {
        let name = clean(name);
        self.places.retain(|(_, other), ()| *other != name);
        if self.places.len() >= MAX_MARKS {
            return Err(MarksError::Many);
        }
        self.places.insert((position, name), ());
        Ok(())
    }

    /// Takes a mark away.
    pub fn remove(&mut self, index: usize) -> Option<String> {
        let key = self.places.keys().nth(index).cloned()?;
        self.places.remove(&key);
        Some(key.1)
    }

    /// Where a name is.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Position> {
        self.iter().find(|(_, other)| *other == name).map(|(position, _)| position)
    }

    /// In order of position.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Position, &str)> {
        self.places.keys().map(|(position, name)| (*position, name.as_str()))
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(tick: u64) -> Position {
        Position::new(tick, 1)
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = path_beside(&folder.path().join("run.rvm"));
        assert!(path.ends_with("run.rvm.marks"));
        assert_eq!(Marks::read(&path, Position::MAX).unwrap(), Marks::default());
        let mut marks = Marks::default();
        marks.add(at(5), "the bug").unwrap();
        marks.add(at(3), "before\x1b[2J it\n").unwrap();
        marks.add(at(9), "the bug").unwrap();
        marks.write(&path).unwrap();
        assert_eq!(marks.text(), "replayvm marks 1\n3+1 before [2J it\n9+1 the bug\n");
        assert_eq!(Marks::read(&path, Position::MAX).unwrap(), marks);
        assert_eq!(Marks::read(&path, at(4)).unwrap().len(), 1, "the rest is past the end");
        assert_eq!(marks.named("the bug"), Some(at(9)));
        assert_eq!(marks.remove(0).as_deref(), Some("before [2J it"));
        assert_eq!(marks.remove(7), None);
    }

    #[test]
    fn a_strange_file_has_no_marks_or_some() {
        let parse = |text: &str| Marks::parse(text, Position::MAX).len();
        assert_eq!(parse(""), 0);
        assert_eq!(parse("something else\n3+1 a\n"), 0);
        assert_eq!(parse("replayvm marks 1\n3+1 a\nnonsense\n\n-1 b\n7 c"), 2);
        let many: String = (0..5000).map(|n| format!("{n}+0 name {n}\n")).collect();
        assert_eq!(parse(&format!("replayvm marks 1\n{many}")), MAX_MARKS);
        let long = format!("replayvm marks 1\n1+0 {}\n", "x".repeat(100_000));
        assert_eq!(Marks::parse(&long, Position::MAX).text().len(), 17 + 4 + MAX_NAME + 1);
    }
}
