//! Snapshots out of order, out of date and out of their minds: each is refused by a name.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::*;
use crate::format::frame::{FrameHeader, Problem};
use crate::format::header::{FileHeader, HEADER_BYTES};
use crate::format::payload;
use crate::page::{PAGE_BYTES, Page, PageHash};
use crate::writer::encoder::Sink;
use crate::{
    BootKind, FileKind, FrameKind, HeaderError, Image, ImageRole, MachineDescription, ReadError, Section,
    WriteError,
};

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Memory {
    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.0.lock().unwrap().truncate(bytes as usize);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const PAGES: [(u64, u8); 4] = [(0, 1), (3, 2), (4, 1), (1 << 20, 3)];

fn content(gfn: u64) -> Option<&'static Page> {
    static CONTENTS: [Page; 4] = [[0; PAGE_BYTES], [1; PAGE_BYTES], [2; PAGE_BYTES], [3; PAGE_BYTES]];
    let (_, byte) = PAGES.into_iter().find(|page| page.0 == gfn)?;
    CONTENTS.get(usize::from(byte))
}

fn section(name: &str, bytes: &[u8]) -> Section {
    Section { name: name.to_owned(), version: 1, bytes: bytes.to_vec() }
}

fn sample() -> NewSnapshot {
    let machine = MachineDescription {
        memory_bytes: 1 << 20,
        ns_per_tick: 10,
        rules_version: 1,
        cpu_model: "model".to_owned(),
        flags_profile: "profile".to_owned(),
        boot: BootKind::Elf64,
        command_line: String::new(),
        guest_name: "guest".to_owned(),
        seed: 0,
        engine: "soft".to_owned(),
        pass_code: 0,
        disks: Vec::new(),
        entropy_device: false,
        cpu_features: Vec::new(),
    };
    let kernel = b"kernel".to_vec();
    NewSnapshot {
        machine,
        images: vec![(Image::describe(ImageRole::Kernel, "kernel.elf", "", &kernel), kernel)],
        source: Source { name: "run.rvm".to_owned(), hash: [9; 32] },
        position: Position::new(70, 3),
        instructions: 400,
        digest: Digest(5),
        ram: Digest(6),
        sections: vec![section("cpu", b"registers"), section("pic", b"lines")],
        pages: PAGES.into_iter().map(|(gfn, _)| (gfn, PageHash::of(content(gfn).unwrap()))).collect(),
    }
}

fn write(snapshot: &NewSnapshot) -> Result<Vec<u8>, WriteError> {
    let memory = Memory::default();
    let bytes = snapshot.write_to(Box::new(memory.clone()), Path::new("out.rvs"), content)?;
    let written = memory.0.lock().unwrap().clone();
    assert_eq!(written.len() as u64, bytes);
    Ok(written)
}

fn sample_bytes() -> Vec<u8> {
    write(&sample()).unwrap()
}

/// Kind, and where the frame is.
fn frames(bytes: &[u8]) -> Vec<(FrameKind, std::ops::Range<usize>)> {
    let mut at = HEADER_BYTES;
    let mut found = Vec::new();
    while at < bytes.len() {
        let frame = crate::format::frame::read(bytes, at as u64).unwrap();
        let end = frame.end() as usize;
        found.push((frame.kind.unwrap(), at..end));
        at = end;
    }
    found
}

/// A snapshot in pieces, to be put together again with a seal that fits.
struct Draft(Vec<Vec<u8>>);

impl Draft {
    fn of(bytes: &[u8]) -> Self {
        let head = bytes[..HEADER_BYTES].to_vec();
        let frames = frames(bytes).into_iter().map(|(_, place)| bytes[place].to_vec());
        Self(std::iter::once(head).chain(frames).collect())
    }

    /// Where the first frame of a kind is.
    fn find(&self, kind: FrameKind) -> usize {
        let code = kind.code().to_le_bytes();
        self.0.iter().position(|piece| piece[..4] == code).unwrap()
    }

    fn replace(&mut self, index: usize, kind: FrameKind, payload: &[u8]) {
        let header = FrameHeader::new(kind.code(), payload.len() as u64, payload).to_bytes();
        self.0[index] = [&header, payload].concat();
    }

    fn manifest(&mut self, change: impl FnOnce(&mut ManifestFrame)) {
        let index = self.find(FrameKind::Manifest);
        let archived = payload::access::<ArchivedManifestFrame>(&self.0[index][16..]).unwrap();
        let mut frame = payload::decode::<ManifestFrame>(archived).unwrap();
        change(&mut frame);
        let payload = payload::encode(&frame).unwrap();
        self.replace(index, FrameKind::Manifest, &payload);
    }

    fn sealed(mut self) -> Vec<u8> {
        self.0.pop();
        let mut bytes = Vec::new();
        for piece in self.0 {
            let is_pages = piece[..4] == FrameKind::Pages.code().to_le_bytes() && piece.len() > PAGE_BYTES;
            bytes.extend(if is_pages { realigned(&piece, bytes.len()) } else { piece });
        }
        let seal = Seal { bytes: bytes.len() as u64, hash: *blake3::hash(&bytes).as_bytes() };
        let payload = payload::encode(&seal).unwrap();
        let header = FrameHeader::new(FrameKind::Seal.code(), payload.len() as u64, &payload).to_bytes();
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&payload);
        bytes
    }
}

/// A pages frame that is put somewhere else: its pages lie at a multiple of 4096 there, too.
fn realigned(frame: &[u8], offset: usize) -> Vec<u8> {
    let head = crate::format::frame::pages_head(&frame[16..]).unwrap();
    let pages = &frame[16 + head.len()..];
    let archive = u32::from_le_bytes(*head[4..].first_chunk().unwrap()) as usize;
    let length = (offset + 16 + 8 + archive).next_multiple_of(PAGE_BYTES) - offset - 16;
    let mut head = [&(length as u32).to_le_bytes(), &head[4..8 + archive]].concat();
    head.resize(length, 0);
    let header = FrameHeader::new(FrameKind::Pages.code(), (length + pages.len()) as u64, &head).to_bytes();
    [&header[..], &head, pages].concat()
}

fn changed(change: impl FnOnce(&mut Draft)) -> SnapshotError {
    let mut draft = Draft::of(&sample_bytes());
    change(&mut draft);
    Snapshot::open(draft.sealed()).unwrap_err()
}

fn changed_manifest(change: impl FnOnce(&mut ManifestFrame)) -> SnapshotError {
    changed(|draft| draft.manifest(change))
}

/// The error and its cause as a person reads them.
fn words(error: &SnapshotError) -> String {
    let cause = std::error::Error::source(error).map_or_else(String::new, |cause| format!("; {cause}"));
    format!("{error}{cause}")
}

#[test]
fn a_snapshot_reads_back_and_is_written_the_same_each_time() {
    let new = sample();
    let bytes = sample_bytes();
    assert_eq!(bytes, sample_bytes());
    let snapshot = Snapshot::open(bytes.clone()).unwrap();
    assert_eq!(snapshot.description(), &new.machine);
    assert_eq!(snapshot.sections(), new.sections);
    assert_eq!(snapshot.manifest().source, new.source);
    assert_eq!(snapshot.manifest().position, new.position);
    assert_eq!((snapshot.manifest().digest, snapshot.manifest().ram), (new.digest, new.ram));
    assert_eq!(snapshot.manifest().sections[1].digest, new.sections[1].digest());
    assert_eq!(&*snapshot.recording().image_bytes(0).unwrap(), b"kernel");
    let pages: Vec<_> = snapshot.pages().iter().map(|page| (page.gfn, page.hash)).collect();
    assert_eq!(pages, new.pages);
    // Equal contents are stored once, each where it can be mapped.
    assert_eq!(snapshot.recording().statistics().stored_pages, 3);
    for page in snapshot.pages() {
        assert_eq!(snapshot.recording().page(page).unwrap(), content(page.gfn).unwrap());
        let offset = snapshot.recording().page_file_offset(page).unwrap();
        assert!(offset.is_multiple_of(PAGE_BYTES as u64));
    }
    assert_eq!(Draft::of(&bytes).sealed(), bytes);
}

#[test]
fn a_snapshot_without_pages_and_images_holds() {
    let new = NewSnapshot { images: Vec::new(), pages: vec![(7, PageHash::ZERO)], ..sample() };
    let snapshot = Snapshot::open(write(&new).unwrap()).unwrap();
    assert!(snapshot.pages().is_empty() && snapshot.images().is_empty());
}

#[test]
fn what_cannot_be_read_back_is_not_written() {
    let page = PageHash::of(content(0).unwrap());
    let with = |pages| write(&NewSnapshot { pages, ..sample() }).unwrap_err();
    assert!(matches!(with(vec![(0, page), (0, page)]), WriteError::BadPage { gfn: 0, .. }));
    assert!(matches!(with(vec![(1 << 40, page)]), WriteError::BadPage { .. }));
    assert!(matches!(with(vec![(9, page)]), WriteError::MissingPage { gfn: 9, .. }));
    assert!(matches!(with(vec![(3, page)]), WriteError::WrongHash { .. }));
    let sections = vec![section("cpu", b""); 257];
    let error = write(&NewSnapshot { sections, ..sample() }).unwrap_err();
    assert!(matches!(error, WriteError::TooLarge { .. }), "{error}");
}

#[test]
fn every_flipped_bit_is_refused_and_the_part_it_is_in_is_named() {
    let bytes = sample_bytes();
    let frames = frames(&bytes);
    let mut sections = ["section `cpu`", "section `pic`"].into_iter();
    let parts: Vec<_> = frames
        .into_iter()
        .map(|(kind, place)| {
            let name = match kind {
                FrameKind::Description => "machine description",
                FrameKind::Image => "image `kernel.elf`",
                FrameKind::Manifest => "manifest",
                FrameKind::Section => sections.next().unwrap(),
                FrameKind::Pages => "page",
                FrameKind::Seal => "seal",
                other => panic!("{other}"),
            };
            (name, place)
        })
        .collect();
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let error = words(&Snapshot::open(bytes).unwrap_err());
        let part = parts.iter().find(|(_, place)| place.contains(&at)).map(|(name, _)| *name);
        let expected = part.unwrap_or(if at < 8 { "not a Replayvm snapshot" } else { "header is corrupted" });
        assert!(error.contains(expected), "byte {at}: `{error}` does not say `{expected}`");
    }
}

#[test]
fn a_flipped_bit_in_a_page_names_the_page_and_its_place() {
    let bytes = sample_bytes();
    let snapshot = Snapshot::open(bytes.clone()).unwrap();
    for page in snapshot.pages() {
        let at = snapshot.recording().page_file_offset(page).unwrap();
        let mut bytes = bytes.clone();
        bytes[at as usize + 77] ^= 4;
        let error = Snapshot::open(bytes).unwrap_err();
        // The first page of that content.
        let gfn = if page.gfn == 4 { 0 } else { page.gfn };
        assert!(
            matches!(error, SnapshotError::Read(ReadError::Page { gfn: named, offset, .. })
                if named == gfn && offset == at),
            "{error}"
        );
    }
}

#[test]
fn a_truncated_snapshot_is_refused_wherever_it_ends_and_so_is_a_longer_one() {
    let bytes = sample_bytes();
    for length in 0..bytes.len() {
        let error = words(&Snapshot::open(bytes[..length].to_vec()).unwrap_err());
        let expected = match length {
            0 => "not a Replayvm snapshot",
            1..HEADER_BYTES => "the snapshot ends within its header",
            _ => "the file ends within the frame",
        };
        assert!(error.contains(expected), "{length} bytes: {error}");
    }
    let longer = [&bytes[..], b"more"].concat();
    assert_eq!(Snapshot::open(longer).unwrap_err(), SnapshotError::Trailing(4));
}

#[test]
fn a_newer_format_is_refused_with_advice_before_anything_else_is_read() {
    let header =
        FileHeader { format_version: 3, minimum_reader_version: 2, ..FileHeader::new(FileKind::Snapshot, 1) };
    let error = Snapshot::open(header.to_bytes(FileKind::Snapshot).to_vec()).unwrap_err();
    let SnapshotError::Header(HeaderError::Newer { written: 3, needed: 2, known: 1, .. }) = error else {
        panic!("{error}")
    };
    assert!(error.to_string().contains("the snapshot has format version 3"), "{error}");
    assert!(error.to_string().contains("newer replayvm"), "{error}");
}

#[test]
fn a_recording_is_told_from_a_snapshot() {
    let recording = FileHeader::new(FileKind::Recording, 1).to_bytes(FileKind::Recording).to_vec();
    assert_eq!(Snapshot::open(recording).unwrap_err(), SnapshotError::Header(HeaderError::IsRecording));
    let error = crate::Recording::open(sample_bytes()).unwrap_err();
    assert_eq!(error, ReadError::Header(HeaderError::IsSnapshot));
}

#[test]
fn rules_of_the_header_and_of_the_machine_must_agree() {
    let error = changed(|draft| {
        draft.0[0] = FileHeader::new(FileKind::Snapshot, 2).to_bytes(FileKind::Snapshot).to_vec()
    });
    assert!(matches!(error, SnapshotError::Field { field: "rules_version", .. }), "{error}");
}

#[test]
fn a_missing_section_and_two_that_changed_places_are_named_with_what_is_there() {
    let missing = |change: fn(&mut Draft, usize)| {
        let error = changed(|draft| {
            let first = draft.find(FrameKind::Section);
            change(draft, first);
        });
        let SnapshotError::Missing { part, found, .. } = error else { panic!("{error}") };
        (part.to_string(), found)
    };
    let named = |part: &str, found: &str| (part.to_owned(), found.to_owned());
    let without_first = missing(|draft, first| drop(draft.0.remove(first)));
    assert_eq!(without_first, named("section `cpu`", "the section `pic`"));
    let without_second = missing(|draft, first| drop(draft.0.remove(first + 1)));
    assert_eq!(without_second, named("section `pic`", "a frame of kind `pages`"));
    let swapped = missing(|draft, first| draft.0.swap(first, first + 1));
    assert_eq!(swapped, named("section `cpu`", "the section `pic`"));
    let one_more = missing(|draft, first| draft.0.insert(first, draft.0[first].clone()));
    assert_eq!(one_more, named("section `pic`", "the section `cpu`"));
    let last_twice = missing(|draft, first| draft.0.insert(first, draft.0[first + 1].clone()));
    assert_eq!(last_twice, named("section `cpu`", "the section `pic`"));
}

#[test]
fn a_section_that_is_not_the_one_listed_is_named_with_what_differs() {
    let differs = |index: usize, change: fn(&mut SectionEntry)| {
        let error = changed_manifest(|frame| change(&mut frame.manifest.sections[index]));
        let SnapshotError::Section { name, why } = error else { panic!("{error}") };
        format!("{name}: {why}")
    };
    assert!(differs(0, |entry| entry.version = 2).starts_with("cpu: its version is 1, listed is 2"));
    assert!(differs(1, |entry| entry.size = 99).starts_with("pic: its size is 5, listed is 99"));
    assert!(differs(1, |entry| entry.digest.0 ^= 1).starts_with("pic: its digest is "));
}

#[test]
fn a_manifest_that_cannot_be_is_refused_by_the_name_of_its_field() {
    let field = |change: fn(&mut ManifestFrame)| {
        let error = changed_manifest(change);
        let SnapshotError::Field { field, why } = error else { panic!("{error}") };
        format!("{field}: {why}")
    };
    let twice = field(|frame| {
        let first = frame.manifest.sections[0].clone();
        frame.manifest.sections.push(first);
    });
    assert_eq!(twice, "sections: it lists the section `cpu` twice");
    let many = field(|frame| {
        let first = frame.manifest.sections[0].clone();
        let renamed = |n: usize| SectionEntry { name: n.to_string(), ..first.clone() };
        frame.manifest.sections.extend((0..300).map(renamed));
    });
    assert_eq!(many, "sections: it lists 302 sections, 256 is the limit");
    let zeros = field(|frame| {
        frame.pages = crate::columns::page_table::encode([(5, 0)]);
        frame.listed_pages = 1;
    });
    assert!(zeros.starts_with("pages: it lists page 0x5 as zeros"), "{zeros}");
    let unlisted = field(|frame| {
        frame.pages = crate::columns::page_table::encode([(0, 1), (3, 2)]);
        frame.listed_pages = 2;
    });
    assert_eq!(unlisted, "pages: it lists 2 contents of pages, 3 are stored");
    let table = changed_manifest(|frame| frame.listed_pages += 1);
    let SnapshotError::Damaged { part: Part::Manifest, source } = table else { panic!("{table}") };
    assert!(matches!(source.problem, Problem::Decode(_)), "{source}");
}

#[test]
fn pages_that_are_not_as_many_as_the_manifest_says_are_missed() {
    let error = changed_manifest(|frame| frame.stored_pages = 4);
    assert!(
        matches!(&error, SnapshotError::Missing { part: Part::Pages, found, .. } if found.contains("seal")),
        "{error}"
    );
    let error = changed(|draft| {
        let pages = draft.find(FrameKind::Pages);
        draft.0.remove(pages);
    });
    assert!(matches!(error, SnapshotError::Missing { part: Part::Pages, .. }), "{error}");
    let error = changed_manifest(|frame| {
        frame.stored_pages = 2;
        frame.pages = crate::columns::page_table::encode([(0, 1), (3, 2)]);
        frame.listed_pages = 2;
    });
    assert!(matches!(error, SnapshotError::Field { field: "stored_pages", .. }), "{error}");
}

#[test]
fn an_image_that_is_another_is_named() {
    let error = changed(|draft| {
        let image = draft.find(FrameKind::Image);
        let content = crate::format::pack::Packed { raw_bytes: 6, bytes: b"Kernel".to_vec() };
        let payload = payload::encode(&payload::ImageChunk { image: 0, content }).unwrap();
        draft.replace(image, FrameKind::Image, &payload);
    });
    assert!(
        matches!(&error, SnapshotError::Read(ReadError::Image { name, .. }) if name == "kernel.elf"),
        "{error}"
    );
}

#[test]
fn frames_of_another_kind_are_refused_where_they_stand() {
    for kind in FrameKind::ALL.into_iter().map(FrameKind::code).chain([0x8000_0001]) {
        for index in 1..Draft::of(&sample_bytes()).0.len() {
            let mut draft = Draft::of(&sample_bytes());
            if draft.0[index][..4] == kind.to_le_bytes() {
                continue;
            }
            let header = FrameHeader::new(kind, 3, b"foo").to_bytes();
            draft.0.insert(index, [&header[..], b"foo"].concat());
            let error = Snapshot::open(draft.sealed()).unwrap_err();
            assert!(
                matches!(error, SnapshotError::Missing { .. } | SnapshotError::Damaged { .. }),
                "kind {kind} at {index}: {error}"
            );
        }
    }
}

#[test]
fn a_change_that_all_other_checksums_cover_breaks_the_seal() {
    let mut draft = Draft::of(&sample_bytes());
    let seal = draft.0.last().unwrap().clone();
    draft.manifest(|frame| frame.manifest.source.hash[0] ^= 1);
    let mut bytes = draft.sealed();
    let start = bytes.len() - seal.len();
    bytes[start..].copy_from_slice(&seal);
    let error = Snapshot::open(bytes).unwrap_err();
    assert!(matches!(error, SnapshotError::Seal { .. }), "{error}");
    // The same bytes under a seal of their own hold.
    draft = Draft::of(&sample_bytes());
    draft.manifest(|frame| frame.manifest.source.hash[0] ^= 1);
    assert!(Snapshot::open(draft.sealed()).is_ok());
}

#[test]
fn the_archived_layouts_have_the_sizes_that_the_format_describes() {
    assert_eq!(size_of::<ArchivedManifestFrame>(), 124);
    assert_eq!(size_of::<ArchivedSectionEntry>(), 36);
    assert_eq!(size_of::<ArchivedSeal>(), 40);
}
