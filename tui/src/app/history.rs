//! Where the cursor has been: back and forward, as in a browser.

use recorder::Position;

/// Places that are remembered.
const MAX: usize = 500;

/// Places in the order of visits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    places: Vec<Position>,
    at: usize,
    /// The last move was a step: the next one takes its place.
    stepping: bool,
}

impl History {
    /// Begins there.
    #[must_use]
    pub fn at(position: Position) -> Self {
        Self { places: vec![position], at: 0, stepping: false }
    }

    /// The cursor has come to a place. A row of steps is one place.
    pub fn visit(&mut self, position: Position, step: bool) {
        if self.places.get(self.at) == Some(&position) {
            return;
        }
        self.places.truncate(self.at + 1);
        if step && self.stepping {
            self.places.pop();
        }
        self.places.push(position);
        if self.places.len() > MAX {
            self.places.remove(0);
        }
        self.at = self.places.len() - 1;
        self.stepping = step;
    }

    /// The place before, or after; it is the current one from now on.
    pub fn go(&mut self, back: bool) -> Option<Position> {
        let to = if back { self.at.checked_sub(1)? } else { self.at + 1 };
        let place = *self.places.get(to)?;
        self.at = to;
        self.stepping = false;
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(tick: u64) -> Position {
        Position::new(tick, 0)
    }

    #[test]
    fn back_and_forward_lead_along_the_visits() {
        let mut history = History::at(at(0));
        history.visit(at(10), false);
        history.visit(at(20), false);
        assert_eq!(history.go(true), Some(at(10)));
        assert_eq!(history.go(true), Some(at(0)));
        assert_eq!(history.go(true), None);
        assert_eq!(history.go(false), Some(at(10)));
        history.visit(at(30), false);
        assert_eq!(history.go(false), None);
        assert_eq!(history.go(true), Some(at(10)));
    }

    #[test]
    fn a_row_of_steps_is_one_place() {
        let mut history = History::at(at(0));
        for step in 1..10 {
            history.visit(at(step), true);
        }
        assert_eq!(history.go(true), Some(at(0)));
        assert_eq!(history.go(false), Some(at(9)));
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let mut history = History::at(at(0));
        (0..5000).for_each(|tick| history.visit(at(tick), false));
        assert_eq!(history.places.len(), MAX);
        assert_eq!(history.go(true), Some(at(4998)));
    }
}
