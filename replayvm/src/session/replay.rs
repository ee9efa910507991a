//! Replaying a recording, forward only, checking everything: every exit, every checkpoint, the end.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use recorder::{Digest, EndReason, Exit, Position, ReadError};

use super::diagnose::{self, Diagnosis};
use super::{Divergence, Driver, Expectation, Halt, Pace, Replayed, SessionError, keep_console};
use crate::checkpoint::{PageStore, RamTracker, StoreError, WrittenPage};
use crate::engine::{self, Breakpoints, Engine, EngineError, Statistics};
use crate::machine::{DiskPaths, Machine, RamError};
use crate::recording::{OpenError, OpenRecording, StartError};

/// Why a replay failed for another reason than a divergence.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The recording.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The run; a divergence is one of these.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The recording's exits or checkpoints.
    #[error("the recording is damaged")]
    Read(#[from] ReadError),
    /// RAM.
    #[error(transparent)]
    Ram(#[from] RamError),
    /// Pages.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody stopped it.
    #[error("interrupted at {0}")]
    Interrupted(Position),
}

impl From<Divergence> for ReplayError {
    fn from(divergence: Divergence) -> Self {
        Self::Session(divergence.into())
    }
}

/// What a replay has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayReport {
    /// Where it stopped.
    pub position: Position,
    /// The digest of the machine there.
    pub digest: Digest,
    /// Each component's digest there.
    pub components: Vec<(String, Digest)>,
    /// Instructions retired.
    pub instructions: u64,
    /// How the recorded run ended, where the replay went that far.
    pub reason: Option<EndReason>,
    /// Checkpoints compared.
    pub checkpoints: u64,
    /// Exits compared.
    pub exits: u64,
    /// What the guest said on its serial port: the last MiB of it, as while recording.
    pub console: Vec<u8>,
}

/// Ticks at the most between looks at the exits that have come, and at whoever wants to stop.
const CHUNK_TICKS: u64 = 2_000_000;

/// A replay under way.
pub struct ReplaySession {
    opened: OpenRecording,
    store: PageStore,
    driver: Driver,
    tracker: RamTracker,
    inputs: Replayed,
    report: ReplayReport,
    /// The last checkpoint that was found to be as recorded.
    last_good: usize,
}

impl ReplaySession {
    /// Opens a recording and stands at its start, on the engine of that name.
    ///
    /// # Errors
    /// The recording cannot be opened, or the engine not be had.
    pub fn open(path: &Path, engine: &str) -> Result<Self, ReplayError> {
        Self::open_finding(path, engine, &DiskPaths::default())
    }

    /// The same with other places for disk images that are not in the recording.
    ///
    /// # Errors
    /// The recording cannot be opened, an image is missing, or the engine not to be had.
    pub fn open_finding(path: &Path, engine: &str, disks: &DiskPaths) -> Result<Self, ReplayError> {
        Self::start(path, disks, |machine| engine::by_name(engine, machine))
    }

    /// The same on an engine that the caller makes.
    ///
    /// # Errors
    /// The recording cannot be opened, or the engine not be had.
    pub fn open_with(
        path: &Path,
        engine: impl FnOnce(&Machine) -> Result<Box<dyn Engine>, EngineError>,
    ) -> Result<Self, ReplayError> {
        Self::start(path, &DiskPaths::default(), engine)
    }

    fn start(
        path: &Path,
        disks: &DiskPaths,
        engine: impl FnOnce(&Machine) -> Result<Box<dyn Engine>, EngineError>,
    ) -> Result<Self, ReplayError> {
        let (mut opened, store) = OpenRecording::open(path)?;
        opened.look_for_disks_in(disks);
        let mut inputs = opened.inputs();
        let (mut driver, tracker) = opened.start(engine, &mut inputs, &store)?;
        driver.machine.platform.log_exits = true;
        driver.machine.platform.keep_console = true;
        let report = ReplayReport {
            position: Position::START,
            digest: Digest::default(),
            components: Vec::new(),
            instructions: 0,
            reason: None,
            checkpoints: 0,
            exits: 0,
            console: Vec::new(),
        };
        Ok(Self { opened, store, driver, tracker, inputs, report, last_good: 0 })
    }

    /// The recording.
    #[must_use]
    pub fn opened(&self) -> &OpenRecording {
        &self.opened
    }

    /// The machine, where the replay is.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.driver.machine
    }

    /// The name of the engine.
    #[must_use]
    pub fn engine_name(&self) -> &'static str {
        self.driver.engine.name()
    }

    /// What the engine has counted.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.driver.engine.statistics()
    }

    /// Replays up to `to`, or to the end, checking everything on the way. `progress` is told the position now and then.
    ///
    /// # Errors
    /// The run differs from its recording, or something fails.
    pub fn run(
        &mut self,
        to: Option<Position>,
        stop: &Arc<AtomicBool>,
        mut progress: impl FnMut(Position),
    ) -> Result<ReplayReport, ReplayError> {
        let last = self.opened.last_position();
        let goal = to.unwrap_or(last).min(last);
        let recording = self.opened.recording().clone();
        let mut exits = recording.exits().peekable();
        let mut next_checkpoint = 0;
        let mut ended = None;
        let mut pace = Pace::new(CHUNK_TICKS);
        loop {
            let now = self.driver.machine.position();
            while let Some(info) = recording.checkpoints().get(next_checkpoint) {
                if info.position > now {
                    break;
                }
                if info.position < now {
                    return Err(Divergence::Position { expected: info.position, got: now }.into());
                }
                self.compare_state(next_checkpoint)?;
                self.last_good = next_checkpoint;
                next_checkpoint += 1;
            }
            progress(now);
            if now >= goal || ended.is_some() {
                break;
            }
            if stop.load(Ordering::Relaxed) {
                return Err(ReplayError::Interrupted(now));
            }
            let mut until = goal.min(pace.next(&self.driver.machine));
            if let Some(info) = recording.checkpoints().get(next_checkpoint) {
                until = until.min(info.position);
            }
            let halt = self.driver.run(&mut self.inputs, until, &Breakpoints::default())?;
            let came = std::mem::take(&mut self.driver.machine.platform.exits);
            for (at, exit) in came {
                let expected = match exits.next().transpose()? {
                    Some((at, exit)) => Expectation::Exit(at, exit),
                    // A recording that lost its end vouches for no more exits.
                    None if recording.end().is_none() => break,
                    None => Expectation::Nothing,
                };
                self.report.exits += 1;
                compare_exit(expected, at, exit)?;
            }
            let missed = exits.peek().and_then(|next| next.as_ref().ok().copied());
            if let Some((at, exit)) = missed
                && at < self.driver.machine.position()
            {
                return Err(Divergence::Exit {
                    expected: Expectation::Exit(at, exit),
                    got: Expectation::Nothing,
                }
                .into());
            }
            keep_console(&mut self.report.console, &mut self.driver.machine.platform.console);
            if let Halt::Ended(reason) = halt {
                ended = Some(reason);
            }
        }
        self.look()?;
        let (digest, components) = self.digest();
        self.compare_end(goal, ended, digest)?;
        self.report.position = self.driver.machine.position();
        self.report.instructions = self.driver.machine.instructions();
        self.report.digest = digest;
        self.report.components = components;
        Ok(self.report.clone())
    }

    /// Where the replay is: after a divergence, a position by which it had shown.
    #[must_use]
    pub fn position_after_divergence(&self) -> Position {
        let now = self.driver.machine.position();
        Position::new(now.tick.saturating_add(1), 0)
    }

    /// Where this engine and the software CPU first come to different states after the last checkpoint that was as
    /// recorded: what to look at after a divergence. Runs both side by side up to `until`.
    ///
    /// # Errors
    /// The replay itself fails.
    pub fn diagnose(mut self, until: Position, stop: &AtomicBool) -> Result<Diagnosis, ReplayError> {
        diagnose::first_difference(
            &self.opened,
            &mut self.store,
            (self.driver, self.tracker),
            self.last_good,
            until,
            stop,
        )
    }

    /// The pages written since the last look.
    fn look(&mut self) -> Result<Vec<WrittenPage>, RamError> {
        self.tracker.look(&mut self.driver.machine.platform.ram)
    }

    /// The digest of the machine as it was at the last look, and of each of its components.
    fn digest(&self) -> (Digest, Vec<(String, Digest)>) {
        let components = Machine::digests(&self.driver.machine.save(), self.tracker.map().digest());
        let digest = Digest::combine(components.iter().map(|(name, digest)| (name.as_str(), *digest)));
        (digest, components)
    }

    fn compare_state(&mut self, index: usize) -> Result<(), ReplayError> {
        let at = self.opened.checkpoint_position(index);
        let recorded = self.opened.recording().checkpoint(index)?;
        let written = self.look()?;
        let (_, components) = self.digest();
        let missing = recorded.digests.len() < components.len();
        let names = recorded.digests.iter().chain(components.iter().filter(|_| missing));
        let of = |digests: &[(String, Digest)], name: &str| {
            digests.iter().find(|(component, _)| component == name).map(|(_, digest)| *digest)
        };
        for (name, _) in names {
            let (expected, got) = (of(&recorded.digests, name), of(&components, name));
            if expected != got {
                let (expected, got) = (expected.unwrap_or_default(), got.unwrap_or_default());
                return Err(Divergence::State { at, component: name.clone(), expected, got }.into());
            }
        }
        if self.opened.recording().lists_every_written_page() {
            let listed = |gfn: u64| recorded.pages.binary_search_by_key(&gfn, |page| page.gfn).is_ok();
            if let Some(page) = written.iter().find(|page| !listed(page.gfn)) {
                return Err(Divergence::Written { at, gfn: page.gfn }.into());
            }
        }
        self.report.checkpoints += 1;
        Ok(())
    }

    fn compare_end(
        &mut self,
        goal: Position,
        ended: Option<EndReason>,
        digest: Digest,
    ) -> Result<(), Divergence> {
        let now = self.driver.machine.position();
        let Some(end) = self.opened.recording().end() else {
            return match ended {
                Some(reason) if now < goal => Err(Divergence::Early { at: now, reason, recorded: goal }),
                _ => Ok(()),
            };
        };
        // The limit and a person's wish end a recording, not the guest.
        let by_guest = !matches!(end.reason, EndReason::TickLimit | EndReason::Interrupted);
        let same = match &ended {
            // A guest that waits for a host that has nothing to say hangs; whoever recorded it did not wait that long.
            Some(EndReason::Hung) if end.reason == EndReason::Interrupted => now == end.position,
            Some(reason) => now == end.position && *reason == end.reason,
            None => goal < end.position || (now == end.position && !by_guest),
        };
        if !same {
            return Err(Divergence::End {
                expected_at: end.position,
                expected: end.reason.clone(),
                got_at: now,
                got: ended,
            });
        }
        if goal >= end.position {
            if digest != end.digest {
                let component = "machine".to_owned();
                return Err(Divergence::State { at: now, component, expected: end.digest, got: digest });
            }
            self.report.reason = Some(end.reason.clone());
        }
        Ok(())
    }
}

fn compare_exit(expected: Expectation, at: Position, exit: Exit) -> Result<(), Divergence> {
    let got = Expectation::Exit(at, exit);
    if expected == got { Ok(()) } else { Err(Divergence::Exit { expected, got }) }
}
