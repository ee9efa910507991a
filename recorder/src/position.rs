//! Positions in a run.

use std::fmt;
use std::str::FromStr;

use rkyv::{Archive, Deserialize, Serialize};

/// A place in a run, unique for each machine state.
///
/// `tick` counts conditional branches retired and user-to-kernel ring transitions since power-on (and the
/// idle and stall ticks that the rules define); `offset` counts the steps since the last tick. At offset 0 the
/// asynchronous inputs of the tick have already been applied.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Archive, Serialize, Deserialize,
)]
pub struct Position {
    /// Ticks since power-on.
    pub tick: u64,
    /// Steps since the last tick.
    pub offset: u32,
}

impl Position {
    /// Power-on.
    pub const START: Self = Self { tick: 0, offset: 0 };
    /// Later than every position that a run can reach.
    pub const MAX: Self = Self { tick: u64::MAX, offset: u32::MAX };

    /// The position `offset` steps after `tick`.
    #[must_use]
    pub const fn new(tick: u64, offset: u32) -> Self {
        Self { tick, offset }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}+{}", self.tick, self.offset))
    }
}

/// A text that is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a position: write TICK or TICK+OFFSET, for example 12345+3")]
pub struct ParsePositionError(String);

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParsePositionError(text.to_owned());
        let (tick, offset) = text.split_once('+').unwrap_or((text, "0"));
        let number =
            |part: &str| part.bytes().all(|b| b.is_ascii_digit() || b == b'_').then(|| part.replace('_', ""));
        Ok(Self {
            tick: number(tick).and_then(|t| t.parse().ok()).ok_or_else(wrong)?,
            offset: number(offset).and_then(|o| o.parse().ok()).ok_or_else(wrong)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_prints_and_parses_as_tick_plus_offset() {
        let position = Position::new(12_345_678, 3);
        assert_eq!(position.to_string(), "12345678+3");
        assert_eq!("12345678+3".parse(), Ok(position));
        assert_eq!("7".parse(), Ok(Position::new(7, 0)));
        for wrong in ["", "+", "1+", "+1", "-1", "1+2+3", "x"] {
            assert!(wrong.parse::<Position>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn positions_order_by_tick_then_offset() {
        assert!(Position::new(1, 9) < Position::new(2, 0));
        assert!(Position::new(2, 0) < Position::new(2, 1));
    }
}
