//! Snapshots: a machine taken out of a recording goes on as it would have gone on there, and what is not one is refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

/// Guests and recordings.
mod common;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;

use common::{boot_sector, corpora_guest, digest, go_on_as_recorded, record, replay, run_to, settings};
use iced_x86::code_asm::*;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use recorder::{
    BootKind, Digest, Disk, EndReason, Event, ImageRole, NewSnapshot, Page, PageHash, Position, Section,
};
use replayvm::checkpoint::PageMap;
use replayvm::engine::EngineError;
use replayvm::machine::Machine;
use replayvm::recording::OpenRecording;
use replayvm::session::{Perturbation, RecordError, RecordOutcome, RecordSession, Settings};
use replayvm::snapshot::{OpenSnapshot, SaveError, Saved, save};
use replayvm::timeline::{Timeline, unsupervised};

const ENGINES: [&str; 4] = ["soft", "plain", "step", "lockstep"];

fn snapshot_at(recording: &Path, at: Position, path: &Path) -> Result<Saved, SaveError> {
    let mut timeline = Timeline::open(recording).unwrap();
    timeline.seek(at, &mut unsupervised()).unwrap();
    save(&mut timeline, path, u64::MAX)
}

fn resume(path: &Path, recording: Option<&Path>, settings: &Settings) -> Result<RecordOutcome, RecordError> {
    let snapshot = OpenSnapshot::open(path).unwrap();
    RecordSession::resume(&snapshot, recording, settings, None, Arc::default())?.run()
}

/// A guest without anything left to chance.
fn calm() -> Settings {
    Settings { perturbation: Perturbation::NONE, limit_ticks: 1_000_000, ..settings() }
}

/// Positions all over a recording, some of them in the middle of a tick.
fn places(recording: &Path, count: usize) -> Vec<Position> {
    let mut timeline = Timeline::open(recording).unwrap();
    let end = timeline.end();
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let mut places = vec![Position::START];
    while places.len() < count {
        let at = Position::new(random.next_u64() % end.tick, random.next_u32() % 6);
        let landing = timeline.seek(at, &mut unsupervised()).unwrap();
        places.push(landing.position);
    }
    places
}

#[test]
fn with_the_inputs_of_the_recording_a_snapshot_comes_to_each_of_its_states() {
    let folder = tempfile::tempdir().unwrap();
    let mut answers = [0; 3];
    for guest in ["lost-update", "hash-collision", "process-race"] {
        let settings = Settings { limit_ticks: 60_000, checkpoint_ticks: 5_000, ..settings() };
        let (path, outcome) = record(folder.path(), &corpora_guest(guest), &settings, None);
        let (opened, _) = OpenRecording::open(&path).unwrap();
        for at in places(&path, 4) {
            let out = folder.path().join("out.rvs");
            let saved = snapshot_at(&path, at, &out).unwrap();
            assert_eq!(saved.position, at);
            let snapshot = OpenSnapshot::open(&out).unwrap();
            let (mut driver, mut tracker, mut inputs) = go_on_as_recorded(&snapshot, &opened);
            assert_eq!(digest(&mut driver.machine, &mut tracker), saved.digest);
            for index in 0..opened.checkpoints() {
                let there = opened.checkpoint_position(index);
                if there <= at {
                    continue;
                }
                run_to(&mut driver, &mut inputs, there);
                let recorded = opened.recording().checkpoint(index).unwrap().digests;
                let recorded =
                    Digest::combine(recorded.iter().map(|(name, digest)| (name.as_str(), *digest)));
                assert_eq!(digest(&mut driver.machine, &mut tracker), recorded, "{guest} {at} {there}");
                answers[0] += 1;
            }
            assert_eq!(driver.machine.position(), outcome.end.position);
            assert_eq!(digest(&mut driver.machine, &mut tracker), outcome.end.digest);
        }
        for (_, event) in opened.inputs().events() {
            answers[1] +=
                usize::from(matches!(event, Event::TimerDelay { .. } | Event::InterruptHold { .. }));
            answers[2] += usize::from(matches!(event, Event::Entropy { .. }));
        }
    }
    assert!(answers.iter().all(|count| *count > 0), "checkpoints, perturbations, entropy: {answers:?}");
}

#[test]
fn where_nothing_is_left_to_chance_a_live_run_goes_the_way_of_the_recording_on_every_engine() {
    let folder = tempfile::tempdir().unwrap();
    let limit = 12_000;
    let calm = Settings { limit_ticks: limit, ..calm() };
    let (path, whole) = record(folder.path(), &corpora_guest("lost-update"), &calm, None);
    assert_eq!(whole.events, 1, "the clock at power-on and nothing else");
    let mut ran = 0;
    for at in places(&path, 4) {
        let out = folder.path().join("out.rvs");
        snapshot_at(&path, at, &out).unwrap();
        let before = fs::read(&out).unwrap();
        for engine in ENGINES {
            let settings = Settings { engine: engine.to_owned(), ..calm.clone() };
            let again = folder.path().join("again.rvm");
            // With a recording and without one.
            for recording in [None, Some(again.as_path())] {
                let outcome = match resume(&out, recording, &settings) {
                    Err(RecordError::Start(error)) => {
                        assert!(["step", "lockstep"].contains(&engine), "{error}");
                        println!("SKIPPED on engine `{engine}`: {error}");
                        continue;
                    }
                    outcome => outcome.unwrap(),
                };
                assert_eq!(outcome.end, whole.end, "{engine} from {at}");
                ran += 1;
            }
        }
        assert_eq!(fs::read(&out).unwrap(), before, "a snapshot is never written");
    }
    assert!(ran >= 16);
}

#[test]
fn the_same_seed_goes_the_same_way_and_another_seed_another() {
    let folder = tempfile::tempdir().unwrap();
    let (path, whole) = record(folder.path(), &corpora_guest("lost-update"), &calm(), None);
    let out = folder.path().join("out.rvs");
    snapshot_at(&path, Position::new(whole.end.position.tick / 4, 0), &out).unwrap();
    let with = |seed| {
        let settings = Settings { seed, perturbation: Perturbation::default(), ..calm() };
        let recorded = folder.path().join(format!("{seed}.rvm"));
        let outcome = resume(&out, Some(&recorded), &settings).unwrap();
        assert_eq!(resume(&out, None, &settings).unwrap().end, outcome.end);
        outcome
    };
    let [first, other] = [with(1), with(2)];
    assert_ne!(first.end.digest, other.end.digest);
    assert!(first.events > 0, "chance has had its say");
}

#[test]
fn with_one_seed_a_run_is_the_branch_from_there_and_goes_the_same_way_wherever_it_is_taken_up_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut chance = 0;
    for (guest, from_tick) in [("lost-update", 20_000), ("hash-collision", 0), ("process-race", 20_000)] {
        let settings = Settings { limit_ticks: 60_000, checkpoint_ticks: 10_000, ..settings() };
        let (path, _) = record(folder.path(), &corpora_guest(guest), &settings, None);
        let at = Position::new(from_tick, 2);
        let out = folder.path().join("out.rvs");
        snapshot_at(&path, at, &out).unwrap();
        let second = folder.path().join("second.rvm");
        let settings = Settings { seed: 21, ..settings };
        let outcome = resume(&out, Some(&second), &settings).unwrap();

        let mut branch = Timeline::open(&path).unwrap();
        branch.seek(at, &mut unsupervised()).unwrap();
        branch.fork(21).unwrap();
        branch.seek(outcome.end.position, &mut unsupervised()).unwrap();
        let mut recorded = Timeline::open(&second).unwrap();
        recorded.seek(outcome.end.position, &mut unsupervised()).unwrap();
        assert_eq!(branch.position(), recorded.position());
        assert_eq!(branch.machine().save(), recorded.machine().save(), "{guest}");

        // Out of the recording of the run, at places that its chance has shaped.
        let events: Vec<_> = recorded.opened().inputs().events().iter().map(|(at, _)| *at).collect();
        chance += events.len();
        for from in [events[events.len() / 2], Position::new(outcome.end.position.tick - 5_000, 1)] {
            let third = folder.path().join("third.rvs");
            snapshot_at(&second, from, &third).unwrap();
            assert_eq!(resume(&third, None, &settings).unwrap().end, outcome.end, "{guest} from {from}");
        }
    }
    assert!(chance > 10, "{chance}");
}

#[test]
fn a_run_that_is_recorded_replays_is_walked_and_gives_snapshots_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { limit_ticks: 40_000, checkpoint_ticks: 3_000, ..settings() };
    let (path, _) = record(folder.path(), &corpora_guest("lost-update"), &settings, None);
    let at = Position::new(9_000, 2);
    let out = folder.path().join("out.rvs");
    snapshot_at(&path, at, &out).unwrap();
    let second = folder.path().join("second.rvm");
    let outcome = resume(&out, Some(&second), &Settings { seed: 3, ..settings.clone() }).unwrap();
    assert!(outcome.checkpoints > 8 && outcome.events > 0, "{outcome:?}");
    let report = replay(&second);
    assert_eq!((report.digest, report.checkpoints), (outcome.end.digest, outcome.checkpoints));
    assert_eq!(report.exits, outcome.exits);

    let mut timeline = Timeline::open(&second).unwrap();
    assert_eq!((timeline.begin(), timeline.end()), (at, outcome.end.position));
    assert_eq!(timeline.opened().recording().description().seed, 3);
    let middle = Position::new(20_000, 3);
    timeline.seek(middle, &mut unsupervised()).unwrap();
    let here = timeline.position();
    let state = timeline.cpu().clone();
    timeline.seek(timeline.end(), &mut unsupervised()).unwrap();
    timeline.seek(middle, &mut unsupervised()).unwrap();
    assert_eq!((timeline.position(), timeline.cpu()), (here, &state));

    // A snapshot of the second recording is one of its positions, not of the first one's.
    let later = folder.path().join("later.rvs");
    let saved = save(&mut timeline, &later, 0).unwrap();
    assert_eq!(saved.position, here);
    assert_eq!(
        resume(&later, None, &Settings { seed: 3, ..settings }).unwrap().end.position,
        outcome.end.position
    );
}

#[test]
fn a_machine_that_waits_for_a_byte_takes_it_after_the_snapshot() {
    let guest = boot_sector(|a| {
        let mut wait = a.create_label();
        a.set_label(&mut wait).unwrap();
        a.mov(dx, 0x3fd_u32).unwrap();
        a.in_(al, dx).unwrap();
        a.test(al, 1).unwrap();
        a.jz(wait).unwrap();
        a.mov(dx, 0x3f8_u32).unwrap();
        a.in_(al, dx).unwrap();
        a.out(0xf4, al).unwrap();
        a.hlt().unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = record(folder.path(), &guest, &Settings { limit_ticks: 500, ..settings() }, None);
    let out = folder.path().join("out.rvs");
    // Where a limit has ended it, it goes on.
    let saved = snapshot_at(&path, Position::MAX, &out).unwrap();
    assert_eq!(saved.position, Position::new(500, 0));
    let snapshot = OpenSnapshot::open(&out).unwrap();
    for code in [0x10, 0x33] {
        let (sender, receiver) = mpsc::channel();
        sender.send(vec![code as u8]).unwrap();
        let session = RecordSession::resume(
            &snapshot,
            None,
            &Settings { limit_ticks: 1 << 20, ..settings() },
            Some(receiver),
            Arc::default(),
        );
        let outcome = session.unwrap().run().unwrap();
        assert_eq!(outcome.end.reason, EndReason::DebugExit { code });
        assert_eq!(outcome.passed, code == 0x10);
    }
}

#[test]
fn a_guest_whose_run_is_over_is_not_saved_and_a_recording_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let (path, whole) = record(folder.path(), &corpora_guest("rtc-rollover"), &calm(), None);
    let out = folder.path().join("out.rvs");
    let error = snapshot_at(&path, Position::MAX, &out).unwrap_err();
    assert!(matches!(&error, SaveError::Over { at, .. } if *at == whole.end.position), "{error}");
    assert!(!out.exists());
    let before = fs::read(&path).unwrap();
    let link = folder.path().join("link.rvm");
    fs::hard_link(&path, &link).unwrap();
    for target in [&path, &link] {
        let error = snapshot_at(&path, Position::START, target).unwrap_err();
        assert!(matches!(error, SaveError::Source(_)), "{error}");
    }
    let error = snapshot_at(&path, Position::START, folder.path()).unwrap_err();
    assert!(matches!(error, SaveError::NotAFile(_)), "{error}");
    let error = snapshot_at(&path, Position::START, Path::new("/nowhere/out.rvs")).unwrap_err();
    assert!(matches!(error, SaveError::File { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
    // An older snapshot is replaced; whoever goes on from it keeps it.
    snapshot_at(&path, Position::START, &out).unwrap();
    let older = OpenSnapshot::open(&out).unwrap();
    let middle = Position::new(whole.end.position.tick / 2, 0);
    snapshot_at(&path, middle, &out).unwrap();
    assert_eq!(OpenSnapshot::open(&out).unwrap().snapshot().manifest().position, middle);
    let outcome = RecordSession::resume(&older, None, &calm(), None, Arc::default()).unwrap().run().unwrap();
    assert_eq!(outcome.end, whole.end);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "nothing else is left");
}

/// A snapshot taken apart, to be put together otherwise.
fn taken_apart(folder: &Path) -> (NewSnapshot, Vec<(u64, Page)>) {
    let (path, _) = record(folder, &corpora_guest("lost-update"), &calm(), None);
    let out = folder.join("out.rvs");
    snapshot_at(&path, Position::new(5_000, 1), &out).unwrap();
    let opened = OpenSnapshot::open(&out).unwrap();
    let (snapshot, manifest) = (opened.snapshot(), opened.snapshot().manifest());
    let page = |page: &recorder::PageRef| (page.gfn, *snapshot.recording().page(page).unwrap());
    let new = NewSnapshot {
        machine: snapshot.description().clone(),
        images: opened.images().unwrap(),
        source: manifest.source.clone(),
        position: manifest.position,
        instructions: manifest.instructions,
        digest: manifest.digest,
        ram: manifest.ram,
        sections: snapshot.sections().to_vec(),
        pages: snapshot.pages().iter().map(|page| (page.gfn, page.hash)).collect(),
    };
    (new, snapshot.pages().iter().map(page).collect())
}

fn put_together(path: &Path, new: &NewSnapshot, pages: &[(u64, Page)]) {
    let content = |gfn: u64| pages.iter().find(|page| page.0 == gfn).map(|page| &page.1);
    new.write(fs::File::create(path).unwrap(), path, content).unwrap();
}

/// Makes the digests fit the sections and the pages.
fn make_honest(new: &mut NewSnapshot) {
    let mut map = PageMap::zero(1 << 30);
    new.pages.iter().for_each(|(gfn, hash)| map.set(*gfn, *hash));
    new.ram = map.digest();
    let machine: Vec<Section> =
        new.sections.iter().filter(|section| section.name != "nested").cloned().collect();
    let digests = Machine::digests(&machine, new.ram);
    new.digest = Digest::combine(digests.iter().map(|(name, digest)| (name.as_str(), *digest)));
}

fn words(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}; {error}");
        cause = error.source();
    }
    text
}

#[test]
fn what_is_put_together_again_opens_and_each_changed_field_is_refused_by_its_name() {
    type Change = fn(&mut NewSnapshot);
    let changes: &[(&str, Change, &[&str])] = &[
        ("memory", |new| new.machine.memory_bytes = 4 << 40, &["memory"]),
        (
            "less memory",
            |new| new.machine.memory_bytes = 1 << 20,
            &["page 0x", "outside of the machine's memory"],
        ),
        ("ns_per_tick", |new| new.machine.ns_per_tick = 0, &["a tick of 0 ns"]),
        ("rules_version", |new| new.machine.rules_version = 7, &["rules version 7", "newer one"]),
        ("cpu_model", |new| new.machine.cpu_model = "next".to_owned(), &["CPU model `next`"]),
        ("cpu_features", |new| new.machine.cpu_features = vec!["+avx9".to_owned()], &["avx9"]),
        ("flags_profile", |new| new.machine.flags_profile = "next".to_owned(), &["flags profile `next`"]),
        ("boot", |new| new.machine.boot = BootKind::Firmware, &["field `boot`", "firmware"]),
        (
            "disks: none such",
            |new| {
                let (name, path) = ("d.img".to_owned(), String::new());
                new.machine.disks =
                    vec![Disk { name, path, hash: [1; 32], size: 512, embedded: true, read_only: true }];
            },
            &["disk image `d.img`"],
        ),
        (
            "disks: no size",
            |new| {
                let (name, path) = ("d.img".to_owned(), String::new());
                new.machine.disks =
                    vec![Disk { name, path, hash: [1; 32], size: 5, embedded: false, read_only: true }];
            },
            &["disk `d.img` claims 5 bytes"],
        ),
        ("entropy_device", |new| new.machine.entropy_device = true, &["section `virtio", "missing"]),
        ("position", |new| new.position.tick += 1, &["checkpoint at 5001+1", "stands at 5000+1"]),
        ("position: too far", |new| new.position.tick = 1 << 63, &["no run is that long"]),
        ("instructions", |new| new.instructions += 1, &["field `instructions`"]),
        ("digest", |new| new.digest.0 ^= 1, &["component `machine`"]),
        ("ram", |new| new.ram.0 ^= 1, &["component `ram`"]),
    ];
    let folder = tempfile::tempdir().unwrap();
    let (sound, pages) = taken_apart(folder.path());
    let path = folder.path().join("changed.rvs");
    put_together(&path, &sound, &pages);
    assert_eq!(fs::read(&path).unwrap(), fs::read(folder.path().join("out.rvs")).unwrap());
    for (what, change, expected) in changes {
        let mut new = sound.clone();
        change(&mut new);
        put_together(&path, &new, &pages);
        let error = words(&OpenSnapshot::open(&path).expect_err(what));
        for word in *expected {
            assert!(
                error.to_lowercase().contains(&word.to_lowercase()),
                "{what}: `{error}` does not say `{word}`"
            );
        }
    }
}

#[test]
fn sections_that_are_missing_unknown_or_of_another_version_are_refused_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let (sound, pages) = taken_apart(folder.path());
    let path = folder.path().join("changed.rvs");
    let refused = |what: &str, change: &dyn Fn(&mut Vec<Section>), expected: &[&str]| {
        let mut new = sound.clone();
        change(&mut new.sections);
        make_honest(&mut new);
        put_together(&path, &new, &pages);
        let error = words(&OpenSnapshot::open(&path).expect_err(what));
        for word in expected {
            assert!(error.contains(word), "{what}: `{error}` does not say `{word}`");
        }
    };
    let names: Vec<String> = sound.sections.iter().map(|section| section.name.clone()).collect();
    assert!(names.len() > 8 && names.iter().any(|name| name == "nested"), "{names:?}");
    for (index, name) in names.iter().enumerate() {
        let quoted = format!("section `{name}`");
        refused("missing", &|sections| drop(sections.remove(index)), &[&quoted]);
        refused("version", &|sections| sections[index].version += 1, &[&quoted, "version"]);
        refused("longer", &|sections| sections[index].bytes.push(1), &[&quoted]);
        if name != "nested" {
            refused("shorter", &|sections| sections[index].bytes.truncate(1), &[&quoted]);
        }
        refused("renamed", &|sections| sections[index].name.push('x'), &["section", name]);
    }
}

#[test]
fn a_section_for_a_device_that_is_not_there_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let (mut new, pages) = taken_apart(folder.path());
    new.sections.push(Section { name: "flux".to_owned(), version: 1, bytes: vec![1] });
    make_honest(&mut new);
    let path = folder.path().join("changed.rvs");
    put_together(&path, &new, &pages);
    let error = words(&OpenSnapshot::open(&path).unwrap_err());
    assert!(error.contains("no device for the section `flux`"), "{error}");
}

#[test]
fn nested_virtualization_state_is_empty_and_anything_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (new, pages) = taken_apart(folder.path());
    let nested = new.sections.iter().find(|section| section.name == "nested").unwrap();
    assert_eq!((nested.version, nested.bytes.len()), (1, 0));
    let path = folder.path().join("changed.rvs");
    let with = |change: fn(&mut Section)| {
        let mut new = new.clone();
        change(new.sections.iter_mut().find(|section| section.name == "nested").unwrap());
        put_together(&path, &new, &pages);
        words(&OpenSnapshot::open(&path).unwrap_err())
    };
    let full = with(|section| section.bytes = vec![0; 4096]);
    assert!(full.contains("section `nested` holds 4096 bytes"), "{full}");
    let newer = with(|section| section.version = 2);
    assert!(newer.contains("section `nested` has version 2"), "{newer}");
}

#[test]
fn a_snapshot_with_flipped_bytes_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    taken_apart(folder.path());
    let bytes = fs::read(folder.path().join("out.rvs")).unwrap();
    let path: PathBuf = folder.path().join("flipped.rvs");
    let mut random = ChaCha8Rng::seed_from_u64(11);
    for _ in 0..300 {
        let mut bytes = bytes.clone();
        for _ in 0..1 + random.next_u32() % 3 {
            let at = (random.next_u64() % bytes.len() as u64) as usize;
            bytes[at] ^= 1 << (random.next_u32() % 8);
        }
        if random.next_u32().is_multiple_of(4) {
            bytes.truncate((random.next_u64() % bytes.len() as u64) as usize);
        }
        fs::write(&path, &bytes).unwrap();
        let error = OpenSnapshot::open(&path).unwrap_err();
        assert!(!words(&error).is_empty());
    }
}

#[test]
fn a_snapshot_that_lies_with_right_checksums_comes_to_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let (sound, pages) = taken_apart(folder.path());
    let path = folder.path().join("lie.rvs");
    let mut random = ChaCha8Rng::seed_from_u64(12);
    let mut opened = 0;
    for _ in 0..200 {
        let (mut new, mut pages) = (sound.clone(), pages.clone());
        match random.next_u32() % 3 {
            0 => {
                let index = random.next_u32() as usize % new.sections.len();
                let bytes = &mut new.sections[index].bytes;
                if !bytes.is_empty() {
                    let at = random.next_u32() as usize % bytes.len();
                    bytes[at] ^= 1 << (random.next_u32() % 8);
                }
            }
            1 => {
                let index = random.next_u32() as usize % pages.len();
                let page = &mut pages[index].1;
                page[random.next_u32() as usize % page.len()] ^= 0xff;
                new.pages[index].1 = PageHash::of(page);
            }
            _ => {
                let index = random.next_u32() as usize % pages.len();
                pages.remove(index);
                new.pages.remove(index);
            }
        }
        make_honest(&mut new);
        put_together(&path, &new, &pages);
        let Ok(snapshot) = OpenSnapshot::open(&path) else { continue };
        opened += 1;
        let limit = Settings { limit_ticks: 8_000, ..settings() };
        // Whatever becomes of it, it is no panic.
        let _ =
            RecordSession::resume(&snapshot, None, &limit, None, Arc::default()).and_then(RecordSession::run);
    }
    assert!(opened > 20, "{opened}");
}

#[test]
fn an_engine_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    taken_apart(folder.path());
    let settings = Settings { engine: "warp".to_owned(), ..settings() };
    let error = resume(&folder.path().join("out.rvs"), None, &settings).unwrap_err();
    let RecordError::Start(replayvm::recording::StartError::Engine(EngineError::Unknown(name))) = error
    else {
        panic!("{error}")
    };
    assert_eq!(name, "warp");
}

#[test]
fn firmware_keeps_its_rom_and_needs_it() {
    // 64 KiB of NOPs; from the reset vector to code that branches for ever.
    let mut rom = vec![0x90; 64 << 10];
    let mut code = CodeAssembler::new(16).unwrap();
    let mut again = code.create_label();
    code.set_label(&mut again).unwrap();
    code.inc(bx).unwrap();
    code.mov(ax, word_ptr(0xfff0).cs()).unwrap();
    code.mov(word_ptr(0x500), ax).unwrap();
    code.cmp(bx, 7).unwrap();
    code.jne(again).unwrap();
    code.jmp(again).unwrap();
    let code = code.assemble(0).unwrap();
    rom[..code.len()].copy_from_slice(&code);
    rom[0xfff0..0xfff5].copy_from_slice(&[0xea, 0, 0, 0, 0xf0]);
    let images = replayvm::machine::GuestImages { kernel: rom.clone(), ..Default::default() };
    let folder = tempfile::tempdir().unwrap();
    let calm = Settings { limit_ticks: 3_000, ..calm() };
    let (path, whole) = record(folder.path(), &images, &calm, None);
    assert_eq!(whole.end.reason, EndReason::TickLimit);
    let out = folder.path().join("out.rvs");
    snapshot_at(&path, Position::new(1_000, 1), &out).unwrap();
    assert_eq!(resume(&out, None, &calm).unwrap().end, whole.end);
    let opened = OpenSnapshot::open(&out).unwrap();
    let [(image, bytes)]: [_; 1] = opened.images().unwrap().try_into().unwrap();
    assert_eq!((image.role, bytes), (ImageRole::Kernel, rom));
}
