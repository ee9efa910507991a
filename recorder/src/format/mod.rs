//! The bytes of a `.rvm` file, shared by writer and reader. `docs/trace-format.md` is its description.

/// Frames: header, checksum, size caps.
pub(crate) mod frame;
/// The fixed header at the start of the file.
pub(crate) mod header;
/// Byte strings that are compressed where that pays.
pub(crate) mod pack;
/// The payloads of frames.
pub(crate) mod payload;
/// Variable-length integers.
pub(crate) mod varint;

/// Bytes of an image in one frame, at most.
pub(crate) const IMAGE_CHUNK_BYTES: usize = 4 << 20;
/// Images, at most.
pub(crate) const MAX_IMAGES: usize = 256;
/// Bytes of all images of a file together, at most.
pub const MAX_IMAGE_BYTES: usize = 1 << 30;
/// A piece of an image is stored compressed only down to this fraction of it, so that a small file cannot
/// claim much memory.
pub(crate) const IMAGE_RATIO: usize = 256;
/// Bytes of a checkpoint's sections and page table before compression, at most.
pub(crate) const MAX_CHECKPOINT_BODY_BYTES: usize = 64 << 20;
