//! Many runs that begin with the same start: the start is run once, and each run goes on from there.
//!
//! A guest that boots for seconds before its interesting part begins would cost a hunt that boot for every seed. With
//! [`Settings::vary_after`] nothing is left to chance until the guest has printed a given text, and every seed has the same
//! start. A [`Fork`] keeps the machine as it is there. A run from it comes to the same states as a [`super::RecordSession`] of the
//! same settings, which begins at power-on: whoever finds a seed worth keeping records it so, and compares the digests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use recorder::{Digest, EndReason, ExitKind, MachineDescription, Position};

use super::{Driver, Halt, Live, Pace, Perturbation, RecordError, Settings, keep_console};
use crate::checkpoint::{Checkpoint, PageStore, RamTracker};
use crate::engine::{self, Breakpoints, Engine};
use crate::machine::{ExitFilter, GuestImages, Machine, MachineError};

/// The seed of everything that comes before the text.
pub(super) const COMMON_SEED: u64 = 0;
/// How many ticks may pass at the most before a person who wants to stop is heard.
const CHUNK_TICKS: u64 = 2_000_000;

/// The machine of a description with its guest loaded and its disks in, and what executes it.
pub(super) fn power_on(
    description: &MachineDescription,
    images: &GuestImages,
    settings: &Settings,
) -> Result<(Machine, Box<dyn Engine>), RecordError> {
    let mut machine = Machine::boot(description, images)?;
    machine.insert_disks(description, &settings.disks)?;
    let engine = engine::by_name(&settings.engine, &machine)?;
    Ok((machine, engine))
}

/// Waits for a text in the guest's console output.
#[derive(Debug)]
pub(super) struct Mark {
    text: Vec<u8>,
    /// The end of the output so far, shorter than the text.
    tail: Vec<u8>,
}

impl Mark {
    /// Waits for this text. An empty one has been seen at once.
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.as_bytes().to_vec(), tail: Vec::new() }
    }

    /// More output has come; whether the text is in it.
    pub(super) fn is_seen_in(&mut self, output: &[u8]) -> bool {
        self.tail.extend_from_slice(output);
        if self.text.is_empty() || self.tail.windows(self.text.len()).any(|window| window == self.text) {
            return true;
        }
        let surplus = (self.tail.len() + 1).saturating_sub(self.text.len());
        self.tail.drain(..surplus);
        false
    }
}

/// Exits that stop a machine on its way to a mark: each byte of output is looked at where it was written.
pub(super) const ON_THE_WAY: ExitFilter = ExitFilter::NONE.with(ExitKind::PortWrite);

/// The settings' inputs up to the mark.
pub(super) fn common_inputs(settings: &Settings) -> Settings {
    Settings { seed: COMMON_SEED, perturbation: Perturbation::NONE, ..settings.clone() }
}

/// A machine at the place from which runs differ.
#[derive(Debug)]
pub struct Fork {
    description: MachineDescription,
    settings: Settings,
    images: GuestImages,
    checkpoint: Checkpoint,
    store: PageStore,
    /// What the guest had said by then.
    console: Vec<u8>,
    instructions: u64,
}

/// How the common start went.
#[derive(Debug)]
pub enum Start {
    /// The text has come.
    Ready(Box<Fork>),
    /// The run ended, or was stopped, before it came.
    Ended(EndReason, Position),
}

/// How a run from a fork went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkedRun {
    /// Why it ended.
    pub reason: EndReason,
    /// Where.
    pub position: Position,
    /// Digest of the whole machine there.
    pub digest: Digest,
    /// Whether the guest's own check passed.
    pub passed: bool,
    /// What the guest said, from power-on.
    pub console: Vec<u8>,
}

impl Fork {
    /// Boots the guest and runs it until it has printed the text of [`Settings::vary_after`].
    ///
    /// # Errors
    /// The guest does not boot here, or the engine fails.
    pub fn prepare(
        guest_name: &str,
        images: &GuestImages,
        settings: &Settings,
        stop: &AtomicBool,
    ) -> Result<Start, RecordError> {
        let boot = crate::machine::boot::detect(&images.kernel).map_err(MachineError::from)?;
        let description = settings.description(guest_name, boot);
        let (mut machine, engine) = power_on(&description, images, settings)?;
        let common = common_inputs(settings);
        let mut inputs = Live::new(common.seed, common.perturbation, None);
        let platform = &mut machine.platform;
        platform.devices.set_clock(inputs.power_on_clock(common.seed));
        platform.entropy = inputs.entropy(common.seed);
        platform.keep_console = true;
        platform.stop_on = ON_THE_WAY;
        let mut tracker = RamTracker::new(&platform.ram);
        let mut driver = Driver::start(machine, engine, &mut inputs)?;

        let mut mark = Mark::new(settings.vary_after.as_deref().unwrap_or_default());
        let mut console = Vec::new();
        let limit = Position::new(settings.limit_ticks, 0);
        let ended = run(&mut driver, &mut inputs, limit, stop, |machine| {
            let seen = mark.is_seen_in(&machine.platform.console);
            keep_console(&mut console, &mut machine.platform.console);
            seen
        })?;
        if let Some(reason) = ended {
            return Ok(Start::Ended(reason, driver.machine.position()));
        }
        let machine = &mut driver.machine;
        let mut store = PageStore::default();
        for page in tracker.look(&mut machine.platform.ram)? {
            store.keep(page.hash, machine.platform.ram.page(page.gfn)?);
        }
        let checkpoint = Checkpoint {
            position: machine.position(),
            sections: machine.save(),
            pages: tracker.map().clone(),
        };
        let instructions = machine.instructions();
        let (settings, images) = (settings.clone(), images.clone());
        let fork = Self { description, settings, images, checkpoint, store, console, instructions };
        Ok(Start::Ready(Box::new(fork)))
    }

    /// Where the runs begin to differ.
    #[must_use]
    pub fn position(&self) -> Position {
        self.checkpoint.position
    }

    /// Instructions up to there.
    #[must_use]
    pub fn instructions(&self) -> u64 {
        self.instructions
    }

    /// A machine for runs from here; it can be used for one after the other.
    ///
    /// # Errors
    /// The host has no memory for it, or the engine cannot be had.
    pub fn runner(self: &Arc<Self>) -> Result<ForkRunner, RecordError> {
        let (machine, engine) = power_on(&self.description, &self.images, &self.settings)?;
        let tracker = RamTracker::new(&machine.platform.ram);
        Ok(ForkRunner { fork: Arc::clone(self), driver: Driver { machine, engine }, tracker })
    }
}

/// Runs one seed after the other from a fork.
#[derive(Debug)]
pub struct ForkRunner {
    fork: Arc<Fork>,
    driver: Driver,
    tracker: RamTracker,
}

impl ForkRunner {
    /// Runs the guest from the fork to its end, everything left to chance decided by `seed`.
    ///
    /// # Errors
    /// The engine fails.
    pub fn run(&mut self, seed: u64, stop: &AtomicBool) -> Result<ForkedRun, RecordError> {
        let Self { fork, driver, tracker } = self;
        let settings = &fork.settings;
        let mut inputs = Live::new(seed, settings.perturbation, None);
        driver.machine.restore(&fork.checkpoint.sections)?;
        tracker.restore(&mut driver.machine.platform.ram, &fork.checkpoint.pages, &fork.store)?;
        driver.machine.platform.entropy = inputs.entropy(seed);
        driver.machine.platform.keep_console = true;
        driver.restored(&mut inputs);

        let mut console = fork.console.clone();
        let limit = Position::new(settings.limit_ticks, 0);
        let ended = run(driver, &mut inputs, limit, stop, |machine| {
            keep_console(&mut console, &mut machine.platform.console);
            false
        })?;
        let reason = ended.unwrap_or(EndReason::TickLimit);
        let machine = &mut driver.machine;
        tracker.look(&mut machine.platform.ram)?;
        let components = Machine::digests(&machine.save(), tracker.map().digest());
        Ok(ForkedRun {
            passed: reason == EndReason::DebugExit { code: settings.pass_code },
            position: machine.position(),
            digest: Digest::combine(components.iter().map(|(name, digest)| (name.as_str(), *digest))),
            reason,
            console,
        })
    }
}

/// Runs on until `enough` says so (`None`), the run is over, it is stopped, or it comes to its limit.
fn run(
    driver: &mut Driver,
    inputs: &mut Live,
    limit: Position,
    stop: &AtomicBool,
    mut enough: impl FnMut(&mut Machine) -> bool,
) -> Result<Option<EndReason>, RecordError> {
    let mut pace = Pace::new(CHUNK_TICKS);
    loop {
        // Nobody writes this run down.
        drop(inputs.take_events());
        if enough(&mut driver.machine) {
            return Ok(None);
        }
        if driver.machine.position() >= limit {
            return Ok(Some(EndReason::TickLimit));
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(Some(EndReason::Interrupted));
        }
        let until = pace.next(&driver.machine).min(limit);
        if let Halt::Ended(reason) = driver.run(inputs, until, &Breakpoints::default())? {
            // The last words count too.
            enough(&mut driver.machine);
            return Ok(Some(reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_seen_across_pieces_of_output_and_only_where_it_is() {
        let mut mark = Mark::new("ready\n");
        assert!(!mark.is_seen_in(b"not yet rea"));
        assert!(!mark.is_seen_in(b""));
        assert!(!mark.is_seen_in(b"dy"));
        assert!(mark.is_seen_in(b"\nand more"));
        assert!(!Mark::new("ready").is_seen_in(b"read, y"));
        assert!(Mark::new("").is_seen_in(b""));
        let mut one = Mark::new("x");
        assert!(!one.is_seen_in(b"abc"));
        assert!(one.is_seen_in(b"x"));
    }
}
