//! A replay that goes wrong stops, and says where.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use recorder::Position;
use replayvm::engine::{Breakpoints, Engine, EngineError, PlainEngine, Stop};
use replayvm::machine::{GuestImages, Machine};
use replayvm::session::{
    Diagnosis, Divergence, RecordSession, ReplayError, ReplaySession, SessionError, Settings,
};

/// The software CPU, but at one position it spoils something.
struct Faulty {
    at: Position,
    spoil: fn(&mut Machine),
}

impl Engine for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn run(
        &mut self,
        machine: &mut Machine,
        until: Position,
        breakpoints: &Breakpoints,
    ) -> Result<Stop, EngineError> {
        if machine.position() == self.at {
            (self.spoil)(machine);
        } else if machine.position() < self.at && self.at < until {
            let stop = PlainEngine.run(machine, self.at, breakpoints)?;
            if stop != Stop::Reached || machine.position() != self.at {
                return Ok(stop);
            }
            (self.spoil)(machine);
        }
        PlainEngine.run(machine, until, breakpoints)
    }

    fn machine_changed(&mut self, machine: &mut Machine) {
        PlainEngine.machine_changed(machine);
    }
}

fn record(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("run.rvm");
    let settings =
        Settings { checkpoint_ticks: 20_000, seed: 3, memory_bytes: 16 << 20, ..Settings::default() };
    let image = corpora::find("lost-update").expect("a corpora guest").image.to_vec();
    let images = GuestImages { kernel: image, ..GuestImages::default() };
    let session = RecordSession::start(&path, "lost-update", &images, &settings, None, Arc::default());
    session.expect("starts").run().expect("records");
    path
}

fn replay(path: &Path, at: Position, spoil: fn(&mut Machine)) -> (Divergence, Diagnosis) {
    let mut session = ReplaySession::open_with(path, |_| Ok(Box::new(Faulty { at, spoil }))).expect("opens");
    let stop = Arc::new(AtomicBool::new(false));
    let error = session.run(None, &stop, |_| {}).expect_err("diverges");
    let ReplayError::Session(SessionError::Diverged(divergence)) = error else {
        panic!("another error: {error}")
    };
    (divergence, session.diagnose(Position::MAX, &stop).expect("diagnoses"))
}

#[test]
fn a_flipped_bit_in_ram_is_found_at_its_step_and_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = record(folder.path());
    let at = Position::new(123_456, 1);
    let (divergence, diagnosis) = replay(&path, at, |machine| {
        let byte = machine.platform.ram.load::<1>(0x20_0000).expect("RAM")[0];
        machine.platform.ram.store(0x20_0000, [byte ^ 1]);
    });
    let Divergence::State { at: noticed, component, .. } = divergence else { panic!("{divergence}") };
    assert_eq!(component, "ram");
    assert!(noticed.tick > at.tick && noticed.tick <= at.tick + 40_000, "noticed at {noticed}");
    let Diagnosis::Parts(difference) = diagnosis else { panic!("{diagnosis:?}") };
    assert_eq!(difference.at, at);
    assert_eq!(difference.components.len(), 1);
    assert_eq!(difference.components[0].0, "ram");
    assert!(!difference.instruction.is_empty());
}

#[test]
fn a_store_that_the_recording_does_not_list_is_a_divergence() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = record(folder.path());
    let (at, gpa) = (Position::new(123_456, 1), 0x20_0000);
    let stop = Arc::new(AtomicBool::new(false));
    let spoil = |machine: &mut Machine| {
        let byte = machine.platform.ram.load::<1>(0x20_0000).expect("RAM");
        machine.platform.ram.store(0x20_0000, byte);
    };
    let mut session = ReplaySession::open_with(&path, |_| Ok(Box::new(Faulty { at, spoil }))).expect("opens");
    let error = session.run(None, &stop, |_| {}).expect_err("diverges");
    let ReplayError::Session(SessionError::Diverged(Divergence::Written { at: noticed, gfn })) = error else {
        panic!("another error: {error}")
    };
    assert_eq!(gfn, gpa >> 12);
    assert!(noticed.tick > at.tick && noticed.tick <= at.tick + 20_000, "noticed at {noticed}");
}

#[test]
fn a_wrong_register_is_found_at_its_step() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = record(folder.path());
    let at = Position::new(60_000, 0);
    let (_, diagnosis) = replay(&path, at, |machine| machine.cpu.state.xmm[9] ^= 1);
    let Diagnosis::Parts(difference) = diagnosis else { panic!("{diagnosis:?}") };
    assert_eq!(difference.at, at);
    assert_eq!(difference.components[0].0, "cpu");
}

#[test]
fn a_hundred_replays_give_one_digest() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = record(folder.path());
    let stop = Arc::new(AtomicBool::new(false));
    let mut ends = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let mut session = ReplaySession::open(&path, "soft").expect("opens");
        let report = session.run(None, &stop, |_| {}).expect("replays");
        assert!(report.checkpoints > 10 && report.exits > 100, "{report:?}");
        ends.insert((report.position, report.digest.0));
    }
    assert_eq!(ends.len(), 1, "{ends:?}");
}
