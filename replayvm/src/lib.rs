//! replayvm
