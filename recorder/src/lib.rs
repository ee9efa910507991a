//! What a recording is: where things happened, what happened, and the file that says so. And a snapshot, which is one state of it.
//!
//! A leaf: it knows nothing of KVM, of a CPU or of a device.
#![forbid(unsafe_code)]

/// Events, exits and page tables as columns.
mod columns;
/// What the machine was and what it booted.
mod description;
/// Inputs: what the guest could not have computed.
mod event;
/// Consequences: what the guest did that left the CPU.
mod exit;
/// The bytes of a file: header, frames, payloads.
mod format;
/// Pages of RAM by content.
mod page;
/// Where in a run: tick and offset.
mod position;
/// From a file to a run.
mod reader;
/// Named, versioned pieces of machine state.
mod section;
/// One state of a machine as a file.
mod snapshot;
/// From a run to a file.
mod writer;

pub use columns::DecodeError;
pub use description::{BootKind, Disk, End, EndReason, Image, ImageRole, MachineDescription, RULES_VERSION};
pub use event::Event;
pub use exit::{Exit, ExitKind};
pub use format::MAX_IMAGE_BYTES;
pub use format::frame::{FrameKind, Problem};
pub use format::header::{FORMAT_VERSION, FileHeader, FileKind, HeaderError, SNAPSHOT_FORMAT_VERSION};
pub use format::pack::UnpackError;
pub use page::{PAGE_BYTES, Page, PageHash, ZERO_PAGE};
pub use position::{ParsePositionError, Position};
pub use reader::{
    Checkpoint, CheckpointInfo, Events, Exits, FrameError, PageRef, ReadError, Recording, Recovery,
    RecoveryReason, Statistics,
};
pub use section::{Digest, Section};
pub use snapshot::{Manifest, NewSnapshot, Part, SectionEntry, Snapshot, SnapshotError, Source};
pub use writer::{CheckpointRecord, PageContents, RecordingWriter, WriteError};
