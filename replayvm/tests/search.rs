//! Looking for stops in long runs: what lets a search leave intervals out, and that nothing else comes of it.

#![allow(clippy::expect_used, clippy::panic, reason = "test code outside of test functions")]

/// Guests and recordings.
mod common;

use std::path::Path;

use common::{boot_sector, corpora_guest, replay, settings};
use iced_x86::code_asm::{ax, bx, cx, ptr};
use replayvm::engine::{self, EngineError};
use replayvm::machine::{GuestImages, Machine};
use replayvm::session::{ReplaySession, Settings};

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
    let timeline = replayvm::timeline::Timeline::open(&path).expect("opens");
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
            let timeline = replayvm::timeline::Timeline::open(path).expect("opens");
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
