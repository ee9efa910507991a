//! A cursor over a recording.
//!
//! Going anywhere is: the nearest checkpoint at or before the target, restored, then replayed forward. Breakpoints and
//! watchpoints belong to whoever asks and are armed only while a run lasts; they are never in the machine's state.

/// Replays apart from the cursor's, beside each other.
mod aside;
/// Leaving the recording and coming back.
mod branch;
/// All stops between two positions.
mod collect;
/// Changing the machine under the cursor.
mod edit;
/// Where a run meets what it is to stop on.
mod hits;
/// What the cursor shows of the machine it stands on.
mod inspect;
/// Places that are kept in memory.
mod pins;
/// Single steps backward.
mod reverse;
/// Looking for the previous stop.
mod search;
/// Seeking.
mod seek;
/// What has been done.
mod statistics;
/// Single steps.
mod stepping;
/// What a run stops on, and how it tells.
mod stops;
/// Going to a time.
mod time;

use std::collections::BTreeMap;
use std::path::Path;

use recorder::Position;
use replayvm_cpu::CpuState;

pub use crate::engine::AddressSpace;
pub use branch::{Branch, Over};
pub use collect::{Collected, Extent};
pub use edit::EditError;
pub use hits::Hit;
pub use pins::{InMemory, MAX_PINS, PinError};
pub use statistics::Statistics;
pub use stops::{Landing, Progress, Reason, Stops, Supervisor, unsupervised};

use crate::checkpoint::{Cache, Checkpoint, PageStore, RamTracker, StoreError};
use crate::engine::{self, Breakpoints, Engine};
use crate::machine::{DiskPaths, Machine, RamError};
use crate::recording::{OpenError, OpenRecording, StartError};
use crate::session::{Divergence, Driver, Halt, Pace, Replayed, SessionError};

/// Why the cursor could not be moved.
#[derive(Debug, thiserror::Error)]
pub enum TimelineError {
    /// The recording.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The replay; a divergence is one of these.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Pages.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// RAM.
    #[error(transparent)]
    Ram(#[from] RamError),
}

/// Checkpoints that a timeline keeps in memory beside those of the recording.
const CACHED_CHECKPOINTS: usize = 128;
/// Bytes of pages that a timeline keeps in memory for them, unless told otherwise.
const CACHED_BYTES: usize = 256 << 20;
/// Ticks that are run at the most between two looks at whoever may want to stop: some milliseconds.
const CHUNK_TICKS: u64 = 1_000_000;

/// A cursor over a recording. It replays on engine `auto`; where there are breakpoints or watchpoints that is the software CPU.
pub struct Timeline {
    opened: OpenRecording,
    store: PageStore,
    driver: Driver,
    inputs: Replayed,
    tracker: RamTracker,
    cache: Cache,
    pins: BTreeMap<Position, Checkpoint>,
    marks: BTreeMap<String, Position>,
    /// The machine has left the recording, and `inputs`, `cache` and `marks` wait for it to come back.
    branch: Option<Box<Branch>>,
    end: Position,
    chunk_ticks: u64,
    cached_bytes: usize,
    /// Replays that may be under way at once.
    processors: usize,
    /// Those beside the cursor's, once a search has needed them.
    workers: Vec<Option<Timeline>>,
    /// Searches leave out what cannot have a hit, and remember hits.
    shortcuts: bool,
    remembered: Option<search::Remembered>,
    /// The machine is in the state of its position. Not so after an error, until the next restore.
    sound: bool,
    statistics: Statistics,
}

impl std::fmt::Debug for Timeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timeline")
            .field("position", &self.position())
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl Timeline {
    /// Opens a recording; the cursor stands at its begin.
    ///
    /// # Errors
    /// The recording cannot be opened.
    pub fn open(path: &Path) -> Result<Self, TimelineError> {
        Self::open_finding(path, &DiskPaths::default())
    }

    /// The same with other places for disk images that are not in the recording.
    ///
    /// # Errors
    /// The recording cannot be opened, or an image is missing.
    pub fn open_finding(path: &Path, disks: &DiskPaths) -> Result<Self, TimelineError> {
        let (mut opened, store) = OpenRecording::open(path)?;
        opened.look_for_disks_in(disks);
        Self::over(opened, store)
    }

    /// The same to look at checkpoints and not to run: disk images that are not in the recording are left out, and need not be
    /// had. Where the guest then asks for one, it gets an error that it did not get, and the replay diverges.
    ///
    /// # Errors
    /// The recording cannot be opened.
    pub fn open_to_look(path: &Path) -> Result<Self, TimelineError> {
        let (mut opened, store) = OpenRecording::open(path)?;
        opened.leave_disks_out();
        Self::over(opened, store)
    }

    fn over(opened: OpenRecording, store: PageStore) -> Result<Self, TimelineError> {
        let mut inputs = opened.inputs();
        let (driver, tracker) =
            opened.start(|machine| engine::by_name("auto", machine), &mut inputs, &store)?;
        let end = opened.last_position();
        Ok(Self {
            opened,
            store,
            driver,
            inputs,
            tracker,
            cache: Cache::new(CACHED_CHECKPOINTS),
            pins: BTreeMap::new(),
            marks: BTreeMap::new(),
            branch: None,
            end,
            chunk_ticks: CHUNK_TICKS,
            cached_bytes: CACHED_BYTES,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            workers: Vec::new(),
            shortcuts: true,
            remembered: None,
            sound: true,
            statistics: Statistics::default(),
        })
    }

    /// The recording under the cursor.
    #[must_use]
    pub fn opened(&self) -> &OpenRecording {
        &self.opened
    }

    /// Where the cursor stands.
    #[must_use]
    pub fn position(&self) -> Position {
        self.driver.machine.position()
    }

    /// The first position of the recording, or of the branch.
    #[must_use]
    pub fn begin(&self) -> Position {
        self.branch.as_ref().map_or_else(|| self.opened.checkpoint_position(0), |branch| branch.begin())
    }

    /// The last position of the recording; of a branch, the farthest one to which it has been run.
    #[must_use]
    pub fn end(&self) -> Position {
        self.branch.as_ref().map_or(self.end, |branch| branch.reached())
    }

    /// How far the machine can be run: a branch goes on until the guest's run is over.
    pub(super) fn limit(&self) -> Position {
        self.branch.as_ref().map_or(self.end, |branch| branch.end())
    }

    /// Instructions retired since power-on.
    #[must_use]
    pub fn instructions(&self) -> u64 {
        self.driver.machine.instructions()
    }

    /// Virtual time in nanoseconds since power-on.
    #[must_use]
    pub fn virtual_ns(&self) -> u64 {
        self.driver.machine.platform.clock.ns_at(self.position().tick)
    }

    /// The engine that replays.
    #[must_use]
    pub fn engine_name(&self) -> &'static str {
        self.driver.engine.name()
    }

    /// Whether a run that came here with these stops would rest at a breakpoint here.
    #[must_use]
    pub fn stops_here(&self, stops: &Stops) -> bool {
        self.driver.machine.stops_at(&stops.breakpoints())
    }

    /// The CPU under the cursor.
    #[must_use]
    pub fn cpu(&self) -> &CpuState {
        &self.driver.machine.cpu.state
    }

    /// The machine under the cursor.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.driver.machine
    }

    /// Replays on this engine from now on.
    pub fn replay_on(&mut self, engine: impl FnOnce(&Machine) -> Box<dyn Engine>) {
        self.driver.engine = engine(&self.driver.machine);
    }

    /// What the engine has counted.
    #[must_use]
    pub fn engine_statistics(&self) -> engine::Statistics {
        self.driver.engine.statistics()
    }

    /// Looks at the supervisor every so many ticks instead of every million.
    pub fn look_every(&mut self, ticks: u64) {
        self.chunk_ticks = ticks.max(1);
    }

    /// Keeps about so many bytes of pages in memory instead of 256 MiB. Less makes going back slower, nothing else.
    pub fn cache_bytes(&mut self, bytes: usize) {
        self.cached_bytes = bytes;
    }

    /// Searches far back on so many processors instead of all. Each has a replay of its own, made by the first search that
    /// needs it and kept for the next: it takes what the guest's RAM takes where that is not mapped from the file, and some MiB.
    /// With one, the cursor's replay is the only one, and what a search comes to is the same.
    pub fn search_on(&mut self, processors: usize) {
        self.processors = processors.max(1);
        self.workers.truncate(self.processors);
    }

    /// Whether a search leaves out the stretches in which none of the watched pages is written, and remembers the hits of the
    /// last stretch. What it comes to is the same.
    pub fn take_shortcuts(&mut self, take: bool) {
        self.shortcuts = take;
        self.remembered = None;
    }

    /// Bytes of pages that are in memory and not in the file.
    #[must_use]
    pub fn cached_bytes(&self) -> usize {
        self.store.kept_bytes()
    }

    /// Gives the cursor's place a name.
    pub fn mark(&mut self, name: &str) {
        let position = self.position();
        let marks = self.branch.as_mut().map_or(&mut self.marks, |branch| &mut branch.marks);
        marks.insert(name.to_owned(), position);
    }

    /// The named places, of the recording or of the branch.
    #[must_use]
    pub fn marks(&self) -> &BTreeMap<String, Position> {
        self.branch.as_ref().map_or(&self.marks, |branch| &branch.marks)
    }

    /// Forward to the next stop, or to the end.
    ///
    /// # Errors
    /// The replay fails.
    pub fn run_forward(
        &mut self,
        stops: &Stops,
        supervisor: &mut dyn Supervisor,
    ) -> Result<Landing, TimelineError> {
        self.run_forward_until(self.limit(), stops, supervisor)
    }

    /// The same, at most to `until` or to the first position that exists after it. A step that begins before it is looked at.
    ///
    /// # Errors
    /// The replay fails.
    pub fn run_forward_until(
        &mut self,
        until: Position,
        stops: &Stops,
        supervisor: &mut dyn Supervisor,
    ) -> Result<Landing, TimelineError> {
        self.recover()?;
        self.arm(stops);
        let result = self.run_armed(until.min(self.limit()), &stops.breakpoints(), supervisor);
        self.disarm();
        result
    }

    /// Forward with the stops armed, at most to `until`.
    fn run_armed(
        &mut self,
        until: Position,
        breakpoints: &Breakpoints,
        supervisor: &mut dyn Supervisor,
    ) -> Result<Landing, TimelineError> {
        let mut pace = Pace::new(self.chunk_ticks);
        loop {
            let now = self.position();
            if now >= until {
                let reason = if until >= self.limit() { Reason::End } else { Reason::Reached };
                return Ok(Landing { position: now, reason });
            }
            if !supervisor.go_on(Progress { position: now, goal: until }) {
                return Ok(Landing { position: now, reason: Reason::Interrupted });
            }
            if self.branch.as_ref().is_some_and(|branch| branch.leaves_checkpoint(now)) {
                self.leave_checkpoint(now)?;
            }
            let chunk = pace.next(&self.driver.machine).min(until);
            let halt = self.advance(chunk, breakpoints)?;
            let position = self.position();
            let reason = match halt {
                // A chunk may end where somebody wants to stop; the next one would leave that place first.
                Halt::Reached if position < until && self.driver.machine.stops_at(breakpoints) => {
                    Reason::Breakpoint(self.cpu().linear_rip())
                }
                Halt::Reached => continue,
                Halt::Breakpoint => Reason::Breakpoint(self.cpu().linear_rip()),
                Halt::Watch(hit) => Reason::Watch(hit),
                Halt::Exit(at, exit) => Reason::Exit(at, exit),
                Halt::Ended(_) => Reason::End,
            };
            // One step may give several reasons, and the last step one besides the end. The first counts; the others must
            // not be taken for reasons of a later step.
            let platform = &mut self.driver.machine.platform;
            let reason = match (platform.watches.take_hit(), platform.stopped_on.take()) {
                (Some(hit), _) if reason == Reason::End => Reason::Watch(hit),
                (None, Some((at, exit))) if reason == Reason::End => Reason::Exit(at, exit),
                _ => reason,
            };
            return Ok(Landing { position, reason });
        }
    }

    /// Moves the machine on, as [`Driver::run`] does.
    fn advance(&mut self, until: Position, breakpoints: &Breakpoints) -> Result<Halt, TimelineError> {
        self.sound = false;
        let (tick, instructions) = (self.position().tick, self.instructions());
        let halt = match &mut self.branch {
            Some(branch) => branch.advance(&mut self.driver, until, breakpoints)?,
            None => self.driver.run(&mut self.inputs, until, breakpoints)?,
        };
        self.statistics.ticks += self.position().tick.saturating_sub(tick);
        self.statistics.instructions += self.instructions().saturating_sub(instructions);
        if let Halt::Ended(reason) = &halt
            && self.branch.is_none()
            && self.position() < self.end
        {
            let (at, reason, recorded) = (self.position(), reason.clone(), self.end);
            return Err(SessionError::from(Divergence::Early { at, reason, recorded }).into());
        }
        self.sound = true;
        Ok(halt)
    }

    /// After an error: puts the cursor on the nearest checkpoint at or before the place where it came about.
    fn recover(&mut self) -> Result<(), TimelineError> {
        if self.sound {
            Ok(())
        } else {
            self.stand_before(self.position().min(self.limit()).max(self.begin()))
        }
    }

    fn arm(&mut self, stops: &Stops) {
        let platform = &mut self.driver.machine.platform;
        platform.watches.set(stops.watches.clone());
        platform.stop_on = stops.exits;
        platform.stopped_on = None;
    }

    fn disarm(&mut self) {
        self.arm(&Stops::default());
    }
}
