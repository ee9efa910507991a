//! In which order exits are listed.

use std::sync::Arc;

use recorder::{Exit, ReadError, Recording};

use super::Filter;
use crate::index::{Index, MAX_EXITS};

/// Exits between two looks at whoever waits.
const UNSEEN: u64 = 1 << 14;

/// An order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// As they happened.
    #[default]
    Position,
    /// The last first.
    Backward,
    /// By kind.
    Kind,
    /// By port, address, MSR, leaf or vector.
    Place,
    /// By value, the largest first.
    Value,
}

impl Order {
    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::Position => Self::Backward,
            Self::Backward => Self::Kind,
            Self::Kind => Self::Place,
            Self::Place => Self::Value,
            Self::Value => Self::Position,
        }
    }

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Position => "position",
            Self::Backward => "last first",
            Self::Kind => "kind",
            Self::Place => "port, MSR or vector",
            Self::Value => "value",
        }
    }

    /// What exits are ordered by; position decides between equal ones.
    fn key(self, exit: &Exit) -> u64 {
        match self {
            Self::Position | Self::Backward => 0,
            Self::Kind => exit.kind() as u64,
            Self::Place => (exit.kind() as u64) << 56 | place(exit) & ((1 << 56) - 1),
            Self::Value => u64::MAX - value(exit),
        }
    }
}

fn place(exit: &Exit) -> u64 {
    match *exit {
        Exit::PortRead { port, .. } | Exit::PortWrite { port, .. } => u64::from(port),
        Exit::MmioRead { gpa, .. } | Exit::MmioWrite { gpa, .. } => gpa,
        Exit::MsrRead { index, .. } | Exit::MsrWrite { index, .. } => u64::from(index),
        Exit::Cpuid { leaf, .. } => u64::from(leaf),
        Exit::Interrupt { vector } | Exit::SoftwareInterrupt { vector } | Exit::Exception { vector, .. } => {
            u64::from(vector)
        }
        _ => 0,
    }
}

fn value(exit: &Exit) -> u64 {
    match *exit {
        Exit::PortRead { value, .. } | Exit::PortWrite { value, .. } => u64::from(value),
        Exit::MmioRead { value, .. }
        | Exit::MmioWrite { value, .. }
        | Exit::MsrRead { value, .. }
        | Exit::MsrWrite { value, .. }
        | Exit::Tsc { value }
        | Exit::Entropy { value } => value,
        Exit::Exception { address, .. } => address,
        _ => 0,
    }
}

/// Some exits, in some order.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    /// Which.
    pub filter: Option<Filter>,
    /// How.
    pub order: Order,
    /// The numbers of the exits.
    pub numbers: Arc<Vec<u32>>,
}

impl Listed {
    /// The index of the exit with this number, or of the next one that is listed.
    pub(super) fn index_of(&self, number: u64) -> u64 {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let found = match self.order {
            Order::Position => self.numbers.partition_point(|listed| *listed < number),
            Order::Backward => self.numbers.partition_point(|listed| *listed > number),
            _ => self.numbers.iter().position(|listed| *listed == number).unwrap_or(0),
        };
        found as u64
    }
}

/// Selects exits. `go_on` is told how many have been looked at; `None` if it says no.
///
/// # Errors
/// Exits cannot be read.
pub fn select(
    recording: &Recording,
    index: Option<&Index>,
    filter: Option<&Filter>,
    order: Order,
    go_on: &mut dyn FnMut(u64) -> bool,
) -> Result<Option<Listed>, ReadError> {
    let listed = |numbers| {
        let numbers = Arc::new(numbers);
        Ok(Some(Listed { filter: filter.cloned(), order, numbers }))
    };
    let kinds = filter.map_or(Some(crate::index::KindSet::ALL), Filter::only_kinds);
    if let (Some(index), Some(kinds), Order::Position | Order::Backward) = (index, kinds, order) {
        let mut numbers = index.numbers(kinds);
        if order == Order::Backward {
            numbers.reverse();
        }
        return listed(numbers);
    }
    let mut found = Vec::new();
    for (number, exit) in (0_u64..MAX_EXITS as u64).zip(recording.exits()) {
        let (_, exit) = exit?;
        if number.is_multiple_of(UNSEEN) && !go_on(number) {
            return Ok(None);
        }
        if filter.is_none_or(|filter| filter.holds(&exit)) {
            found.push((order.key(&exit), number as u32));
        }
    }
    match order {
        Order::Position => {}
        Order::Backward => found.reverse(),
        _ => found.sort_unstable(),
    }
    listed(found.into_iter().map(|(_, number)| number).collect())
}
