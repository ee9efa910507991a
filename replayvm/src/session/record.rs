//! Recording a run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use recorder::{
    CheckpointRecord, Digest, End, EndReason, Image, ImageRole, PageContents, PageHash, Position,
    RecordingWriter, WriteError,
};

use super::fork::{Mark, ON_THE_WAY, common_inputs, power_on};
use super::pace::CheckpointPace;
use super::{ConsoleSink, Driver, Halt, Live, Pace, SessionError, Settings, keep_console};
use crate::checkpoint::{RamTracker, StoreError};
use crate::engine::{self, Breakpoints, EngineError, Statistics};
use crate::machine::{ExitFilter, GuestImages, Machine, MachineError, RamError, RestoreError};
use crate::recording::{OpenError, StartError};
use crate::snapshot::OpenSnapshot;
use crate::stored;

/// Why a run could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The machine.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The run.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The file.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// RAM.
    #[error(transparent)]
    Ram(#[from] RamError),
    /// The snapshot from which it begins.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The snapshot would be lost.
    #[error("{0} is the snapshot itself")]
    Snapshot(PathBuf),
    /// The state from which a forked run begins.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The pages of that state.
    #[error(transparent)]
    Pages(#[from] StoreError),
}

/// How a recorded run went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordOutcome {
    /// How it ended.
    pub end: End,
    /// What the guest said on its serial port.
    pub console: Vec<u8>,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Exits written.
    pub exits: u64,
    /// Events written.
    pub events: u64,
    /// Whether the guest's own check passed.
    pub passed: bool,
    /// What the engine has counted.
    pub statistics: Statistics,
}

/// How many ticks may pass at the most before a person who wants to stop is heard.
const CHUNK_TICKS: u64 = 2_000_000;

/// A live run that is being recorded, or that goes on from a snapshot.
#[derive(Debug)]
pub struct RecordSession {
    driver: Driver,
    inputs: Live,
    /// `None`: the run is not written down.
    writer: Option<RecordingWriter>,
    tracker: RamTracker,
    settings: Settings,
    stop: Arc<AtomicBool>,
    outcome: RecordOutcome,
    written_pages: usize,
    /// Where the last checkpoint is.
    checkpointed: Option<Position>,
    /// What the guest has to print before the seed decides anything.
    mark: Option<Mark>,
}

impl RecordSession {
    /// Boots the guest and starts to record it into a new file. Setting `stop` ends the recording early, as a good one.
    ///
    /// # Errors
    /// The guest does not boot here, or the file cannot be written.
    pub fn start(
        path: &Path,
        guest_name: &str,
        images: &GuestImages,
        settings: &Settings,
        host: Option<Receiver<Vec<u8>>>,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, RecordError> {
        let boot = crate::machine::boot::detect(&images.kernel).map_err(MachineError::from)?;
        let mut description = settings.description(guest_name, boot);
        let (mut machine, engine) = power_on(&description, images, settings)?;
        description.engine = engine.name().to_owned();

        let mark = settings.vary_after.as_deref().map(Mark::new);
        let first = if mark.is_some() { common_inputs(settings) } else { settings.clone() };
        let mut inputs = Live::new(first.seed, first.perturbation, host);
        inputs.stop_when(Arc::clone(&stop));
        inputs.wait_in_real_time(settings.realtime);
        machine.platform.devices.set_clock(inputs.power_on_clock(first.seed));
        machine.platform.entropy = inputs.entropy(first.seed);
        if mark.is_some() {
            machine.platform.stop_on = ON_THE_WAY;
        }
        machine.platform.log_exits = true;
        machine.platform.keep_console = true;
        let tracker = RamTracker::new(&machine.platform.ram);
        let writer = RecordingWriter::create(path, &description, image_list(guest_name, images, settings))?;
        let driver = Driver::start(machine, engine, &mut inputs)?;
        let mut session = Self::new((driver, tracker), inputs, Some(writer), settings, stop);
        session.mark = mark;
        session.look_for_mark();
        session.checkpoint()?;
        Ok(session)
    }

    /// Goes on from a snapshot, as the machine that it is of; into a new recording that begins there, if there is a `path`.
    /// What else `settings` say of a machine is of no account. The seed decides by position, as in a branch. Setting `stop` ends the run early, as a good one.
    ///
    /// # Errors
    /// The machine cannot be had here, or the file cannot be written.
    pub fn resume(
        snapshot: &OpenSnapshot,
        path: Option<&Path>,
        settings: &Settings,
        host: Option<Receiver<Vec<u8>>>,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, RecordError> {
        if let Some(path) = path.filter(|path| stored::is_same_file(path, snapshot.path())) {
            return Err(RecordError::Snapshot(path.to_owned()));
        }
        let (mut driver, tracker) = snapshot.start(|machine| engine::by_name(&settings.engine, machine))?;
        let mut inputs = Live::by_position(settings.seed, settings.perturbation, host);
        inputs.stop_when(Arc::clone(&stop));
        inputs.wait_in_real_time(settings.realtime);
        let platform = &mut driver.machine.platform;
        platform.entropy = inputs.entropy(settings.seed);
        platform.log_exits = path.is_some();
        platform.keep_console = true;
        driver.restored(&mut inputs);
        let writer = match path {
            Some(path) => {
                let mut description = snapshot.description().clone();
                description.seed = settings.seed;
                description.engine = driver.engine.name().to_owned();
                let images = snapshot.images().map_err(|source| {
                    StartError::Open(OpenError::Read { path: snapshot.path().to_owned(), source })
                })?;
                // The first checkpoint of a recording lists every page.
                for page in snapshot.snapshot().pages() {
                    driver.machine.platform.ram.mark_dirty(page.gfn);
                }
                Some(RecordingWriter::create(path, &description, images)?)
            }
            None => None,
        };
        let mut session = Self::new((driver, tracker), inputs, writer, settings, stop);
        session.settings.pass_code = snapshot.description().pass_code;
        session.checkpoint()?;
        Ok(session)
    }

    fn new(
        (driver, tracker): (Driver, RamTracker),
        inputs: Live,
        writer: Option<RecordingWriter>,
        settings: &Settings,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let end = End {
            position: driver.machine.position(),
            instructions: driver.machine.instructions(),
            digest: Digest::default(),
            reason: EndReason::Interrupted,
        };
        let outcome = RecordOutcome {
            end,
            console: Vec::new(),
            checkpoints: 0,
            exits: 0,
            events: 0,
            passed: false,
            statistics: Statistics::default(),
        };
        Self {
            driver,
            inputs,
            writer,
            tracker,
            settings: settings.clone(),
            stop,
            outcome,
            written_pages: 0,
            checkpointed: None,
            mark: None,
        }
    }

    /// Hands console output on while it comes.
    pub fn set_console(&mut self, sink: Box<dyn ConsoleSink>) {
        self.inputs.show_on(sink);
    }

    /// Runs the guest to its end and closes the file, if there is one.
    ///
    /// # Errors
    /// The engine or the file fails; the file then holds a recording up to its last whole frame.
    pub fn run(mut self) -> Result<RecordOutcome, RecordError> {
        let limit = Position::new(self.settings.limit_ticks, 0);
        let mut checkpoints = CheckpointPace::new(self.settings.checkpoint_ticks, &self.driver.machine);
        let mut pace = Pace::new(CHUNK_TICKS);
        let reason = loop {
            let now = self.driver.machine.position();
            if now >= limit {
                break EndReason::TickLimit;
            }
            if self.stop.load(Ordering::Relaxed) {
                break EndReason::Interrupted;
            }
            let until = pace.next(&self.driver.machine).min(Position::new(checkpoints.next(), 0)).min(limit);
            if let Some(reason) = self.advance_to(until)? {
                // Whoever stops a guest that waits for the host ends the recording, not the guest.
                break if self.inputs.interrupted() { EndReason::Interrupted } else { reason };
            }
            if checkpoints.is_due(&self.driver.machine) {
                if self.writer.is_some() {
                    self.checkpoint()?;
                }
                checkpoints.done(&self.driver.machine, self.written_pages as u64);
            }
        };
        self.write_down()?;
        let digest = self.checkpoint()?;
        let machine = &self.driver.machine;
        let passed = match reason {
            EndReason::DebugExit { code } => code == self.settings.pass_code,
            // A system that comes to its orderly end; one that panics resets or hangs.
            EndReason::PowerOff => true,
            _ => false,
        };
        let end = End { position: machine.position(), instructions: machine.instructions(), digest, reason };
        self.outcome.end = end.clone();
        self.outcome.statistics = self.driver.engine.statistics();
        self.outcome.passed = passed;
        if let Some(writer) = self.writer {
            writer.finish(end)?;
        }
        Ok(self.outcome)
    }

    /// Where the run is.
    #[must_use]
    pub fn position(&self) -> Position {
        self.driver.machine.position()
    }

    /// Events, exits and console output since the last call. In the order of the run, so that a file that is cut off has
    /// both up to the same place.
    fn write_down(&mut self) -> Result<(), RecordError> {
        let platform = &mut self.driver.machine.platform;
        let mut events = self.inputs.take_events().into_iter().peekable();
        for (at, exit) in platform.exits.drain(..) {
            while let Some((at, event)) = events.next_if(|(event_at, _)| *event_at <= at) {
                self.outcome.events += 1;
                self.writer.as_mut().map_or(Ok(()), |writer| writer.event(at, event))?;
            }
            self.outcome.exits += 1;
            self.writer.as_mut().map_or(Ok(()), |writer| writer.exit(at, exit))?;
        }
        for (at, event) in events {
            self.outcome.events += 1;
            self.writer.as_mut().map_or(Ok(()), |writer| writer.event(at, event))?;
        }
        if !platform.console.is_empty() {
            self.inputs.taken(&platform.console);
            keep_console(&mut self.outcome.console, &mut platform.console);
        }
        Ok(())
    }

    /// Runs on to a tick, without a checkpoint. Says so if the guest's run is over.
    ///
    /// # Errors
    /// The engine or the file fails.
    pub fn advance(&mut self, tick: u64) -> Result<Option<EndReason>, RecordError> {
        loop {
            let ended = self.advance_to(Position::new(tick, 0))?;
            if ended.is_some() || self.position().tick >= tick {
                return Ok(ended);
            }
        }
    }

    /// Runs on, to `until` at the farthest.
    fn advance_to(&mut self, until: Position) -> Result<Option<EndReason>, RecordError> {
        let halt = self.driver.run(&mut self.inputs, until, &Breakpoints::default())?;
        self.look_for_mark();
        self.write_down()?;
        Ok(match halt {
            Halt::Ended(reason) => Some(reason),
            _ => None,
        })
    }

    /// Once the guest has printed what it has to, the seed decides.
    fn look_for_mark(&mut self) {
        let platform = &mut self.driver.machine.platform;
        if self.mark.as_mut().is_some_and(|mark| mark.is_seen_in(&platform.console)) {
            self.mark = None;
            platform.stop_on = ExitFilter::NONE;
            self.inputs.vary(self.settings.seed, self.settings.perturbation);
            platform.entropy = self.inputs.entropy(self.settings.seed);
        }
    }

    /// Waits until everything so far is in the file.
    ///
    /// # Errors
    /// The file fails.
    pub fn flush(&mut self) -> Result<(), RecordError> {
        let reached = self.position();
        Ok(self.writer.as_mut().map_or(Ok(()), |writer| writer.flush(reached))?)
    }

    /// Pages of RAM that the last checkpoint found written.
    #[must_use]
    pub fn written_pages(&self) -> usize {
        self.written_pages
    }

    /// Writes a checkpoint, unless the last one is of the same position; returns the digest of the machine.
    ///
    /// # Errors
    /// The file fails.
    pub fn checkpoint(&mut self) -> Result<Digest, RecordError> {
        self.write_down()?;
        let machine = &mut self.driver.machine;
        let written = self.tracker.look(&mut machine.platform.ram)?;
        self.written_pages = written.len();
        let sections = machine.save();
        let digests = Machine::digests(&sections, self.tracker.map().digest());
        let digest = Digest::combine(digests.iter().map(|(name, digest)| (name.as_str(), *digest)));
        let Some(writer) = &mut self.writer else { return Ok(digest) };
        if self.checkpointed.replace(machine.position()) == Some(machine.position()) {
            return Ok(digest);
        }
        let mut contents = PageContents::default();
        for page in &written {
            if page.hash != PageHash::ZERO && !writer.knows(page.hash) {
                contents.insert(page.hash, machine.platform.ram.page(page.gfn)?);
            }
        }
        writer.checkpoint(CheckpointRecord {
            position: machine.position(),
            instructions: machine.instructions(),
            sections,
            digests,
            pages: written.iter().map(|page| (page.gfn, page.hash)).collect(),
            contents,
        })?;
        self.outcome.checkpoints += 1;
        Ok(digest)
    }
}

/// The images as the recording stores them.
fn image_list(guest_name: &str, images: &GuestImages, settings: &Settings) -> Vec<(Image, Vec<u8>)> {
    let image = |role, name: &str, command_line: &str, bytes: &[u8]| {
        (
            Image {
                role,
                name: name.to_owned(),
                command_line: command_line.to_owned(),
                hash: *blake3::hash(bytes).as_bytes(),
                size: bytes.len() as u64,
            },
            bytes.to_vec(),
        )
    };
    let mut list = vec![image(ImageRole::Kernel, guest_name, "", &images.kernel)];
    let embedded = settings.disks.iter().filter(|disk| disk.disk().embedded);
    list.extend(embedded.map(|disk| image(ImageRole::Disk, &disk.disk().name, "", disk.bytes())));
    list.extend(images.initrd.iter().map(|bytes| image(ImageRole::Initrd, "initrd", "", bytes)));
    list.extend(images.modules.iter().map(|m| image(ImageRole::Module, &m.name, &m.command_line, &m.bytes)));
    list
}
