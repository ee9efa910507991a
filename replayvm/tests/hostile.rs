//! Recordings that lie: whole files with valid checksums whose contents no run ever had, and files with flipped bytes.
//!
//! Whatever they say, opening, seeking, stepping, running and replaying come to an end, with or without an error.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![allow(clippy::disallowed_methods, reason = "what takes too long has failed")]

/// Guests and recordings.
mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{corpora_guest, record, settings};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use recorder::{
    CheckpointRecord, Digest, Disk, End, EndReason, Event, Exit, Image, MachineDescription, Page, PageHash,
    Position, Recording, RecordingWriter, Section,
};
use replayvm::checkpoint::PageMap;
use replayvm::machine::{ExitFilter, Machine, Watch, WatchKind};
use replayvm::recording::OpenRecording;
use replayvm::session::{ReplaySession, Settings};
use replayvm::timeline::{Progress, Stops, Timeline};

/// A recording taken apart.
#[derive(Clone)]
struct Parts {
    description: MachineDescription,
    images: Vec<(Image, Vec<u8>)>,
    events: Vec<(Position, Event)>,
    exits: Vec<(Position, Exit)>,
    checkpoints: Vec<Checkpoint>,
    end: Option<End>,
    /// Whether the digests are made to fit what has been changed.
    honest_digests: bool,
}

#[derive(Clone)]
struct Checkpoint {
    position: Position,
    sections: Vec<Section>,
    digests: Vec<(String, Digest)>,
    pages: Vec<(u64, Page)>,
}

fn take_apart(path: &Path) -> Parts {
    let recording = Recording::open(fs::read(path).unwrap()).unwrap();
    let checkpoints = (0..recording.checkpoints().len())
        .map(|index| {
            let checkpoint = recording.checkpoint(index).unwrap();
            let pages =
                checkpoint.pages.iter().map(|page| (page.gfn, *recording.page(page).unwrap())).collect();
            Checkpoint {
                position: checkpoint.info.position,
                sections: checkpoint.sections,
                digests: checkpoint.digests,
                pages,
            }
        })
        .collect();
    let images = recording.images().iter().enumerate();
    Parts {
        description: recording.description().clone(),
        images: images
            .map(|(i, image)| (image.clone(), recording.image_bytes(i).unwrap().into_owned()))
            .collect(),
        events: recording.events().map(Result::unwrap).collect(),
        exits: recording.exits().map(Result::unwrap).collect(),
        checkpoints,
        end: recording.end().cloned(),
        honest_digests: false,
    }
}

/// Writes what can be written of it: the writer refuses what is out of order.
fn put_together(path: &Path, parts: Parts) {
    let mut writer = RecordingWriter::create(path, &parts.description, parts.images).unwrap();
    let (mut events, mut exits) = (parts.events.into_iter().peekable(), parts.exits.into_iter().peekable());
    let mut map = PageMap::zero(parts.description.memory_bytes.min(3 << 30) / 4096);
    let mut digest = Digest::default();
    for checkpoint in parts.checkpoints {
        while let Some((at, event)) = events.next_if(|(at, _)| *at <= checkpoint.position) {
            let _ = writer.event(at, event);
        }
        while let Some((at, exit)) = exits.next_if(|(at, _)| *at < checkpoint.position) {
            let _ = writer.exit(at, exit);
        }
        let mut record = CheckpointRecord::new(checkpoint.position, 0);
        for (gfn, page) in &checkpoint.pages {
            map.set(*gfn, PageHash::of(page));
            writer.add_page(&mut record, *gfn, page);
        }
        record.digests = match parts.honest_digests {
            true => Machine::digests(&checkpoint.sections, map.digest()),
            false => checkpoint.digests,
        };
        digest = Digest::combine(record.digests.iter().map(|(name, digest)| (name.as_str(), *digest)));
        record.sections = checkpoint.sections;
        let _ = writer.checkpoint(record);
    }
    events.for_each(|(at, event)| drop(writer.event(at, event)));
    exits.for_each(|(at, exit)| drop(writer.exit(at, exit)));
    if let Some(mut end) = parts.end {
        if parts.honest_digests {
            end.digest = digest;
        }
        let _ = writer.finish(end);
    }
}

/// Uses the recording as front ends do, never for long. Says how many of the things asked for could be had.
fn use_it(path: &Path) -> usize {
    let mut done = usize::from(OpenRecording::open(path).is_ok_and(|(opened, _)| opened.images().is_ok()));
    let stop = Arc::new(AtomicBool::new(false));
    if let Ok(mut session) = ReplaySession::open(path, "soft") {
        let mut looks = 0;
        let outcome = session.run(None, &stop, |_| {
            looks += 1;
            stop.store(looks > 40, Ordering::Relaxed);
        });
        done += usize::from(outcome.is_ok());
    }
    let Ok(mut timeline) = Timeline::open(path) else { return done };
    timeline.look_every(5_000);
    let mut looks = 0;
    let mut few = |_: Progress| {
        looks += 1;
        looks % 12 != 0
    };
    let watches = vec![Watch { gpa: 0x20_0000, len: 1 << 16, kind: WatchKind::Write }];
    let stops = Stops { addresses: vec![0x10_0000], watches, exits: ExitFilter::ALL, ..Stops::default() };
    let (begin, end) = (timeline.begin(), timeline.end());
    let middle = Position::new(begin.tick + (end.tick - begin.tick) / 2, 3);
    for target in [end, middle, begin, Position::new(end.tick.saturating_sub(1), u32::MAX), Position::START] {
        done += usize::from(timeline.seek(target, &mut few).is_ok());
        done += usize::from(timeline.step_backward_supervised(&mut few).is_ok());
        done += usize::from(timeline.step_forward().is_ok());
        done += usize::from(timeline.run_backward(&stops, &mut few).is_ok());
        done += usize::from(timeline.run_forward(&stops, &mut few).is_ok());
        done += usize::from(timeline.digest().is_ok());
    }
    done
}

struct Dice(ChaCha8Rng);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        (self.0.next_u64() % limit.max(1) as u64) as usize
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    fn position(&mut self, near: Position) -> Position {
        match self.below(8) {
            0 => Position::new(near.tick.saturating_add(1), 0),
            1 => Position::new(near.tick, near.offset.saturating_add(1)),
            2 => Position::new(near.tick.saturating_sub(1), near.offset),
            3 => Position::new(near.tick, u32::MAX),
            4 => Position::new(near.tick.saturating_mul(1 << 20), 0),
            5 => Position::new(1 << 61, 0),
            6 => Position::MAX,
            _ => Position::new(self.0.next_u64() >> 40, self.0.next_u32() >> 20),
        }
    }

    fn word(&mut self) -> u64 {
        let word = self.0.next_u64();
        self.of(&[0, 1, u64::MAX, i64::MAX as u64, 1 << 63, word])
    }
}

fn spoil(parts: &mut Parts, dice: &mut Dice) {
    parts.honest_digests = dice.below(8) != 0;
    let index = dice.below(parts.checkpoints.len());
    match dice.below(14) {
        0 => {
            parts.description.memory_bytes =
                dice.of(&[0, 1, 4097, 1 << 20, 8 << 20, 3 << 30, 4 << 30, u64::MAX])
        }
        1 => parts.description.ns_per_tick = dice.of(&[0, 1, u32::MAX]),
        2 => {
            let event = match dice.below(6) {
                0 => Event::Serial { bytes: vec![7; dice.of(&[0, 1, 65, 100_000])] },
                1 => Event::TimerDelay { source: dice.below(256) as u8, ns: dice.word() },
                2 => Event::InterruptHold { ticks: u32::MAX },
                3 => Event::Idle { ns: dice.word() },
                4 => Event::Clock { unix_seconds: dice.word() },
                _ => Event::Entropy { value: dice.word() },
            };
            let place = dice.below(parts.events.len());
            let near = parts.events.get(place).map_or(Position::START, |(at, _)| *at);
            let at = if dice.below(2) == 0 { near } else { dice.position(near) };
            parts.events.push((at, event));
            parts.events.sort_by_key(|(at, _)| *at);
        }
        3 if !parts.events.is_empty() => drop(parts.events.remove(dice.below(parts.events.len()))),
        4 if !parts.exits.is_empty() => drop(parts.exits.remove(dice.below(parts.exits.len()))),
        5 | 6 => {
            let checkpoint = &mut parts.checkpoints[index];
            checkpoint.position = dice.position(checkpoint.position);
            if dice.below(2) == 0 {
                // A state that stands where the checkpoint says.
                let at = checkpoint.position;
                edit_cpu(checkpoint, |state| {
                    state.now = replayvm_cpu::Moment { tick: at.tick, offset: at.offset };
                });
            }
        }
        7 | 8 => {
            let word = dice.word();
            let what = dice.below(16);
            edit_cpu(&mut parts.checkpoints[index], |state| match what {
                0 => state.rip = word,
                1 => state.cr3 = word & 0xff_ffff_f000,
                2 => state.shutdown = true,
                3 => state.halted = true,
                4 => state.rflags ^= 1 << (word & 21),
                5 => state.now.offset = word as u32,
                6 => state.idle_loop_jumps = word as u32,
                7 => state.gdtr.base = word,
                8 => state.idtr.limit = word as u16,
                9 => state.cr0 ^= 1 << (word & 31),
                10 => state.efer ^= 1 << (word & 15),
                11 => state.instructions = word,
                12 => state.pending_debug = word & 0xf,
                13 => state.nmi_blocked = true,
                what => state.gpr[what & 15] = word,
            });
        }
        9 => {
            let checkpoint = &mut parts.checkpoints[index];
            let section = dice.below(checkpoint.sections.len());
            let section = &mut checkpoint.sections[section];
            match dice.below(6) {
                0 => section.version = dice.word() as u32,
                1 => section.name = dice.of(&["", "cpu", "pit", "nobody"]).to_owned(),
                2 => section.bytes.truncate(dice.below(section.bytes.len())),
                3 => section.bytes.extend(vec![0; dice.of(&[1, 5000])]),
                _ => {
                    let at = dice.below(section.bytes.len());
                    section.bytes[at] ^= 1 << dice.below(8);
                }
            }
        }
        10 => {
            let checkpoint = &mut parts.checkpoints[index];
            let word = dice.word().to_le_bytes();
            if let Some(clock) = checkpoint.sections.iter_mut().find(|section| section.name == "clock") {
                let at = dice.below(3) * 8;
                clock.bytes[at..at + 8].copy_from_slice(&word);
            }
        }
        11 => {
            let checkpoint = &mut parts.checkpoints[index];
            let gfn = dice.of(&[0, 0x100, 0x200, 0xfff, 0x1000, 1 << 20, (1 << 40) - 1]);
            if checkpoint.pages.iter().all(|(other, _)| *other != gfn) {
                checkpoint.pages.push((gfn, [dice.below(256) as u8; 4096]));
            }
        }
        12 => {
            if dice.below(3) == 0 {
                parts.end = None;
            } else if let Some(end) = &mut parts.end {
                end.position = dice.position(end.position);
                end.reason = dice.of(&[EndReason::Hung, EndReason::TripleFault, EndReason::Interrupted]);
            }
        }
        _ => drop(parts.checkpoints.remove(index)),
    }
}

fn edit_cpu(checkpoint: &mut Checkpoint, edit: impl FnOnce(&mut replayvm_cpu::CpuState)) {
    let Some(section) = checkpoint.sections.iter_mut().find(|section| section.name == "cpu") else { return };
    if let Ok(mut state) = rkyv::from_bytes::<replayvm_cpu::CpuState, rkyv::rancor::Error>(&section.bytes) {
        edit(&mut state);
        section.bytes = rkyv::to_bytes::<rkyv::rancor::Error>(&state).unwrap().to_vec();
    }
}

fn sample(folder: &Path) -> std::path::PathBuf {
    let settings = Settings { limit_ticks: 20_000, checkpoint_ticks: 500, ..settings() };
    record(folder, &corpora_guest("rtc-rollover"), &settings, None).0
}

/// How many recordings are spoilt; `REPLAYVM_HOSTILE_CASES` asks for more.
fn cases(few: u64) -> u64 {
    std::env::var("REPLAYVM_HOSTILE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(few)
}

/// Nothing that these recordings ask for takes long.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn recordings_whose_contents_lie_are_used_up_to_an_error_or_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let parts = take_apart(&sample(folder.path()));
    let spoilt = folder.path().join("spoilt.rvm");
    put_together(&spoilt, parts.clone());
    assert_eq!(use_it(&spoilt), 32, "what is not spoilt works");
    let mut outcomes = std::collections::BTreeSet::new();
    let only = std::env::var("REPLAYVM_HOSTILE_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in only.map_or(0..cases(250), |seed: u64| seed..seed + 1) {
        let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
        let mut parts = parts.clone();
        for _ in 0..1 + dice.below(2) {
            if !parts.checkpoints.is_empty() {
                spoil(&mut parts, &mut dice);
            }
        }
        put_together(&spoilt, parts);
        let start = Instant::now();
        outcomes.insert(use_it(&spoilt));
        assert!(start.elapsed() < PATIENCE, "seed {seed} took {:?}", start.elapsed());
    }
    assert!(only.is_some() || outcomes.len() > 5, "{outcomes:?}");
}

#[test]
fn files_with_flipped_bytes_are_used_up_to_an_error_or_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = fs::read(sample(folder.path())).unwrap();
    let spoilt = folder.path().join("spoilt.rvm");
    for seed in 0..cases(150) {
        let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
        let mut bytes = bytes.clone();
        for _ in 0..1 + dice.below(3) {
            let at = dice.below(bytes.len());
            bytes[at] ^= 1 << dice.below(8);
        }
        fs::write(&spoilt, bytes).unwrap();
        use_it(&spoilt);
    }
}

#[test]
fn absurd_machines_are_refused_before_anything_is_allocated() {
    let folder = tempfile::tempdir().unwrap();
    let parts = take_apart(&sample(folder.path()));
    let spoilt = folder.path().join("spoilt.rvm");
    let edits: [fn(&mut MachineDescription); 6] = [
        |description| description.memory_bytes = !0xfff,
        |description| description.memory_bytes = 1 << 50,
        |description| description.ns_per_tick = 0,
        |description| description.rules_version += 1,
        |description| description.cpu_model = "i386".to_owned(),
        |description| description.flags_profile = "z80".to_owned(),
    ];
    for edit in edits {
        let mut parts = parts.clone();
        edit(&mut parts.description);
        put_together(&spoilt, parts);
        assert!(OpenRecording::open(&spoilt).is_err());
    }
}

#[test]
fn absurd_disks_are_refused_or_missed_and_a_recording_of_one_disk_is_none_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let parts = take_apart(&sample(folder.path()));
    let spoilt = folder.path().join("spoilt.rvm");
    let with = |disks: Vec<Disk>| {
        let mut parts = parts.clone();
        parts.description.disks = disks;
        put_together(&spoilt, parts);
    };
    let disk = |size, embedded| Disk {
        name: "../../etc/passwd".to_owned(),
        path: "/dev/zero".to_owned(),
        hash: [7; 32],
        size,
        embedded,
        read_only: false,
    };
    for disks in
        [vec![disk(0, true)], vec![disk(513, false)], vec![disk(1 << 60, true)], vec![disk(512, true); 8]]
    {
        with(disks);
        assert!(OpenRecording::open(&spoilt).is_err());
    }
    // These can be, but the images cannot be had: the machine is never built.
    for disks in [vec![disk(256 << 30, true)], vec![disk(512, false)], vec![disk(512, true)]] {
        with(disks);
        let error = Timeline::open(&spoilt).err().unwrap().to_string();
        assert!(error.contains("passwd") || error.contains("/dev/zero"), "{error}");
    }
    // A machine with an entropy device has a section that a recording of one without it lacks.
    let mut other = parts.clone();
    other.description.entropy_device = true;
    put_together(&spoilt, other);
    let error = Timeline::open(&spoilt).err().unwrap();
    let chain = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    assert!(chain.map(ToString::to_string).any(|text| text.contains("virtio-rng")), "{error}");
}

#[test]
fn a_checkpoint_that_is_not_what_its_digests_say_is_not_stood_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut parts = take_apart(&sample(folder.path()));
    edit_cpu(&mut parts.checkpoints[2], |state| state.gpr[3] ^= 1);
    let at = parts.checkpoints[2].position;
    let spoilt = folder.path().join("spoilt.rvm");
    put_together(&spoilt, parts);
    let mut timeline = Timeline::open(&spoilt).unwrap();
    assert!(timeline.seek(at, &mut |_: Progress| true).is_err());
    timeline.seek(Position::new(at.tick - 1, 0), &mut |_: Progress| true).unwrap();
}
