//! Two timelines that are led to the same positions, and the first one at which they differ.

use recorder::{Digest, Position, Recording};

use super::CompareError;
use super::memory::{self, MemoryDifference};
use super::registers::{self, RegisterDifference};
use crate::timeline::{Reason, Supervisor, Timeline};

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// All of the machine.
    State,
    /// The CPU.
    Cpu,
}

/// A position at which two runs differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// The last one at which they do not, if there is one.
    before: Option<Position>,
    /// The first one.
    at: Position,
}

/// Two machines where they differ.
#[derive(Debug, Clone)]
pub struct Place {
    /// The last position at which they do not: what is executed next there is the same.
    pub before: Option<PlaceSide>,
    /// Each side. Their positions are the same, unless the first difference is that one run passes a position which the other
    /// does not have.
    pub sides: [PlaceSide; 2],
    /// The components that differ: `cpu`, `ram`, devices.
    pub components: Vec<String>,
    /// The registers that differ.
    pub registers: Vec<RegisterDifference>,
    /// The memory that differs.
    pub memory: MemoryDifference,
}

impl Place {
    /// The earlier position of the two.
    #[must_use]
    pub fn position(&self) -> Position {
        self.sides[0].position.min(self.sides[1].position)
    }
}

/// A machine at a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceSide {
    /// Where.
    pub position: Position,
    /// The linear address of the next instruction.
    pub rip: u64,
    /// The next instruction, disassembled; empty where no memory is mapped.
    pub instruction: String,
}

impl PlaceSide {
    fn of(timeline: &Timeline) -> Self {
        Self {
            position: timeline.position(),
            rip: timeline.cpu().linear_rip(),
            instruction: timeline.machine().disassemble_next(),
        }
    }
}

/// Stored checkpoints that both recordings have at the same position.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    /// The last equal one not after where the runs part.
    pub equal: Option<Position>,
    /// The first one that is not equal.
    pub different: Option<Position>,
}

/// Compares the digests of checkpoints from `begin` to `end`; `part` is where inputs or exits differ first.
pub(super) fn common_checkpoints(
    sides: [&Recording; 2],
    begin: Position,
    part: Position,
    end: Position,
) -> Result<Checkpoints, CompareError> {
    let mut found = Checkpoints::default();
    let [a, b] = sides;
    for (index, info) in a.checkpoints().iter().enumerate() {
        let at = info.position;
        let Ok(other) = b.checkpoints().binary_search_by_key(&at, |info| info.position) else { continue };
        if at < begin || at > end {
            continue;
        }
        if a.checkpoint(index)?.digests != b.checkpoint(other)?.digests {
            found.different = Some(at);
            break;
        }
        if at < part {
            found.equal = Some(at);
        }
    }
    Ok(found)
}

/// Two timelines.
pub(super) struct Pair {
    sides: [Timeline; 2],
    end: Position,
}

impl Pair {
    pub(super) fn new(sides: [Timeline; 2], end: Position) -> Self {
        Self { sides, end }
    }

    /// Puts both at a position, or at the first that each has after it.
    fn stand(&mut self, at: Position, supervisor: &mut dyn Supervisor) -> Result<(), CompareError> {
        for side in &mut self.sides {
            let landing = side.seek(at.min(self.end), supervisor)?;
            if landing.reason == Reason::Interrupted {
                return Err(CompareError::Interrupted(landing.position));
            }
        }
        Ok(())
    }

    /// The digests of all components, of each side.
    fn digests(&mut self) -> Result<[Vec<(String, Digest)>; 2], CompareError> {
        let [a, b] = &mut self.sides;
        Ok([a.digest()?.1, b.digest()?.1])
    }

    fn differs(
        &mut self,
        at: Position,
        what: What,
        supervisor: &mut dyn Supervisor,
    ) -> Result<bool, CompareError> {
        self.stand(at, supervisor)?;
        let [a, b] = &self.sides;
        if a.position() != b.position() {
            return Ok(true);
        }
        Ok(match what {
            What::Cpu => a.cpu() != b.cpu(),
            What::State => {
                let [a, b] = self.digests()?;
                a != b
            }
        })
    }

    /// The first difference up to the first of these places, in order, that is different. Before the first of them, or at
    /// `equal`, there is none.
    pub(super) fn first(
        &mut self,
        equal: Option<Position>,
        places: &[Position],
        what: What,
        supervisor: &mut dyn Supervisor,
    ) -> Result<Option<Found>, CompareError> {
        let mut equal = equal;
        for place in places {
            if self.differs(*place, what, supervisor)? {
                return self.narrow(equal, *place, what, supervisor).map(Some);
            }
            equal = Some(*place);
        }
        Ok(None)
    }

    /// By halves, ticks first and then steps: the state at `low` is the same, that at `high` is not.
    fn narrow(
        &mut self,
        low: Option<Position>,
        mut high: Position,
        what: What,
        supervisor: &mut dyn Supervisor,
    ) -> Result<Found, CompareError> {
        let Some(mut low) = low else { return Ok(Found { before: None, at: high }) };
        while high.tick - low.tick > 1 {
            let middle = Position::new(low.tick + (high.tick - low.tick) / 2, 0);
            *if self.differs(middle, what, supervisor)? { &mut high } else { &mut low } = middle;
        }
        if high.tick > low.tick {
            let tick = Position::new(high.tick, 0);
            if tick == high || self.differs(tick, what, supervisor)? {
                // How many steps the tick of `low` has is not known: ever longer strides find out.
                high = tick;
                let mut stride = 1_u32;
                while let Some(offset) = low.offset.checked_add(stride) {
                    let ahead = Position::new(low.tick, offset);
                    if self.differs(ahead, what, supervisor)? {
                        high = ahead;
                        break;
                    }
                    low = ahead;
                    stride = stride.saturating_mul(2);
                }
            } else {
                low = tick;
            }
        }
        while high.tick == low.tick && high.offset - low.offset > 1 {
            let middle = Position::new(low.tick, low.offset + (high.offset - low.offset) / 2);
            *if self.differs(middle, what, supervisor)? { &mut high } else { &mut low } = middle;
        }
        Ok(Found { before: Some(low), at: high })
    }

    /// What is there.
    pub(super) fn place(
        &mut self,
        found: Found,
        supervisor: &mut dyn Supervisor,
    ) -> Result<Place, CompareError> {
        let before = match found.before {
            Some(before) => {
                self.stand(before, supervisor)?;
                Some(PlaceSide::of(&self.sides[0]))
            }
            None => None,
        };
        self.stand(found.at, supervisor)?;
        let [a, b] = self.digests()?;
        let components = a.into_iter().zip(b).filter(|(a, b)| a != b).map(|((name, _), _)| name).collect();
        let [a, b] = &mut self.sides;
        let maps = [a.page_map()?, b.page_map()?];
        Ok(Place {
            before,
            sides: [PlaceSide::of(a), PlaceSide::of(b)],
            components,
            registers: registers::differences(a.cpu(), b.cpu()),
            memory: memory::differences([a.machine(), b.machine()], &maps),
        })
    }
}
