//! How long a person or a guest waits. Measured, not asserted:
//! `cargo test --release -p replayvm --test latency -- --ignored --nocapture`.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measurement, in the time of whoever waits"
)]

/// Guests and recordings.
mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{corpora_guest, record, replay, settings};
use iced_x86::code_asm::*;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use recorder::Position;
use replayvm::machine::{GuestImages, Watch, WatchKind};
use replayvm::session::{RecordSession, Settings};
use replayvm::timeline::{Stops, Timeline, unsupervised};

/// An ELF32 executable of one segment.
fn elf32(write: impl FnOnce(&mut CodeAssembler)) -> GuestImages {
    let (base, headers) = (0x10_0000_u32, 84_u32);
    let mut code = CodeAssembler::new(32).unwrap();
    write(&mut code);
    let code = code.assemble(u64::from(base + headers)).unwrap();
    let size = headers + code.len() as u32;
    let mut image = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0".to_vec();
    let words = [1, base + headers, 52, 0, 0, 52 | 32 << 16, 1, 0, 1, 0, base, base, size, size, 7, 4096];
    image.extend(words.iter().flat_map(|word: &u32| word.to_le_bytes()));
    image.extend(code);
    GuestImages { kernel: image, ..GuestImages::default() }
}

/// Writes a new word into each of 1,000 pages, `stride` bytes apart, in 1,000 ticks, again and again.
fn writer(stride: u32) -> GuestImages {
    elf32(|a| {
        let (mut pass, mut page) = (a.create_label(), a.create_label());
        a.set_label(&mut pass).unwrap();
        a.mov(edi, 0x100_0000).unwrap();
        a.mov(ecx, 1000).unwrap();
        a.set_label(&mut page).unwrap();
        a.inc(eax).unwrap();
        a.mov(ptr(edi), eax).unwrap();
        a.add(edi, stride as i32).unwrap();
        a.loop_(page).unwrap();
        a.jmp(pass).unwrap();
    })
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
    println!("{what}: p50 {:?}, p99 {:?}, max {:?}, n {}", at(50), at(99), at(100), times.len());
}

#[test]
#[ignore = "a measurement"]
fn checkpoints_of_a_gibibyte() {
    let folder = tempfile::tempdir().unwrap();
    for (what, stride) in [("side by side", 4096), ("a MiB apart", 1 << 20)] {
        let settings = Settings { memory_bytes: 1 << 30, ..settings() };
        let path = folder.path().join("run.rvm");
        let mut session =
            RecordSession::start(&path, "writer", &writer(stride), &settings, None, Arc::default()).unwrap();
        let (mut pauses, mut near) = (Vec::new(), Vec::new());
        for pass in 1..=200 {
            session.advance(pass * 1000).unwrap();
            // The disk is not what is measured.
            session.flush().unwrap();
            let began = Instant::now();
            session.checkpoint().unwrap();
            if pass > 10 {
                pauses.push(began.elapsed());
            }
            assert!((999..1002).contains(&session.written_pages()), "{}", session.written_pages());
        }
        print(&format!("checkpoint of 1,000 pages {what}"), pauses);
        drop(session);
        let mut timeline = Timeline::open(&path).unwrap();
        for pass in (1..200).rev() {
            let began = Instant::now();
            timeline.seek(Position::new(pass * 1000, 0), &mut unsupervised()).unwrap();
            near.push(began.elapsed());
        }
        print(&format!("restore of 1,000 pages {what}"), near);
    }
}

#[test]
#[ignore = "a measurement"]
fn seeks_and_steps_back() {
    let folder = tempfile::tempdir().unwrap();
    for guest in ["process-race", "priority-inversion"] {
        let settings = Settings { limit_ticks: 20_000_000, checkpoint_ticks: 250_000, ..settings() };
        let (path, outcome) = record(folder.path(), &corpora_guest(guest), &settings, None);
        let began = Instant::now();
        let mut timeline = Timeline::open(&path).unwrap();
        println!("{guest}: {} ticks, opened in {:?}", outcome.end.position.tick, began.elapsed());
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let (mut seeks, mut first, mut next) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..400 {
            let target = Position::new(random.next_u64() % outcome.end.position.tick.max(1), 0);
            let began = Instant::now();
            timeline.seek(target, &mut unsupervised()).unwrap();
            seeks.push(began.elapsed());
            for step in 0..21 {
                let began = Instant::now();
                timeline.step_backward().unwrap();
                if step == 0 { &mut first } else { &mut next }.push(began.elapsed());
            }
        }
        print("seek to a random tick", seeks);
        print("first step back there", first);
        print("each of twenty more", next);
        println!("{} KiB of pages in memory", timeline.cached_bytes() / 1024);
    }
}

#[test]
#[ignore = "a measurement"]
fn steps_back_in_a_long_tick() {
    let folder = tempfile::tempdir().unwrap();
    let guest = elf32(|a| {
        let mut again = a.create_label();
        a.mov(ecx, 0x10_0059).unwrap();
        a.set_label(&mut again).unwrap();
        a.inc(eax).unwrap();
        a.push(eax).unwrap();
        a.pop(ebx).unwrap();
        a.jmp(ecx).unwrap();
    });
    let (path, outcome) = record(folder.path(), &guest, &Settings { limit_ticks: 20, ..settings() }, None);
    assert_eq!(outcome.end.position.tick, 20);
    let mut timeline = Timeline::open(&path).unwrap();
    let mut times = Vec::new();
    for tick in (5..20).rev() {
        timeline.seek(Position::new(tick, 0), &mut unsupervised()).unwrap();
        for _ in 0..30 {
            let began = Instant::now();
            timeline.step_backward().unwrap();
            times.push(began.elapsed());
        }
    }
    print("step back in a tick of 65,536 steps", times);
}

#[test]
#[ignore = "a measurement"]
fn searches_back_over_a_long_run() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { limit_ticks: 20_000_000, checkpoint_ticks: 250_000, ..settings() };
    let (path, outcome) = record(folder.path(), &corpora_guest("process-race"), &settings, None);
    let began = Instant::now();
    replay(&path);
    println!("{} ticks, replayed plainly in {:?}", outcome.end.position.tick, began.elapsed());
    let mut timeline = Timeline::open(&path).unwrap();
    timeline.seek(timeline.end(), &mut unsupervised()).unwrap();
    let stack = timeline.translate(timeline.cpu().gpr[4]).unwrap() & !0xfff;
    let watch = |gpa, kind| Stops { watches: vec![Watch { gpa, len: 1, kind }], ..Stops::default() };
    let searches = [
        ("a store to a page that is not written", watch(0x80_0000, WatchKind::Write)),
        ("a store to a byte beside the stack", watch(stack, WatchKind::Write)),
        ("a load that is not made", watch(0x80_0000, WatchKind::Read)),
        ("an instruction that is not executed", Stops { addresses: vec![0xdead_beef], ..Stops::default() }),
    ];
    for processors in [1, 2, 4] {
        let mut timeline = Timeline::open(&path).unwrap();
        timeline.search_on(processors);
        for (what, stops) in &searches {
            timeline.seek(timeline.end(), &mut unsupervised()).unwrap();
            let began = Instant::now();
            let landing = timeline.run_backward(stops, &mut unsupervised()).unwrap();
            println!("{processors} processors, {what}: {:?}, at {}", began.elapsed(), landing.position);
        }
    }
}
