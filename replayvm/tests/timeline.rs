//! The timeline against the truth of one plain forward replay: whatever way a position is reached, the state there is the
//! same, and every stop is where the truth has it.

#![allow(clippy::expect_used, clippy::panic, reason = "test code outside of test functions")]

/// Guests and recordings.
mod common;

use std::collections::BTreeSet;
use std::path::Path;

use common::boot_sector;
use iced_x86::code_asm::{ax, bx, cx, di, es};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use recorder::{Digest, Position};
use replayvm::engine::SoftEngine;
use replayvm::machine::{Watch, WatchKind};
use replayvm::session::Settings;
use replayvm::timeline::{Landing, Reason, Stops, Timeline, unsupervised};

/// What a plain forward replay sees, step by step.
struct Truth {
    /// Every position of the run with the linear address of its next instruction and a digest of the CPU.
    steps: Vec<(Position, u64, u128)>,
    /// The digest of the whole machine at some of them.
    digests: Vec<(usize, Digest)>,
    /// Steps that store to the watched bytes, by index of the position before.
    stores: BTreeSet<usize>,
    watch: Watch,
}

/// Ticks of a guest that the truth is taken of: past the boot and some timer interrupts.
const TICKS: u64 = 30_000;

fn record(folder: &Path, guest: &str, checkpoint_ticks: u64) -> std::path::PathBuf {
    let settings = Settings { limit_ticks: TICKS, checkpoint_ticks, ..common::settings() };
    common::record(folder, &common::corpora_guest(guest), &settings, None).0
}

fn cpu_digest(timeline: &Timeline) -> u128 {
    timeline.machine().save().iter().find(|section| section.name == "cpu").expect("a cpu section").digest().0
}

fn truth(path: &Path, watch: Watch) -> Truth {
    let mut timeline = Timeline::open(path).expect("opens");
    timeline.replay_on(|_| Box::new(SoftEngine::new()));
    let mut truth = Truth { steps: Vec::new(), digests: Vec::new(), stores: BTreeSet::new(), watch };
    let mut bytes = vec![0; watch.len as usize];
    loop {
        let index = truth.steps.len();
        truth.steps.push((timeline.position(), timeline.cpu().linear_rip(), cpu_digest(&timeline)));
        if index.is_multiple_of(997) {
            truth.digests.push((index, timeline.digest().expect("a digest").0));
        }
        let mut before = bytes.clone();
        assert_eq!(timeline.read_physical(watch.gpa, &mut before), before.len());
        if timeline.step_forward().expect("steps").reason == Reason::End {
            break;
        }
        assert_eq!(timeline.read_physical(watch.gpa, &mut bytes), bytes.len());
        if bytes != before {
            truth.stores.insert(index);
        }
    }
    truth
}

impl Truth {
    fn index_of(&self, position: Position) -> usize {
        self.steps.binary_search_by_key(&position, |step| step.0).expect("a position of the run")
    }

    fn check(&self, timeline: &Timeline, what: &str) -> usize {
        let index = self.index_of(timeline.position());
        let (position, rip, digest) = self.steps[index];
        assert_eq!(timeline.cpu().linear_rip(), rip, "{what}: RIP at {position}");
        assert_eq!(cpu_digest(timeline), digest, "{what}: CPU at {position}");
        index
    }
}

fn soak(guest: &str, seed: u64, commands: u32, checkpoint_ticks: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = record(folder.path(), guest, checkpoint_ticks);
    let watch = {
        // Somewhere that the guest stores to again and again: its stack at the end of the run.
        let mut timeline = Timeline::open(&path).expect("opens");
        timeline.seek(timeline.end(), &mut unsupervised()).expect("seeks");
        let stack = timeline.translate(timeline.cpu().gpr[4] - 8).expect("a mapped stack");
        Watch { gpa: stack & !7, len: 8, kind: WatchKind::Write }
    };
    let truth = truth(&path, watch);
    let last = truth.steps.len() - 1;
    assert!(last > 50_000, "a run of some length: {last} steps");
    let mut timeline = Timeline::open(&path).expect("opens");
    // Far more looks than a person needs: what lies at the seam between two is found as well.
    timeline.look_every(if seed.is_multiple_of(2) { 50_000 } else { 37 });
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut pick = |limit: usize| (random.next_u64() % limit as u64) as usize;
    let mut at = 0;
    let (mut stopped, mut seeks) = (0, 0);
    for command in 0..commands {
        let what = format!("{guest} seed {seed} command {command} from {}", truth.steps[at].0);
        match pick(8) {
            0 => {
                let target = pick(last + 1);
                timeline.seek(truth.steps[target].0, &mut unsupervised()).expect("seeks");
                assert_eq!(truth.check(&timeline, &what), target, "{what}: seek");
                at = target;
                seeks += 1;
            }
            1 | 2 => {
                for _ in 0..pick(30) {
                    timeline.step_forward().expect("steps");
                    at = (at + 1).min(last);
                    assert_eq!(truth.check(&timeline, &what), at, "{what}: step");
                }
            }
            3 | 4 => {
                for _ in 0..pick(30) {
                    timeline.step_backward().expect("steps back");
                    at = at.saturating_sub(1);
                    assert_eq!(truth.check(&timeline, &what), at, "{what}: step back");
                }
            }
            kind => {
                let addresses: Vec<u64> = (0..1 + pick(3)).map(|_| truth.steps[pick(last + 1)].1).collect();
                let watched = pick(4) == 0;
                let stops = Stops {
                    addresses: addresses.clone(),
                    watches: if watched { vec![truth.watch] } else { Vec::new() },
                    ..Stops::default()
                };
                let forward = kind < 6;
                let landing = if forward {
                    timeline.run_forward(&stops, &mut unsupervised())
                } else {
                    timeline.run_backward(&stops, &mut unsupervised())
                }
                .expect("runs");
                let now = truth.check(&timeline, &what);
                let what = format!("{what}: forward {forward} watched {watched} {landing:?}");
                check_stop(&truth, at, now, forward, &addresses, watched, landing, &what);
                stopped += usize::from(!matches!(landing.reason, Reason::Begin | Reason::End));
                at = now;
            }
        }
        if let Ok(sample) = truth.digests.binary_search_by_key(&at, |sample| sample.0) {
            assert_eq!(timeline.digest().expect("a digest").0, truth.digests[sample].1, "{what}: digest");
        }
    }
    for (index, digest) in truth.digests.iter().rev().step_by(3) {
        timeline.seek(truth.steps[*index].0, &mut unsupervised()).expect("seeks");
        assert_eq!(timeline.digest().expect("a digest").0, *digest, "digest at {}", truth.steps[*index].0);
    }
    assert!(stopped > 0 && seeks > 0, "the soak has stopped {stopped} times and sought {seeks} times");
}

/// A run from `from` rests at `now`: nothing that should have stopped it lies between.
#[allow(clippy::too_many_arguments, reason = "one assertion, all of it needed")]
fn check_stop(
    truth: &Truth,
    from: usize,
    now: usize,
    forward: bool,
    addresses: &[u64],
    watched: bool,
    landing: Landing,
    what: &str,
) {
    let breaks = |index: usize| addresses.contains(&truth.steps[index].1);
    let stores = |index: usize| watched && truth.stores.contains(&index);
    match landing.reason {
        Reason::Breakpoint(address) => {
            assert_eq!(truth.steps[now].1, address, "{what}");
            assert!(addresses.contains(&address), "{what}");
        }
        Reason::Watch(hit) => {
            assert!(watched, "{what}");
            let step = truth.index_of(hit.at);
            assert_eq!(step, if forward { now - 1 } else { now }, "{what}");
        }
        Reason::Begin => assert!(!forward && now == 0, "{what}"),
        Reason::End => assert!(forward && now == truth.steps.len() - 1, "{what}"),
        Reason::Reached | Reason::Exit(..) | Reason::Interrupted => panic!("{what}: not asked for"),
    }
    // An address also stands where an event is delivered before its instruction; those are not stops, so that only
    // stores, which the truth sees as changes of the bytes, have to be complete.
    let passed = if forward { from..now.saturating_sub(1) } else { now + 1..from };
    for index in passed {
        assert!(!stores(index), "{what}: passed a store at {}", truth.steps[index].0);
        if breaks(index) && index != from {
            let delivered = truth.steps.get(index + 1).is_some_and(|next| {
                // Delivery leaves for a handler: the instruction did not retire there.
                next.1.abs_diff(truth.steps[index].1) > 15
            });
            assert!(delivered, "{what}: passed a breakpoint at {}", truth.steps[index].0);
        }
    }
}

#[test]
fn random_commands_land_where_a_plain_forward_replay_says() {
    soak("lost-update", 1, 1500, 4_000);
}

#[test]
fn random_commands_land_right_with_ring_3_and_paging() {
    soak("process-race", 2, 1500, 7_000);
}

#[test]
fn random_commands_land_right_with_hardly_a_checkpoint_in_the_file() {
    soak("priority-inversion", 3, 500, 1_000_000);
}

#[test]
fn an_interrupted_run_rests_at_an_exact_position() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = record(folder.path(), "lost-update", 4_000);
    let mut timeline = Timeline::open(&path).expect("opens");
    timeline.look_every(37);
    let mut near = |progress: replayvm::timeline::Progress| progress.position.tick < 9_000;
    let nowhere = Stops { addresses: vec![0xdead_beef], ..Stops::default() };
    let landing = timeline.run_forward(&nowhere, &mut near).expect("runs");
    assert_eq!(landing.reason, Reason::Interrupted);
    let rested = timeline.position();
    assert!((9_000..9_100).contains(&rested.tick), "{rested}");
    let digest = timeline.digest().expect("a digest");
    let mut other = Timeline::open(&path).expect("opens");
    other.seek(rested, &mut unsupervised()).expect("seeks");
    assert_eq!(other.position(), rested);
    assert_eq!(other.digest().expect("a digest"), digest);
}

#[test]
fn a_position_that_the_run_does_not_have_is_the_next_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = record(folder.path(), "lost-update", 4_000);
    let mut timeline = Timeline::open(&path).expect("opens");
    for tick in [0, 1, 3_999, 4_000, 12_345] {
        let landing = timeline.seek(Position::new(tick, u32::MAX), &mut unsupervised()).expect("seeks");
        assert_eq!((landing.position, landing.reason), (Position::new(tick + 1, 0), Reason::Reached));
        let before = timeline.step_backward().expect("steps back").position;
        assert_eq!(before.tick, tick);
        assert_eq!(timeline.step_forward().expect("steps").position, landing.position);
    }
    assert_eq!(
        timeline.seek(Position::START, &mut unsupervised()).expect("seeks").position,
        timeline.begin()
    );
    assert_eq!(timeline.step_backward().expect("steps back").reason, Reason::Begin);
    assert_eq!(timeline.seek(Position::MAX, &mut unsupervised()).expect("seeks").reason, Reason::End);
    assert_eq!(timeline.step_forward().expect("steps").reason, Reason::End);
    assert_eq!(
        timeline.run_forward(&Stops::default(), &mut unsupervised()).expect("runs").reason,
        Reason::End
    );
    assert_eq!(timeline.position(), timeline.end());
}

/// A loop without a branch: 65,536 steps a tick.
fn branchless(folder: &Path) -> std::path::PathBuf {
    let guest = boot_sector(|a| {
        let mut again = a.create_label();
        a.set_label(&mut again).expect("a label");
        a.inc(ax).expect("assembles");
        a.push(ax).expect("assembles");
        a.pop(bx).expect("assembles");
        a.jmp(again).expect("assembles");
    });
    let settings = Settings { limit_ticks: 12, checkpoint_ticks: 5, ..common::settings() };
    common::record(folder, &guest, &settings, None).0
}

#[test]
fn ticks_of_many_steps_are_stepped_through_backwards() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = branchless(folder.path());
    let mut timeline = Timeline::open(&path).expect("opens");
    timeline.seek(timeline.end(), &mut unsupervised()).expect("seeks");
    let before = timeline.step_backward().expect("steps back").position;
    assert_eq!(before, Position::new(11, 65_535));
    for offset in (65_000..65_535).rev() {
        assert_eq!(timeline.step_backward().expect("steps back").position, Position::new(11, offset));
        assert_eq!(timeline.instructions(), 11 * 65_536 + u64::from(offset));
    }
    for offset in [40_000, 65_535, 0, 1, 32_768] {
        timeline.seek(Position::new(7, offset), &mut unsupervised()).expect("seeks");
        assert_eq!(timeline.instructions(), 7 * 65_536 + u64::from(offset));
    }
}

#[test]
fn pages_in_memory_keep_to_their_budget_and_change_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = record(folder.path(), "priority-inversion", 1_000_000);
    let budget = 32 * 4096;
    let mut truth = Timeline::open(&path).expect("opens");
    let mut timeline = Timeline::open(&path).expect("opens");
    timeline.cache_bytes(budget);
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let mut most = 0;
    for _ in 0..300 {
        let target = Position::new(random.next_u64() % TICKS, 0);
        timeline.seek(target, &mut unsupervised()).expect("seeks");
        timeline.step_backward().expect("steps back");
        most = most.max(truth.cached_bytes());
        truth.seek(timeline.position(), &mut unsupervised()).expect("seeks");
        assert_eq!(timeline.digest().expect("a digest"), truth.digest().expect("a digest"), "at {target}");
        assert!(timeline.cached_bytes() <= budget, "{} bytes", timeline.cached_bytes());
    }
    assert!(most > budget, "without a budget it is more: {most}");
}

#[test]
fn a_damaged_page_is_an_error_there_and_nowhere_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = record(folder.path(), "lost-update", 5_000);
    let mut truth = Timeline::open(&path).expect("opens");
    let stored = truth.opened().recording().checkpoints().len();
    let damaged = folder.path().join("damaged.rvm");
    let good = std::fs::read(&path).expect("reads");
    let mut failed = 0;
    for index in 1..stored {
        // The last page that this checkpoint has brought: nobody before needs it.
        let recording = truth.opened().recording().clone();
        let pages = recording.checkpoint(index).expect("a checkpoint").pages;
        let Some(offset) = pages.iter().filter_map(|page| recording.page_file_offset(page)).max() else {
            continue;
        };
        let mut bytes = good.clone();
        bytes[offset as usize + 100] ^= 1;
        std::fs::write(&damaged, bytes).expect("writes");
        let at = recording.checkpoints()[index].position;
        let Ok(mut timeline) = Timeline::open(&damaged) else { continue };
        let before = Position::new(at.tick - 2_500, 1);
        timeline.seek(before, &mut unsupervised()).expect("seeks");
        failed += usize::from(
            timeline.seek(at, &mut unsupervised()).is_err() || {
                timeline.seek(timeline.begin(), &mut unsupervised()).expect("seeks");
                timeline.seek(timeline.end(), &mut unsupervised()).is_err()
            },
        );
        timeline.seek(before, &mut unsupervised()).expect("seeks");
        truth.seek(before, &mut unsupervised()).expect("seeks");
        assert_eq!(timeline.digest().expect("a digest"), truth.digest().expect("a digest"), "at {before}");
    }
    assert!(failed > 0);
}

#[test]
fn a_restore_that_fails_half_way_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    // Waits, then fills the pages 0x10 to 0x8f, enough to be mapped in one piece, and the page 0x98, each with another
    // word.
    let guest = boot_sector(|a| {
        let (mut wait, mut fill, mut next, mut rest) =
            (a.create_label(), a.create_label(), a.create_label(), a.create_label());
        let code = [a.mov(cx, 0x6000_u32), a.set_label(&mut wait), a.loop_(wait), a.mov(bx, 0x1000_u32)];
        let code = code.into_iter().chain([
            a.set_label(&mut fill),
            a.mov(es, bx),
            a.mov(ax, bx),
            a.xor(di, di),
            a.mov(cx, 2048_u32),
            a.rep().stosw(),
            a.cmp(bx, 0x9800_u32),
            a.je(rest),
            a.add(bx, 0x100_u32),
            a.cmp(bx, 0x9000_u32),
            a.jne(next),
            a.mov(bx, 0x9800_u32),
            a.set_label(&mut next),
            a.jmp(fill),
            a.set_label(&mut rest),
            a.hlt(),
        ]);
        code.collect::<Result<Vec<()>, _>>().expect("assembles");
    });
    let settings = Settings { checkpoint_ticks: 100_000, limit_ticks: 100_000, ..common::settings() };
    let (path, _) = common::record(folder.path(), &guest, &settings, None);
    let recording = Timeline::open(&path).expect("opens").opened().recording().clone();
    let pages = recording.checkpoint(1).expect("a checkpoint").pages;
    assert!(pages.len() > 128);
    let damaged = pages.iter().find(|page| page.gfn == 0x98).expect("the last page");
    let mut bytes = std::fs::read(&path).expect("reads");
    bytes[recording.page_file_offset(damaged).expect("a stored page") as usize] ^= 1;
    let path = folder.path().join("damaged.rvm");
    std::fs::write(&path, bytes).expect("writes");
    let mut timeline = Timeline::open(&path).expect("opens");
    assert!(timeline.seek(timeline.end(), &mut unsupervised()).is_err());
    timeline.seek(Position::new(100, 0), &mut unsupervised()).expect("seeks");
    let mut page = [1; 4096];
    for gfn in 0x10..0x99 {
        assert_eq!(timeline.read_physical(gfn << 12, &mut page), 4096);
        assert!(page == [0; 4096], "page {gfn:#x}");
    }
}

#[test]
fn places_that_are_run_to_in_their_order_are_those_that_are_sought() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = record(folder.path(), "lost-update", 5_000);
    let (mut running, mut seeking) =
        (Timeline::open(&path).expect("opens"), Timeline::open(&path).expect("opens"));
    let exits: Vec<Position> =
        running.opened().recording().exits().map(|exit| exit.expect("reads").0).collect();
    for at in exits.into_iter().chain([running.end()]) {
        running.run_to(at, &mut unsupervised()).expect("runs");
        seeking.seek(at, &mut unsupervised()).expect("seeks");
        assert_eq!(running.position(), at);
        assert_eq!(cpu_digest(&running), cpu_digest(&seeking), "{at}");
    }
    assert_eq!(running.run_to(Position::START, &mut unsupervised()).expect("runs").position, running.end());
}
