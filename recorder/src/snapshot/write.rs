//! Writing a snapshot, front to back.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use super::{MAX_SECTIONS, Manifest, ManifestFrame, Seal, SectionEntry, Source};
use crate::columns::page_table::{self, GFN_LIMIT, Slot};
use crate::format::frame::MAX_PAGES_IN_FRAME;
use crate::page::{Page, PageHash};
use crate::writer::encoder::{Encoder, Sink, layout};
use crate::{Digest, FileKind, FrameKind, Image, MachineDescription, Position, Section, WriteError};

/// A snapshot about to be written.
#[derive(Debug, Clone)]
pub struct NewSnapshot {
    /// The machine.
    pub machine: MachineDescription,
    /// What is needed of its images, each with its bytes.
    pub images: Vec<(Image, Vec<u8>)>,
    /// The recording that it is taken from.
    pub source: Source,
    /// Where the machine stands.
    pub position: Position,
    /// Instructions retired since power-on.
    pub instructions: u64,
    /// Digest of the whole machine.
    pub digest: Digest,
    /// Digest of RAM and of what the guest has written to its disks.
    pub ram: Digest,
    /// The state of everything else, each name once.
    pub sections: Vec<Section>,
    /// Every page that is not zeros: guest frame number and content.
    pub pages: Vec<(u64, PageHash)>,
}

/// Guest frame numbers, each with what the page holds.
type Pages = Vec<(u64, PageHash)>;

impl NewSnapshot {
    /// Writes it into an empty file, and returns its size in bytes once it is on the disk. `content` gives the content of a page;
    /// one of each content is asked for. `path` is what errors call the file.
    ///
    /// # Errors
    /// [`WriteError::Io`], [`WriteError::WrongImage`], [`WriteError::TooManyImages`], [`WriteError::BadPage`] for a page that is
    /// listed twice or out of range, [`WriteError::MissingPage`], [`WriteError::WrongHash`], and [`WriteError::TooLarge`].
    pub fn write<'p>(
        &self,
        file: File,
        path: &Path,
        content: impl FnMut(u64) -> Option<&'p Page>,
    ) -> Result<u64, WriteError> {
        self.write_to(Box::new(file), path, content)
    }

    pub(super) fn write_to<'p>(
        &self,
        sink: Box<dyn Sink>,
        path: &Path,
        mut content: impl FnMut(u64) -> Option<&'p Page>,
    ) -> Result<u64, WriteError> {
        let (bytes, limit) = (self.sections.len(), MAX_SECTIONS);
        if bytes > limit {
            return Err(WriteError::TooLarge { what: "a number of sections", bytes, limit });
        }
        let mut encoder =
            Encoder::new(sink, path.to_owned(), FileKind::Snapshot, &self.machine, &self.images)?;
        let (slots, stored) = self.slots()?;
        let frame = ManifestFrame {
            manifest: self.manifest(),
            listed_pages: slots.len() as u64,
            stored_pages: stored.len() as u64,
            pages: page_table::encode(slots.iter().copied()),
        };
        encoder.frame(FrameKind::Manifest, &layout(FrameKind::Manifest, &frame)?)?;
        for section in &self.sections {
            encoder.frame(FrameKind::Section, &layout(FrameKind::Section, section)?)?;
        }
        let at = self.position;
        for chunk in stored.chunks(MAX_PAGES_IN_FRAME) {
            let mut pages = Vec::with_capacity(chunk.len());
            for &(gfn, hash) in chunk {
                let page = content(gfn).ok_or(WriteError::MissingPage { at, gfn })?;
                if PageHash::of(page) != hash {
                    return Err(WriteError::WrongHash { at });
                }
                pages.push((hash, page));
            }
            encoder.pages(&pages)?;
        }
        let (bytes, hash) = encoder.written();
        encoder.frame(FrameKind::Seal, &layout(FrameKind::Seal, &Seal { bytes, hash })?)?;
        encoder.sync()
    }

    fn manifest(&self) -> Manifest {
        let entry = |section: &Section| SectionEntry {
            name: section.name.clone(),
            version: section.version,
            size: section.bytes.len() as u64,
            digest: section.digest(),
        };
        Manifest {
            source: self.source.clone(),
            position: self.position,
            instructions: self.instructions,
            digest: self.digest,
            ram: self.ram,
            sections: self.sections.iter().map(entry).collect(),
        }
    }

    /// Where the content of each page will be, and one page of each content in the order in which they are stored.
    fn slots(&self) -> Result<(Vec<(u64, Slot)>, Pages), WriteError> {
        let at = self.position;
        let mut pages = self.pages.clone();
        pages.retain(|(_, hash)| !hash.is_zero());
        pages.sort_unstable_by_key(|(gfn, _)| *gfn);
        let twice = pages.windows(2).find(|pair| pair[0].0 == pair[1].0);
        let beyond = pages.last().filter(|(gfn, _)| *gfn >= GFN_LIMIT);
        if let Some(&(gfn, _)) = twice.map(|pair| &pair[0]).or(beyond) {
            return Err(WriteError::BadPage { at, gfn });
        }
        let mut numbers = HashMap::new();
        let mut stored = Vec::new();
        let slots = pages.iter().map(|&(gfn, hash)| {
            let slot = *numbers.entry(hash).or_insert_with(|| {
                stored.push((gfn, hash));
                stored.len() as u64
            });
            (gfn, slot)
        });
        let slots = slots.collect();
        Ok((slots, stored))
    }
}
