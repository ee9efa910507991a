//! What an engine has counted, for people.

use std::fmt;

/// A count and what of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What is counted.
    pub name: String,
    /// How often.
    pub count: u64,
}

/// What an engine has counted; nothing for one that does everything itself in one way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Statistics {
    /// Nothing is counted.
    #[default]
    None,
    /// Single-stepping.
    Stepping(super::SteppingStatistics),
    /// Direct execution.
    Native(super::NativeStatistics),
}

impl Statistics {
    /// Each count with its name.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        match self {
            Self::None => Vec::new(),
            Self::Stepping(statistics) => statistics.rows(),
            Self::Native(statistics) => statistics.rows(),
        }
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("nothing is counted"),
            Self::Stepping(statistics) => statistics.fmt(f),
            Self::Native(statistics) => statistics.fmt(f),
        }
    }
}
