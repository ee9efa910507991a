//! Where a replayed run differs from its recording.

use recorder::{Digest, EndReason, Event, Exit, Position};

/// Something that was recorded, or that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expectation {
    /// Nothing (any more).
    Nothing,
    /// An exit.
    Exit(Position, Exit),
}

impl std::fmt::Display for Expectation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Exit(at, exit) => write!(f, "`{exit}` at {at}"),
        }
    }
}

/// The first difference between a run and its recording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Divergence {
    /// Another exit than the recorded one.
    #[error("replay diverged at an exit: recorded {expected}, came {got}")]
    Exit {
        /// What was recorded.
        expected: Expectation,
        /// What came.
        got: Expectation,
    },
    /// The recording has an input here that the machine did not take.
    #[error("replay diverged at {at}: the recorded input {event:?} was not taken")]
    Untaken {
        /// Where.
        at: Position,
        /// The input.
        event: Event,
    },
    /// An instruction asked for entropy that the recording does not have.
    #[error("replay diverged at {at}: RDRAND or RDSEED was executed, but none is recorded there")]
    NoEntropy {
        /// Where.
        at: Position,
    },
    /// The entropy device was asked for bytes that the recording does not have.
    #[error(
        "replay diverged at {at}: the entropy device was asked for {asked} bytes, recorded there are {}",
        recorded.map_or_else(|| "none".to_owned(), |bytes| bytes.to_string())
    )]
    DeviceEntropy {
        /// Where.
        at: Position,
        /// Bytes asked for.
        asked: usize,
        /// Bytes recorded.
        recorded: Option<usize>,
    },
    /// The guest's run was over before the recording's end.
    #[error("replay diverged at {at}: the run ended ({reason:?}), but it is recorded up to {recorded}")]
    Early {
        /// Where it ended.
        at: Position,
        /// Why.
        reason: EndReason,
        /// How far the recording goes.
        recorded: Position,
    },
    /// A component's state is another than the recorded one.
    #[error("replay diverged before {at}: component `{component}` has digest {got}, recorded was {expected}")]
    State {
        /// The checkpoint at which it was noticed.
        at: Position,
        /// `cpu`, `ram` or a device.
        component: String,
        /// The recorded digest.
        expected: Digest,
        /// The digest that came.
        got: Digest,
    },
    /// A page was written that the next checkpoint does not list: a search that trusts the list would miss the store.
    #[error(
        "replay diverged before {at}: page {gfn:#x} of guest memory was written, but the recording says that it was not"
    )]
    Written {
        /// The checkpoint at which it was noticed.
        at: Position,
        /// Guest frame number.
        gfn: u64,
    },
    /// The run ended elsewhere or otherwise.
    #[error("replay diverged at its end: recorded {expected:?} at {expected_at}, came {got:?} at {got_at}")]
    End {
        /// Where the recorded run ended.
        expected_at: Position,
        /// Why.
        expected: EndReason,
        /// Where this run ended, or is.
        got_at: Position,
        /// Why, if it ended.
        got: Option<EndReason>,
    },
    /// A checkpoint's position does not exist in this run.
    #[error(
        "replay diverged: the recording has a checkpoint at {expected}, but the run passed it and is at {got}"
    )]
    Position {
        /// The checkpoint's position.
        expected: Position,
        /// Where the run is.
        got: Position,
    },
}
