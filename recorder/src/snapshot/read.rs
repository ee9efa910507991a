//! Reading a snapshot, which is untrusted input. All of it is verified when it is opened; what is wrong with it is named.

use std::collections::HashSet;
use std::fmt;

use super::{MAX_SECTIONS, Manifest, Part, Seal, SectionEntry, SnapshotError};
use crate::columns::page_table::{self, Slot};
use crate::format::frame::{self, FRAME_HEADER_BYTES, Frame, Problem};
use crate::format::header::FileHeader;
use crate::format::payload::{access, decode};
use crate::page::PageHash;
use crate::reader::contents::{Contents, FrameAt, PagesAt};
use crate::reader::scan;
use crate::section::ArchivedSection;
use crate::{FileKind, FrameKind, Image, MachineDescription, PageRef, Recording, Section};

/// An open snapshot, all of it verified. Clones share the file.
#[derive(Debug, Clone)]
pub struct Snapshot {
    recording: Recording,
    manifest: Manifest,
    sections: Vec<Section>,
    pages: Vec<PageRef>,
}

impl Snapshot {
    /// Opens a snapshot, best one that is mapped, and verifies every part and the whole.
    ///
    /// # Errors
    /// Anything in it that is not as it was written.
    pub fn open(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Result<Self, SnapshotError> {
        let file = bytes.as_ref();
        let header = FileHeader::read_as(FileKind::Snapshot, file)?;
        let mut frames = Frames { file, next: FrameAt { number: 0, offset: u64::from(header.header_bytes) } };
        let mut contents = frames.description()?;
        if header.rules_version != contents.machine.rules_version {
            let (header, machine) = (header.rules_version, contents.machine.rules_version);
            let why = format!("the header says {header}, the machine description {machine}");
            return Err(SnapshotError::Field { field: "rules_version", why });
        }
        frames.images(&mut contents)?;
        let (manifest, table) = frames.manifest(&mut contents)?;
        let sections = manifest.sections.iter().map(|entry| frames.section(&mut contents, entry));
        let sections = sections.collect::<Result<Vec<_>, _>>()?;
        frames.pages(&mut contents, table.stored)?;
        let seal = frames.seal(&mut contents)?;
        contents.reached = manifest.position;

        let recording = Recording::of_snapshot(bytes, header, contents);
        for index in 0..recording.images().len() {
            recording.image_bytes(index)?;
        }
        let pages = recording.resolve(table.pages)?;
        check_pages(&recording, &pages)?;
        let file = recording.bytes();
        let sealed = usize::try_from(seal.bytes).ok().and_then(|bytes| file.get(..bytes)).unwrap_or_default();
        let (expected, found) = (blake3::Hash::from_bytes(seal.hash), blake3::hash(sealed));
        if found != expected {
            return Err(SnapshotError::Seal { expected, found });
        }
        Ok(Self { recording, manifest, sections, pages })
    }

    /// The file header.
    #[must_use]
    pub fn header(&self) -> FileHeader {
        self.recording.header()
    }

    /// The machine.
    #[must_use]
    pub fn description(&self) -> &MachineDescription {
        self.recording.description()
    }

    /// The images that it holds, without their bytes.
    #[must_use]
    pub fn images(&self) -> &[Image] {
        self.recording.images()
    }

    /// What it is of.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The state of everything but RAM.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Every page that is not zeros, by guest frame number.
    #[must_use]
    pub fn pages(&self) -> &[PageRef] {
        &self.pages
    }

    /// The same file as a recording of no run: description, images and pages are had from it.
    #[must_use]
    pub fn recording(&self) -> &Recording {
        &self.recording
    }
}

/// Every page that is listed holds what its hash says, and every page that is stored is listed.
fn check_pages(recording: &Recording, pages: &[PageRef]) -> Result<(), SnapshotError> {
    let mut seen: HashSet<PageHash> = HashSet::with_capacity(pages.len());
    for page in pages {
        if seen.insert(page.hash) {
            recording.page(page)?;
        }
    }
    let stored = recording.statistics().stored_pages;
    if seen.len() as u64 != stored {
        let why = format!("it lists {} contents of pages, {stored} are stored", seen.len());
        return Err(SnapshotError::Field { field: "pages", why });
    }
    Ok(())
}

/// Which pages a snapshot lists.
struct PageTable {
    /// By guest frame number, each with where its content is.
    pages: Vec<(u64, Slot)>,
    /// How many contents are stored.
    stored: u64,
}

/// The frames of a file, one after the other.
struct Frames<'a> {
    file: &'a [u8],
    next: FrameAt,
}

impl<'a> Frames<'a> {
    /// The next frame, which must be of this kind.
    fn take(&mut self, kind: FrameKind, part: &Part) -> Result<(FrameAt, Frame<'a>), SnapshotError> {
        let at = self.next;
        let frame = frame::read(self.file, at.offset).map_err(|problem| self.damaged(at, part, problem))?;
        if frame.kind != Some(kind) {
            let name = |kind: FrameKind| format!("a frame of kind `{kind}`");
            let found = frame.kind.map_or_else(|| "a frame of an unknown kind".to_owned(), name);
            return Err(SnapshotError::Missing { part: part.clone(), found, offset: at.offset });
        }
        self.next = FrameAt { number: at.number + 1, offset: frame.end() };
        Ok((at, frame))
    }

    fn damaged(&self, at: FrameAt, part: &Part, problem: Problem) -> SnapshotError {
        SnapshotError::Damaged { part: part.clone(), source: scan::error(self.file, at, problem) }
    }

    fn description(&mut self) -> Result<Contents, SnapshotError> {
        let (at, frame) = self.take(FrameKind::Description, &Part::Description)?;
        Contents::new(&frame).map_err(|problem| self.damaged(at, &Part::Description, problem))
    }

    fn images(&mut self, contents: &mut Contents) -> Result<(), SnapshotError> {
        while let Some(image) = contents.awaited_image() {
            let part = Part::Image(image.name.clone());
            let (at, frame) = self.take(FrameKind::Image, &part)?;
            contents.add(at, &frame).map_err(|problem| self.damaged(at, &part, problem))?;
        }
        Ok(())
    }

    fn manifest(&mut self, contents: &mut Contents) -> Result<(Manifest, PageTable), SnapshotError> {
        let (at, frame) = self.take(FrameKind::Manifest, &Part::Manifest)?;
        let read = || -> Result<_, Problem> {
            let archived = access::<super::ArchivedManifestFrame>(frame.payload)?;
            let manifest = decode::<Manifest>(&archived.manifest)?;
            let stored = archived.stored_pages.to_native();
            let pages = page_table::decode(&archived.pages, archived.listed_pages.to_native(), stored);
            Ok((manifest, PageTable { pages: pages.map_err(Problem::Decode)?, stored }))
        };
        let (manifest, table) = read().map_err(|problem| self.damaged(at, &Part::Manifest, problem))?;
        contents.count(&frame);
        let mut names = HashSet::new();
        if let Some(twice) = manifest.sections.iter().find(|entry| !names.insert(entry.name.as_str())) {
            let why = format!("it lists the section `{}` twice", twice.name);
            return Err(SnapshotError::Field { field: "sections", why });
        }
        if manifest.sections.len() > MAX_SECTIONS {
            let why = format!("it lists {} sections, {MAX_SECTIONS} is the limit", manifest.sections.len());
            return Err(SnapshotError::Field { field: "sections", why });
        }
        if let Some((gfn, _)) = table.pages.iter().find(|(_, slot)| *slot == 0) {
            let why = format!("it lists page {gfn:#x} as zeros, which are left out");
            return Err(SnapshotError::Field { field: "pages", why });
        }
        Ok((manifest, table))
    }

    fn section(&mut self, contents: &mut Contents, entry: &SectionEntry) -> Result<Section, SnapshotError> {
        let part = Part::Section(entry.name.clone());
        let (at, frame) = self.take(FrameKind::Section, &part)?;
        let section = access::<ArchivedSection>(frame.payload).and_then(decode::<Section>);
        let section = section.map_err(|problem| self.damaged(at, &part, problem))?;
        if section.name != entry.name {
            let found = format!("the section `{}`", section.name);
            return Err(SnapshotError::Missing { part, found, offset: at.offset });
        }
        let differs = |what: &str, found: &dyn fmt::Display, listed: &dyn fmt::Display| {
            let why = format!("its {what} is {found}, listed is {listed}");
            Err(SnapshotError::Section { name: entry.name.clone(), why })
        };
        let (size, digest) = (section.bytes.len() as u64, section.digest());
        if section.version != entry.version {
            return differs("version", &section.version, &entry.version);
        }
        if size != entry.size {
            return differs("size", &size, &entry.size);
        }
        if digest != entry.digest {
            return differs("digest", &digest, &entry.digest);
        }
        contents.count(&frame);
        Ok(section)
    }

    fn pages(&mut self, contents: &mut Contents, stored: u64) -> Result<(), SnapshotError> {
        while contents.statistics.stored_pages < stored {
            let (at, frame) = self.take(FrameKind::Pages, &Part::Pages)?;
            contents.add(at, &frame).map_err(|problem| self.damaged(at, &Part::Pages, problem))?;
        }
        let found = contents.pages.last().map_or(0, |PagesAt { first_page, count, .. }| first_page + count);
        if found != stored {
            let why = format!("it says that {stored} pages are stored, {found} are");
            return Err(SnapshotError::Field { field: "stored_pages", why });
        }
        Ok(())
    }

    fn seal(&mut self, contents: &mut Contents) -> Result<Seal, SnapshotError> {
        let (at, frame) = self.take(FrameKind::Seal, &Part::Seal)?;
        let seal = access::<super::ArchivedSeal>(frame.payload).and_then(decode::<Seal>);
        let seal = seal.map_err(|problem| self.damaged(at, &Part::Seal, problem))?;
        contents.count(&frame);
        if seal.bytes != at.offset {
            let why = format!("it seals {} bytes, {} are before it", seal.bytes, at.offset);
            return Err(SnapshotError::Field { field: "sealed bytes", why });
        }
        let end = at.offset + (FRAME_HEADER_BYTES + frame.payload.len()) as u64;
        match self.file.len() as u64 - end {
            0 => Ok(seal),
            more => Err(SnapshotError::Trailing(more)),
        }
    }
}
