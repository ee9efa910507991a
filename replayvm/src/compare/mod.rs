//! Two recordings of one machine side by side, aligned by position: where their runs part, and what is there.
//!
//! What the files say is compared first: inputs, exits, digests of checkpoints. Two runs that are equal in all of that are equal.
//! Otherwise two timelines look for the first position at which the states differ.

/// Walking two lists of entries together.
mod entries;
/// What the machines differ in.
mod machines;
/// Bytes of memory that differ.
mod memory;
/// Registers that differ.
mod registers;
/// Looking for the first different state.
mod search;

use recorder::{End, Event, Exit, Position};

pub use entries::{Entry, Parted};
pub use machines::MachineDifference;
pub use memory::{MAX_RANGES, MemoryDifference, RangeDifference, SHOWN_BYTES};
pub use registers::RegisterDifference;
pub use search::{Place, PlaceSide};

use crate::timeline::{Supervisor, Timeline, TimelineError};
use search::{Pair, What};

/// Why two recordings cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// Their machines or images are different ones.
    #[error("the recordings are of different machines: {}", list(.0))]
    Machines(Vec<MachineDifference>),
    /// One begins after the other's end.
    #[error("the recordings have no position in common: one begins at {begin}, the other ends at {end}")]
    Apart {
        /// The begin of the later one.
        begin: Position,
        /// The end of the earlier one.
        end: Position,
    },
    /// A recording, or its replay.
    #[error(transparent)]
    Timeline(#[from] TimelineError),
    /// What a recording holds.
    #[error("a recording cannot be read")]
    Read(#[from] recorder::ReadError),
    /// Somebody wanted it to stop.
    #[error("interrupted at {0}")]
    Interrupted(Position),
}

fn list(differences: &[MachineDifference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What two recordings have in common, and where they part. Of a pair the first is always A's.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// What is different of how they were made, and nothing to the guest: seed, engine, names.
    pub made: Vec<MachineDifference>,
    /// The first position that both have.
    pub begin: Position,
    /// The last position that both have.
    pub end: Position,
    /// The first different input.
    pub input: Option<Parted<Event>>,
    /// The last inputs of each side from there up to where the CPU differs, or else the rest.
    pub inputs: [Vec<Entry<Event>>; 2],
    /// The first different exit.
    pub exit: Option<Parted<Exit>>,
    /// The last exits before that.
    pub common_exits: Vec<Entry<Exit>>,
    /// From the first different exit on, those of each.
    pub exits: [Vec<Entry<Exit>>; 2],
    /// The first different state.
    pub state: Option<Place>,
    /// The first position at which the CPU differs, if that is a later one.
    pub cpu: Option<Place>,
    /// How the runs ended; `None`: the recording was cut off.
    pub ends: [Option<End>; 2],
    /// The last positions.
    pub lasts: [Position; 2],
}

impl Comparison {
    /// Whether the runs are the same from begin to end.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.parts_at().is_none() && self.lasts[0] == self.lasts[1] && self.ends[0] == self.ends[1]
    }

    /// The first position at which an input, an exit or the state differs.
    #[must_use]
    pub fn parts_at(&self) -> Option<Position> {
        let input = self.input.as_ref().map(Parted::position);
        let exit = self.exit.as_ref().map(Parted::position);
        let state = self.state.as_ref().map(Place::position);
        [input, exit, state].into_iter().flatten().min()
    }
}

/// Compares two recordings; so many inputs and exits are `shown` of each side around the place where they part.
///
/// The first different state is exact: states are equal before the first different input. Where the CPU differs only later than
/// the rest, that is looked for by halving, and a difference that went away again is passed over.
///
/// # Errors
/// The recordings are of different machines, or damaged; a replay fails; somebody wanted it to stop.
pub fn compare(
    timelines: [Timeline; 2],
    shown: usize,
    supervisor: &mut dyn Supervisor,
) -> Result<Comparison, CompareError> {
    let span = tracing::debug_span!("compare");
    let _entered = span.enter();
    let [a, b] = timelines.each_ref().map(|timeline| timeline.opened().recording());
    let (machine, made) = machines::differences(a, b);
    if !machine.is_empty() {
        return Err(CompareError::Machines(machine));
    }
    let (ends, lasts) = ([a.end().cloned(), b.end().cloned()], timelines.each_ref().map(Timeline::end));
    let begin = timelines[0].begin().max(timelines[1].begin());
    let end = lasts[0].min(lasts[1]);
    if begin > end {
        return Err(CompareError::Apart { begin, end });
    }

    let input = entries::first_difference(
        [a.events_from(begin), b.events_from(begin)],
        |at| begin <= at && at <= end,
        end,
        supervisor,
    )?;
    // What comes at the end of the shorter one the longer one alone may go on to make.
    let same_end = lasts[0] == lasts[1];
    let within = |at: Position| begin <= at && (at < end || (same_end && at == end));
    let exit =
        entries::first_difference([a.exits_from(begin), b.exits_from(begin)], within, end, supervisor)?;
    let (mut common_exits, mut exits) = (Vec::new(), [Vec::new(), Vec::new()]);
    if let Some(exit) = &exit {
        let number = exit.number;
        let before = number.saturating_sub(shown as u64);
        common_exits = entries::nth(a.exits_from(begin), begin, before, (number - before) as usize)?;
        exits = [
            entries::nth(a.exits_from(begin), begin, number, shown)?,
            entries::nth(b.exits_from(begin), begin, number, shown)?,
        ];
    }

    let mut comparison = Comparison {
        made,
        begin,
        end,
        input,
        inputs: [Vec::new(), Vec::new()],
        exit,
        common_exits,
        exits,
        state: None,
        cpu: None,
        ends,
        lasts,
    };
    let checkpoints = search::common_checkpoints([a, b], begin, comparison.parts_at().unwrap_or(end), end)?;
    let ends_differ = same_end && comparison.ends[0] != comparison.ends[1];
    if comparison.parts_at().is_none() && checkpoints.different.is_none() && !ends_differ {
        return Ok(comparison);
    }
    let recordings = [a.clone(), b.clone()];
    find_states(&mut comparison, Pair::new(timelines, end), &checkpoints, supervisor)?;
    if let Some(input) = &comparison.input {
        let place = comparison.cpu.as_ref().or(comparison.state.as_ref());
        let (from, to) = (input.position(), place.map_or(end, Place::position));
        for (inputs, recording) in comparison.inputs.iter_mut().zip(&recordings) {
            *inputs = entries::last(recording.events_from(from), from, to, shown)?;
        }
    }
    Ok(comparison)
}

/// Looks for the first different state, and for the first different CPU.
fn find_states(
    comparison: &mut Comparison,
    mut pair: Pair,
    checkpoints: &search::Checkpoints,
    supervisor: &mut dyn Supervisor,
) -> Result<(), CompareError> {
    let parts =
        [comparison.input.as_ref().map(Parted::position), comparison.exit.as_ref().map(Parted::position)];
    // What an instruction read, or did, is in the state after it.
    let mut places: Vec<Position> = parts
        .into_iter()
        .flatten()
        .flat_map(|at| [at, Position::new(at.tick, at.offset.saturating_add(1))])
        .chain([comparison.begin, comparison.end])
        .chain(checkpoints.different)
        .filter(|at| *at >= checkpoints.equal.unwrap_or(comparison.begin) && *at <= comparison.end)
        .collect();
    places.sort_unstable();
    places.dedup();
    let until = pair.first(checkpoints.equal, &places, What::State, supervisor)?;
    let Some(state) = until else { return Ok(()) };
    let place = pair.place(state, supervisor)?;
    let differs = !place.registers.is_empty();
    let found = place.position();
    comparison.state = Some(place);
    if differs {
        return Ok(());
    }
    places.retain(|at| *at > found);
    if let Some(cpu) = pair.first(Some(found), &places, What::Cpu, supervisor)? {
        comparison.cpu = Some(pair.place(cpu, supervisor)?);
    }
    Ok(())
}
