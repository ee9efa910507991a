//! Every stop of a run is met, and met once, whichever way the run goes: breakpoints, watched memory, exits.

#![allow(clippy::expect_used, clippy::panic, reason = "test code outside of test functions")]

/// Guests and recordings.
mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use common::{corpora_guest, settings};
use recorder::{ExitKind, Position};
use replayvm::engine::{AddressSpace, Breakpoints};
use replayvm::machine::{ExitFilter, Watch, WatchKind};
use replayvm::session::Settings;
use replayvm::timeline::{Reason, Stops, Timeline, unsupervised};

fn record(folder: &Path, guest: &str, checkpoint_ticks: u64) -> PathBuf {
    let settings = Settings { limit_ticks: 30_000, checkpoint_ticks, ..settings() };
    common::record(folder, &corpora_guest(guest), &settings, None).0
}

/// Every stop of a run, by walking: positions at a breakpoint, and positions before a step that is watched or makes an
/// exit that was asked for.
fn stops_by_walking(path: &Path, stops: &Stops) -> (Vec<Position>, BTreeSet<usize>, BTreeSet<usize>) {
    let mut timeline = Timeline::open(path).expect("opens");
    let bound: Vec<u64> = stops.bound.iter().map(|(linear, _)| *linear).collect();
    let breakpoints = Breakpoints::new([&stops.addresses[..], &bound[..]].concat());
    let is_wanted = |timeline: &Timeline| {
        let (rip, root) = (timeline.cpu().linear_rip(), timeline.cpu().cr3 & !0xfff);
        let in_space = |(linear, space): &(u64, AddressSpace)| *linear == rip && space.root() == root;
        stops.addresses.contains(&rip) || stops.bound.iter().any(in_space)
    };
    let exits: BTreeSet<Position> = timeline
        .opened()
        .recording()
        .exits()
        .map(|exit| exit.expect("an exit"))
        .filter(|(_, exit)| stops.exits.has(exit.kind()))
        .map(|(at, _)| at)
        .collect();
    let (mut positions, mut steps, mut breaks) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    loop {
        let at = timeline.position();
        let index = positions.len();
        positions.push(at);
        if timeline.machine().stops_at(&breakpoints) && is_wanted(&timeline) {
            breaks.insert(index);
        }
        match timeline.step_forward_watching(stops).expect("steps").reason {
            Reason::End => return (positions, steps, breaks),
            Reason::Watch(hit) => {
                assert_eq!(hit.at, at);
                steps.insert(index);
            }
            _ if exits.contains(&at) => {
                steps.insert(index);
            }
            _ => {}
        }
    }
}

/// Backwards from the end and forwards from the begin, every stop is met once and nothing else.
fn every_stop_is_met(path: &Path, stops: &Stops, look_every: u64, least: usize) {
    let (positions, steps, breaks) = stops_by_walking(path, stops);
    let last = positions.len() - 1;
    for processors in [1, 2, 4] {
        let mut timeline = Timeline::open(path).expect("opens");
        timeline.search_on(processors);
        timeline.look_every(look_every);
        every_stop_is_met_by(&mut timeline, stops, (&positions, &steps, &breaks), least);
        let (begin, end) = (timeline.begin(), timeline.end());
        let found = timeline.collect(stops, begin, end, usize::MAX, &mut unsupervised()).expect("collects");
        let mut found: Vec<_> = found.hits.iter().map(|hit| hit.position).collect();
        found.dedup();
        let expected = breaks.iter().filter(|index| **index < last).chain(&steps).collect::<BTreeSet<_>>();
        let expected: Vec<_> = expected.into_iter().map(|index| positions[*index]).collect();
        assert_eq!(found, expected, "collected on {processors}");
    }
}

fn every_stop_is_met_by(
    timeline: &mut Timeline,
    stops: &Stops,
    (positions, steps, breaks): (&[Position], &BTreeSet<usize>, &BTreeSet<usize>),
    least: usize,
) {
    let last = positions.len() - 1;

    let mut expected: BTreeSet<usize> =
        breaks.iter().copied().filter(|index| *index > 0 && *index < last).collect();
    expected.extend(steps.iter().map(|index| index + 1));
    assert!(expected.len() >= least, "{} stops", expected.len());
    let mut met = BTreeSet::new();
    loop {
        let landing = timeline.run_forward(stops, &mut unsupervised()).expect("runs");
        let index = positions.binary_search(&landing.position).expect("a position of the run");
        if landing.reason == Reason::End {
            break;
        }
        assert!(met.insert(index), "{landing:?} twice");
    }
    assert_eq!(met, expected, "forward");

    let mut expected: BTreeSet<usize> = breaks.iter().copied().filter(|index| *index < last).collect();
    expected.extend(steps);
    let mut met = BTreeSet::new();
    let mut before = Position::MAX;
    loop {
        let landing = timeline.run_backward(stops, &mut unsupervised()).expect("runs");
        if landing.reason == Reason::Begin {
            break;
        }
        assert!(landing.position < before, "{landing:?}");
        before = landing.position;
        met.insert(positions.binary_search(&landing.position).expect("a position of the run"));
    }
    expected.remove(&0);
    met.remove(&0);
    assert_eq!(met, expected, "backward");
}

/// The stack at the end of the run, and the first instruction of its first interrupt's handler.
fn stack_and_handler(path: &Path) -> (u64, u64) {
    let mut timeline = Timeline::open(path).expect("opens");
    let interrupts = Stops { exits: ExitFilter::NONE.with(ExitKind::Interrupt), ..Stops::default() };
    let landing = timeline.run_forward(&interrupts, &mut unsupervised()).expect("runs");
    assert!(matches!(landing.reason, Reason::Exit(..)), "{landing:?}");
    let stack = timeline.translate(timeline.cpu().gpr[4]).expect("a mapped stack");
    (stack & !7, timeline.cpu().linear_rip())
}

#[test]
fn interrupts_their_pushes_and_their_handler_are_stops_of_two_places() {
    let folder = tempfile::tempdir().expect("a folder");
    for (guest, checkpoint_ticks, look_every) in
        [("lost-update", 3_000, 41), ("process-race", 1_000_000, 50_000), ("process-race", 901, 50_000)]
    {
        let path = record(folder.path(), guest, checkpoint_ticks);
        let (gpa, handler) = stack_and_handler(&path);
        let stops = Stops {
            addresses: vec![handler],
            watches: vec![Watch { gpa, len: 16, kind: WatchKind::Write }],
            exits: ExitFilter::NONE.with(ExitKind::Interrupt).with(ExitKind::PortWrite),
            ..Stops::default()
        };
        every_stop_is_met(&path, &stops, look_every, 20);
    }
}

#[test]
fn a_bound_breakpoint_stops_in_its_address_space_and_is_passed_elsewhere() {
    let folder = tempfile::tempdir().expect("a folder");
    // Long enough for some turns of the two processes.
    let settings = Settings { limit_ticks: 100_000, checkpoint_ticks: 9_001, ..settings() };
    let path = common::record(folder.path(), &corpora_guest("process-race"), &settings, None).0;
    let (_, handler) = stack_and_handler(&path);
    let anywhere = Stops { addresses: vec![handler], ..Stops::default() };
    let mut timeline = Timeline::open(&path).expect("opens");
    let mut spaces = Vec::new();
    while timeline.run_forward(&anywhere, &mut unsupervised()).expect("runs").reason != Reason::End {
        spaces.push(AddressSpace::of(timeline.cpu()).expect("paging"));
    }
    let others = spaces.iter().filter(|space| **space != spaces[0]).count();
    assert!(others > 2 && spaces.len() - others > 2, "{spaces:x?}");
    let bound = vec![(handler, spaces[0])];
    let exits = ExitFilter::NONE.with(ExitKind::PortWrite);
    every_stop_is_met(&path, &Stops { bound, exits, ..Stops::default() }, 1_037, 6);
}

#[test]
fn reads_and_accesses_are_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = record(folder.path(), "process-race", 5_000);
    let (gpa, _) = stack_and_handler(&path);
    for kind in [WatchKind::Read, WatchKind::Access] {
        let watches = vec![Watch { gpa, len: 8, kind }];
        every_stop_is_met(&path, &Stops { watches, ..Stops::default() }, 50_000, 10);
    }
}

#[test]
fn every_kind_of_exit_is_a_stop() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = record(folder.path(), "hash-collision", 6_000);
    every_stop_is_met(&path, &Stops { exits: ExitFilter::ALL, ..Stops::default() }, 50_000, 10);
}
