//! Files made by hand, frame by frame, which no writer makes.

use super::*;
use crate::columns::{self, DecodeError};
use crate::format::frame::{FrameHeader, FrameKind, OPTIONAL_KIND};
use crate::format::header::{FORMAT_VERSION, FileKind, HeaderError};
use crate::format::pack::Packed;
use crate::{BootKind, Digest, EndReason, ImageRole};

/// A file to add frames to.
struct Draft(Vec<u8>);

impl Draft {
    fn new(images: Vec<Image>) -> Self {
        let machine = MachineDescription {
            memory_bytes: 4096,
            ns_per_tick: 10,
            rules_version: 1,
            cpu_model: String::new(),
            flags_profile: String::new(),
            boot: BootKind::Elf64,
            command_line: String::new(),
            guest_name: String::new(),
            seed: 0,
            engine: String::new(),
            pass_code: 0,
            disks: Vec::new(),
            entropy_device: false,
            cpu_features: Vec::new(),
        };
        let draft = Self(FileHeader::new(FileKind::Recording, 1).to_bytes(FileKind::Recording).to_vec());
        draft.frame(FrameKind::Description, &payload::Description { machine, images })
    }

    fn frame(self, kind: FrameKind, value: &impl payload::Encode) -> Self {
        self.raw(kind.code(), &payload::encode(value).unwrap())
    }

    fn raw(mut self, kind: u32, payload: &[u8]) -> Self {
        self.0.extend_from_slice(&FrameHeader::new(kind, payload.len() as u64, payload).to_bytes());
        self.0.extend_from_slice(payload);
        self
    }

    fn log(self, reached: u64, first: u64, last: u64, count: u32) -> Self {
        let at = |tick| Position::new(tick, 0);
        let events: Vec<_> = [first, last].map(|tick| (at(tick), crate::Event::Idle { ns: 1 })).to_vec();
        let columns = Packed::pack(columns::events::encode(&events), 1000).unwrap();
        let batch = payload::Batch { first: at(first), last: at(last), count, columns };
        self.frame(FrameKind::Log, &payload::Log { reached: at(reached), events: Some(batch), exits: None })
    }

    fn checkpoint(self, tick: u64, pages: Vec<u8>, page_count: u64) -> Self {
        let body = payload::CheckpointBody { sections: Vec::new(), digests: Vec::new(), pages };
        let body = Packed::pack(payload::encode(&body).unwrap(), 1000).unwrap();
        let position = Position::new(tick, 0);
        let frame = payload::CheckpointFrame { position, instructions: 0, page_count, body };
        self.frame(FrameKind::Checkpoint, &frame)
    }

    fn end(self, tick: u64) -> Self {
        let position = Position::new(tick, 0);
        let end = End { position, instructions: 0, digest: Digest(0), reason: EndReason::Hung };
        self.frame(FrameKind::End, &end)
    }

    fn open(self) -> Recording {
        Recording::open(self.0).unwrap()
    }

    /// What is wrong with the last frame.
    fn problem(self) -> Problem {
        match self.open().recovery().map(|recovery| recovery.reason.clone()) {
            Some(RecoveryReason::Damaged(error)) => error.problem,
            other => panic!("{other:?}"),
        }
    }
}

fn image(bytes: &[u8]) -> Image {
    Image::describe(ImageRole::Kernel, "kernel", "", bytes)
}

fn chunk(image: u32, bytes: &[u8]) -> payload::ImageChunk {
    payload::ImageChunk { image, content: Packed { raw_bytes: bytes.len() as u32, bytes: bytes.to_vec() } }
}

#[test]
fn a_newer_format_is_refused_with_advice_before_anything_else_is_read() {
    let next = FORMAT_VERSION + 1;
    let header = FileHeader {
        minimum_reader_version: next,
        format_version: next,
        ..FileHeader::new(FileKind::Recording, 1)
    };
    let mut bytes = header.to_bytes(FileKind::Recording).to_vec();
    bytes.extend_from_slice(b"frames of another world");
    let error = Recording::open(bytes).unwrap_err();
    assert_eq!(
        error,
        ReadError::Header(HeaderError::Newer {
            file: FileKind::Recording,
            written: next,
            needed: next,
            known: FORMAT_VERSION
        })
    );
}

#[test]
fn without_its_description_or_all_its_images_a_recording_is_of_no_use() {
    let unusable = |bytes: Vec<u8>| {
        let error = Recording::open(bytes).unwrap_err();
        let ReadError::Unusable(error) = error else { panic!("{error}") };
        error.problem
    };
    let header = FileHeader::new(FileKind::Recording, 1).to_bytes(FileKind::Recording).to_vec();
    assert!(matches!(unusable(header.clone()), Problem::Truncated { .. }));
    assert!(matches!(unusable(Draft(header.clone()).end(0).0), Problem::OutOfPlace(_)));
    assert!(matches!(unusable(Draft(header).raw(1, &[0xff; 200]).0), Problem::Layout(_)));
    let with = || Draft::new(vec![image(b"12345")]);
    assert!(matches!(unusable(with().0), Problem::Truncated { .. }));
    assert!(matches!(
        unusable(with().frame(FrameKind::Image, &chunk(0, b"123")).0),
        Problem::Truncated { .. }
    ));
    assert!(matches!(
        unusable(with().frame(FrameKind::Image, &chunk(0, b"123456")).0),
        Problem::OutOfPlace(_)
    ));
    assert!(matches!(unusable(with().frame(FrameKind::Image, &chunk(0, b"")).0), Problem::OutOfPlace(_)));
    assert!(matches!(
        unusable(with().frame(FrameKind::Image, &chunk(1, b"12345")).0),
        Problem::OutOfPlace(_)
    ));
    assert!(matches!(unusable(with().checkpoint(0, Vec::new(), 0).0), Problem::OutOfPlace(_)));
    assert!(matches!(unusable(Draft::new(vec![image(b""); 257]).0), Problem::OutOfPlace(_)));
    let huge = Image { size: u64::MAX, ..image(b"") };
    assert!(matches!(unusable(Draft::new(vec![huge.clone(), huge]).0), Problem::OutOfPlace(_)));
}

#[test]
fn an_image_that_claims_far_more_than_it_stores_is_refused() {
    let content = Packed { raw_bytes: 257, bytes: vec![1] };
    let bomb = payload::ImageChunk { image: 0, content };
    let error =
        Recording::open(Draft::new(vec![image(&[0; 257])]).frame(FrameKind::Image, &bomb).0).unwrap_err();
    let ReadError::Unusable(error) = error else { panic!("{error}") };
    assert!(matches!(error.problem, Problem::Unpack(_)), "{error}");
}

#[test]
fn an_image_of_other_bytes_than_described_is_an_error_that_names_it() {
    let recording = Draft::new(vec![image(b"12345")]).frame(FrameKind::Image, &chunk(0, b"12346")).open();
    let error = recording.image_bytes(0).unwrap_err();
    assert!(matches!(error, ReadError::Image { index: 0, .. }));
    assert!(error.to_string().contains("`kernel`"), "{error}");
    assert_eq!(recording.image_bytes(1), Err(ReadError::NoSuchImage { index: 1, count: 1 }));
}

#[test]
fn what_goes_back_in_time_is_damage() {
    let new = || Draft::new(Vec::new());
    assert_eq!(new().log(9, 3, 9, 2).log(9, 9, 9, 2).open().events().count(), 4);
    for problem in [
        new().log(9, 3, 9, 2).log(8, 9, 9, 2).problem(),
        new().log(9, 3, 9, 2).log(12, 8, 9, 2).problem(),
        new().log(9, 9, 3, 2).problem(),
        new().log(8, 3, 9, 2).problem(),
        new().log(9, 3, 9, 2).checkpoint(8, Vec::new(), 0).problem(),
        new().checkpoint(8, Vec::new(), 0).log(9, 7, 9, 2).problem(),
        new().log(9, 3, 9, 2).end(8).problem(),
    ] {
        assert!(matches!(problem, Problem::OutOfOrder { .. }), "{problem}");
    }
}

#[test]
fn frames_stand_where_they_may() {
    let new = || Draft::new(Vec::new());
    let index = FrameKind::Index.code();
    let description = new().0[48..].to_vec();
    for problem in [
        new().raw(1, &description).problem(),
        new().frame(FrameKind::Image, &chunk(0, b"x")).problem(),
        new().raw(index, &[]).problem(),
        new().end(1).end(1).problem(),
        new().end(1).checkpoint(1, Vec::new(), 0).problem(),
        new().end(1).raw(index, &[]).raw(index, &[]).problem(),
        new().log(9, 3, 9, 0).problem(),
    ] {
        assert!(matches!(problem, Problem::OutOfPlace(_)), "{problem}");
    }
    assert!(matches!(new().raw(77, &[]).problem(), Problem::UnknownKind(77)));
}

#[test]
fn a_frame_that_may_be_skipped_is_skipped() {
    let recording = Draft::new(Vec::new()).raw(OPTIONAL_KIND | 5, b"later").end(7).open();
    assert_eq!(recording.last_position(), Position::new(7, 0));
    assert_eq!(recording.statistics().skipped_frames, 1);
}

#[test]
fn a_batch_that_does_not_decode_is_an_error_once_and_names_its_frame() {
    let recording = Draft::new(Vec::new()).log(9, 3, 9, 1).open();
    let mut events = recording.events();
    let Some(Err(ReadError::Frame(error))) = events.next() else { panic!() };
    assert!(matches!(error.problem, Problem::Decode(DecodeError::LeftOver { count: 1 })));
    assert!(error.to_string().starts_with("frame 1 (log) at byte "), "{error}");
    assert!(events.next().is_none());
}

#[test]
fn a_checkpoint_refers_to_pages_before_it_only() {
    let recording = Draft::new(Vec::new()).checkpoint(1, vec![3, 0], 1).open();
    let Err(ReadError::Frame(error)) = recording.checkpoint(0) else { panic!() };
    assert_eq!(error.problem, Problem::Decode(DecodeError::NoSuchPage { gfn: 3, page: 0 }));
    assert_eq!(recording.checkpoint(1), Err(ReadError::NoSuchCheckpoint { index: 1, count: 1 }));
    assert!(recording.memory_at(1).is_err());
}

#[test]
fn a_page_of_another_recording_is_not_found() {
    let pages = payload::encode(&payload::PagesHead { first_page: 0, hashes: vec![5] }).unwrap();
    let mut draft = Draft::new(Vec::new());
    let length = (draft.0.len() + 24 + pages.len()).next_multiple_of(4096) - draft.0.len() - 16;
    let mut head = [(length as u32).to_le_bytes(), (pages.len() as u32).to_le_bytes()].concat();
    head.extend_from_slice(&pages);
    head.resize(length, 0);
    let header = FrameHeader::new(FrameKind::Pages.code(), length as u64 + 4096, &head).to_bytes();
    draft.0.extend([&header[..], &head, &[7; 4096]].concat());
    let recording = draft.checkpoint(1, vec![3, 0], 1).open();
    let page = recording.checkpoint(0).unwrap().pages[0];
    assert!(matches!(recording.page(&page), Err(ReadError::Page { gfn: 3, .. })));
    let other = Draft::new(Vec::new()).open();
    assert_eq!(other.page(&page), Err(ReadError::ForeignPage { gfn: 3 }));
    assert_eq!(other.page_file_offset(&page), None);
}

#[test]
fn an_index_that_lies_is_not_believed() {
    let entry = |kind, offset, length| payload::IndexEntry { kind, pages: 0, offset, length };
    let draft = || Draft::new(Vec::new()).end(7);
    let whole = draft().0.len() as u64;
    let lies = [
        Vec::new(),
        vec![entry(1, 32, whole - 48)],
        vec![entry(1, 32, u64::MAX)],
        vec![entry(4, 32, 40), entry(6, 88, whole - 88 - 16)],
        vec![entry(1, whole, 0)],
    ];
    for entries in lies {
        let mut index = payload::encode(&payload::Index { entries }).unwrap();
        index.extend_from_slice(&whole.to_le_bytes());
        index.extend_from_slice(&payload::INDEX_MAGIC);
        let recording = draft().raw(7, &index).open();
        assert_eq!(recording.recovery(), None);
        assert_eq!(recording.last_position(), Position::new(7, 0));
    }
}
