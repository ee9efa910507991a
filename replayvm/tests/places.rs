//! Places that are found by virtual time, and places that are kept in memory.

#![allow(clippy::expect_used, clippy::panic, reason = "test code outside of test functions")]

/// Guests and recordings.
mod common;

use std::path::{Path, PathBuf};

use common::{corpora_guest, settings};
use recorder::Position;
use replayvm::session::Settings;
use replayvm::timeline::{PinError, Progress, Reason, Timeline, unsupervised};

fn record(folder: &Path, guest: &str, limit_ticks: u64, checkpoint_ticks: u64) -> PathBuf {
    let settings = Settings { limit_ticks, checkpoint_ticks, ..settings() };
    common::record(folder, &corpora_guest(guest), &settings, None).0
}

/// Every position at which virtual time has become another, and the time, by walking.
fn times(path: &Path) -> Vec<(Position, u64)> {
    let mut timeline = Timeline::open(path).expect("opens");
    let mut times = vec![(timeline.position(), timeline.virtual_ns())];
    while timeline.step_forward().expect("steps").reason != Reason::End {
        let now = (timeline.position(), timeline.virtual_ns());
        if times.last().is_some_and(|(_, ns)| now.1 > *ns) {
            times.push(now);
        }
    }
    times
}

#[test]
fn a_time_is_the_first_position_at_or_past_it_whether_the_cpu_was_idle_or_not() {
    let folder = tempfile::tempdir().expect("a folder");
    for checkpoint_ticks in [700, 1_000_000] {
        let path = record(folder.path(), "lost-wakeup", 8_000, checkpoint_ticks);
        let times = times(&path);
        let jumps: Vec<_> = times.windows(2).filter(|pair| pair[1].1 - pair[0].1 > 10).collect();
        assert!(jumps.len() >= 5, "{} jumps", jumps.len());
        let mut timeline = Timeline::open(&path).expect("opens");
        let last = times[times.len() - 1];
        let mut seek = |ns: u64, cursor: Position| {
            timeline.seek(cursor, &mut unsupervised()).expect("seeks");
            let landing = timeline.seek_time(ns, &mut unsupervised()).expect("seeks");
            assert_eq!(landing.position, timeline.position());
            (landing.position, timeline.virtual_ns(), landing.reason)
        };
        for (number, pair) in jumps.iter().enumerate() {
            let [before, after] = [pair[0], pair[1]];
            // From the begin, from the end and from between; into the jump, to its edges, and past them.
            let cursor = times[(number * 7919) % times.len()].0;
            for ns in [before.1 + 1, after.1 - 1, after.1] {
                assert_eq!(seek(ns, cursor), (after.0, after.1, Reason::Reached), "{ns} from {cursor}");
            }
            assert_eq!(seek(before.1, cursor), (before.0, before.1, Reason::Reached));
        }
        for (at, ns) in times.iter().step_by(311).filter(|(at, _)| *at < last.0) {
            assert_eq!(seek(*ns, last.0), (*at, *ns, Reason::Reached));
        }
        assert_eq!(seek(0, last.0).0, times[0].0);
        assert_eq!(seek(u64::MAX, times[0].0).2, Reason::End);
    }
}

#[test]
fn a_search_for_a_time_can_be_interrupted_and_leaves_the_cursor_in_a_true_state() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = record(folder.path(), "lost-wakeup", 8_000, 1_000_000);
    // The recording may have a checkpoint at its end, but none before it that is near.
    let last = times(&path).last().expect("a time").1;
    let mut timeline = Timeline::open(&path).expect("opens");
    timeline.look_every(100);
    let mut looks = 0;
    let mut supervisor = |_: Progress| {
        looks += 1;
        looks < 4
    };
    let landing = timeline.seek_time(last, &mut supervisor).expect("runs");
    assert_eq!(landing.reason, Reason::Interrupted);
    let found = timeline.digest().expect("a digest");
    let mut other = Timeline::open(&path).expect("opens");
    other.seek(landing.position, &mut unsupervised()).expect("seeks");
    assert_eq!(other.digest().expect("a digest"), found);
}

#[test]
fn coming_back_to_a_pinned_place_replays_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = record(folder.path(), "lost-update", 40_000, 1_000_000);
    let mut timeline = Timeline::open(&path).expect("opens");
    timeline.seek(Position::new(20_000, 3), &mut unsupervised()).expect("seeks");
    let pinned = timeline.pin().expect("is kept");
    assert_eq!(timeline.pin().expect("is kept"), pinned, "twice is once");
    let digest = timeline.digest().expect("a digest");
    // More checkpoints than are kept for others.
    for tick in (0..40_000).step_by(150) {
        timeline.seek(Position::new(tick, 1), &mut unsupervised()).expect("seeks");
    }
    let before = timeline.statistics();
    timeline.seek(pinned, &mut unsupervised()).expect("seeks");
    let after = timeline.statistics();
    assert_eq!((after.ticks, after.instructions), (before.ticks, before.instructions));
    assert_eq!((after.seeks, after.restores), (before.seeks + 1, before.restores + 1));
    assert_eq!(timeline.digest().expect("a digest"), digest);
    assert_eq!(timeline.pins().collect::<Vec<_>>(), [pinned]);
    assert!(timeline.unpin(pinned) && !timeline.unpin(pinned));
    assert_eq!(timeline.pins().count(), 0);
}

#[test]
fn pinned_places_are_bounded_in_number_and_in_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = record(folder.path(), "lost-update", 2_000, 1_000_000);
    let mut timeline = Timeline::open(&path).expect("opens");
    for number in 0..replayvm::timeline::MAX_PINS {
        timeline.pin().expect("is kept");
        assert_eq!(timeline.pins().count(), number + 1);
        timeline.step_forward().expect("steps");
    }
    assert!(matches!(timeline.pin(), Err(PinError::Many)));
    let mut small = Timeline::open(&path).expect("opens");
    small.cache_bytes(8192);
    small.seek(Position::new(1_500, 0), &mut unsupervised()).expect("seeks");
    assert!(matches!(small.pin(), Err(PinError::Large { .. })));
    assert_eq!(small.pins().count(), 0);
}
