//! Where two recordings part, to the step.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

/// Guests and recordings.
mod common;

use common::{boot_sector, record, settings};
use iced_x86::code_asm::*;
use recorder::{Event, Position};
use replayvm::compare::{CompareError, Comparison, Parted, compare};
use replayvm::machine::GuestImages;
use replayvm::session::Settings;
use replayvm::timeline::{Progress, Supervisor, Timeline, unsupervised};

/// Says `go`, counts in CX, reads entropy, counts again and ends the run with what it read.
fn reader() -> GuestImages {
    boot_sector(|a| {
        let (mut before, mut after) = (a.create_label(), a.create_label());
        a.mov(dx, 0x3f8_u32).unwrap();
        for byte in *b"go\n" {
            a.mov(al, i32::from(byte)).unwrap();
            a.out(dx, al).unwrap();
        }
        a.mov(cx, 3000_u32).unwrap();
        a.set_label(&mut before).unwrap();
        a.dec(cx).unwrap();
        a.jnz(before).unwrap();
        a.nop().unwrap();
        a.rdrand(si).unwrap();
        a.mov(cx, 300_u32).unwrap();
        a.set_label(&mut after).unwrap();
        a.dec(cx).unwrap();
        a.jnz(after).unwrap();
        a.mov(ax, si).unwrap();
        a.mov(dx, 0xf4_u32).unwrap();
        a.out(dx, ax).unwrap();
        a.hlt().unwrap();
    })
}

fn seeds(seeds: [u64; 2], supervisor: &mut dyn Supervisor) -> Result<Comparison, CompareError> {
    let timelines = seeds.map(|seed| {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { seed, vary_after: Some("go".to_owned()), ..settings() };
        let (path, _) = record(folder.path(), &reader(), &settings, None);
        Timeline::open(&path).unwrap()
    });
    compare(timelines, 2, supervisor)
}

#[test]
fn runs_part_at_the_step_that_reads_another_input() {
    let found = seeds([1, 2], &mut unsupervised()).unwrap();
    assert!(!found.is_equal());
    let Some(Parted {
        sides: [Some((at, Event::Entropy { value: one })), Some((other_at, Event::Entropy { value: other }))],
        ..
    }) = found.input
    else {
        panic!("{:?}", found.input)
    };
    assert_eq!(at, other_at);
    assert!(at.tick > 2900, "{at}");
    assert_ne!(one, other);
    assert_eq!(found.parts_at(), Some(at));
    assert_eq!(found.inputs.each_ref().map(Vec::len), [1, 1]);

    let state = found.state.unwrap();
    let before = state.before.as_ref().unwrap();
    assert_eq!((before.position, before.instruction.as_str()), (at, "rdrand %si"));
    assert_eq!(state.position(), Position::new(at.tick, at.offset + 1));
    assert_eq!(state.components, ["cpu"]);
    let source = state.registers.iter().find(|register| register.name == "rsi").unwrap();
    assert_eq!(source.sides, [one, other].map(|value| format!("{value:#x}")));
    assert_eq!(state.memory.pages, 0);
    assert!(found.cpu.is_none());

    // That it reads is an exit; what else it tells comes later.
    let [one_exit, other_exit] = found.exit.unwrap().sides.map(Option::unwrap);
    assert_eq!((one_exit.0, other_exit.0), (at, at));
    assert_ne!(one_exit.1, other_exit.1);
    assert!(found.exits.iter().all(|exits| exits[1].0.tick > at.tick + 250), "{:?}", found.exits);
    assert_eq!(found.common_exits.len(), 2);
    assert_eq!(found.exits[0].first(), Some(&one_exit));
}

#[test]
fn a_run_is_equal_to_itself_and_whoever_wants_to_stop_is_heard() {
    let mut asked = 0;
    let found = seeds([3, 3], &mut |_: Progress| {
        asked += 1;
        true
    });
    assert!(found.unwrap().is_equal());
    assert!(asked > 0);
    // At the first question, and at each one up to the last of the search.
    let mut all = 0;
    seeds([1, 2], &mut |_: Progress| {
        all += 1;
        true
    })
    .unwrap();
    assert!(all > 3);
    for patience in [0, all / 2, all - 1] {
        let mut left = patience;
        let stopped = seeds([1, 2], &mut |_: Progress| {
            left -= 1;
            left >= 0
        });
        assert!(matches!(stopped, Err(CompareError::Interrupted(_))), "{stopped:?}");
    }
}
