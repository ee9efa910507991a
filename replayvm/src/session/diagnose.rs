//! After a divergence: the first step at which the engine that replayed and the software CPU come to different states.
//!
//! Both run side by side from a checkpoint that was as recorded, compared at ever shorter distances.

use std::sync::atomic::{AtomicBool, Ordering};

use recorder::{Digest, Position};

use super::{Driver, Halt, ReplayError, Replayed, Rewindable};
use crate::checkpoint::{Checkpoint, PageStore, RamTracker};
use crate::engine::{Breakpoints, Difference, PlainEngine};
use crate::machine::Machine;
use crate::recording::{OpenRecording, restore};

/// What running side by side has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Diagnosis {
    /// The engine and the software CPU part at this step.
    Parts(Difference),
    /// They agree on the whole stretch: the recording was made by a machine that behaves otherwise (another version of this
    /// command, or a damaged file).
    Agree {
        /// From the last checkpoint that was as recorded.
        from: Position,
        /// To where they were compared.
        to: Position,
    },
}

/// Ticks between comparisons, from coarse to fine; after the last come single steps.
const DISTANCES: [u64; 4] = [20_000, 500, 20, 1];

/// A machine that is run beside another.
struct Side {
    driver: Driver,
    tracker: RamTracker,
    inputs: Replayed,
}

impl Side {
    fn run(&mut self, until: Position) -> Result<Option<Halt>, ReplayError> {
        match self.driver.run(&mut self.inputs, until, &Breakpoints::default())? {
            Halt::Reached => Ok(None),
            halt => Ok(Some(halt)),
        }
    }

    fn components(&mut self, store: &mut PageStore) -> Result<Vec<(String, Digest)>, ReplayError> {
        let machine = &mut self.driver.machine;
        for page in self.tracker.look(&mut machine.platform.ram)? {
            store.keep(page.hash, machine.platform.ram.page(page.gfn)?);
        }
        Ok(Machine::digests(&machine.save(), self.tracker.map().digest()))
    }

    fn checkpoint(&self) -> Checkpoint {
        let machine = &self.driver.machine;
        Checkpoint {
            position: machine.position(),
            sections: machine.save(),
            pages: self.tracker.map().clone(),
        }
    }

    fn restore(&mut self, checkpoint: &Checkpoint, store: &PageStore) -> Result<(), ReplayError> {
        restore(&mut self.driver, &mut self.tracker, checkpoint, &mut self.inputs, store)?;
        self.driver.machine.platform.exits.clear();
        Ok(())
    }
}

pub(super) fn first_difference(
    opened: &OpenRecording,
    store: &mut PageStore,
    (driver, tracker): (Driver, RamTracker),
    from: usize,
    until: Position,
    stop: &AtomicBool,
) -> Result<Diagnosis, ReplayError> {
    let mut inputs = opened.inputs();
    let (reference, reference_tracker) = opened.start(|_| Ok(Box::new(PlainEngine)), &mut inputs, store)?;
    let mut soft = Side { driver: reference, tracker: reference_tracker, inputs };
    let mut inputs = opened.inputs();
    let mut driver = driver;
    driver.machine.platform.entropy = inputs.entropy();
    driver.machine.platform.log_exits = false;
    inputs.stand_at(opened.checkpoint_position(from));
    let mut other = Side { driver, tracker, inputs };

    let mut good = opened.checkpoint(from)?;
    soft.restore(&good, store)?;
    other.restore(&good, store)?;
    let mut distances = DISTANCES.iter();
    let mut distance = distances.next();
    loop {
        let now = soft.driver.machine.position();
        if stop.load(Ordering::Relaxed) {
            return Err(ReplayError::Interrupted(now));
        }
        if now >= until {
            return Ok(Diagnosis::Agree { from: opened.checkpoint_position(from), to: now });
        }
        let next = match distance {
            Some(ticks) => Position::new(now.tick.saturating_add(*ticks), 0).min(until),
            None => Position::new(now.tick, now.offset.saturating_add(1)),
        };
        let halts = (soft.run(next), other.run(next));
        let (expected, got) = (soft.components(store)?, other.components(store)?);
        let same = match &halts {
            (Ok(expected), Ok(got)) => expected == got,
            _ => false,
        };
        if same && expected == got {
            if let (Ok(Some(_)), _) = halts {
                return Ok(Diagnosis::Agree {
                    from: opened.checkpoint_position(from),
                    to: soft.driver.machine.position(),
                });
            }
            good = soft.checkpoint();
            continue;
        }
        if distance.is_none() {
            soft.restore(&good, store)?;
            let mut components: Vec<_> = expected
                .iter()
                .zip(&got)
                .filter(|(expected, got)| expected != got)
                .map(|((name, expected), (_, got))| (name.clone(), expected.to_string(), got.to_string()))
                .collect();
            if let (expected, Err(error)) = &halts {
                components.push(("outcome".to_owned(), format!("{expected:?}"), error.to_string()));
            }
            return Ok(Diagnosis::Parts(Difference {
                at: good.position,
                instruction: soft.driver.machine.disassemble_next(),
                components,
            }));
        }
        soft.restore(&good, store)?;
        other.restore(&good, store)?;
        distance = distances.next();
    }
}
