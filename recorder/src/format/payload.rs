//! The payloads of frames, as rkyv sees them. Their layout is the format: a change here is a new format version.

use rkyv::api::high::{HighDeserializer, HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Error;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Portable, Serialize};

use crate::format::frame::Problem;
use crate::format::pack::Packed;
use crate::{Digest, Image, MachineDescription, Position, Section};

/// Description frame.
#[derive(Debug, Archive, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) machine: MachineDescription,
    pub(crate) images: Vec<Image>,
}

/// Image frame: the next bytes of an image.
#[derive(Debug, Archive, Serialize, Deserialize)]
pub(crate) struct ImageChunk {
    /// Index of the image in the description.
    pub(crate) image: u32,
    pub(crate) content: Packed,
}

/// Log frame.
#[derive(Debug, Archive, Serialize, Deserialize)]
pub(crate) struct Log {
    /// The run has come this far: all events and exits before it are in this frame or in frames before.
    pub(crate) reached: Position,
    pub(crate) events: Option<Batch>,
    pub(crate) exits: Option<Batch>,
}

/// Events or exits in order of position.
#[derive(Debug, Archive, Serialize, Deserialize)]
pub(crate) struct Batch {
    pub(crate) first: Position,
    pub(crate) last: Position,
    /// How many, never 0.
    pub(crate) count: u32,
    pub(crate) columns: Packed,
}

/// The head of a pages frame. After it come zeros up to the next multiple of 4096 in the file, and the pages.
#[derive(Debug, Archive, Serialize, Deserialize)]
pub(crate) struct PagesHead {
    /// Pages stored in the frames before this one.
    pub(crate) first_page: u64,
    /// One for each page of this frame.
    pub(crate) hashes: Vec<u128>,
}

/// Checkpoint frame.
#[derive(Debug, Archive, Serialize, Deserialize)]
pub(crate) struct CheckpointFrame {
    pub(crate) position: Position,
    pub(crate) instructions: u64,
    /// Pages in `CheckpointBody::pages`.
    pub(crate) page_count: u64,
    /// A [`CheckpointBody`].
    pub(crate) body: Packed,
}

/// The larger part of a checkpoint.
#[derive(Debug, Archive, Serialize, Deserialize)]
pub(crate) struct CheckpointBody {
    pub(crate) sections: Vec<Section>,
    pub(crate) digests: Vec<(String, Digest)>,
    /// Pages that were written since the checkpoint before: see `columns::page_table`.
    pub(crate) pages: Vec<u8>,
}

/// Index frame; after it, as the last bytes of its payload, an [`INDEX_TRAILER_BYTES`] trailer.
#[derive(Debug, Default, Archive, Serialize, Deserialize)]
pub(crate) struct Index {
    /// The frames before this one, in order, without a gap.
    pub(crate) entries: Vec<IndexEntry>,
}

/// A frame in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub(crate) struct IndexEntry {
    pub(crate) kind: u32,
    /// Pages in the frame, 0 where it is no pages frame.
    pub(crate) pages: u32,
    /// Of the frame header.
    pub(crate) offset: u64,
    /// Of the payload, in bytes.
    pub(crate) length: u64,
}

/// Bytes at the end of the index frame: its offset in the file and [`INDEX_MAGIC`].
pub(crate) const INDEX_TRAILER_BYTES: usize = 16;
/// Last bytes of a recording that was closed.
pub(crate) const INDEX_MAGIC: [u8; 8] = *b"RVMINDEX";

/// Positions as they lie in a file.
impl ArchivedBatch {
    pub(crate) const fn span(&self) -> (Position, Position) {
        (native(&self.first), native(&self.last))
    }
}

/// A position out of a file.
pub(crate) const fn native(position: &crate::position::ArchivedPosition) -> Position {
    Position::new(position.tick.to_native(), position.offset.to_native())
}

/// What can be laid out.
pub(crate) trait Encode:
    for<'a> Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, Error>>
{
}

impl<T> Encode for T where T: for<'a> Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, Error>> {}

/// Lays out a payload.
pub(crate) fn encode(value: &impl Encode) -> Result<Vec<u8>, Error> {
    rkyv::to_bytes(value).map(AlignedVec::into_vec)
}

/// Validates a payload.
pub(crate) fn access<T>(bytes: &[u8]) -> Result<&T, Problem>
where
    T: Portable + for<'a> CheckBytes<HighValidator<'a, Error>>,
{
    rkyv::access(bytes).map_err(|error: Error| Problem::Layout(error.to_string()))
}

/// Copies a validated payload, or a part of one, out of the file.
pub(crate) fn decode<T: Archive>(archived: &T::Archived) -> Result<T, Problem>
where
    T::Archived: Deserialize<T, HighDeserializer<Error>>,
{
    rkyv::deserialize(archived).map_err(|error: Error| Problem::Layout(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use super::*;

    #[test]
    fn the_archived_layouts_have_the_sizes_that_the_format_describes() {
        assert_eq!(size_of::<crate::position::ArchivedPosition>(), 12);
        assert_eq!(size_of::<ArchivedDescription>(), 94);
        assert_eq!(size_of::<crate::description::ArchivedMachineDescription>(), 86);
        assert_eq!(size_of::<crate::description::ArchivedDisk>(), 58);
        assert_eq!(size_of::<crate::description::ArchivedImage>(), 57);
        assert_eq!(size_of::<crate::format::pack::ArchivedPacked>(), 12);
        assert_eq!(size_of::<ArchivedImageChunk>(), 16);
        assert_eq!(size_of::<ArchivedBatch>(), 40);
        assert_eq!(size_of::<ArchivedLog>(), 94);
        assert_eq!(size_of::<ArchivedPagesHead>(), 16);
        assert_eq!(size_of::<ArchivedCheckpointFrame>(), 40);
        assert_eq!(size_of::<ArchivedCheckpointBody>(), 24);
        assert_eq!(size_of::<crate::section::ArchivedSection>(), 20);
        assert_eq!(size_of::<ArchivedIndexEntry>(), 24);
        assert_eq!(size_of::<crate::description::ArchivedEnd>(), 41);
    }
}
