//! A branch: the machine has left its recording, may be changed, and goes on by itself, until somebody returns.
//!
//! A branch is private memory: the recording's file is mapped copy-on-write, and nothing is ever written to it. A position
//! names one state of a branch as it does of a recording, so that all movement is the same: its inputs are a function of seed and
//! position ([`Branched`]), and whoever changes something at a position begins the branch anew there.
//!
//! Not here: changing the machine (`edit`), and the movement itself.

use std::collections::{BTreeMap, VecDeque};

use recorder::{EndReason, Position};
use replayvm_cpu::Rflags;

use super::{CACHED_CHECKPOINTS, EditError, Landing, Reason, Timeline, TimelineError};
use crate::checkpoint::{Cache, Checkpoint};
use crate::console::Printed;
use crate::engine::Breakpoints;
use crate::session::{Branched, Driver, Halt, SessionError};

/// Where a branch ends that goes on and on.
const NO_END: Position = Position::new(1 << 62, 0);
/// Ticks that are run forward at the most without leaving a checkpoint behind.
const SPACING_TICKS: u64 = 250_000;
/// Bytes of output that are kept, from its end.
const PRINTED_BYTES: usize = 1 << 16;
/// Bytes that somebody may have typed since the branch began.
const TYPED_BYTES: usize = 1 << 16;

/// What a cursor knows of the branch that it is in.
#[derive(Debug)]
pub struct Branch {
    seed: u64,
    /// The recording's state where the branch left it.
    home: Checkpoint,
    /// The branch's first state.
    begin: Checkpoint,
    pub(super) inputs: Branched,
    pub(super) cache: Cache,
    pub(super) marks: BTreeMap<String, Position>,
    /// The farthest place to which it has been run.
    reached: Position,
    over: Option<Over>,
    printed: VecDeque<Printed>,
    printed_from: Position,
    /// Up to here it is known what is printed.
    heard: Position,
}

/// How the run of a branch is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Over {
    /// Where.
    pub position: Position,
    /// Why.
    pub reason: EndReason,
    /// The guest waits for input: it would go on if somebody typed.
    pub waits: bool,
}

impl Branch {
    /// What decides all that is left to chance.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Where the branch left the recording.
    #[must_use]
    pub fn fork(&self) -> Position {
        self.home.position
    }

    /// Where it begins: at the fork, or where it was last changed.
    #[must_use]
    pub fn begin(&self) -> Position {
        self.begin.position
    }

    /// The farthest place to which it has been run.
    #[must_use]
    pub fn reached(&self) -> Position {
        self.reached
    }

    /// Whether the guest's run is over, and how.
    #[must_use]
    pub fn over(&self) -> Option<&Over> {
        self.over.as_ref()
    }

    /// From where on what the guest has printed is kept: from the fork, until it has printed more than is kept.
    #[must_use]
    pub fn printed_from(&self) -> Position {
        self.printed_from
    }

    /// What the guest has printed since there and before `here`.
    pub fn printed_before(&self, here: Position) -> impl Iterator<Item = &Printed> {
        self.printed.iter().take_while(move |printed| printed.at < here)
    }

    /// Bytes that are typed and that the guest has not been given yet.
    #[must_use]
    pub fn undelivered_bytes(&self) -> usize {
        self.inputs.undelivered_bytes()
    }

    /// How far it can be run.
    pub(super) fn end(&self) -> Position {
        self.over.as_ref().map_or(NO_END, |over| over.position)
    }

    /// The last state at or before a position that can be had without running, and the inputs to go on from there.
    pub(super) fn nearest(&mut self, position: Position) -> (&Checkpoint, &mut Branched) {
        (self.cache.at_or_before(position).unwrap_or(&self.begin), &mut self.inputs)
    }

    /// Where that state is.
    pub(super) fn nearest_position(&self, position: Position) -> Position {
        self.cache.at_or_before(position).unwrap_or(&self.begin).position
    }

    /// Whether a run that has come to `here` leaves a checkpoint behind.
    pub(super) fn leaves_checkpoint(&self, here: Position) -> bool {
        here.tick.saturating_sub(self.nearest_position(here).tick) >= SPACING_TICKS
    }

    /// The states that can be had without running, in their order.
    pub(super) fn states(&self) -> impl DoubleEndedIterator<Item = &Checkpoint> {
        std::iter::once(&self.begin).chain(self.cache.iter())
    }

    /// The states that are kept, whatever there is room for.
    pub(super) fn kept(&self) -> [&Checkpoint; 2] {
        [&self.home, &self.begin]
    }

    /// Moves the machine on, as [`Driver::run`] does.
    pub(super) fn advance(
        &mut self,
        driver: &mut Driver,
        until: Position,
        breakpoints: &Breakpoints,
    ) -> Result<Halt, SessionError> {
        if let Some(over) = self.over.as_ref().filter(|over| driver.machine.position() >= over.position) {
            return Ok(Halt::Ended(over.reason.clone()));
        }
        let mut halt = driver.run(&mut self.inputs, until, breakpoints)?;
        let position = driver.machine.position();
        self.listen(driver);
        self.reached = self.reached.max(position);
        let waits = self.inputs.waits_at(position);
        if waits {
            halt = Halt::Ended(EndReason::Hung);
        }
        if let Halt::Ended(reason) = &halt {
            self.over = Some(Over { position, reason: reason.clone(), waits });
        }
        Ok(halt)
    }

    /// Takes what the machine has said, unless it has said it before.
    fn listen(&mut self, driver: &mut Driver) {
        let printed = driver.machine.platform.printed.drain(..);
        self.printed.extend(printed.filter(|printed| printed.at >= self.heard));
        let surplus = self.printed.len().saturating_sub(PRINTED_BYTES);
        self.printed.drain(..surplus);
        if surplus > 0
            && let Some(first) = self.printed.front()
        {
            self.printed_from = first.at;
        }
        self.heard = self.heard.max(driver.machine.position());
    }

    /// The run goes on from `here` in another way than before: what came later is no more. Whether it can go on.
    fn forget_after(&mut self, here: Position) {
        self.inputs.forget_after(here);
        self.cache.forget_after(here);
        self.marks.retain(|_, place| *place <= here);
        self.reached = here;
        self.printed.retain(|printed| printed.at < here);
        self.heard = here;
        if self.over.as_ref().is_some_and(|over| over.position > here || over.waits) {
            self.over = None;
        }
    }

    /// The branch begins where the machine stands, in this state: what lay before is no more.
    pub(super) fn begin_at(&mut self, begin: Checkpoint) {
        let here = begin.position;
        self.forget_after(here);
        // A CPU that has been changed may have come out of where nothing would have woken it.
        self.over = self.over.take().filter(|over| over.reason != EndReason::Hung);
        self.inputs.begin_at(here);
        self.cache = Cache::new(CACHED_CHECKPOINTS);
        self.marks.retain(|_, place| *place == here);
        self.begin = begin;
    }
}

impl Timeline {
    /// The branch that the cursor is in, if it is in one.
    #[must_use]
    pub fn branch(&self) -> Option<&Branch> {
        self.branch.as_deref()
    }

    /// Leaves the recording where the cursor stands. From here the machine runs live, all that is left to chance decided by `seed`,
    /// and may be changed.
    ///
    /// # Errors
    /// The cursor is in a branch already, or was in no defined state and could not be put into one.
    pub fn fork(&mut self, seed: u64) -> Result<(), EditError> {
        if let Some(branch) = &self.branch {
            return Err(EditError::InBranch(branch.fork()));
        }
        self.recover()?;
        let home = self.checkpoint_here()?;
        let here = home.position;
        let mut inputs = Branched::new(seed, here);
        let platform = &mut self.driver.machine.platform;
        platform.entropy = inputs.entropy();
        platform.keep_printed = true;
        self.driver.restored(&mut inputs);
        self.branch = Some(Box::new(Branch {
            seed,
            begin: home.clone(),
            home,
            inputs,
            cache: Cache::new(CACHED_CHECKPOINTS),
            marks: BTreeMap::new(),
            reached: here,
            over: self.over_at_end(here),
            printed: VecDeque::new(),
            printed_from: here,
            heard: here,
        }));
        Ok(())
    }

    /// How the guest's run is over where the recording ends, if it is more than the recording that ends there.
    fn over_at_end(&self, here: Position) -> Option<Over> {
        let end = self.opened.recording().end().filter(|end| end.position == here)?;
        let reason = end.reason.clone();
        let waits = match reason {
            EndReason::TickLimit | EndReason::Interrupted => return None,
            EndReason::Hung => self.cpu().rflags & Rflags::IF.bits() != 0,
            _ => false,
        };
        Some(Over { position: here, reason, waits })
    }

    /// Throws the branch away: the cursor is where it left the recording, and the machine as it was there.
    ///
    /// # Errors
    /// The cursor is in no branch, or the recording cannot be read.
    pub fn return_to_recording(&mut self) -> Result<Landing, EditError> {
        let branch = self.branch.take().ok_or(EditError::Recording)?;
        let platform = &mut self.driver.machine.platform;
        platform.entropy = self.inputs.entropy();
        platform.keep_printed = false;
        self.sound = false;
        let Self { driver, tracker, inputs, store, .. } = self;
        crate::recording::restore(driver, tracker, &branch.home, inputs, store)
            .map_err(TimelineError::from)?;
        self.sound = true;
        drop(branch);
        self.forget_unnamed();
        Ok(Landing { position: self.position(), reason: Reason::Reached })
    }

    /// Types on the serial port of a branch: the guest is given the bytes at the next ticks, as the port has room for them.
    ///
    /// # Errors
    /// The cursor is in no branch, the guest's run is over, or it has been typed too much.
    pub fn type_text(&mut self, bytes: &[u8]) -> Result<(), EditError> {
        self.editable()?;
        let here = self.position();
        let branch = self.branch.as_deref_mut().ok_or(EditError::Recording)?;
        if let Some(over) = branch.over.as_ref().filter(|over| over.position <= here && !over.waits) {
            return Err(EditError::Over(over.reason.clone()));
        }
        branch.forget_after(here);
        if branch.inputs.typed_bytes().saturating_add(bytes.len()) > TYPED_BYTES {
            return Err(EditError::TooMuchTyped(TYPED_BYTES));
        }
        branch.inputs.type_at(here, bytes);
        self.driver.restored(&mut branch.inputs);
        Ok(())
    }
}
