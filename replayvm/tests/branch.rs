//! Branches: what is done in one is gone with it, the same is the same again, and a position names one state.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

/// Guests and recordings.
mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::{boot_sector, corpora_guest, settings};
use iced_x86::code_asm::*;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use recorder::{Digest, EndReason, ExitKind, Position};
use replayvm::machine::{ExitFilter, GuestImages};
use replayvm::session::Settings;
use replayvm::timeline::{EditError, Progress, Reason, Stops, Timeline, unsupervised};

/// Ticks of the recordings: past the boot and some timer interrupts.
const TICKS: u64 = 30_000;

fn record(folder: &Path, images: &GuestImages) -> PathBuf {
    let settings = Settings { limit_ticks: TICKS, checkpoint_ticks: 5_000, ..settings() };
    common::record(folder, images, &settings, None).0
}

fn digest(timeline: &mut Timeline) -> Digest {
    timeline.digest().unwrap().0
}

fn seek(timeline: &mut Timeline, position: Position) {
    assert_ne!(timeline.seek(position, &mut unsupervised()).unwrap().reason, Reason::Interrupted);
}

fn after(position: Position, ticks: u64) -> Position {
    Position::new(position.tick + ticks, 0)
}

/// Does something at random in a branch; everything that it does depends on `random` and on the machine.
fn do_something(timeline: &mut Timeline, random: &mut ChaCha8Rng) {
    let mut pick = |limit: u64| random.next_u64() % limit;
    let here = timeline.position();
    match pick(8) {
        0 => {
            let (register, value) = (pick(16) as usize, pick(1 << 40));
            timeline.edit_cpu(|cpu| cpu.gpr[register] = value).unwrap();
        }
        1 => {
            let gpa = pick(timeline.machine().platform.ram.bytes() - 64);
            let bytes: Vec<u8> = (0..1 + pick(64)).map(|_| pick(256) as u8).collect();
            timeline.write_physical(gpa, &bytes).unwrap();
        }
        2 => {
            let stack = timeline.cpu().gpr[4];
            // The guest may have been led astray before.
            let written = timeline.write_linear(stack.wrapping_sub(8), &pick(u64::MAX).to_le_bytes());
            assert!(matches!(written, Ok(()) | Err(EditError::Unmapped { .. } | EditError::NotRam(_))));
        }
        3 => match timeline.type_text(b"x\r\n") {
            Ok(()) | Err(EditError::Over(_)) => {}
            Err(error) => panic!("{error}"),
        },
        4 | 5 => {
            let until = after(here, 1 + pick(3_000));
            timeline.run_to(until, &mut unsupervised()).unwrap();
        }
        6 => {
            let begin = timeline.begin().tick;
            seek(timeline, Position::new(begin + pick(here.tick + 2 - begin), 3));
        }
        _ => {
            for _ in 0..pick(20) {
                timeline.step_backward().unwrap();
            }
        }
    }
}

#[test]
fn what_is_done_in_a_branch_is_gone_with_it_and_the_file_is_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = record(folder.path(), &corpora_guest("torn-read"));
    let file = fs::read(&path).unwrap();
    let mut truth = Timeline::open(&path).unwrap();
    let mut timeline = Timeline::open(&path).unwrap();
    let rounds = if std::env::var_os("REPLAYVM_SOAK").is_some() { 400 } else { 25 };
    for round in 0..rounds {
        let mut random = ChaCha8Rng::seed_from_u64(round);
        // Now and then with next to no memory for checkpoints.
        timeline.cache_bytes(if round % 3 == 0 { 1 << 16 } else { 256 << 20 });
        let at = Position::new(random.next_u64() % TICKS, (random.next_u64() % 6) as u32);
        seek(&mut timeline, at);
        seek(&mut truth, at);
        timeline.mark("kept");
        let fork = timeline.position();
        timeline.fork(round % 4).unwrap();
        assert_eq!(timeline.branch().unwrap().fork(), fork);
        assert_eq!(digest(&mut timeline), digest(&mut truth), "a branch begins as the recording at {fork}");
        assert!(timeline.marks().is_empty());
        for _ in 0..random.next_u64() % 12 {
            do_something(&mut timeline, &mut random);
        }
        timeline.return_to_recording().unwrap();
        assert_eq!((timeline.position(), timeline.marks()["kept"]), (fork, fork));
        assert_eq!(digest(&mut timeline), digest(&mut truth), "round {round} at {fork}");
        // And the recording goes on from there as it did.
        let on = after(fork, 1_500);
        seek(&mut timeline, on);
        seek(&mut truth, on);
        assert_eq!(digest(&mut timeline), digest(&mut truth), "round {round} after {fork}");
        timeline.step_backward().unwrap();
        truth.step_backward().unwrap();
        assert_eq!(digest(&mut timeline), digest(&mut truth), "round {round} before {on}");
    }
    assert!(fs::read(&path).unwrap() == file, "the recording is changed");
}

#[test]
fn the_same_in_two_branches_comes_to_the_same_and_another_seed_to_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = record(folder.path(), &corpora_guest("lost-update"));
    let run = |seed: u64, edits: u64| {
        let mut timeline = Timeline::open(&path).unwrap();
        seek(&mut timeline, Position::new(9_000, 2));
        timeline.fork(seed).unwrap();
        let mut random = ChaCha8Rng::seed_from_u64(edits);
        for _ in 0..10 {
            do_something(&mut timeline, &mut random);
        }
        let on = after(timeline.position(), 40_000);
        timeline.run_to(on, &mut unsupervised()).unwrap();
        digest(&mut timeline)
    };
    for edits in 0..3 {
        assert_eq!(run(1, edits), run(1, edits), "edits {edits}");
    }
    // Nothing but chance is different: the guest's timer fires at other ticks.
    let free = |seed: u64| {
        let mut timeline = Timeline::open(&path).unwrap();
        seek(&mut timeline, Position::new(9_000, 2));
        timeline.fork(seed).unwrap();
        seek(&mut timeline, Position::new(60_000, 0));
        digest(&mut timeline)
    };
    assert_ne!(free(1), free(2));
}

#[test]
fn back_and_forth_in_a_branch_is_one_plain_run_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = record(folder.path(), &corpora_guest("echo"));
    let begin = Position::new(12_000, 1);
    let start = || {
        let mut timeline = Timeline::open(&path).unwrap();
        seek(&mut timeline, begin);
        timeline.fork(5).unwrap();
        timeline.type_text(b"sleep 2\rhello\rtime\r").unwrap();
        timeline
    };
    let begin_of = |timeline: &Timeline| timeline.branch().unwrap().begin();
    // The truth: forward only, and nothing is ever restored.
    let mut truth = BTreeMap::new();
    let mut plain = start();
    while plain.position().tick < 60_000 {
        let on = after(plain.position(), 1_999);
        plain.run_to(on, &mut unsupervised()).unwrap();
        truth.insert(plain.position(), digest(&mut plain));
    }
    let said = printed(&plain);
    assert!(said.contains("sleep 2\r\nslept\r\n> ") && said.contains("hello"), "{said}");

    for (chunk, bytes) in [(50_000, 256 << 20), (37, 1 << 16)] {
        let mut timeline = start();
        timeline.look_every(chunk);
        timeline.cache_bytes(bytes);
        let mut random = ChaCha8Rng::seed_from_u64(chunk);
        let places: Vec<_> = truth.keys().copied().collect();
        for _ in 0..25 {
            let place = places[(random.next_u64() % places.len() as u64) as usize];
            seek(&mut timeline, place);
            assert_eq!(timeline.position(), place);
            assert_eq!(digest(&mut timeline), truth[&place], "at {place}");
            if random.next_u64().is_multiple_of(4) {
                let landing = timeline.step_backward().unwrap();
                assert!(landing.position < place, "{landing:?}");
                timeline.step_forward().unwrap();
                assert_eq!((timeline.position(), digest(&mut timeline)), (place, truth[&place]));
            }
        }
        let last = *truth.last_key_value().unwrap().0;
        seek(&mut timeline, last);
        assert_eq!(printed(&timeline), said);
        // The last word before here, and after going back only what comes before.
        let printing = Stops { exits: ExitFilter::NONE.with(ExitKind::PortWrite), ..Stops::default() };
        let landing = timeline.run_backward(&printing, &mut unsupervised()).unwrap();
        assert!(matches!(landing.reason, Reason::Exit(at, _) if at == landing.position), "{landing:?}");
        let before = printed(&timeline);
        assert!(said.starts_with(&before) && before.len() < said.len() + 1);
        let landing = timeline.run_backward(&Stops::default(), &mut unsupervised()).unwrap();
        assert_eq!((landing.position, landing.reason), (begin_of(&timeline), Reason::Begin));
        assert_eq!(printed(&timeline), "");
        // Typed again from the begin, it is another future.
        timeline.type_text(b"quit\r").unwrap();
        let landing = timeline.run_forward(&Stops::default(), &mut unsupervised()).unwrap();
        assert_eq!(landing.reason, Reason::End);
        let over = timeline.branch().unwrap().over().unwrap();
        assert_eq!((over.position, over.waits), (landing.position, false));
        assert!(matches!(over.reason, EndReason::DebugExit { .. }), "{over:?}");
    }
}

/// What the branch has printed before here.
fn printed(timeline: &Timeline) -> String {
    let printed = timeline.branch().unwrap().printed_before(timeline.position());
    String::from_utf8(printed.map(|printed| printed.byte).collect()).unwrap()
}

#[test]
fn a_branch_that_is_over_stays_so_and_can_be_gone_back_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = record(folder.path(), &corpora_guest("lost-update"));
    let mut timeline = Timeline::open(&path).unwrap();
    seek(&mut timeline, Position::new(20_000, 0));
    timeline.fork(0).unwrap();
    let landing = timeline.run_forward(&Stops::default(), &mut unsupervised()).unwrap();
    assert_eq!((landing.reason, timeline.end()), (Reason::End, landing.position));
    let (end, there) = (landing.position, digest(&mut timeline));
    assert!(end.tick > TICKS, "it runs on past the end of the recording");
    for _ in 0..2 {
        let landing = timeline.run_forward(&Stops::default(), &mut unsupervised()).unwrap();
        assert_eq!((landing.position, landing.reason), (end, Reason::End));
        assert_eq!(timeline.step_forward().unwrap().reason, Reason::End);
        assert_eq!(timeline.step_backward().unwrap().reason, Reason::Reached);
        seek(&mut timeline, Position::new(25_000, 0));
        seek(&mut timeline, after(end, 1_000));
        assert_eq!((timeline.position(), digest(&mut timeline)), (end, there));
    }
    assert!(matches!(timeline.type_text(b"x"), Err(EditError::Over(EndReason::DebugExit { .. }))));
    // A change before it makes another future.
    seek(&mut timeline, Position::new(25_000, 0));
    let stack = timeline.cpu().gpr[4];
    timeline.write_linear(stack - 64, &[1; 8]).unwrap();
    assert_eq!((timeline.begin(), timeline.end()), (timeline.position(), timeline.position()));
    assert_eq!(timeline.branch().unwrap().over(), None);
}

#[test]
fn a_guest_that_waits_for_input_goes_on_when_somebody_types() {
    let sleeper = boot_sector(|a| {
        // Wakes at what comes through the serial port, reads it all and says it back.
        let mut again = a.create_label();
        let mut begin = a.create_label();
        let mut handler = a.create_label();
        let mut done = a.create_label();
        a.jmp(begin).unwrap();
        a.set_label(&mut handler).unwrap();
        a.mov(dx, 0x3fd_u32).unwrap();
        a.in_(al, dx).unwrap();
        a.test(al, 1).unwrap();
        a.jz(done).unwrap();
        a.mov(dx, 0x3f8_u32).unwrap();
        a.in_(al, dx).unwrap();
        a.out(dx, al).unwrap();
        a.jmp(handler).unwrap();
        a.set_label(&mut done).unwrap();
        a.mov(al, 0x20_u32).unwrap();
        a.out(0x20, al).unwrap();
        a.iret().unwrap();
        a.set_label(&mut begin).unwrap();
        a.xor(ax, ax).unwrap();
        a.mov(ds, ax).unwrap();
        a.mov(word_ptr(0xc * 4), 0x7c02_u32).unwrap();
        a.mov(word_ptr(0xc * 4 + 2), ax).unwrap();
        a.mov(al, 1_u32).unwrap();
        a.mov(dx, 0x3f9_u32).unwrap();
        a.out(dx, al).unwrap();
        for (port, value) in [(0x20, 0x11_u32), (0x21, 8), (0x21, 4), (0x21, 1), (0x21, 0xef)] {
            a.mov(al, value).unwrap();
            a.out(port, al).unwrap();
        }
        a.sti().unwrap();
        a.set_label(&mut again).unwrap();
        a.hlt().unwrap();
        a.jmp(again).unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let path = record(folder.path(), &sleeper);
    let mut timeline = Timeline::open(&path).unwrap();
    let end = timeline.end();
    seek(&mut timeline, end);
    timeline.fork(0).unwrap();
    let run = |timeline: &mut Timeline| {
        timeline.run_forward(&Stops::default(), &mut unsupervised()).unwrap().position
    };
    let first = run(&mut timeline);
    assert!(timeline.branch().unwrap().over().unwrap().waits, "as where the recording ends");
    assert_eq!(first, timeline.branch().unwrap().fork());
    timeline.type_text(b"one").unwrap();
    let second = run(&mut timeline);
    assert_eq!(printed(&timeline), "one");
    timeline.type_text(b"two").unwrap();
    let third = run(&mut timeline);
    assert!(first < second && second < third);
    let there = digest(&mut timeline);
    assert_eq!(printed(&timeline), "onetwo");
    assert_eq!(run(&mut timeline), third, "it waits");
    // Over both places where it waited, the second time.
    let begin = timeline.begin();
    seek(&mut timeline, begin);
    assert_eq!(printed(&timeline), "");
    assert_eq!(run(&mut timeline), third);
    assert_eq!((digest(&mut timeline), printed(&timeline).as_str()), (there, "onetwo"));
}

#[test]
fn code_that_is_changed_is_the_code_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = record(folder.path(), &corpora_guest("lost-update"));
    let mut timeline = Timeline::open(&path).unwrap();
    seek(&mut timeline, Position::new(20_000, 0));
    timeline.fork(0).unwrap();
    // A loop that has run many times: its blocks are decoded.
    timeline.run_to(Position::new(20_100, 0), &mut unsupervised()).unwrap();
    let (rip, begin) = (timeline.cpu().rip, timeline.position());
    // mov eax, 0x12345678; jmp to itself
    timeline.write_linear(rip, &[0xb8, 0x78, 0x56, 0x34, 0x12, 0xeb, 0xfe]).unwrap();
    timeline.run_to(Position::new(begin.tick, 1), &mut unsupervised()).unwrap();
    assert_eq!((timeline.cpu().gpr[0], timeline.cpu().rip), (0x1234_5678, rip + 5));
    timeline.return_to_recording().unwrap();
    timeline.run_to(Position::new(20_200, 0), &mut unsupervised()).unwrap();
    let mut truth = Timeline::open(&path).unwrap();
    seek(&mut truth, Position::new(20_200, 0));
    assert_eq!(digest(&mut timeline), digest(&mut truth), "and the old code runs again");
}

#[test]
fn what_is_refused_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = record(folder.path(), &corpora_guest("lost-update"));
    let mut timeline = Timeline::open(&path).unwrap();
    seek(&mut timeline, Position::new(20_000, 2));
    let before = digest(&mut timeline);
    assert!(matches!(timeline.write_physical(0x1000, &[1]), Err(EditError::Recording)));
    assert!(matches!(timeline.write_linear(0x1000, &[1]), Err(EditError::Recording)));
    assert!(matches!(timeline.edit_cpu(|cpu| cpu.gpr[0] ^= 1), Err(EditError::Recording)));
    assert!(matches!(timeline.set_task_priority(3), Err(EditError::Recording)));
    assert!(matches!(timeline.type_text(b"x"), Err(EditError::Recording)));
    assert!(matches!(timeline.return_to_recording(), Err(EditError::Recording)));
    timeline.fork(0).unwrap();
    assert!(matches!(timeline.fork(1), Err(EditError::InBranch(_))));
    let ram = timeline.machine().platform.ram.bytes();
    assert!(matches!(timeline.write_physical(ram - 2, &[1; 4]), Err(EditError::NotRam(_))));
    assert!(matches!(timeline.write_physical(u64::MAX - 1, &[1; 4]), Err(EditError::NotRam(_))));
    assert!(matches!(timeline.write_physical(0xfee0_0020, &[1; 4]), Err(EditError::NotRam(_))));
    let canonical_end = (1 << 47) - 2;
    assert!(matches!(timeline.write_linear(canonical_end, &[1; 4]), Err(EditError::Unmapped { .. })));
    assert!(matches!(timeline.set_task_priority(16), Err(EditError::Cpu(_))));
    assert!(matches!(timeline.type_text(&[b'x'; 1 << 17]), Err(EditError::TooMuchTyped(_))));
    let refused: [fn(&mut replayvm_cpu::CpuState); 8] = [
        |cpu| cpu.rip = 1 << 50,
        |cpu| cpu.cr0 &= !0x8000_0001,
        |cpu| cpu.cr4 &= !0x20,
        |cpu| cpu.efer ^= 0x100,
        |cpu| cpu.mxcsr |= 1 << 20,
        |cpu| cpu.segments[1].selector ^= 8,
        |cpu| cpu.now.tick += 1,
        |cpu| cpu.rflags |= 1 << 17,
    ];
    for (index, edit) in refused.into_iter().enumerate() {
        assert!(matches!(timeline.edit_cpu(edit), Err(EditError::Cpu(_))), "{index}");
    }
    assert_eq!(digest(&mut timeline), before);
    // What an instruction would leave as it is stays as it is.
    timeline.edit_cpu(|cpu| cpu.rflags = 0x203 | 1 << 63).unwrap();
    assert_eq!(timeline.cpu().rflags, 0x203);
    timeline.set_task_priority(3).unwrap();
    assert_eq!(timeline.machine().platform.devices.tpr(), 3);
}

#[test]
fn an_interrupted_run_of_a_branch_rests_at_a_position_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = record(folder.path(), &corpora_guest("echo"));
    let mut timeline = Timeline::open(&path).unwrap();
    seek(&mut timeline, Position::new(10_000, 0));
    timeline.fork(0).unwrap();
    let mut looks = 0;
    let mut stop = |_: Progress| {
        looks += 1;
        looks < 20
    };
    let landing = timeline.run_forward(&Stops::default(), &mut stop).unwrap();
    assert_eq!(landing.reason, Reason::Interrupted);
    let there = digest(&mut timeline);
    let begin = timeline.begin();
    seek(&mut timeline, begin);
    seek(&mut timeline, landing.position);
    assert_eq!((timeline.position(), digest(&mut timeline)), (landing.position, there));
}

/// Register files at random, and a thousand steps from each: the CPU faults, it may shut down, and it never panics.
#[test]
fn no_registers_that_are_accepted_make_the_cpu_panic() {
    let real = boot_sector(|a| {
        let mut again = a.create_label();
        a.set_label(&mut again).unwrap();
        a.inc(ax).unwrap();
        a.jnz(again).unwrap();
        a.jmp(again).unwrap();
    });
    for (name, guest) in [("64-bit code", corpora_guest("hash-collision")), ("16-bit code", real)] {
        let folder = tempfile::tempdir().unwrap();
        let path = record(folder.path(), &guest);
        let mut timeline = Timeline::open(&path).unwrap();
        seek(&mut timeline, Position::new(15_000, 1));
        let mut accepted = 0;
        for round in 0..60 {
            let mut random = ChaCha8Rng::seed_from_u64(round);
            timeline.fork(round).unwrap();
            for _ in 0..6 {
                let (which, value, bit) = (random.next_u64() % 24, random.next_u64(), random.next_u64() % 64);
                let value = if value.is_multiple_of(3) { value >> bit } else { value };
                let edited = timeline.edit_cpu(|cpu| match which {
                    0 => cpu.rip = cpu.rip.wrapping_add(value % 64),
                    1 => cpu.rip = value,
                    2 => cpu.rflags = value,
                    3 => cpu.rflags ^= 1 << bit,
                    4 => cpu.cr0 ^= 1 << (bit & 31),
                    5 => cpu.cr3 = value,
                    6 => cpu.cr4 ^= 1 << (bit & 31),
                    7 => cpu.efer ^= 1 << (bit & 15),
                    8 => cpu.cr2 = value,
                    9 => cpu.segments[4].base = value,
                    10 => cpu.segments[5].base = value,
                    11 => cpu.kernel_gs_base = value,
                    12 => cpu.gdtr.base = value,
                    13 => cpu.gdtr.limit = value as u16,
                    14 => cpu.idtr.base = value,
                    15 => cpu.idtr.limit = value as u16,
                    16 => cpu.fcw = value as u16,
                    17 => cpu.fsw = value as u16,
                    18 => cpu.ftw = value as u8,
                    19 => cpu.mxcsr = value as u32 & 0xffff,
                    20 => cpu.st[(bit & 7) as usize] = u128::from(value) << 16,
                    21 => cpu.xmm[(bit & 15) as usize] = u128::from(value) << bit,
                    _ => cpu.gpr[(bit & 15) as usize] = value,
                });
                accepted += usize::from(edited.is_ok());
            }
            for _ in 0..1_000 {
                if timeline.step_forward().unwrap().reason == Reason::End {
                    break;
                }
            }
            timeline.return_to_recording().unwrap();
        }
        assert!(accepted > 100, "{name}: {accepted} accepted");
    }
}
