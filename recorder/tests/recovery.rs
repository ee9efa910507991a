//! What is left of a recording that was cut or corrupted.
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;

use common::exercise::{exercise, reseal};
use common::{check_sample, sample};
use recorder::{Problem, ReadError, Recording, RecoveryReason};

#[test]
fn a_recording_that_was_closed_is_whole() {
    let recording = Recording::open(sample(true)).unwrap();
    check_sample(&recording);
    assert_eq!(recording.recovery(), None);
    assert_eq!(recording.end(), Some(&common::end()));
    assert_eq!(recording.verify(), Ok(()));
}

#[test]
fn the_same_session_gives_the_same_bytes() {
    assert_eq!(sample(true), sample(true));
}

#[test]
fn a_recording_that_was_not_closed_has_all_but_its_end_and_says_so() {
    let recording = Recording::open(sample(false)).unwrap();
    check_sample(&recording);
    assert_eq!(recording.end(), None);
    let recovery = recording.recovery().unwrap();
    assert_eq!((&recovery.reason, recovery.lost_bytes), (&RecoveryReason::NotClosed, 0));
}

#[test]
fn the_index_changes_nothing_but_the_time_it_takes() {
    let with = sample(true);
    let mut without = with.clone();
    let last = without.len() - 1;
    without[last] ^= 1;
    reseal(&mut without);
    let (with, without) = (Recording::open(with).unwrap(), Recording::open(without).unwrap());
    assert_eq!(without.recovery(), None, "the scan finds all frames, the index among them");
    assert_eq!(with.checkpoints(), without.checkpoints());
    assert_eq!(with.statistics(), without.statistics());
    check_sample(&without);
}

#[test]
fn a_recording_cut_at_any_byte_opens_up_to_there_or_says_why_not() {
    let whole = sample(true);
    let full = Recording::open(whole.clone()).unwrap();
    let events: Vec<_> = full.events().map(Result::unwrap).collect();
    let exits: Vec<_> = full.exits().map(Result::unwrap).collect();
    let (mut reached, mut checkpoints, mut opened) = (recorder::Position::START, 0, 0);
    for length in 0..whole.len() {
        let recording = match exercise(whole[..length].to_vec()) {
            Ok(recording) => recording,
            Err(ReadError::Header(_)) => {
                assert!(length < 32, "{length}");
                continue;
            }
            Err(ReadError::Unusable(_)) => {
                assert_eq!(opened, 0, "longer is never worse ({length})");
                continue;
            }
            Err(error) => panic!("{length}: {error}"),
        };
        opened += 1;
        assert_eq!(recording.verify(), Ok(()), "what is left is whole ({length})");
        let recovery = recording.recovery().unwrap();
        assert!(recovery.lost_bytes < 4096 * 8, "only one frame is lost");
        assert!(recording.last_position() >= reached && recording.checkpoints().len() >= checkpoints);
        reached = recording.last_position();
        checkpoints = recording.checkpoints().len();
        let left: Vec<_> = recording.events().map(Result::unwrap).collect();
        assert!(events.starts_with(&left));
        let left: Vec<_> = recording.exits().map(Result::unwrap).collect();
        assert!(exits.starts_with(&left));
        // A checkpoint never comes without what was before it.
        if let Some(info) = recording.checkpoints().last() {
            assert_eq!(events.iter().take_while(|e| e.0 <= info.position).count() as u64, info.events_before);
            assert!(left.len() as u64 >= info.exits_before);
        }
    }
    assert_eq!(checkpoints, common::CHECKPOINTS.len());
    assert!(opened > whole.len() / 2, "{opened}");
}

#[test]
fn corruption_in_the_middle_keeps_what_is_before_and_names_frame_and_byte() {
    let mut bytes = sample(true);
    let full = Recording::open(bytes.clone()).unwrap();
    let second = full.checkpoints()[1];
    bytes[second.offset as usize + 20] ^= 0x10;
    let recording = Recording::open(bytes).unwrap();
    assert_eq!(recording.checkpoints(), &full.checkpoints()[..1]);
    let recovery = recording.recovery().unwrap();
    assert_eq!(recovery.valid_bytes, second.offset);
    let RecoveryReason::Damaged(error) = &recovery.reason else { panic!("{recovery}") };
    assert_eq!((error.frame, error.offset), (second.frame, second.offset));
    assert!(matches!(error.problem, Problem::Checksum { .. }));
    let place = format!("frame {} (checkpoint) at byte {}", second.frame, second.offset);
    assert!(recovery.to_string().contains(&place), "{recovery}");
    assert_eq!(recording.verify(), Ok(()));
}

#[test]
fn a_corrupted_page_is_an_error_that_names_page_and_byte() {
    let mut bytes = sample(true);
    let full = Recording::open(bytes.clone()).unwrap();
    let page = full.checkpoint(1).unwrap().pages[0];
    let offset = full.page_file_offset(&page).unwrap();
    bytes[offset as usize + 4095] ^= 1;
    let recording = Recording::open(bytes).unwrap();
    let page = recording.checkpoint(1).unwrap().pages[0];
    let error = recording.page(&page).unwrap_err();
    assert!(matches!(error, ReadError::Page { gfn: 2, .. }), "{error}");
    assert!(error.to_string().contains("0x2") && error.to_string().contains(&format!("byte {offset}")));
}

#[test]
fn a_corrupted_head_of_pages_is_found_when_a_checkpoint_needs_it() {
    let mut bytes = sample(true);
    let full = Recording::open(bytes.clone()).unwrap();
    let page = full.checkpoint(1).unwrap().pages[0];
    // The padding before the page is covered by the checksum.
    bytes[full.page_file_offset(&page).unwrap() as usize - 1] ^= 1;
    let recording = Recording::open(bytes).unwrap();
    assert!(recording.checkpoint(0).is_ok());
    let error = recording.checkpoint(1).unwrap_err();
    let ReadError::Frame(error) = error else { panic!("{error}") };
    assert!(
        matches!(error.problem, Problem::Checksum { .. }) && error.to_string().contains("(pages) at byte")
    );
}

#[test]
fn bytes_after_the_index_are_lost_and_nothing_else() {
    let mut bytes = sample(true);
    bytes.extend_from_slice(&[0; 100]);
    let recording = Recording::open(bytes).unwrap();
    check_sample(&recording);
    assert_eq!(recording.recovery().unwrap().lost_bytes, 100);
}

/// As many deterministic numbers below `bound` as wanted.
fn numbers(seed: u32) -> impl FnMut(usize) -> usize {
    let mut stream = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
    move |bound| {
        let mut bytes = [0; 8];
        stream.fill(&mut bytes);
        (u64::from_le_bytes(bytes) % bound as u64) as usize
    }
}

/// Flips one to four bytes of a sample, half of them outside of its pages.
fn mutate(original: &[u8], seed: u32) -> Vec<u8> {
    let mut below = numbers(seed);
    let mut bytes = original.to_vec();
    let interesting: &[u8] = &[0, 1, 0x7f, 0x80, 0xff];
    for _ in 0..=below(4) {
        let at = below(bytes.len());
        bytes[at] = match below(3) {
            0 => interesting[below(interesting.len())],
            1 => bytes[at] ^ (1 << below(8)),
            _ => below(256) as u8,
        };
    }
    if below(8) == 0 {
        bytes.truncate(below(original.len()));
    }
    bytes
}

/// The sample without most of its page contents, so that mutations hit something else.
fn dense() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dense.rvm");
    let mut writer = recorder::RecordingWriter::create(&path, &common::machine(), common::images()).unwrap();
    for tick in [0, 100, 200] {
        let at = recorder::Position::new(tick, 0);
        let pages: &[(u64, u8)] = if tick == 100 { &[(5, 0), (7, 9)] } else { &[(6, 0)] };
        let record = common::checkpoint(&writer, at, pages);
        writer.checkpoint(record).unwrap();
        for (position, event) in common::events() {
            writer.event(recorder::Position::new(position.tick + tick, position.offset), event).unwrap();
        }
        common::exits(tick).into_iter().for_each(|(position, exit)| writer.exit(position, exit).unwrap());
    }
    writer.finish(common::end()).unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn thousands_of_corrupted_recordings_open_or_say_where_they_are_corrupted() {
    for original in [sample(true), dense()] {
        for seed in 0..4000 {
            let _ = exercise(mutate(&original, seed));
        }
    }
    assert_modest_memory();
}

#[test]
fn thousands_of_corruptions_behind_a_right_checksum_open_or_say_where_they_are_corrupted() {
    let (mut opened, mut whole) = (0, 0);
    for original in [sample(true), dense()] {
        for seed in 0..8000 {
            let mut bytes = mutate(&original, seed);
            reseal(&mut bytes);
            if let Ok(recording) = exercise(bytes) {
                opened += 1;
                whole += usize::from(recording.verify().is_ok());
            }
        }
    }
    // The checksums do not hide what is tested.
    assert!(opened > 8000 && whole > 100 && whole < opened - 1000, "{opened} opened, {whole} verified");
    assert_modest_memory();
}

/// No declared size was believed: the process never held much.
fn assert_modest_memory() {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        println!("SKIPPED the check of memory used: there is no /proc/self/status");
        return;
    };
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    let peak: u64 = peak.unwrap().parse().unwrap();
    assert!(peak < 256 << 10, "{peak} KiB");
}
