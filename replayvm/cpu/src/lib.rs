//! replayvm/cpu
