//! What a recording is made of, in numbers.

use crate::format::frame::{FRAME_HEADER_BYTES, FrameKind};

/// What a recording is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames and their bytes, headers included, in the order of [`FrameKind::ALL`].
    frames: [(u64, u64); FrameKind::ALL.len()],
    /// Frames that this version does not know and skips.
    pub skipped_frames: u64,
    /// Events.
    pub events: u64,
    /// Bytes that events take, compressed, frames not included.
    pub event_bytes: u64,
    /// Exits.
    pub exits: u64,
    /// Bytes that exits take, compressed, frames not included.
    pub exit_bytes: u64,
    /// Pages stored.
    pub stored_pages: u64,
}

impl Statistics {
    pub(crate) fn count(&mut self, kind: Option<FrameKind>, payload_bytes: u64) {
        let slot = kind.and_then(|kind| FrameKind::ALL.iter().position(|other| *other == kind));
        match slot {
            Some(slot) => {
                self.frames[slot].0 += 1;
                self.frames[slot].1 += FRAME_HEADER_BYTES as u64 + payload_bytes;
            }
            None => self.skipped_frames += 1,
        }
    }

    /// For each kind of frame: how many, and their bytes, headers included.
    pub fn by_kind(&self) -> impl Iterator<Item = (FrameKind, u64, u64)> {
        FrameKind::ALL.into_iter().zip(self.frames).map(|(kind, (frames, bytes))| (kind, frames, bytes))
    }
}
