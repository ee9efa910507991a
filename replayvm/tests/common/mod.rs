//! Guests and recordings for the tests over whole sessions.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::expect_used, reason = "test code outside of test functions")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use iced_x86::code_asm::CodeAssembler;
use replayvm::machine::GuestImages;
use replayvm::session::{Perturbation, RecordOutcome, RecordSession, ReplayReport, ReplaySession, Settings};

/// A boot sector.
pub fn boot_sector(write: impl FnOnce(&mut CodeAssembler)) -> GuestImages {
    let mut code = CodeAssembler::new(16).expect("an assembler");
    write(&mut code);
    let mut image = code.assemble(0x7c00).expect("assembles");
    assert!(image.len() <= 510, "{} bytes", image.len());
    image.resize(510, 0);
    image.extend([0x55, 0xaa]);
    GuestImages { kernel: image, ..GuestImages::default() }
}

/// A guest of the corpora.
pub fn corpora_guest(name: &str) -> GuestImages {
    GuestImages {
        kernel: corpora::find(name).expect("a corpora guest").image.to_vec(),
        ..GuestImages::default()
    }
}

/// Little memory, few ticks.
pub fn settings() -> Settings {
    Settings {
        memory_bytes: 16 << 20,
        seed: 7,
        limit_ticks: 10_000,
        checkpoint_ticks: 1_000,
        perturbation: Perturbation::default(),
        ..Settings::default()
    }
}

/// Records a guest into `folder`.
pub fn record(
    folder: &Path,
    images: &GuestImages,
    settings: &Settings,
    host: Option<Receiver<Vec<u8>>>,
) -> (PathBuf, RecordOutcome) {
    let path = folder.join("run.rvm");
    let session = RecordSession::start(&path, "guest", images, settings, host, Arc::default());
    let outcome = session.expect("starts").run().expect("records");
    (path, outcome)
}

/// Replays all of it.
pub fn replay(path: &Path) -> ReplayReport {
    let mut session = ReplaySession::open(path, "soft").expect("opens");
    session.run(None, &Arc::default(), |_| {}).expect("replays")
}
