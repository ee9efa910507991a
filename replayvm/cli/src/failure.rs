//! What went wrong, and the exit status it means.

use std::error::Error;

use recorder::Position;
use replayvm::compare::CompareError;
use replayvm::engine::EngineError;
use replayvm::machine::MachineError;
use replayvm::recording::{OpenError, StartError};
use replayvm::session::{RecordError, ReplayError, SessionError};
use replayvm::snapshot::SaveError;
use replayvm::symbols::SymbolsError;
use replayvm::timeline::TimelineError;

/// Nothing failed.
pub const FINE: u8 = 0;
/// A guest failed its own check, or a replay diverged.
pub const FOUND: u8 = 1;
/// Bad usage or bad input.
pub const BAD_INPUT: u8 = 2;
/// Our own fault, or the host's.
pub const INTERNAL: u8 = 3;
/// Somebody stopped it before it was done.
pub const INTERRUPTED: u8 = 130;

/// An error on its way to the user.
#[derive(Debug)]
pub struct Failure {
    /// What the process ends with.
    pub status: u8,
    /// The causes, outermost first.
    chain: Vec<String>,
    /// What to do next.
    hint: Option<String>,
}

impl Failure {
    fn new(status: u8, error: &dyn Error) -> Self {
        let mut chain = vec![error.to_string()];
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if chain.last() != Some(&text) {
                chain.push(text);
            }
            cause = error.source();
        }
        Self { status, chain, hint: None }
    }

    /// The user gave us something that cannot be used.
    pub fn input(error: &dyn Error) -> Self {
        Self::new(BAD_INPUT, error)
    }

    /// The same, in words.
    pub fn input_text(text: impl Into<String>) -> Self {
        Self { status: BAD_INPUT, chain: vec![text.into()], hint: None }
    }

    /// The user asked for a position that the recording does not reach.
    pub fn beyond(position: Position, end: Position) -> Self {
        Self::input_text(format!("{position} is beyond the end of the recording, {end}"))
    }

    /// Something that the user cannot help.
    pub fn internal(error: &dyn Error) -> Self {
        Self::new(INTERNAL, error)
    }

    /// The same, in words.
    pub fn internal_text(text: impl Into<String>) -> Self {
        Self { status: INTERNAL, chain: vec![text.into()], hint: None }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }

    /// All of it on one line.
    pub fn line(&self) -> String {
        self.chain.join(": ")
    }

    /// Prints it to stderr.
    pub fn print(&self) {
        let mut causes = self.chain.iter();
        if let Some(first) = causes.next() {
            eprintln!("replayvm: {first}");
        }
        for cause in causes {
            eprintln!("  because: {cause}");
        }
        if let Some(hint) = &self.hint {
            eprintln!("  try: {hint}");
        }
    }
}

fn engine_status(error: &EngineError) -> u8 {
    match error {
        EngineError::Unavailable { .. } | EngineError::Unknown(_) => BAD_INPUT,
        EngineError::Differ(_) => FOUND,
        EngineError::Hypervisor { .. } => INTERNAL,
    }
}

fn session_status(error: &SessionError) -> u8 {
    match error {
        SessionError::Engine(error) => engine_status(error),
        SessionError::Diverged(_) => FOUND,
    }
}

fn open_status(error: &OpenError) -> u8 {
    match error {
        OpenError::Machine(MachineError::Ram(_)) => INTERNAL,
        _ => BAD_INPUT,
    }
}

fn start_status(error: &StartError) -> u8 {
    match error {
        StartError::Open(error) => open_status(error),
        StartError::Engine(error) => engine_status(error),
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        Self::new(open_status(&error), &error)
    }
}

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Self {
        let status = match &error {
            RecordError::Machine(_) => BAD_INPUT,
            RecordError::Engine(error) => engine_status(error),
            RecordError::Session(error) => session_status(error),
            RecordError::Start(error) => start_status(error),
            RecordError::Write(_) | RecordError::Snapshot(_) => BAD_INPUT,
            RecordError::Ram(_) | RecordError::Restore(_) | RecordError::Pages(_) => INTERNAL,
        };
        Self::new(status, &error)
    }
}

impl From<SaveError> for Failure {
    fn from(error: SaveError) -> Self {
        let status = if matches!(error, SaveError::Ram(_)) { INTERNAL } else { BAD_INPUT };
        Self::new(status, &error)
    }
}

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        let status = match &error {
            ReplayError::Open(error) => open_status(error),
            ReplayError::Start(error) => start_status(error),
            ReplayError::Session(error) => session_status(error),
            ReplayError::Read(_) | ReplayError::Store(_) => BAD_INPUT,
            ReplayError::Ram(_) => INTERNAL,
            ReplayError::Interrupted(_) => INTERRUPTED,
        };
        Self::new(status, &error)
    }
}

fn timeline_status(error: &TimelineError) -> u8 {
    match error {
        TimelineError::Open(error) => open_status(error),
        TimelineError::Start(error) => start_status(error),
        TimelineError::Session(error) => session_status(error),
        TimelineError::Store(_) => BAD_INPUT,
        TimelineError::Ram(_) => INTERNAL,
    }
}

impl From<TimelineError> for Failure {
    fn from(error: TimelineError) -> Self {
        Self::new(timeline_status(&error), &error)
    }
}

impl From<CompareError> for Failure {
    fn from(error: CompareError) -> Self {
        let status = match &error {
            CompareError::Timeline(error) => timeline_status(error),
            CompareError::Machines(_) | CompareError::Apart { .. } | CompareError::Read(_) => BAD_INPUT,
            CompareError::Interrupted(_) => INTERRUPTED,
        };
        Self::new(status, &error)
    }
}

impl From<SymbolsError> for Failure {
    fn from(error: SymbolsError) -> Self {
        let status = match &error {
            SymbolsError::Timeline(error) => timeline_status(error),
            _ => BAD_INPUT,
        };
        Self::new(status, &error)
    }
}
