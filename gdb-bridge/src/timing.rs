//! How long commands take, for the person. The host's clock is looked at here and nowhere else in this crate: the machine has its
//! own.
#![allow(clippy::disallowed_methods, reason = "measures for a person; no machine sees it")]

use std::time::{Duration, Instant};

/// The command that was carried out last, and how long that took.
#[derive(Debug, Default)]
pub(crate) struct Timing {
    last: Option<(String, Duration)>,
}

/// A command that has begun.
#[derive(Debug)]
pub(crate) struct Begun(Instant);

impl Begun {
    /// It begins now.
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }

    /// How long ago that was.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

impl Timing {
    /// A command has ended.
    pub(crate) fn ended(&mut self, what: impl Into<String>, begun: &Begun) {
        self.last = Some((what.into(), begun.elapsed()));
    }

    /// The last one.
    pub(crate) fn last(&self) -> Option<(&str, Duration)> {
        self.last.as_ref().map(|(what, took)| (what.as_str(), *took))
    }
}
