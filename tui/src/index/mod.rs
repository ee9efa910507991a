//! Every exit of a recording by tick and kind, small enough to keep in memory: 5 bytes each.
//!
//! How many there are of each kind between two ticks is two look-ups, however far apart these are: what the timeline draws costs
//! the same at any zoom. Values and offsets are not here but in the recording.

/// Lines of the console, with positions.
mod console;
/// Inputs, with positions.
mod inputs;

pub use console::{ConsoleLine, ConsoleLines};
pub use inputs::{Input, Inputs};

use recorder::{ExitKind, ReadError, Recording};

/// Kinds of exits.
pub const KINDS: usize = ExitKind::ALL.len();
/// Exits of a block at the most.
const BLOCK: usize = 256;
/// More exits than this are not counted: a recording from elsewhere may claim any number.
pub const MAX_EXITS: usize = 40_000_000;
/// Exits between two looks at whoever waits.
const UNSEEN: usize = 1 << 15;

/// How many exits of each kind.
pub type Counts = [u32; KINDS];

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KindSet(u16);

impl KindSet {
    /// None.
    pub const NONE: Self = Self(0);
    /// All of them.
    pub const ALL: Self = Self((1 << KINDS) - 1);

    /// This one too.
    #[must_use]
    pub const fn with(self, kind: ExitKind) -> Self {
        Self(self.0 | 1 << kind as u16)
    }

    /// Whether it is one of them.
    #[must_use]
    pub const fn has(self, kind: ExitKind) -> bool {
        self.0 >> kind as u16 & 1 != 0
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn count(self, counts: &Counts) -> u64 {
        let counted = counts.iter().enumerate().filter(|(kind, _)| self.0 >> kind & 1 != 0);
        counted.map(|(_, count)| u64::from(*count)).sum()
    }
}

#[derive(Debug, Clone, Copy)]
struct Block {
    /// The number of its first exit.
    first: u32,
    /// The tick of that one.
    tick: u64,
    /// Exits before it.
    before: Counts,
}

/// The index.
#[derive(Debug, Default)]
pub struct Index {
    blocks: Vec<Block>,
    /// Ticks after the one of the block.
    ticks: Vec<u32>,
    kinds: Vec<u8>,
    /// There are more exits in the recording.
    cut: bool,
    /// Why there are fewer than the recording says.
    damage: Option<String>,
}

impl Index {
    /// Reads all exits. `go_on` is told how many have been read; `None` if it says no.
    pub fn build(recording: &Recording, go_on: &mut dyn FnMut(u64) -> bool) -> Option<Self> {
        Self::of(recording.exits().map(|exit| exit.map(|(at, exit)| (at.tick, exit.kind()))), go_on)
    }

    fn of(
        exits: impl Iterator<Item = Result<(u64, ExitKind), ReadError>>,
        go_on: &mut dyn FnMut(u64) -> bool,
    ) -> Option<Self> {
        let mut index = Self::default();
        let mut counts = [0; KINDS];
        for exit in exits {
            let (tick, kind) = match exit {
                Ok(exit) => exit,
                Err(error) => {
                    index.damage = Some(error.to_string());
                    break;
                }
            };
            let number = index.kinds.len();
            if number >= MAX_EXITS {
                index.cut = true;
                break;
            }
            if number.is_multiple_of(UNSEEN) && !go_on(number as u64) {
                return None;
            }
            let last = index.blocks.last();
            let fits = last.filter(|block| number - (block.first as usize) < BLOCK);
            let delta = fits.and_then(|block| u32::try_from(tick.saturating_sub(block.tick)).ok());
            if delta.is_none() {
                index.blocks.push(Block { first: number as u32, tick, before: counts });
            }
            index.ticks.push(delta.unwrap_or(0));
            index.kinds.push(kind as u8);
            if let Some(count) = counts.get_mut(kind as usize) {
                *count += 1;
            }
        }
        Some(index)
    }

    /// Exits that are indexed.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.kinds.len() as u64
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// What there is to say of an index that is not of all exits.
    #[must_use]
    pub fn shortfall(&self) -> Option<String> {
        match &self.damage {
            Some(why) => Some(format!("exits from number {} on cannot be read: {why}", self.len() + 1)),
            None => self.cut.then(|| format!("only the first {MAX_EXITS} exits are indexed")),
        }
    }

    /// The kind of the exit with this number.
    #[must_use]
    pub fn kind(&self, number: u64) -> Option<ExitKind> {
        let kind = *self.kinds.get(usize::try_from(number).ok()?)?;
        ExitKind::ALL.get(usize::from(kind)).copied()
    }

    /// How many exits are before a tick: the number of the first one at or after it.
    #[must_use]
    pub fn before_tick(&self, tick: u64) -> u64 {
        let after = self.blocks.partition_point(|block| block.tick < tick);
        let Some(block) = after.checked_sub(1).and_then(|last| self.blocks.get(last)) else { return 0 };
        let first = block.first as usize;
        let end = self.blocks.get(after).map_or(self.kinds.len(), |next| next.first as usize);
        let wanted = tick - block.tick;
        let inside = self.ticks.get(first..end).unwrap_or_default();
        (first + inside.partition_point(|delta| u64::from(*delta) < wanted)) as u64
    }

    /// How many of each kind there are before an exit.
    #[must_use]
    pub fn counts_before(&self, number: u64) -> Counts {
        let number = usize::try_from(number).unwrap_or(usize::MAX).min(self.kinds.len());
        let after = self.blocks.partition_point(|block| (block.first as usize) < number);
        let Some(block) = after.checked_sub(1).and_then(|last| self.blocks.get(last)) else {
            return [0; KINDS];
        };
        let mut counts = block.before;
        for kind in self.kinds.get(block.first as usize..number).unwrap_or_default() {
            if let Some(count) = counts.get_mut(usize::from(*kind)) {
                *count += 1;
            }
        }
        counts
    }

    /// How many of each kind there are from one tick up to but not at another.
    #[must_use]
    pub fn counts_between(&self, from: u64, to: u64) -> Counts {
        let before = self.counts_before(self.before_tick(from));
        let mut counts = self.counts_before(self.before_tick(to.max(from)));
        counts.iter_mut().zip(before).for_each(|(count, before)| *count -= before);
        counts
    }

    /// The first exit of these kinds with this number or a later one.
    #[must_use]
    pub fn next(&self, kinds: KindSet, number: u64) -> Option<u64> {
        let from = usize::try_from(number).ok()?;
        let wanted = |number: &usize| self.kind(*number as u64).is_some_and(|kind| kinds.has(kind));
        let mut block = self.blocks.partition_point(|block| block.first as usize <= from).checked_sub(1)?;
        let mut at = from;
        loop {
            let end = self.blocks.get(block + 1).map_or(self.kinds.len(), |next| next.first as usize);
            if let Some(found) = (at..end).find(wanted) {
                return Some(found as u64);
            }
            // Whole blocks are passed by their counts.
            let passed = kinds.count(&self.blocks.get(block + 1)?.before);
            let total = kinds.count(&self.counts_before(self.len()));
            if passed == total {
                return None;
            }
            let holds = self.blocks.partition_point(|block| kinds.count(&block.before) <= passed);
            block = holds.checked_sub(1)?;
            at = self.blocks.get(block)?.first as usize;
        }
    }

    /// The last exit of these kinds with a lower number.
    #[must_use]
    pub fn previous(&self, kinds: KindSet, number: u64) -> Option<u64> {
        let to = usize::try_from(number).unwrap_or(usize::MAX).min(self.kinds.len());
        let passed = kinds.count(&self.counts_before(to as u64));
        let rank = passed.checked_sub(1)?;
        let holds = self.blocks.partition_point(|block| kinds.count(&block.before) <= rank);
        let block = holds.checked_sub(1)?;
        let first = self.blocks.get(block)?.first as usize;
        let end = self.blocks.get(block + 1).map_or(self.kinds.len(), |next| next.first as usize).min(to);
        (first..end)
            .rev()
            .find(|number| self.kind(*number as u64).is_some_and(|kind| kinds.has(kind)))
            .map(|found| found as u64)
    }

    /// Every exit of these kinds, up to `limit`.
    #[must_use]
    pub fn numbers(&self, kinds: KindSet) -> Vec<u32> {
        let all = (0_u32..).zip(&self.kinds);
        all.filter(|(_, kind)| kinds.0 >> **kind & 1 != 0).map(|(number, _)| number).collect()
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<Block>() + self.ticks.capacity() * 4 + self.kinds.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow_counts(exits: &[(u64, ExitKind)], from: u64, to: u64) -> Counts {
        let mut counts = [0; KINDS];
        for (_, kind) in exits.iter().filter(|(tick, _)| (from..to).contains(tick)) {
            counts[*kind as usize] += 1;
        }
        counts
    }

    fn made_up() -> (Vec<(u64, ExitKind)>, Index) {
        let mut state = 7_u64;
        let mut tick = 0_u64;
        let exits: Vec<_> = (0..5000)
            .map(|number| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                tick += match state >> 60 {
                    0 if number % 500 == 0 => 1 << 33,
                    0..4 => 0,
                    other => other * 3,
                };
                // The last kind is rare.
                let kind =
                    if number % 1777 == 1776 { KINDS - 1 } else { (state >> 33) as usize % (KINDS - 1) };
                (tick, ExitKind::ALL[kind])
            })
            .collect();
        let index = Index::of(exits.iter().copied().map(Ok), &mut |_| true).unwrap();
        (exits, index)
    }

    #[test]
    fn counts_between_ticks_are_those_of_a_plain_count() {
        let (exits, index) = made_up();
        let end = exits.last().unwrap().0 + 1;
        for step in 0..200_u64 {
            let (from, to) = (end / 317 * step, end / 211 * step + 5);
            assert_eq!(
                index.counts_between(from, to),
                slow_counts(&exits, from, to.max(from)),
                "{from} {to}"
            );
        }
        assert_eq!(index.counts_between(0, u64::MAX), slow_counts(&exits, 0, u64::MAX));
    }

    #[test]
    fn the_next_and_the_previous_of_a_kind_are_those_of_a_plain_search() {
        let (exits, index) = made_up();
        for kind in [KINDS - 1, 0, 3] {
            let kind = ExitKind::ALL[kind];
            let set = KindSet::NONE.with(kind);
            for number in (0..exits.len()).step_by(37) {
                let next = (number..exits.len()).find(|n| exits[*n].1 == kind);
                let previous = (0..number).rev().find(|n| exits[*n].1 == kind);
                assert_eq!(index.next(set, number as u64), next.map(|n| n as u64), "{number}");
                assert_eq!(index.previous(set, number as u64), previous.map(|n| n as u64), "{number}");
            }
        }
        assert_eq!(index.next(KindSet::NONE, 0), None);
        assert_eq!(index.next(KindSet::ALL, index.len()), None);
        assert_eq!(index.previous(KindSet::ALL, 0), None);
    }

    #[test]
    fn whoever_waits_can_stop_it() {
        assert!(Index::of([Ok((0, ExitKind::Halt))].into_iter(), &mut |_| false).is_none());
    }
}
