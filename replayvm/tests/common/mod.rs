//! Guests and recordings for the tests over whole sessions.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::expect_used, reason = "test code outside of test functions")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use iced_x86::code_asm::CodeAssembler;
use recorder::{Digest, Position};
use replayvm::checkpoint::RamTracker;
use replayvm::engine::{self, Breakpoints};
use replayvm::machine::{GuestImages, Machine};
use replayvm::recording::OpenRecording;
use replayvm::session::{
    Driver, Halt, Perturbation, RecordOutcome, RecordSession, ReplayReport, ReplaySession, Replayed,
    Rewindable, Settings,
};
use replayvm::snapshot::OpenSnapshot;

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

/// The machine of a snapshot, given the inputs that the recording has from there on.
pub fn go_on_as_recorded(snapshot: &OpenSnapshot, opened: &OpenRecording) -> (Driver, RamTracker, Replayed) {
    let started = snapshot.start(|machine| engine::by_name("soft", machine));
    let (mut driver, tracker) = started.expect("starts");
    let mut inputs = opened.inputs();
    driver.machine.platform.entropy = inputs.entropy();
    driver.machine.platform.keep_console = true;
    inputs.stand_at(snapshot.snapshot().manifest().position);
    driver.restored(&mut inputs);
    (driver, tracker, inputs)
}

/// Runs a machine to a position.
pub fn run_to(driver: &mut Driver, inputs: &mut Replayed, there: Position) {
    while driver.machine.position() < there {
        let halt = driver.run(inputs, there, &Breakpoints::default()).expect("runs");
        assert!(halt == Halt::Reached || driver.machine.position() == there, "{halt:?}");
    }
}

/// The digest of a machine.
pub fn digest(machine: &mut Machine, tracker: &mut RamTracker) -> Digest {
    tracker.look(&mut machine.platform.ram).expect("RAM can be looked at");
    let components = Machine::digests(&machine.save(), tracker.map().digest());
    Digest::combine(components.iter().map(|(name, digest)| (name.as_str(), *digest)))
}
