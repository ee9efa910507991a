//! Inputs from a recording.

use std::sync::{Arc, Mutex, PoisonError};

use recorder::{Event, Position};

use super::{Divergence, Inputs, Rewindable};
use crate::devices::TimerSource;
use crate::machine::Entropy;

/// Inputs from a recording's events. A clone shares the events and can stand elsewhere.
#[derive(Debug, Clone)]
pub struct Replayed {
    events: Arc<[(Position, Event)]>,
    /// The events that come at ticks: all but the clock and what instructions ask for.
    timed: Arc<[(Position, Event)]>,
    /// The first of those that has not been passed. They are asked for in their order.
    next: usize,
    entropy: ReplayedEntropy,
    /// The run comes to rest wherever the machine has been given its inputs.
    rests: bool,
}

impl Replayed {
    /// Inputs from these events, which are in order of position.
    #[must_use]
    pub fn new(events: Arc<[(Position, Event)]>) -> Self {
        let reads = events
            .iter()
            .filter_map(|(at, event)| match event {
                Event::Entropy { value } => Some((*at, *value)),
                _ => None,
            })
            .collect();
        let answers = events
            .iter()
            .filter_map(|(at, event)| match event {
                Event::DeviceEntropy { bytes } => Some((*at, bytes.clone())),
                _ => None,
            })
            .collect();
        let at_ticks = |event: &Event| {
            !matches!(event, Event::Entropy { .. } | Event::DeviceEntropy { .. } | Event::Clock { .. })
        };
        let timed = events.iter().filter(|(_, event)| at_ticks(event)).cloned().collect();
        let entropy = ReplayedEntropy { reads, answers, missing: Arc::default() };
        Self { events, timed, next: 0, entropy, rests: false }
    }

    /// The recorded power-on clock.
    #[must_use]
    pub fn power_on_clock(&self) -> Option<u64> {
        self.events.iter().find_map(|(_, event)| match event {
            Event::Clock { unix_seconds } => Some(*unix_seconds),
            _ => None,
        })
    }

    /// The recorded entropy.
    #[must_use]
    pub fn entropy(&self) -> Box<dyn Entropy> {
        Box::new(self.entropy.clone())
    }

    /// All events.
    #[must_use]
    pub fn events(&self) -> &[(Position, Event)] {
        &self.events
    }

    /// The next event at `at` if it is one that `take` accepts.
    fn take<T>(&mut self, at: Position, take: impl FnOnce(&Event) -> Option<T>) -> Option<T> {
        let (position, event) = self.timed.get(self.next)?;
        if *position != at {
            return None;
        }
        let taken = take(event)?;
        self.next += 1;
        Some(taken)
    }
}

impl Inputs for Replayed {
    fn idle(&mut self, at: Position, deadline_ns: Option<u64>, _room: usize) -> Option<u64> {
        let logged = self.take(at, |event| match event {
            Event::Idle { ns } => Some(*ns),
            _ => None,
        });
        let input_waits = self.timed.get(self.next).is_some_and(|(position, _)| *position == at);
        logged.or(deadline_ns).or(input_waits.then_some(0))
    }

    fn timer_delay(&mut self, at: Position, source: TimerSource) -> u64 {
        self.take(at, |event| match event {
            Event::TimerDelay { source: recorded, ns } if *recorded == u8::from(source) => Some(*ns),
            _ => None,
        })
        .unwrap_or(0)
    }

    fn interrupt_hold(&mut self, at: Position) -> u32 {
        self.take(at, |event| match event {
            Event::InterruptHold { ticks } => Some(*ticks),
            _ => None,
        })
        .unwrap_or(0)
    }

    fn serial(&mut self, at: Position, _room: usize) -> Vec<u8> {
        self.take(at, |event| match event {
            Event::Serial { bytes } => Some(bytes.clone()),
            _ => None,
        })
        .unwrap_or_default()
    }

    fn next_tick(&mut self, after: u64) -> u64 {
        // An event that was never taken keeps its tick: `settled` reports it there.
        let next = self.timed.get(self.next);
        next.map_or(u64::MAX, |(position, _)| position.tick.max(after.saturating_add(1)))
    }

    fn said(&mut self, _console: &[u8]) {}

    fn wants_rest(&self) -> bool {
        self.rests
    }

    fn settled(&mut self, at: Position) -> Result<(), Divergence> {
        match self.timed.get(self.next) {
            Some((position, event)) if *position <= at => {
                Err(Divergence::Untaken { at: *position, event: event.clone() })
            }
            _ => Ok(()),
        }
    }

    fn check(&self) -> Result<(), Divergence> {
        let missing = self.entropy.missing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        missing.map_or(Ok(()), Err)
    }
}

impl Rewindable for Replayed {
    fn stand_at(&mut self, at: Position) {
        let past = Position::new(at.tick, at.offset.max(1));
        self.next = self.timed.partition_point(|(position, _)| *position < past);
        self.entropy.missing.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn rest_at_inputs(&mut self, rests: bool) {
        self.rests = rests;
    }
}

/// Entropy by the position of the instruction that read it.
#[derive(Debug, Clone)]
pub struct ReplayedEntropy {
    reads: Arc<[(Position, u64)]>,
    /// What the entropy device handed out; several at a position in their order.
    answers: Arc<[(Position, Vec<u8>)]>,
    missing: Arc<Mutex<Option<Divergence>>>,
}

impl ReplayedEntropy {
    /// The first that is asked for in vain is what replay reports.
    fn is_missing(&self, divergence: Divergence) {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(divergence);
    }
}

impl Entropy for ReplayedEntropy {
    fn next(&mut self, at: Position, _size: u8) -> u64 {
        match self.reads.binary_search_by_key(&at, |(position, _)| *position) {
            Ok(index) => self.reads[index].1,
            Err(_) => {
                self.is_missing(Divergence::NoEntropy { at });
                0
            }
        }
    }

    fn bytes(&mut self, at: Position, index: usize, len: usize) -> Vec<u8> {
        let first = self.answers.partition_point(|(position, _)| *position < at);
        let answer = self.answers.get(first.saturating_add(index)).filter(|(position, _)| *position == at);
        match answer {
            Some((_, bytes)) if bytes.len() == len => bytes.clone(),
            _ => {
                let recorded = answer.map(|(_, bytes)| bytes.len());
                self.is_missing(Divergence::DeviceEntropy { at, asked: len, recorded });
                vec![0; len]
            }
        }
    }
}
