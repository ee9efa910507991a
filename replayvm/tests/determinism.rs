//! A replay is the recorded run, whatever the host did to it and however it ended.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

/// Guests and recordings.
mod common;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use common::{boot_sector, corpora_guest, record, replay, settings};
use iced_x86::code_asm::*;
use recorder::{EndReason, Event, Position};
use replayvm::engine::{Breakpoints, SoftEngine};
use replayvm::machine::{GuestImages, Machine};
use replayvm::session::{Driver, Halt, Inputs, Live, Perturbation, RecordSession, ReplaySession, Settings};
use replayvm::timeline::{Progress, Reason, Timeline, unsupervised};

/// HLT with interrupts on, again and again; nothing of the machine will ever wake it.
fn sleeper() -> GuestImages {
    boot_sector(|a| {
        let mut again = a.create_label();
        a.sti().unwrap();
        a.set_label(&mut again).unwrap();
        a.hlt().unwrap();
        a.jmp(again).unwrap();
    })
}

/// Adds up what comes through the serial port until it is a zero, then ends the run with the sum.
fn reader() -> GuestImages {
    boot_sector(|a| {
        let mut wait = a.create_label();
        a.xor(bx, bx).unwrap();
        a.xor(ax, ax).unwrap();
        a.set_label(&mut wait).unwrap();
        a.mov(dx, 0x3fd_u32).unwrap();
        a.in_(al, dx).unwrap();
        a.test(al, 1).unwrap();
        a.jz(wait).unwrap();
        a.mov(dx, 0x3f8_u32).unwrap();
        a.in_(al, dx).unwrap();
        a.add(bx, ax).unwrap();
        a.test(al, al).unwrap();
        a.jnz(wait).unwrap();
        a.mov(ax, bx).unwrap();
        a.out(0xf4, ax).unwrap();
        a.hlt().unwrap();
    })
}

#[test]
fn a_triple_fault_ends_at_a_position_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let guest = boot_sector(|a| {
        // There are zeros, so that this loads an empty interrupt table.
        a.mov(bx, 0x500_u32).unwrap();
        a.lidt(ptr(bx)).unwrap();
        a.ud2().unwrap();
    });
    let (path, outcome) = record(folder.path(), &guest, &settings(), None);
    assert_eq!(outcome.end.reason, EndReason::TripleFault);
    let report = replay(&path);
    assert_eq!((report.position, report.digest), (outcome.end.position, outcome.end.digest));
    let mut timeline = Timeline::open(&path).unwrap();
    timeline.seek(Position::MAX, &mut unsupervised()).unwrap();
    let end = timeline.digest().unwrap();
    let before = timeline.step_backward().unwrap().position;
    assert!(before < timeline.end() && timeline.digest().unwrap() != end);
    assert_eq!(timeline.step_forward().unwrap().position, outcome.end.position);
    assert_eq!(timeline.digest().unwrap(), end);
}

#[test]
fn input_that_finds_no_room_wakes_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (sender, host) = mpsc::channel();
    sender.send(vec![b'x'; 1000]).unwrap();
    let (path, outcome) = record(folder.path(), &sleeper(), &settings(), Some(host));
    assert_eq!(outcome.end.reason, EndReason::Hung);
    assert_eq!(replay(&path).position, outcome.end.position);
}

#[test]
fn a_host_that_sends_nothing_wakes_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (sender, host) = mpsc::channel();
    let typist = std::thread::spawn(move || {
        for bytes in [&b""[..], b"", b"x", b""] {
            std::thread::sleep(Duration::from_millis(30));
            sender.send(bytes.to_vec()).unwrap();
        }
    });
    let (path, outcome) = record(folder.path(), &sleeper(), &settings(), Some(host));
    typist.join().unwrap();
    assert_eq!((outcome.end.reason, outcome.events), (EndReason::Hung, 2));
    assert_eq!(replay(&path).position, outcome.end.position);
}

#[test]
fn who_stops_a_guest_that_waits_for_the_host_gets_a_good_recording() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.rvm");
    let (sender, host) = mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let session =
        RecordSession::start(&path, "guest", &sleeper(), &settings(), Some(host), Arc::clone(&stop)).unwrap();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        stop.store(true, Ordering::Relaxed);
    });
    let outcome = session.run().unwrap();
    stopper.join().unwrap();
    drop(sender);
    assert_eq!(outcome.end.reason, EndReason::Interrupted);
    let report = replay(&path);
    assert_eq!((report.position, report.digest), (outcome.end.position, outcome.end.digest));
    let mut timeline = Timeline::open(&path).unwrap();
    assert_eq!(timeline.seek(Position::MAX, &mut unsupervised()).unwrap().reason, Reason::End);
}

#[test]
fn more_input_than_fits_comes_in_pieces_that_replay_alike() {
    let folder = tempfile::tempdir().unwrap();
    let (sender, host) = mpsc::channel();
    let mut bytes = vec![1; 5000];
    bytes.push(0);
    sender.send(bytes).unwrap();
    let settings = Settings { limit_ticks: 10_000_000, checkpoint_ticks: 250_000, ..settings() };
    let (path, outcome) = record(folder.path(), &reader(), &settings, Some(host));
    assert_eq!(outcome.end.reason, EndReason::DebugExit { code: 5000 });
    let report = replay(&path);
    assert_eq!((report.position, report.digest), (outcome.end.position, outcome.end.digest));
}

#[test]
fn a_guest_that_polls_without_branches_does_not_fill_memory_with_exits() {
    let guest = boot_sector(|a| {
        let mut again = a.create_label();
        a.set_label(&mut again).unwrap();
        a.in_(al, 0x80).unwrap();
        a.jmp(again).unwrap();
    });
    let settings = settings();
    let description = settings.description("guest", recorder::BootKind::Flat16);
    let mut machine = Machine::boot(&description, &guest).unwrap();
    machine.platform.log_exits = true;
    let mut inputs = Live::new(0, Perturbation::NONE, None);
    let mut driver = Driver::start(machine, Box::new(SoftEngine::new()), &mut inputs).unwrap();
    let until = Position::new(100, 0);
    let mut exits = 0;
    while driver.machine.position() < until {
        assert_eq!(driver.run(&mut inputs, until, &Breakpoints::default()).unwrap(), Halt::Reached);
        assert!(driver.machine.platform.exits.len() <= 1 << 16);
        exits += driver.machine.platform.exits.drain(..).count();
    }
    assert!(exits > 3_000_000);
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { limit_ticks: 20, ..settings };
    let (path, outcome) = record(folder.path(), &guest, &settings, None);
    assert_eq!(outcome.end.position, Position::new(20, 0));
    assert_eq!(replay(&path).exits, outcome.exits);
}

#[test]
fn a_loop_that_works_does_not_hang_and_one_that_does_nothing_does() {
    let folder = tempfile::tempdir().unwrap();
    // With either number of instructions the stall is found at a JMP sooner or later.
    for (padding, works) in [(0, true), (1, true), (0, false), (1, false)] {
        let guest = boot_sector(|a| {
            let (mut again, mut far) = (a.create_label(), a.create_label());
            a.set_label(&mut again).unwrap();
            if works {
                a.inc(ax).unwrap();
            }
            a.jmp(far).unwrap();
            a.db(&[0; 200]).unwrap();
            a.set_label(&mut far).unwrap();
            for _ in 0..padding {
                a.nop().unwrap();
            }
            a.jmp(again).unwrap();
        });
        let (path, outcome) =
            record(folder.path(), &guest, &Settings { limit_ticks: 50, ..settings() }, None);
        let expected = if works { EndReason::TickLimit } else { EndReason::Hung };
        assert_eq!(outcome.end.reason, expected, "{padding} {works}");
        assert_eq!(replay(&path).digest, outcome.end.digest);
    }
}

#[test]
fn who_looks_on_is_asked_even_where_ticks_are_rare() {
    looks_are_taken(&boot_sector(|a| {
        let mut again = a.create_label();
        a.set_label(&mut again).unwrap();
        a.inc(ax).unwrap();
        a.jmp(again).unwrap();
    }));
}

#[test]
fn who_looks_on_is_asked_even_where_no_instruction_retires() {
    looks_are_taken(&boot_sector(|a| {
        // The handler of #UD is a #UD. The stack has a segment of its own to go round in.
        a.mov(word_ptr(0x18), 0x7c20_u32).unwrap();
        a.mov(ax, 0x8000_u32).unwrap();
        a.mov(ss, ax).unwrap();
        a.nops_with_size(0x20 - 6 - 3 - 2).unwrap();
        a.ud2().unwrap();
    }));
}

/// The guest makes a tick with every 65,536th step only.
fn looks_are_taken(guest: &GuestImages) {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { limit_ticks: 300, checkpoint_ticks: 1_000_000, ..settings() };
    let (path, outcome) = record(folder.path(), guest, &settings, None);
    assert_eq!(outcome.end.position, Position::new(300, 0));
    let mut timeline = Timeline::open(&path).unwrap();
    assert_eq!(timeline.opened().checkpoints(), 2);
    let (mut longest, mut before) = (0, Position::START);
    let mut look = |progress: Progress| {
        longest = longest.max(progress.position.tick - before.tick);
        before = progress.position;
        true
    };
    timeline.seek(Position::new(299, 9), &mut look).unwrap();
    assert!(longest <= 16, "{longest} ticks of 65,536 steps each");
}

#[test]
fn virtual_time_that_runs_out_stands_still() {
    let folder = tempfile::tempdir().unwrap();
    for ns_per_tick in [1, u32::MAX] {
        let settings = Settings { ns_per_tick, limit_ticks: 50_000, ..settings() };
        let (path, outcome) = record(folder.path(), &corpora_guest("lost-update"), &settings, None);
        let report = replay(&path);
        assert_eq!((report.position, report.digest), (outcome.end.position, outcome.end.digest));
    }
    let no_time = Settings { ns_per_tick: 0, ..settings() };
    let path = folder.path().join("none.rvm");
    let guest = corpora_guest("lost-update");
    assert!(RecordSession::start(&path, "guest", &guest, &no_time, None, Arc::default()).is_err());
}

#[test]
fn chance_without_bounds_is_still_chance() {
    let folder = tempfile::tempdir().unwrap();
    let perturbation = Perturbation { timer_delay_ns: u64::MAX, hold_ticks: u32::MAX };
    let settings = Settings { perturbation, limit_ticks: 100_000, ..settings() };
    let (path, outcome) = record(folder.path(), &corpora_guest("lost-update"), &settings, None);
    assert_eq!(replay(&path).digest, outcome.end.digest);
}

#[test]
fn a_limit_that_falls_on_a_checkpoint_is_one_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { limit_ticks: 4_000, checkpoint_ticks: 1_000, ..settings() };
    let (path, outcome) = record(folder.path(), &corpora_guest("lost-update"), &settings, None);
    assert_eq!((outcome.end.reason.clone(), outcome.checkpoints), (EndReason::TickLimit, 5));
    assert_eq!(replay(&path).checkpoints, 5);
    let settings = Settings { limit_ticks: 0, ..settings };
    let (path, outcome) = record(folder.path(), &corpora_guest("lost-update"), &settings, None);
    assert_eq!(outcome.end.position, Position::START);
    assert_eq!(replay(&path).position, Position::START);
}

#[test]
fn a_recording_that_was_cut_off_anywhere_vouches_for_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let (sender, host) = mpsc::channel();
    let mut bytes = vec![1; 2000];
    bytes.push(0);
    sender.send(bytes).unwrap();
    let settings = Settings { limit_ticks: 1_000_000, checkpoint_ticks: 20_000, ..settings() };
    let (path, _) = record(folder.path(), &reader(), &settings, Some(host));
    let (timer_folder, settings) =
        (tempfile::tempdir().unwrap(), Settings { limit_ticks: 60_000, ..settings });
    let (timers, _) = record(timer_folder.path(), &corpora_guest("process-race"), &settings, None);
    for path in [path, timers] {
        let whole = fs::read(&path).unwrap();
        let mut truth = Timeline::open(&path).unwrap();
        let cut = folder.path().join("cut.rvm");
        let mut positions = std::collections::BTreeSet::new();
        for part in 1..60 {
            fs::write(&cut, &whole[..whole.len() * part / 60]).unwrap();
            let Ok(mut timeline) = Timeline::open(&cut) else { continue };
            let end = timeline.end();
            assert_eq!(timeline.seek(end, &mut unsupervised()).unwrap().position, end);
            truth.seek(end, &mut unsupervised()).unwrap();
            assert_eq!(timeline.digest().unwrap(), truth.digest().unwrap(), "at {end}");
            assert_eq!(replay(&cut).position, end);
            positions.insert(end);
        }
        assert!(positions.len() >= 3, "{positions:?}");
    }
}

#[test]
fn a_replay_that_stops_early_and_goes_on_ends_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { limit_ticks: 40_000, ..settings() };
    let (path, outcome) = record(folder.path(), &corpora_guest("lost-update"), &settings, None);
    for tick in [0, 1, 999, 1_000, 1_001, 39_999, 40_000] {
        let mut session = ReplaySession::open(&path, "soft").unwrap();
        let report = session.run(Some(Position::new(tick, 0)), &Arc::default(), |_| {}).unwrap();
        let mut timeline = Timeline::open(&path).unwrap();
        timeline.seek(report.position, &mut unsupervised()).unwrap();
        assert_eq!(timeline.digest().unwrap().0, report.digest, "at {}", report.position);
    }
    assert_eq!(replay(&path).digest, outcome.end.digest);
}

/// Ends the run with the upper half of CPUID's leaf 1 ECX.
fn asks_for_features() -> GuestImages {
    boot_sector(|a| {
        a.mov(eax, 1).unwrap();
        a.cpuid().unwrap();
        a.shr(ecx, 16).unwrap();
        a.mov(ax, cx).unwrap();
        a.out(0xf4, ax).unwrap();
        a.hlt().unwrap();
    })
}

#[test]
fn features_are_what_the_recording_says_and_cannot_be_what_the_cpu_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let code = |cpu_features: &[&str]| {
        let cpu_features = cpu_features.iter().map(|&change| change.to_owned()).collect();
        let (path, outcome) =
            record(folder.path(), &asks_for_features(), &Settings { cpu_features, ..settings() }, None);
        // The replay is told nothing but the file.
        assert_eq!(replay(&path).digest, outcome.end.digest);
        let EndReason::DebugExit { code } = outcome.end.reason else { panic!("{:?}", outcome.end) };
        code
    };
    let sse4_2 = 1 << (20 - 16);
    assert_eq!(code(&[]) & sse4_2, sse4_2);
    assert_eq!(code(&["-sse4_2"]), code(&[]) & !sse4_2);
    assert_eq!(code(&["+hypervisor"]), code(&[]) | 1 << 15);

    let mut description = settings().description("guest", recorder::BootKind::Flat16);
    description.cpu_features = vec!["+avx".to_owned()];
    let error = Machine::boot(&description, &asks_for_features()).unwrap_err();
    assert_eq!(error.to_string(), "the CPU does not have the feature `avx`: it is replayvm-v2");
}

#[test]
fn a_silent_guest_beside_a_person_waits_for_them_after_a_minute_of_its_time() {
    let (sender, receiver) = mpsc::channel();
    let mut inputs = Live::new(0, Perturbation::NONE, Some(receiver));
    let at = |tick| Position::new(tick, 0);
    let (second, never) = (1_000_000_000, u64::MAX / 4);
    for tick in 1..60 {
        assert_eq!(inputs.idle(at(tick), Some(second), 1), Some(second), "at once");
    }
    // From here on it would wait for as long as it says, but for a person who says something.
    sender.send(b"x".to_vec()).unwrap();
    assert_eq!(inputs.idle(at(60), Some(never), 1), Some(0));
    assert_eq!(inputs.serial(at(60), 1), b"x");
    assert_eq!(
        inputs.take_events(),
        [(at(60), Event::Idle { ns: 0 }), (at(60), Event::Serial { bytes: b"x".to_vec() })]
    );
    // What it was told, or says, gives it time again; so does a person who goes.
    assert_eq!(inputs.idle(at(61), Some(59 * second), 1), Some(59 * second));
    inputs.said(b"> ");
    assert_eq!(inputs.idle(at(62), Some(59 * second), 1), Some(59 * second));
    drop(sender);
    assert_eq!(inputs.serial(at(62), 1), b"");
    assert_eq!(inputs.idle(at(63), Some(never), 1), Some(never));
    assert_eq!(inputs.take_events(), []);
}

#[test]
fn in_real_time_an_idle_guest_hears_only_what_fits_and_who_stops_it_is_heard() {
    let (sender, receiver) = mpsc::channel();
    let mut inputs = Live::new(0, Perturbation::NONE, Some(receiver));
    inputs.wait_in_real_time(true);
    sender.send(b"x".to_vec()).unwrap();
    let at = Position::new(1, 0);
    assert_eq!(inputs.idle(at, Some(5_000_000), 0), Some(5_000_000), "no room, so it waits to the end");
    assert_eq!(inputs.idle(at, Some(u64::MAX / 4), 1), Some(0));
    assert_eq!(inputs.serial(at, 1), b"x");
    let stop = Arc::new(AtomicBool::new(true));
    inputs.stop_when(Arc::clone(&stop));
    assert!(!inputs.wants_rest());
    let waited = inputs.idle(at, Some(u64::MAX / 4), 1).unwrap();
    assert!(waited < u64::MAX / 4 && inputs.wants_rest());
    assert_eq!(inputs.take_events().last(), Some(&(at, Event::Idle { ns: waited })));
}
