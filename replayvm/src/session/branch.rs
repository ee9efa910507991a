//! Inputs of a branch: of a machine that has left its recording and goes on by itself.
//!
//! All that is left to chance is a pure function of seed, position and kind, so that whoever comes to a position again, from
//! whatever checkpoint, is given the same again. What somebody types cannot be: it is kept, with the positions at which it was
//! delivered.
//!
//! A run that goes on from a snapshot is given the same by chance ([`Live::by_position`](super::Live::by_position)).

use std::collections::BTreeMap;
use std::ops::Range;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use recorder::Position;

use super::{Divergence, Inputs, Perturbation, Rewindable};
use crate::devices::TimerSource;
use crate::machine::Entropy;

/// Ticks between two tries to deliver what is typed, while the port has no room for all of it.
const POLL_TICKS: u64 = 256;

/// What a random value is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    TimerDelay = 0,
    InterruptHold = 1,
    Entropy = 2,
    DeviceEntropy = 3,
}

/// The generator for one value: its key is all that the value depends on.
fn chance(seed: u64, at: Position, kind: Kind, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&at.tick.to_le_bytes());
    key[16..20].copy_from_slice(&at.offset.to_le_bytes());
    key[20..24].copy_from_slice(&(kind as u32).to_le_bytes());
    key[24..].copy_from_slice(&index.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// A number from 0 to `limit`, decided by seed and position.
pub(super) fn chance_up_to(limit: u64, seed: u64, at: Position, kind: Kind, index: u64) -> u64 {
    chance(seed, at, kind, index).next_u64() % limit.saturating_add(1)
}

/// Inputs of a branch.
#[derive(Debug)]
pub struct Branched {
    seed: u64,
    perturbation: Perturbation,
    /// What has been typed.
    text: Vec<u8>,
    /// Where somebody has typed it: place and length of the text then.
    typed: Vec<(Position, usize)>,
    /// Which parts of it have been delivered where.
    deliveries: BTreeMap<Position, Range<usize>>,
    /// How much of it has been delivered up to `known`.
    delivered: usize,
    /// Up to here it is known what is delivered where: it is what was, and nothing else.
    known: Position,
    /// The guest came to wait for input there, and there was none.
    waits: Option<Position>,
    rests: bool,
}

impl Branched {
    /// Inputs decided by a seed, for a machine that stands at `at`, its inputs there applied.
    #[must_use]
    pub fn new(seed: u64, at: Position) -> Self {
        Self {
            seed,
            perturbation: Perturbation::default(),
            text: Vec::new(),
            typed: Vec::new(),
            deliveries: BTreeMap::new(),
            delivered: 0,
            known: at,
            waits: None,
            rests: false,
        }
    }

    /// The source of entropy that the seed decides.
    #[must_use]
    pub fn entropy(&self) -> Box<dyn Entropy> {
        Box::new(BranchedEntropy { seed: self.seed })
    }

    /// Somebody who stands at `at` types these bytes. What was typed and delivered later is no more.
    pub fn type_at(&mut self, at: Position, bytes: &[u8]) {
        self.forget_after(at);
        self.text.extend_from_slice(bytes);
        self.typed.push((at, self.text.len()));
    }

    /// The run goes on from `at` in another way than before: what was typed and delivered later is no more.
    pub fn forget_after(&mut self, at: Position) {
        self.typed.retain(|(place, _)| *place <= at);
        self.text.truncate(self.typed.last().map_or(0, |(_, length)| *length));
        self.deliveries.retain(|place, _| *place <= at);
        self.delivered = self.deliveries.last_key_value().map_or(0, |(_, part)| part.end);
        self.known = at;
        self.waits = None;
    }

    /// The same, and nobody goes back to before `at` any more: of what was typed only what is still to be delivered is kept.
    pub fn begin_at(&mut self, at: Position) {
        self.forget_after(at);
        self.text.drain(..self.delivered);
        self.deliveries.clear();
        self.delivered = 0;
        self.typed.clear();
        self.typed.push((at, self.text.len()));
    }

    /// Bytes of text that are kept, delivered or not.
    #[must_use]
    pub fn typed_bytes(&self) -> usize {
        self.text.len()
    }

    /// Bytes that are typed and not delivered up to the farthest place to which the run has come.
    #[must_use]
    pub fn undelivered_bytes(&self) -> usize {
        self.text.len() - self.delivered
    }

    /// Whether the guest that stands at `at` waits there for input that nobody has typed.
    #[must_use]
    pub fn waits_at(&self, at: Position) -> bool {
        self.waits == Some(at)
    }

    /// A number from 0 to `limit`.
    fn up_to(&self, limit: u64, at: Position, kind: Kind, index: u64) -> u64 {
        chance_up_to(limit, self.seed, at, kind, index)
    }
}

impl Inputs for Branched {
    /// Who idles is at the next deadline at once. Without one the machine rests here, until somebody types.
    fn idle(&mut self, at: Position, deadline_ns: Option<u64>, room: usize) -> Option<u64> {
        if deadline_ns.is_none() && at >= self.known && (room == 0 || self.undelivered_bytes() == 0) {
            self.waits = Some(at);
        }
        deadline_ns.or(Some(0))
    }

    fn timer_delay(&mut self, at: Position, source: TimerSource) -> u64 {
        let index = u64::from(u8::from(source));
        self.up_to(self.perturbation.timer_delay_ns, at, Kind::TimerDelay, index)
    }

    fn interrupt_hold(&mut self, at: Position) -> u32 {
        self.up_to(u64::from(self.perturbation.hold_ticks), at, Kind::InterruptHold, 0) as u32
    }

    fn serial(&mut self, at: Position, room: usize) -> Vec<u8> {
        let part = if at <= self.known {
            self.deliveries.get(&at).cloned().unwrap_or_default()
        } else {
            self.known = at;
            let part = self.delivered..self.text.len().min(self.delivered.saturating_add(room));
            if !part.is_empty() {
                self.deliveries.insert(at, part.clone());
                self.delivered = part.end;
            }
            part
        };
        self.text.get(part).unwrap_or_default().to_vec()
    }

    fn next_tick(&mut self, after: u64) -> u64 {
        let next = after.saturating_add(1);
        let known = self.deliveries.range(Position::new(next, 0)..).next();
        let known = known.map_or(u64::MAX, |(at, _)| at.tick);
        if self.undelivered_bytes() == 0 {
            return known;
        }
        // The tick after somebody has typed, and then now and then: the same ticks, wherever the run has begun.
        let first = self.typed.last().map_or(next, |(at, _)| at.tick.saturating_add(1));
        let poll = if first > self.known.tick {
            first
        } else {
            next.checked_next_multiple_of(POLL_TICKS).unwrap_or(u64::MAX)
        };
        known.min(poll.max(next))
    }

    fn said(&mut self, _console: &[u8]) {}

    fn wants_rest(&self) -> bool {
        self.rests || self.waits.is_some()
    }

    fn settled(&mut self, at: Position) -> Result<(), Divergence> {
        // Whoever goes on from where the guest waited has something for it, or comes to wait again.
        self.waits = self.waits.filter(|place| *place == at);
        Ok(())
    }

    fn check(&self) -> Result<(), Divergence> {
        Ok(())
    }
}

impl Rewindable for Branched {
    fn stand_at(&mut self, _at: Position) {
        self.waits = None;
    }

    fn rest_at_inputs(&mut self, rests: bool) {
        self.rests = rests;
    }
}

/// Entropy by seed and position.
#[derive(Debug)]
pub(super) struct BranchedEntropy {
    pub(super) seed: u64,
}

impl Entropy for BranchedEntropy {
    fn next(&mut self, at: Position, size: u8) -> u64 {
        let value = chance(self.seed, at, Kind::Entropy, 0).next_u64();
        value >> (64 - u32::from(size.clamp(1, 8)) * 8)
    }

    fn bytes(&mut self, at: Position, index: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        chance(self.seed, at, Kind::DeviceEntropy, index as u64).fill_bytes(&mut bytes);
        bytes
    }
}
