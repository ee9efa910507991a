//! A run from a fork is the run from power-on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

/// Guests and recordings.
mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use common::{boot_sector, record, replay, settings};
use iced_x86::code_asm::*;
use recorder::{EndReason, Event};
use replayvm::machine::GuestImages;
use replayvm::recording::OpenRecording;
use replayvm::session::{Fork, Settings, Start};

/// Reads entropy, says `go`, reads entropy again, counts loops until twenty timer interrupts have come, and ends the run
/// with all of that mixed.
fn counter() -> GuestImages {
    boot_sector(|a| {
        let (mut start, mut again) = (a.create_label(), a.create_label());
        a.mov(sp, 0x7000_u32).unwrap();
        // Leaves the address of the handler on the stack.
        a.call(start).unwrap();
        a.inc(cx).unwrap();
        a.push(ax).unwrap();
        a.mov(al, 0x20).unwrap();
        a.out(0x20, al).unwrap();
        a.pop(ax).unwrap();
        a.iret().unwrap();
        a.set_label(&mut start).unwrap();
        a.rdrand(bx).unwrap();
        a.pop(ax).unwrap();
        a.mov(word_ptr(8 * 4), ax).unwrap();
        a.mov(word_ptr(8 * 4 + 2), 0_u32).unwrap();
        for (port, value) in [
            (0x20_i32, 0x11_i32),
            (0x21, 8),
            (0x21, 4),
            (0x21, 1),
            (0x21, 0xfe),
            (0x43, 0x34),
            (0x40, 0),
            (0x40, 1),
        ] {
            a.mov(al, value).unwrap();
            a.out(port, al).unwrap();
        }
        a.xor(cx, cx).unwrap();
        a.xor(di, di).unwrap();
        a.mov(dx, 0x3f8_u32).unwrap();
        for byte in *b"go\n" {
            a.mov(al, i32::from(byte)).unwrap();
            a.out(dx, al).unwrap();
        }
        a.rdrand(si).unwrap();
        a.sti().unwrap();
        a.set_label(&mut again).unwrap();
        a.inc(di).unwrap();
        a.cmp(cx, 20).unwrap();
        a.jb(again).unwrap();
        a.cli().unwrap();
        a.mov(ax, bx).unwrap();
        a.shl(eax, 16).unwrap();
        a.mov(ax, si).unwrap();
        a.add(ax, di).unwrap();
        a.mov(dx, 0xf4_u32).unwrap();
        a.out(dx, eax).unwrap();
        a.hlt().unwrap();
    })
}

fn varied() -> Settings {
    Settings { vary_after: Some("go".to_owned()), limit_ticks: 1_000_000, ..settings() }
}

#[test]
fn every_seed_from_a_fork_is_the_seed_from_power_on() {
    let folder = tempfile::tempdir().unwrap();
    let guest = counter();
    let stop = AtomicBool::new(false);
    let start = Fork::prepare("guest", &guest, &varied(), &stop).unwrap();
    let Start::Ready(fork) = start else { panic!("{start:?}") };
    let fork = Arc::new(*fork);
    let mut runner = fork.runner().unwrap();
    let mut codes = HashSet::new();
    // One machine runs them all: what a run leaves behind must not reach the next.
    for seed in [5, 6, 7, 5, 8] {
        let forked = runner.run(seed, &stop).unwrap();
        let (path, whole) = record(folder.path(), &guest, &Settings { seed, ..varied() }, None);
        assert_eq!((forked.position, forked.digest), (whole.end.position, whole.end.digest), "seed {seed}");
        assert_eq!((&forked.reason, &forked.console), (&whole.end.reason, &whole.console));
        assert_eq!(replay(&path).digest, whole.end.digest);
        let EndReason::DebugExit { code } = forked.reason else { panic!("{forked:?}") };
        codes.insert(code);
        // Up to the fork only the seed that all have in common has decided.
        let (opened, _) = OpenRecording::open(&path).unwrap();
        for event in opened.recording().events() {
            let (at, event) = event.unwrap();
            let common = matches!(event, Event::Clock { .. } | Event::Entropy { .. });
            assert!(common || at >= fork.position(), "{event:?} at {at}");
        }
    }
    let first: HashSet<u32> = codes.iter().map(|code| code >> 16).collect();
    assert_eq!((codes.len(), first.len()), (4, 1), "{codes:x?}");
}

#[test]
fn a_start_that_never_says_the_word_is_told_from_one_that_does() {
    let settings = Settings { vary_after: Some("gone".to_owned()), ..varied() };
    match Fork::prepare("guest", &counter(), &settings, &AtomicBool::new(false)).unwrap() {
        Start::Ended(EndReason::DebugExit { .. }, _) => {}
        other => panic!("{other:?}"),
    }
    match Fork::prepare("guest", &counter(), &settings, &AtomicBool::new(true)).unwrap() {
        Start::Ended(EndReason::Interrupted, _) => {}
        other => panic!("{other:?}"),
    }
}
