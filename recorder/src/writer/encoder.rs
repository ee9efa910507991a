//! What the writer thread does: from messages to frames in a file. Nothing here knows of threads.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use super::WriteError;
use super::checkpoint_record::CheckpointRecord;
use crate::columns::{self, MAX_COLUMN_BYTES};
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader, MAX_PAGES_IN_FRAME};
use crate::format::header::FileHeader;
use crate::format::pack::Packed;
use crate::format::payload::{self, INDEX_MAGIC, IndexEntry};
use crate::format::{IMAGE_CHUNK_BYTES, IMAGE_RATIO, MAX_CHECKPOINT_BODY_BYTES, MAX_IMAGE_BYTES, MAX_IMAGES};
use crate::page::{PAGE_BYTES, Page, PageHash};
use crate::{End, Event, Exit, FileKind, FrameKind, Image, MachineDescription, Position};

/// Where frames go.
pub(crate) trait Sink: Write + Send {
    /// Cuts the file to `bytes`.
    fn truncate(&mut self, bytes: u64) -> io::Result<()>;
    /// Returns when everything is on the disk.
    fn sync(&mut self) -> io::Result<()>;
}

impl Sink for File {
    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// Events and exits on their way into a log frame.
#[derive(Debug, Default)]
pub(crate) struct LogRecord {
    pub(crate) reached: Position,
    pub(crate) events: Vec<(Position, Event)>,
    pub(crate) exits: Vec<(Position, Exit)>,
}

/// Writes frames one after the other. After an error it is of no more use.
pub(crate) struct Encoder {
    sink: Box<dyn Sink>,
    path: PathBuf,
    file: FileKind,
    /// Bytes of whole frames in the file.
    offset: u64,
    index: Vec<IndexEntry>,
    /// Number of each stored page.
    stored: HashMap<PageHash, u64>,
    ns_per_tick: u32,
    /// Of all that is written, in a file that is sealed.
    hasher: Option<Box<blake3::Hasher>>,
}

impl Encoder {
    /// Writes header, description and images.
    pub(crate) fn new(
        sink: Box<dyn Sink>,
        path: PathBuf,
        file: FileKind,
        machine: &MachineDescription,
        images: &[(Image, Vec<u8>)],
    ) -> Result<Self, WriteError> {
        for (index, (image, bytes)) in images.iter().enumerate() {
            if image.size != bytes.len() as u64 || image.hash != *blake3::hash(bytes).as_bytes() {
                return Err(WriteError::WrongImage { index, name: image.name.clone() });
            }
        }
        let total = images.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        if total > MAX_IMAGE_BYTES {
            return Err(WriteError::TooLarge { what: "images", bytes: total, limit: MAX_IMAGE_BYTES });
        }
        if images.len() > MAX_IMAGES {
            return Err(WriteError::TooManyImages { count: images.len(), limit: MAX_IMAGES });
        }
        let ns_per_tick = machine.ns_per_tick;
        let (index, stored) = (Vec::new(), HashMap::new());
        let hasher = (file == FileKind::Snapshot).then(Box::default);
        let mut this = Self { sink, path, file, offset: 0, index, stored, ns_per_tick, hasher };
        let header = FileHeader::new(file, machine.rules_version).to_bytes(file);
        this.write(&[&header])?;
        this.offset = header.len() as u64;
        let metadata = images.iter().map(|(image, _)| image.clone()).collect();
        let description = payload::Description { machine: machine.clone(), images: metadata };
        this.frame(FrameKind::Description, &layout(FrameKind::Description, &description)?)?;
        for (index, (image, bytes)) in images.iter().enumerate() {
            let stored_already = images[..index].iter().any(|(other, _)| other.hash == image.hash);
            if !stored_already {
                this.image(index, bytes)?;
            }
        }
        Ok(this)
    }

    fn image(&mut self, index: usize, bytes: &[u8]) -> Result<(), WriteError> {
        for chunk in bytes.chunks(IMAGE_CHUNK_BYTES) {
            let raw = || Packed { raw_bytes: chunk.len() as u32, bytes: chunk.to_vec() };
            // A reader refuses what grows too much.
            let content = Packed::pack(chunk.to_vec(), IMAGE_CHUNK_BYTES)
                .filter(|packed| packed.bytes.len() * IMAGE_RATIO >= chunk.len())
                .unwrap_or_else(raw);
            let chunk = payload::ImageChunk { image: index as u32, content };
            self.frame(FrameKind::Image, &layout(FrameKind::Image, &chunk)?)?;
        }
        Ok(())
    }

    /// Writes a log frame.
    pub(crate) fn log(&mut self, log: &LogRecord) -> Result<(), WriteError> {
        let events = match log.events.as_slice() {
            [] => None,
            events @ [first, ..] => Some(batch(first.0, events, columns::events::encode(events))?),
        };
        let exits = match log.exits.as_slice() {
            [] => None,
            exits @ [first, ..] => {
                Some(batch(first.0, exits, columns::exits::encode(exits, self.ns_per_tick))?)
            }
        };
        let log = payload::Log { reached: log.reached, events, exits };
        self.frame(FrameKind::Log, &layout(FrameKind::Log, &log)?)
    }

    /// Writes the pages of a checkpoint that are not stored yet, then the checkpoint.
    pub(crate) fn checkpoint(&mut self, record: &CheckpointRecord) -> Result<(), WriteError> {
        let at = record.position;
        let new: Vec<_> =
            record.contents.iter().filter(|(hash, _)| !self.stored.contains_key(hash)).collect();
        if new.iter().any(|(hash, page)| PageHash::of(page) != *hash) {
            return Err(WriteError::WrongHash { at });
        }
        for pages in new.chunks(MAX_PAGES_IN_FRAME) {
            self.pages(pages)?;
        }
        let slots = record.pages.iter().map(|&(gfn, hash)| {
            let slot = if hash.is_zero() { Some(0) } else { self.stored.get(&hash).map(|page| page + 1) };
            slot.map(|slot| (gfn, slot)).ok_or(WriteError::MissingPage { at, gfn })
        });
        let slots = slots.collect::<Result<Vec<_>, _>>()?;
        let body = payload::CheckpointBody {
            sections: record.sections.clone(),
            digests: record.digests.clone(),
            pages: columns::page_table::encode(slots),
        };
        let body = layout(FrameKind::Checkpoint, &body)?;
        let (bytes, limit) = (body.len(), MAX_CHECKPOINT_BODY_BYTES);
        let body =
            Packed::pack(body, limit).ok_or(WriteError::TooLarge { what: "a checkpoint", bytes, limit })?;
        let checkpoint = payload::CheckpointFrame {
            position: at,
            instructions: record.instructions,
            page_count: record.pages.len() as u64,
            body,
        };
        self.frame(FrameKind::Checkpoint, &layout(FrameKind::Checkpoint, &checkpoint)?)
    }

    /// Writes pages that are not stored yet, at most [`MAX_PAGES_IN_FRAME`].
    pub(crate) fn pages(&mut self, pages: &[(PageHash, &Page)]) -> Result<(), WriteError> {
        let first_page = self.stored.len() as u64;
        let hashes = pages.iter().map(|(hash, _)| hash.0).collect();
        let archive = layout(FrameKind::Pages, &payload::PagesHead { first_page, hashes })?;
        // Length of the head, length of the archive, archive, zeros up to a multiple of 4096 in the file.
        let start = self.offset + FRAME_HEADER_BYTES as u64;
        let end = (start + 8 + archive.len() as u64).next_multiple_of(PAGE_BYTES as u64);
        let length = (end - start) as usize;
        let mut head = Vec::with_capacity(length);
        head.extend_from_slice(&(length as u32).to_le_bytes());
        head.extend_from_slice(&(archive.len() as u32).to_le_bytes());
        head.extend_from_slice(&archive);
        head.resize(length, 0);
        let contents = pages.iter().flat_map(|(_, page)| page.iter().copied()).collect::<Vec<u8>>();
        self.frame_with_tail(FrameKind::Pages, &head, &contents, pages.len() as u32)?;
        self.stored.extend(pages.iter().zip(first_page..).map(|((hash, _), number)| (*hash, number)));
        Ok(())
    }

    /// Writes the end and the index, and returns the bytes of the file once they are on the disk.
    pub(crate) fn finish(&mut self, end: &End) -> Result<u64, WriteError> {
        self.frame(FrameKind::End, &layout(FrameKind::End, end)?)?;
        let index = payload::Index { entries: std::mem::take(&mut self.index) };
        let mut payload = layout(FrameKind::Index, &index)?;
        payload.extend_from_slice(&self.offset.to_le_bytes());
        payload.extend_from_slice(&INDEX_MAGIC);
        self.frame(FrameKind::Index, &payload)?;
        self.sync()
    }

    /// Returns the bytes of the file once they are on the disk.
    pub(crate) fn sync(&mut self) -> Result<u64, WriteError> {
        self.sink.sync().map_err(|error| self.failed("sync", error))?;
        Ok(self.offset)
    }

    /// Bytes written so far, and their BLAKE3 in a file that is sealed.
    pub(crate) fn written(&self) -> (u64, [u8; 32]) {
        (self.offset, self.hasher.as_ref().map_or([0; 32], |hasher| *hasher.finalize().as_bytes()))
    }

    /// Hands what is written to the operating system.
    pub(crate) fn flush(&mut self) -> Result<(), WriteError> {
        self.sink.flush().map_err(|error| self.failed("write", error))
    }

    /// Writes a frame.
    pub(crate) fn frame(&mut self, kind: FrameKind, payload: &[u8]) -> Result<(), WriteError> {
        self.frame_with_tail(kind, payload, &[], 0)
    }

    /// Writes a frame of which `tail` is not covered by the checksum.
    fn frame_with_tail(
        &mut self,
        kind: FrameKind,
        checked: &[u8],
        tail: &[u8],
        pages: u32,
    ) -> Result<(), WriteError> {
        let length = (checked.len() + tail.len()) as u64;
        if length > kind.max_payload_bytes() {
            let (bytes, limit) = (length as usize, kind.max_payload_bytes() as usize);
            return Err(WriteError::TooLarge { what: kind.name(), bytes, limit });
        }
        let header = FrameHeader::new(kind.code(), length, checked).to_bytes();
        self.write(&[&header, checked, tail])?;
        self.index.push(IndexEntry { kind: kind.code(), pages, offset: self.offset, length });
        self.offset += FRAME_HEADER_BYTES as u64 + length;
        Ok(())
    }

    /// Writes all parts, or leaves the file as it was.
    fn write(&mut self, parts: &[&[u8]]) -> Result<(), WriteError> {
        let mut written = Ok(());
        if let [only_small @ .., tail] = parts {
            // One call for what is small: header and payload.
            let head = only_small.concat();
            written = self.sink.write_all(&head).and_then(|()| self.sink.write_all(tail));
        }
        if let (Ok(()), Some(hasher)) = (&written, &mut self.hasher) {
            for part in parts {
                hasher.update(part);
            }
        }
        written.map_err(|error| {
            if let Err(error) = self.sink.truncate(self.offset) {
                tracing::warn!(%error, path = %self.path.display(), "cannot cut a torn frame off");
            }
            self.failed("write", error)
        })
    }

    fn failed(&self, action: &'static str, error: io::Error) -> WriteError {
        WriteError::Io { action, file: self.file, path: self.path.clone(), source: Arc::new(error) }
    }
}

fn batch<T>(
    first: Position,
    entries: &[(Position, T)],
    columns: Vec<u8>,
) -> Result<payload::Batch, WriteError> {
    let bytes = columns.len();
    let too_large = WriteError::TooLarge { what: "a batch", bytes, limit: MAX_COLUMN_BYTES };
    let columns = Packed::pack(columns, MAX_COLUMN_BYTES).ok_or(too_large)?;
    let last = entries.last().map_or(first, |last| last.0);
    Ok(payload::Batch { first, last, count: entries.len() as u32, columns })
}

/// Lays out a payload.
pub(crate) fn layout<T>(frame: FrameKind, value: &T) -> Result<Vec<u8>, WriteError>
where
    T: payload::Encode,
{
    payload::encode(value).map_err(|error| WriteError::Layout { frame, reason: error.to_string() })
}
