//! Two lists of entries, inputs or exits, up to the first that are not the same.

use std::collections::VecDeque;

use recorder::{Position, ReadError};

use super::CompareError;
use crate::timeline::{Progress, Supervisor};

/// An input or an exit, with its position.
pub type Entry<T> = (Position, T);

/// The first entries that are not the same. At least one of them is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parted<T> {
    /// How many are the same before.
    pub number: u64,
    /// Each side's; `None`: it has no more.
    pub sides: [Option<Entry<T>>; 2],
}

impl<T> Parted<T> {
    /// The earlier position of the two.
    #[must_use]
    pub fn position(&self) -> Position {
        let positions = self.sides.iter().flatten().map(|(at, _)| *at);
        positions.min().unwrap_or(Position::MAX)
    }
}

/// Entries between two looks at whoever may want to stop.
const LOOK_EVERY: u64 = 1 << 16;

type Read<T> = Result<Entry<T>, ReadError>;

/// Where two lists part, of what lies `within`.
pub(super) fn first_difference<T: PartialEq>(
    sides: [impl Iterator<Item = Read<T>>; 2],
    within: impl Fn(Position) -> bool,
    goal: Position,
    supervisor: &mut dyn Supervisor,
) -> Result<Option<Parted<T>>, CompareError> {
    let keep = |entry: &Read<T>| entry.as_ref().map_or(true, |(at, _)| within(*at));
    let [a, b] = sides;
    let (mut a, mut b) = (a.filter(keep), b.filter(keep));
    let mut number = 0;
    loop {
        let sides = [a.next().transpose()?, b.next().transpose()?];
        match &sides {
            [None, None] => return Ok(None),
            [Some(one), Some(other)] if one == other => {
                if number % LOOK_EVERY == 0 && !supervisor.go_on(Progress { position: one.0, goal }) {
                    return Err(CompareError::Interrupted(one.0));
                }
            }
            _ => return Ok(Some(Parted { number, sides })),
        }
        number += 1;
    }
}

/// `count` entries from the one of this number on, counted from `begin`.
pub(super) fn nth<T>(
    list: impl Iterator<Item = Read<T>>,
    begin: Position,
    number: u64,
    count: usize,
) -> Result<Vec<Entry<T>>, ReadError> {
    list.filter(|entry| entry.as_ref().map_or(true, |(at, _)| *at >= begin))
        .skip(usize::try_from(number).unwrap_or(usize::MAX))
        .take(count)
        .collect()
}

/// The last `count` entries between two positions.
pub(super) fn last<T>(
    list: impl Iterator<Item = Read<T>>,
    from: Position,
    to: Position,
    count: usize,
) -> Result<Vec<Entry<T>>, ReadError> {
    let mut kept = VecDeque::new();
    for entry in list {
        let entry = entry?;
        if entry.0 > to {
            break;
        }
        if entry.0 >= from {
            kept.push_back(entry);
        }
        if kept.len() > count {
            kept.pop_front();
        }
    }
    Ok(kept.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::unsupervised;

    fn list(entries: &[(u64, u8)]) -> impl Iterator<Item = Read<u8>> {
        entries
            .iter()
            .map(|(tick, value)| Ok((Position::new(*tick, 0), *value)))
            .collect::<Vec<_>>()
            .into_iter()
    }

    fn parted(a: &[(u64, u8)], b: &[(u64, u8)], end: u64) -> Option<(u64, u64)> {
        let end = Position::new(end, 0);
        let found = first_difference([list(a), list(b)], |at| at <= end, end, &mut unsupervised()).unwrap();
        found.map(|parted| (parted.number, parted.position().tick))
    }

    #[test]
    fn lists_part_at_another_value_at_another_position_and_where_one_ends() {
        let list = [(1, 10), (5, 20), (5, 30)];
        assert_eq!(parted(&list, &list, 9), None);
        assert_eq!(parted(&list, &[(1, 10), (5, 21), (5, 30)], 9), Some((1, 5)));
        assert_eq!(parted(&list, &[(1, 10), (4, 20)], 9), Some((1, 4)));
        assert_eq!(parted(&list, &list[..2], 9), Some((2, 5)));
        assert_eq!(parted(&list, &[], 9), Some((0, 1)));
    }

    #[test]
    fn what_lies_behind_the_end_of_one_is_no_difference() {
        assert_eq!(parted(&[(1, 10), (5, 20)], &[(1, 10)], 4), None);
    }

    #[test]
    fn the_last_entries_up_to_a_position_are_kept() {
        let entries = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)];
        let at = |tick| Position::new(tick, 0);
        let kept = |count| last(list(&entries), at(2), at(4), count).unwrap();
        assert_eq!(kept(2), [(at(3), 3), (at(4), 4)]);
        assert_eq!(kept(9).len(), 3);
        assert_eq!(kept(0), []);
    }

    #[test]
    fn whoever_wants_to_stop_is_asked() {
        let same = [(3, 1)];
        let end = Position::MAX;
        let stopped = first_difference([list(&same), list(&same)], |_| true, end, &mut |_: Progress| false);
        assert!(matches!(stopped, Err(CompareError::Interrupted(at)) if at == Position::new(3, 0)));
    }
}
