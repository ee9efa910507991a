//! What is recorded is what is read, whatever it is.
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use recorder::{
    CheckpointRecord, Digest, End, EndReason, Event, Exit, Image, ImageRole, PageHash, Position, Recording,
    RecordingWriter, Section, ZERO_PAGE,
};

fn an_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        any::<u64>().prop_map(|unix_seconds| Event::Clock { unix_seconds }),
        any::<u64>().prop_map(|value| Event::Entropy { value }),
        vec(any::<u8>(), 0..40).prop_map(|bytes| Event::DeviceEntropy { bytes }),
        vec(any::<u8>(), 0..40).prop_map(|bytes| Event::Serial { bytes }),
        any::<u64>().prop_map(|ns| Event::Idle { ns }),
        any::<(u8, u64)>().prop_map(|(source, ns)| Event::TimerDelay { source, ns }),
        any::<u32>().prop_map(|ticks| Event::InterruptHold { ticks }),
    ]
}

fn an_exit() -> impl Strategy<Value = Exit> {
    prop_oneof![
        any::<(u16, u8, u32)>().prop_map(|(port, size, value)| Exit::PortRead { port, size, value }),
        any::<(u16, u8, u32)>().prop_map(|(port, size, value)| Exit::PortWrite { port, size, value }),
        any::<(u64, u8, u64)>().prop_map(|(gpa, size, value)| Exit::MmioRead { gpa, size, value }),
        any::<(u64, u8, u64)>().prop_map(|(gpa, size, value)| Exit::MmioWrite { gpa, size, value }),
        any::<(u32, u64)>().prop_map(|(index, value)| Exit::MsrRead { index, value }),
        any::<(u32, u64)>().prop_map(|(index, value)| Exit::MsrWrite { index, value }),
        any::<(u32, u32)>().prop_map(|(leaf, subleaf)| Exit::Cpuid { leaf, subleaf }),
        any::<u64>().prop_map(|value| Exit::Tsc { value }),
        any::<u64>().prop_map(|value| Exit::Entropy { value }),
        Just(Exit::Halt),
        any::<u8>().prop_map(|vector| Exit::Interrupt { vector }),
        Just(Exit::Nmi),
        any::<(u8, Option<u32>, u64)>().prop_map(|(vector, error_code, address)| Exit::Exception {
            vector,
            error_code,
            address
        }),
        any::<u8>().prop_map(|vector| Exit::SoftwareInterrupt { vector }),
        Just(Exit::Shutdown),
    ]
}

/// One thing that a session does.
#[derive(Debug, Clone)]
enum Step {
    Event(Event),
    Exit(Exit),
    /// Pages: number and seed of the content, 0 for zeros.
    Checkpoint(BTreeMap<u64, u8>, Vec<u8>),
    Flush,
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => an_event().prop_map(Step::Event),
        12 => an_exit().prop_map(Step::Exit),
        1 => (proptest::collection::btree_map(0_u64..1 << 40, 0_u8..6, 0..8), vec(any::<u8>(), 0..50))
            .prop_map(|(pages, state)| Step::Checkpoint(pages, state)),
        1 => Just(Step::Flush),
    ]
}

/// How far the run goes before a step: mostly a little, now and then very far.
fn a_stride() -> impl Strategy<Value = (u64, u32)> {
    prop_oneof![10 => (0_u64..4, 0_u32..5), 1 => (0..u64::MAX / 1000, any::<u32>())]
}

fn forward(at: Position, (ticks, offset): (u64, u32)) -> Position {
    let base = if ticks == 0 { at.offset } else { 0 };
    Position::new(at.tick + ticks, base.saturating_add(offset))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_session_reads_back(steps in vec((a_stride(), a_step()), 0..200), closed: bool) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.rvm");
        let mut writer = RecordingWriter::create(&path, &common::machine(), common::images()).unwrap();
        let (mut events, mut exits, mut checkpoints) = (Vec::new(), Vec::new(), Vec::new());
        let mut memory = BTreeMap::new();
        let mut at = Position::START;
        for (stride, step) in steps {
            at = forward(at, stride);
            match step {
                Step::Event(event) => {
                    writer.event(at, event.clone()).unwrap();
                    events.push((at, event));
                }
                Step::Exit(exit) => {
                    writer.exit(at, exit).unwrap();
                    exits.push((at, exit));
                }
                Step::Checkpoint(pages, state) => {
                    let pages: Vec<_> = pages.into_iter().collect();
                    let mut record = common::checkpoint(&writer, at, &pages);
                    record.sections.push(Section { name: "state".to_owned(), version: 3, bytes: state });
                    memory.extend(pages.iter().copied());
                    checkpoints.push((record.clone(), (events.len(), exits.len()), memory.clone()));
                    writer.checkpoint(record).unwrap();
                }
                Step::Flush => writer.flush(at).unwrap(),
            }
        }
        let end = End { position: at, instructions: 5, digest: Digest(7), reason: EndReason::TripleFault };
        if closed { writer.finish(end.clone()).unwrap(); } else { drop(writer) }

        let recording = Recording::open(std::fs::read(&path).unwrap()).unwrap();
        prop_assert_eq!(recording.verify(), Ok(()));
        prop_assert_eq!(recording.end(), closed.then_some(&end));
        prop_assert_eq!(recording.recovery().is_none(), closed);
        if closed { prop_assert_eq!(recording.last_position(), at) }
        prop_assert_eq!(&recording.events().collect::<Result<Vec<_>, _>>().unwrap(), &events);
        prop_assert_eq!(&recording.exits().collect::<Result<Vec<_>, _>>().unwrap(), &exits);
        prop_assert_eq!(recording.checkpoints().len(), checkpoints.len());
        for (index, (record, (events_before, exits_before), memory)) in checkpoints.iter().enumerate() {
            let found = recording.checkpoint(index).unwrap();
            prop_assert_eq!(found.info.position, record.position);
            prop_assert_eq!(&found.sections, &record.sections);
            prop_assert_eq!(&found.digests, &record.digests);
            let pages: Vec<_> = found.pages.iter().map(|page| (page.gfn, page.hash)).collect();
            prop_assert_eq!(&pages, &record.pages);
            let next: Vec<_> =
                recording.events_from_number(found.info.events_before).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(next.as_slice(), &events[*events_before..]);
            prop_assert_eq!(found.info.exits_before, *exits_before as u64);
            let all = recording.memory_at(index).unwrap();
            prop_assert_eq!(all.len(), memory.len());
            for (page, (gfn, seed)) in all.iter().zip(memory) {
                let content = if *seed == 0 { ZERO_PAGE } else { common::page(*seed) };
                prop_assert_eq!((page.gfn, recording.page(page).unwrap()), (*gfn, &content));
                prop_assert_eq!(page.hash, PageHash::of(&content));
            }
        }
        for from in [Position::START, at, Position::MAX].into_iter().chain(exits.iter().map(|exit| exit.0)) {
            let later: Vec<_> = recording.exits_from(from).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(later.as_slice(), &exits[exits.partition_point(|exit| exit.0 < from)..]);
            prop_assert_eq!(
                recording.events_from(from).count(),
                events.iter().filter(|event| event.0 >= from).count()
            );
        }
    }
}

#[test]
fn batches_fill_up_and_go_out_without_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.rvm");
    let mut writer = RecordingWriter::create(&path, &common::machine(), Vec::new()).unwrap();
    let entry = |n: u64| (Position::new(n / 3, (n % 3) as u32), n);
    for (at, n) in (0..100_000).map(entry) {
        writer.exit(at, Exit::Tsc { value: n * n }).unwrap();
        if at.offset == 0 {
            writer.event(at, Event::Serial { bytes: vec![n as u8; 100] }).unwrap();
        }
    }
    drop(writer);
    let recording = Recording::open(std::fs::read(&path).unwrap()).unwrap();
    assert!(recording.statistics().by_kind().any(|(kind, frames, _)| kind.name() == "log" && frames > 10));
    assert!(
        recording
            .exits()
            .map(Result::unwrap)
            .eq((0..100_000).map(entry).map(|(at, n)| (at, Exit::Tsc { value: n * n })))
    );
    assert_eq!(recording.events().count(), 33_334);
    for number in [0, 1, 32_767, 32_768, 50_000, 99_999] {
        let (at, _) = recording.exits_from_number(number).next().unwrap().unwrap();
        assert_eq!(at, entry(number).0);
        assert_eq!(recording.exits_from_number(number).count() as u64, 100_000 - number);
    }
    assert!(recording.exits_from_number(100_000).next().is_none());
}

#[test]
fn a_large_image_is_split_and_one_of_noise_is_borrowed_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.rvm");
    let zeros = vec![0; 9 << 20];
    let mut noise = vec![0; 100_000];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let image = |name: &str, bytes: &[u8]| Image::describe(ImageRole::Kernel, name, "", bytes);
    let images = vec![(image("zeros", &zeros), zeros.clone()), (image("noise", &noise), noise.clone())];
    drop(RecordingWriter::create(&path, &common::machine(), images).unwrap());
    let recording = Recording::open(std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(recording.image_bytes(0).unwrap(), zeros);
    let found = recording.image_bytes(1).unwrap();
    assert!(matches!(found, std::borrow::Cow::Borrowed(_)));
    assert_eq!(found, noise);
    assert!(recording.image_bytes(2).is_err());
}

#[test]
fn many_pages_go_into_several_frames_and_a_run_of_pages_is_a_run_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.rvm");
    let mut writer = RecordingWriter::create(&path, &common::machine(), Vec::new()).unwrap();
    let mut record = CheckpointRecord::new(Position::START, 0);
    let content = |gfn: u64| {
        let mut page = ZERO_PAGE;
        page[..8].copy_from_slice(&(gfn + 1).to_le_bytes());
        page
    };
    for gfn in 0..2500 {
        writer.add_page(&mut record, gfn, &content(gfn));
    }
    writer.checkpoint(record).unwrap();
    drop(writer);
    let recording = Recording::open(std::fs::read(&path).unwrap()).unwrap();
    let pages = recording.checkpoint(0).unwrap().pages;
    assert_eq!(pages.len(), 2500);
    for page in &pages {
        assert_eq!(recording.page(page).unwrap(), &content(page.gfn));
    }
    let offset = |index: usize| recording.page_file_offset(&pages[index]).unwrap();
    assert_eq!(offset(1023) - offset(0), 1023 * 4096);
    assert_eq!(recording.statistics().stored_pages, 2500);
}

#[test]
fn a_recording_replaces_an_older_one_that_someone_still_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.rvm");
    common::record(&path, true);
    let before = std::fs::File::open(&path).unwrap();
    let bytes = before.metadata().unwrap().len();
    drop(RecordingWriter::create(&path, &common::machine(), Vec::new()).unwrap());
    assert_eq!(before.metadata().unwrap().len(), bytes);
    assert!(std::fs::metadata(&path).unwrap().len() < bytes);
}
