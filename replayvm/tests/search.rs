//! Looking for stops in long runs: what lets a search leave intervals out, and that nothing else comes of it.

#![allow(clippy::expect_used, clippy::panic, reason = "test code outside of test functions")]

/// Guests and recordings.
mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{boot_sector, corpora_guest, replay, settings};
use corpora::linux::{BuildError, Initramfs, required};
use iced_x86::code_asm::{ax, bx, cx, ptr};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use recorder::{ExitKind, Position};
use replayvm::engine::{self, EngineError};
use replayvm::machine::{ExitFilter, GuestImages, Machine, Watch, WatchKind};
use replayvm::session::{ReplaySession, Settings};
use replayvm::timeline::{Extent, Progress, Reason, Stops, Timeline, unsupervised};

/// Stores the same word to one page, once before each of many short loops.
fn same_word_again() -> GuestImages {
    boot_sector(|a| {
        let (mut again, mut wait) = (a.create_label(), a.create_label());
        let code = [
            a.mov(bx, 0x5000_u32),
            a.mov(ax, 0x1234_u32),
            a.set_label(&mut again),
            a.mov(ptr(bx), ax),
            a.mov(cx, 50_u32),
            a.set_label(&mut wait),
            a.loop_(wait),
            a.jmp(again),
        ];
        code.into_iter().collect::<Result<(), _>>().expect("assembles");
    })
}

#[test]
fn a_page_that_is_written_with_what_it_holds_is_listed_and_stored_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, _) = common::record(folder.path(), &same_word_again(), &settings(), None);
    let timeline = Timeline::open(&path).expect("opens");
    let recording = timeline.opened().recording();
    for index in 2..recording.checkpoints().len() {
        let pages = recording.checkpoint(index).expect("a checkpoint").pages;
        assert_eq!(pages.iter().map(|page| page.gfn).collect::<Vec<_>>(), [5], "checkpoint {index}");
    }
    let (first, last) = (recording.memory_at(1), recording.memory_at(9));
    assert_eq!(first.expect("pages").len() as u64, recording.statistics().stored_pages);
    assert_eq!(last.expect("pages").len() as u64, recording.statistics().stored_pages);
}

fn recorded_on(folder: &Path, guest: &str, engine: &str) -> std::path::PathBuf {
    let settings =
        Settings { engine: engine.to_owned(), limit_ticks: 3_000, checkpoint_ticks: 200, ..settings() };
    let folder = folder.join(format!("{guest}-{engine}"));
    std::fs::create_dir(&folder).expect("a folder");
    common::record(&folder, &corpora_guest(guest), &settings, None).0
}

#[test]
fn a_checkpoint_lists_every_page_that_was_written_on_every_engine() {
    let folder = tempfile::tempdir().expect("a folder");
    let description = settings().description("none", recorder::BootKind::Elf64);
    let machine = Machine::bare(&description).expect("a machine");
    for guest in ["lost-update", "process-race"] {
        let lists = |path: &Path| {
            let timeline = Timeline::open(path).expect("opens");
            let recording = timeline.opened().recording();
            let pages = |index| recording.checkpoint(index).expect("a checkpoint").pages;
            let gfns = |index| pages(index).iter().map(|page| page.gfn).collect::<Vec<_>>();
            (0..recording.checkpoints().len()).map(gfns).collect::<Vec<_>>()
        };
        let reference = recorded_on(folder.path(), guest, "plain");
        for name in ["soft", "step"] {
            if let Err(EngineError::Unavailable { engine, why }) = engine::by_name(name, &machine) {
                println!("SKIPPED on engine `{engine}`: {why}");
                continue;
            }
            let path = recorded_on(folder.path(), guest, name);
            assert_eq!(lists(&path), lists(&reference), "{guest} on {name}");
            // Replay holds what it writes against the lists.
            assert!(replay(&path).checkpoints > 10);
            let mut session = ReplaySession::open(&reference, name).expect("opens");
            session.run(None, &std::sync::Arc::default(), |_| {}).expect("replays");
        }
    }
}

/// A cursor that searches so and so.
fn timeline(path: &Path, processors: usize, shortcuts: bool) -> Timeline {
    let mut timeline = Timeline::open(path).expect("opens");
    timeline.search_on(processors);
    timeline.take_shortcuts(shortcuts);
    timeline
}

/// Something to stop on, of things that this run meets often, seldom and never.
fn random_stops(random: &mut ChaCha8Rng, rips: &[u64], gpas: &[u64]) -> Stops {
    let mut pick = |limit: usize| (random.next_u64() % limit as u64) as usize;
    let mut stops = Stops::default();
    let kind = pick(8);
    if kind < 6 {
        for _ in 0..=pick(2) {
            let near = [0, 1, 64, 4096][pick(4)];
            let (gpa, len) = (gpas[pick(gpas.len())].saturating_add(near), 1 + pick(16) as u64);
            let kind = if kind < 5 { WatchKind::Write } else { WatchKind::Access };
            stops.watches.push(Watch { gpa, len, kind });
        }
    }
    if kind >= 5 {
        stops.addresses.push(if pick(4) == 0 { 0xdead_beef } else { rips[pick(rips.len())] });
    }
    if kind == 7 {
        stops.exits = ExitFilter::NONE.with(ExitKind::Interrupt);
    }
    stops
}

/// Instructions and places in RAM that the run comes by.
fn sights(path: &Path) -> (Vec<u64>, Vec<u64>) {
    let mut timeline = Timeline::open(path).expect("opens");
    let (mut rips, mut gpas) = (Vec::new(), Vec::new());
    for part in 1..=24 {
        timeline.seek(Position::new(timeline.end().tick * part / 24, 0), &mut unsupervised()).expect("seeks");
        rips.push(timeline.cpu().linear_rip());
        let stack = timeline.translate(timeline.cpu().gpr[4].wrapping_sub(8));
        gpas.extend(stack.map(|gpa| gpa & !7));
    }
    // All that is written in a few stretches.
    let recording = timeline.opened().recording();
    for index in [1, 2, recording.checkpoints().len() / 2] {
        let pages = recording.checkpoint(index).expect("a checkpoint").pages;
        gpas.extend(pages.iter().step_by(3).map(|page| page.gfn << 12));
    }
    gpas.push(0xfee0_0000);
    (rips, gpas)
}

/// Random searches from random places: what each comes to on other numbers of processors and by shortcuts is what one
/// processor comes to without any. Says what they came to.
fn searches_agree(path: &Path, seed: u64, rounds: usize) -> BTreeMap<String, usize> {
    let (rips, gpas) = sights(path);
    let mut plain = timeline(path, 1, false);
    let mut others: Vec<_> =
        [(1, true), (2, false), (2, true), (4, true)].map(|(p, s)| timeline(path, p, s)).into();
    others[2].look_every(41);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut reasons = BTreeMap::new();
    for round in 0..rounds {
        let stops = random_stops(&mut random, &rips, &gpas);
        let tick = random.next_u64() % (plain.end().tick + 1);
        let here = Position::new(tick, (random.next_u64() % 9) as u32);
        for timeline in others.iter_mut().chain([&mut plain]) {
            timeline.seek(here, &mut unsupervised()).expect("seeks");
        }
        // The second search of the same goes on where the first one came to.
        for again in 0..3 {
            let expected = plain.run_backward(&stops, &mut unsupervised()).expect("runs");
            let digest = plain.digest().expect("a digest");
            let name = format!("{:?}", expected.reason);
            let name = name.split(['(', ' ']).next().expect("a name").to_owned();
            *reasons.entry(name).or_insert(0) += 1;
            for (index, timeline) in others.iter_mut().enumerate() {
                let what = format!("round {round}.{again} from {here}, cursor {index}: {stops:?}");
                let landing = timeline.run_backward(&stops, &mut unsupervised()).expect("runs");
                assert_eq!(landing, expected, "{what}");
                assert_eq!(timeline.position(), expected.position, "{what}");
                assert_eq!(timeline.digest().expect("a digest"), digest, "{what}");
            }
        }
        if round % 4 == 0 {
            let from = Position::new(tick - random.next_u64() % (tick / 3 + 1), 2);
            let limit = [1, 7, 1_000][round % 3];
            let at = plain.position();
            let expected = plain.collect(&stops, from, here, limit, &mut unsupervised()).expect("collects");
            for (index, timeline) in others.iter_mut().enumerate() {
                let what = format!("round {round} {from}..{here}, cursor {index}: {stops:?}");
                let found = timeline.collect(&stops, from, here, limit, &mut unsupervised());
                assert_eq!(found.expect("collects"), expected, "{what}");
                assert_eq!(timeline.position(), at, "{what}");
            }
        }
    }
    reasons
}

fn soak() -> bool {
    std::env::var_os("REPLAYVM_SOAK").is_some()
}

#[test]
fn a_search_comes_to_the_same_on_any_number_of_processors_and_by_any_shortcut() {
    let folder = tempfile::tempdir().expect("a folder");
    for (guest, seed) in [("lost-update", 1), ("process-race", 2)] {
        let settings = Settings { limit_ticks: 30_000, checkpoint_ticks: 1_000, ..settings() };
        let path = common::record(folder.path(), &corpora_guest(guest), &settings, None).0;
        let reasons = searches_agree(&path, seed, if soak() { 4_000 } else { 120 });
        for reason in ["Watch", "Breakpoint", "Begin"] {
            assert!(reasons.contains_key(reason), "{guest}: {reasons:?}");
        }
    }
}

fn linux() -> Result<GuestImages, BuildError> {
    let path = corpora::linux::kernel()?;
    let kernel = std::fs::read(&path).map_err(|error| BuildError::Read { path, error })?;
    let initrd = Initramfs::new()?.job("echo hello; ").build();
    Ok(GuestImages { kernel, initrd: Some(initrd), ..GuestImages::default() })
}

#[test]
fn a_search_over_a_linux_boot_comes_to_the_same() {
    if !soak() {
        println!("SKIPPED: minutes long; with REPLAYVM_SOAK=1");
        return;
    }
    let Some(images) = required(linux()) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings {
        memory_bytes: 256 << 20,
        command_line: "console=ttyS0 panic=-1 nokaslr mitigations=off cryptomgr.notests".to_owned(),
        limit_ticks: u64::MAX,
        ..Settings::default()
    };
    let (path, outcome) = common::record(folder.path(), &images, &settings, None);
    assert!(outcome.passed, "{:?}", outcome.end);
    println!("{:?}", searches_agree(&path, 3, 10));
}

/// Comes by one instruction 20,000 times between two checkpoints.
fn one_place_again_and_again() -> GuestImages {
    boot_sector(|a| {
        let mut again = a.create_label();
        a.set_label(&mut again).expect("a label");
        a.inc(bx).expect("assembles");
        a.loop_(again).expect("assembles");
        a.jmp(again).expect("assembles");
    })
}

#[test]
fn hits_past_what_is_remembered_of_a_stretch_are_found_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings { limit_ticks: 20_000, checkpoint_ticks: 1_000_000, ..settings() };
    let path = common::record(folder.path(), &one_place_again_and_again(), &settings, None).0;
    let mut timeline = Timeline::open(&path).expect("opens");
    let stops = Stops { addresses: vec![0x7c00], ..Stops::default() };
    for tick in [20_000, 12_345, 3_618, 3_617, 3_616, 3_615, 100, 19_000, 3_616] {
        timeline.seek(Position::new(tick, 0), &mut unsupervised()).expect("seeks");
        let landing = timeline.run_backward(&stops, &mut unsupervised()).expect("runs");
        assert_eq!(landing.reason, Reason::Breakpoint(0x7c00));
        assert_eq!(landing.position, Position::new(tick - 1, 0));
    }
}

/// Somewhere that the guest stores to again and again: its stack at the end of the run.
fn stores_to_the_stack(path: &Path) -> Stops {
    let mut timeline = Timeline::open(path).expect("opens");
    timeline.seek(timeline.end(), &mut unsupervised()).expect("seeks");
    let stack = timeline.translate(timeline.cpu().gpr[4] - 8).expect("a mapped stack");
    let watches = vec![Watch { gpa: stack & !7, len: 8, kind: WatchKind::Write }];
    Stops { watches, ..Stops::default() }
}

#[test]
fn an_interrupted_search_leaves_the_cursor_where_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings { limit_ticks: 30_000, checkpoint_ticks: 1_000, ..settings() };
    let path = common::record(folder.path(), &corpora_guest("lost-update"), &settings, None).0;
    let nowhere = Stops { addresses: vec![0xdead_beef], ..Stops::default() };
    for processors in [1, 2, 4] {
        let mut timeline = timeline(&path, processors, true);
        let here = Position::new(29_500, 3);
        timeline.seek(here, &mut unsupervised()).expect("seeks");
        let before = timeline.digest().expect("a digest");
        for stops_at in [29_400, 25_000, 3_000] {
            // Backward, the position of a search says how much lies behind it.
            let mut supervisor = |progress: Progress| progress.position.tick > stops_at;
            let landing = timeline.run_backward(&nowhere, &mut supervisor).expect("runs");
            assert_eq!((landing.position, landing.reason), (here, Reason::Interrupted), "{processors}");
            assert_eq!(timeline.position(), here);
            assert_eq!(timeline.digest().expect("a digest"), before);
        }
        let landing = timeline.run_backward(&nowhere, &mut unsupervised()).expect("runs");
        assert_eq!(landing.reason, Reason::Begin);
    }
}

#[test]
fn an_interrupted_collection_says_how_far_it_is_complete() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings { limit_ticks: 30_000, checkpoint_ticks: 1_000, ..settings() };
    let path = common::record(folder.path(), &corpora_guest("lost-update"), &settings, None).0;
    let stops = stores_to_the_stack(&path);
    let mut all = timeline(&path, 1, false);
    let (begin, end) = (all.begin(), all.end());
    let all = all.collect(&stops, begin, end, usize::MAX, &mut unsupervised()).expect("collects");
    assert_eq!(all.extent, Extent::Whole);
    assert!(all.hits.len() > 10, "{} stores", all.hits.len());
    for processors in [1, 2, 4] {
        let mut timeline = timeline(&path, processors, true);
        let mut supervisor = |progress: Progress| progress.position.tick < 15_000;
        let part = timeline.collect(&stops, begin, end, usize::MAX, &mut supervisor).expect("collects");
        let Extent::UpTo(at) = part.extent else { panic!("{:?}", part.extent) };
        assert!((14_000..end.tick).contains(&at.tick), "{at}");
        let count = all.hits.partition_point(|hit| hit.position < at);
        assert_eq!(part.hits, all.hits[..count], "up to {at}");
        assert_eq!(timeline.position(), begin);
    }
}

#[test]
fn a_damaged_page_is_an_error_of_the_searches_that_get_to_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings { limit_ticks: 30_000, checkpoint_ticks: 1_000, ..settings() };
    let path = common::record(folder.path(), &corpora_guest("lost-update"), &settings, None).0;
    let truth = Timeline::open(&path).expect("opens");
    let stores = stores_to_the_stack(&path);
    let recording = truth.opened().recording().clone();
    let memory = |index| recording.memory_at(index).expect("pages");
    // A content that only checkpoint 15 has.
    let elsewhere: Vec<_> =
        (0..recording.checkpoints().len()).filter(|index| *index != 15).flat_map(memory).collect();
    let mut pages = recording.checkpoint(15).expect("a checkpoint").pages.into_iter();
    let page = pages.find(|page| elsewhere.iter().all(|other| other.hash != page.hash));
    let offset = page.and_then(|page| recording.page_file_offset(&page)).expect("a page of its own");
    let mut bytes = std::fs::read(&path).expect("reads");
    bytes[offset as usize] ^= 1;
    let path = folder.path().join("damaged.rvm");
    std::fs::write(&path, bytes).expect("writes");

    let nowhere = Stops { addresses: vec![0xdead_beef], ..Stops::default() };
    for processors in [1, 2, 4] {
        let mut timeline = timeline(&path, processors, true);
        timeline.seek(timeline.end(), &mut unsupervised()).expect("seeks");
        for _ in 0..5 {
            let landing = timeline.run_backward(&stores, &mut unsupervised()).expect("does not get there");
            assert!(
                landing.position.tick > 16_000 && matches!(landing.reason, Reason::Watch(_)),
                "{landing:?}"
            );
        }
        assert!(timeline.run_backward(&nowhere, &mut unsupervised()).is_err(), "on {processors}");
        let (begin, end) = (timeline.begin(), timeline.end());
        let first =
            timeline.collect(&stores, begin, end, 3, &mut unsupervised()).expect("does not get there");
        assert_eq!(first.hits.len(), 3);
        assert!(timeline.collect(&nowhere, begin, end, 3, &mut unsupervised()).is_err(), "on {processors}");
        // And nothing is left behind.
        timeline.seek(Position::new(14_900, 1), &mut unsupervised()).expect("seeks");
        assert_eq!(timeline.run_backward(&nowhere, &mut unsupervised()).expect("runs").reason, Reason::Begin);
    }
}

#[test]
fn what_is_known_of_the_recording_is_known_of_no_branch() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings { limit_ticks: 300_000, checkpoint_ticks: 10_000, ..settings() };
    let path = common::record(folder.path(), &corpora_guest("process-race"), &settings, None).0;
    let stops = stores_to_the_stack(&path);
    let (fork, end) = (Position::new(150_000, 0), Position::new(250_000, 0));
    let searches = |processors, shortcuts| {
        let mut timeline = timeline(&path, processors, shortcuts);
        let mut found = Vec::new();
        let mut search = |timeline: &mut Timeline| {
            timeline.seek(end, &mut unsupervised()).expect("seeks");
            let all = timeline.collect(&stops, fork, end, usize::MAX, &mut unsupervised()).expect("collects");
            let back = (0..3).map(|_| timeline.run_backward(&stops, &mut unsupervised()).expect("runs"));
            found.push((all, back.collect::<Vec<_>>()));
        };
        search(&mut timeline);
        timeline.seek(fork, &mut unsupervised()).expect("seeks");
        timeline.fork(11).expect("forks");
        search(&mut timeline);
        timeline.return_to_recording().expect("returns");
        search(&mut timeline);
        found
    };
    let plain = searches(1, false);
    assert_ne!(plain[0], plain[1], "the branch is another run");
    assert_eq!(plain[0], plain[2]);
    assert_eq!(searches(4, true), plain);
}
