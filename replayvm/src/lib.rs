//! Replayvm: a hypervisor that records a run of a whole machine and puts it back at any instruction.

/// Whole machine states, and the pages between them.
pub mod checkpoint;
/// Two recordings side by side.
pub mod compare;
/// The guest's console, read back out of a recording.
pub mod console;
/// Devices on virtual time.
pub mod devices;
/// What executes guest instructions.
pub mod engine;
/// The state of CPU and devices, told to a person.
pub mod inspect;
/// RAM, CPU state, devices, virtual clock, boot loaders.
pub mod machine;
/// A recording opened for replay.
pub mod recording;
/// Recording and replaying.
pub mod session;
/// One state of a machine as a file.
pub mod snapshot;
/// What a file holds of a machine beside its state.
mod stored;
/// Names for addresses.
pub mod symbols;
/// A cursor over a recording: seek, step, run, reverse.
pub mod timeline;
