//! Which part of the run the timeline shows, and which column is where.

use recorder::Position;

use crate::machine::StepColumn;

/// A part of this many ticks is shown step by step.
const STEPWISE: u64 = 16;

/// What columns are equal parts of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Axis {
    /// Ticks: what the CPU did.
    #[default]
    Ticks,
    /// Virtual time: what the guest believes.
    Time,
}

/// The part of the run that is shown, in ticks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strip {
    /// The whole run.
    whole: (u64, u64),
    /// From this tick.
    pub from: u64,
    /// Up to but not at this one.
    pub to: u64,
    /// What columns are equal parts of.
    pub axis: Axis,
    /// Columns are single steps.
    pub stepwise: bool,
    /// Ticks with their time in nanoseconds, in order.
    clock: Vec<(u64, u64)>,
}

impl Strip {
    /// A whole run.
    #[must_use]
    pub fn new(begin: Position, end: Position) -> Self {
        let whole = (begin.tick, end.tick.saturating_add(1));
        Self { whole, from: whole.0, to: whole.1, axis: Axis::Ticks, stepwise: false, clock: Vec::new() }
    }

    /// What time it is at some ticks.
    pub fn set_clock(&mut self, mut clock: Vec<(u64, u64)>) {
        // Whatever a recording claims: time does not go back.
        clock.sort_unstable();
        let mut last = 0;
        for (_, ns) in &mut clock {
            last = last.max(*ns);
            *ns = last;
        }
        clock.dedup_by_key(|(tick, _)| *tick);
        self.clock = clock;
    }

    /// Shows everything.
    pub fn show_all(&mut self) {
        (self.from, self.to, self.stepwise) = (self.whole.0, self.whole.1, false);
    }

    /// The time at a tick, as far as it is known from the checkpoints around it.
    #[must_use]
    pub fn ns(&self, tick: u64) -> Option<u64> {
        interpolate(&self.clock, tick, |point| *point)
    }

    fn tick_of_ns(&self, ns: u64) -> Option<u64> {
        interpolate(&self.clock, ns, |(tick, ns)| (*ns, *tick))
    }

    /// The first tick of a column; of the one after the last, the end.
    #[must_use]
    pub fn tick_of(&self, column: usize, columns: usize) -> u64 {
        let part = |from: u64, to: u64| {
            let wide = u128::from(to.saturating_sub(from)) * column as u128;
            from.saturating_add(u64::try_from(wide / columns.max(1) as u128).unwrap_or(u64::MAX))
        };
        if column >= columns {
            return self.to;
        }
        if self.axis == Axis::Time
            && let (Some(from), Some(to)) = (self.ns(self.from), self.ns(self.to))
            && let Some(tick) = self.tick_of_ns(part(from, to))
        {
            return tick.clamp(self.from, self.to);
        }
        part(self.from, self.to)
    }

    /// The column of a tick; `None` if it is not shown. Of several columns that are of one tick, the first is its.
    #[must_use]
    pub fn column_of(&self, tick: u64, columns: usize) -> Option<usize> {
        if tick < self.from || tick >= self.to || columns == 0 {
            return None;
        }
        // Whatever the axis: the last column that begins at or before it.
        let (mut low, mut high) = (0, columns);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.tick_of(middle, columns) <= tick { low = middle } else { high = middle }
        }
        // Of columns that are narrower than a tick, the first.
        let begin = self.tick_of(low, columns);
        while low > 0 && self.tick_of(low - 1, columns) == begin {
            low -= 1;
        }
        Some(low)
    }

    /// Half as much, or twice, around a tick that stays where it is.
    pub fn zoom(&mut self, closer: bool, around: u64) {
        if self.stepwise {
            self.stepwise = closer;
            return;
        }
        let span = self.to - self.from;
        if closer && span <= STEPWISE {
            self.stepwise = true;
            return;
        }
        let whole = self.whole.1 - self.whole.0;
        let wanted = if closer { (span / 2).max(STEPWISE) } else { span.saturating_mul(2).min(whole) };
        let around = around.clamp(self.from, self.to);
        let before = u128::from(around - self.from) * u128::from(wanted) / u128::from(span.max(1));
        self.place(around.saturating_sub(u64::try_from(before).unwrap_or(0)), wanted);
    }

    /// A quarter earlier or later.
    pub fn pan(&mut self, back: bool) {
        let span = self.to - self.from;
        let by = (span / 4).max(1);
        let from = if back { self.from.saturating_sub(by) } else { self.from.saturating_add(by) };
        self.place(from, span);
    }

    /// Brings a tick into sight.
    pub fn reveal(&mut self, tick: u64) {
        if tick < self.from || tick >= self.to {
            let span = self.to - self.from;
            self.place(tick.saturating_sub(span / 2), span);
        }
    }

    fn place(&mut self, from: u64, span: u64) {
        let (begin, end) = self.whole;
        let span = span.min(end - begin);
        self.from = from.clamp(begin, end - span);
        self.to = self.from + span;
    }

    /// How much closer than the whole run.
    #[must_use]
    pub fn factor(&self) -> u64 {
        (self.whole.1 - self.whole.0) / (self.to - self.from).max(1)
    }
}

/// Where on the line through these points a value is.
fn interpolate(points: &[(u64, u64)], x: u64, get: impl Fn(&(u64, u64)) -> (u64, u64)) -> Option<u64> {
    let after = points.partition_point(|point| get(point).0 <= x);
    let (before, after) = match (after.checked_sub(1), points.get(after)) {
        (Some(before), Some(after)) => (points.get(before)?, after),
        (Some(before), None) => {
            // Past the last one as between the last two.
            let first = points.get(before.checked_sub(1)?)?;
            let (last_x, last_y) = get(points.get(before)?);
            let (first_x, first_y) = get(first);
            let rise = u128::from(last_y - first_y) * u128::from(x - last_x);
            let more = rise.checked_div(u128::from(last_x - first_x)).unwrap_or(0);
            return Some(last_y.saturating_add(u64::try_from(more).unwrap_or(0)));
        }
        (None, _) => return points.first().map(|point| get(point).1),
    };
    let ((x0, y0), (x1, y1)) = (get(before), get(after));
    let part = u128::from(y1 - y0) * u128::from(x - x0) / u128::from((x1 - x0).max(1));
    Some(y0.saturating_add(u64::try_from(part).unwrap_or(0)))
}

/// The steps that fit into so many columns, the one at the cursor in the middle.
#[must_use]
pub fn centered(steps: &[StepColumn], here: Position, columns: usize) -> &[StepColumn] {
    let at = steps.partition_point(|step| step.at < here);
    let from = at.saturating_sub(columns / 2);
    let to = from.saturating_add(columns).min(steps.len());
    steps.get(from..to).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip(ticks: u64) -> Strip {
        Strip::new(Position::START, Position::new(ticks - 1, 5))
    }

    #[test]
    fn columns_are_equal_parts_and_ticks_find_theirs() {
        let strip = strip(1000);
        assert_eq!((strip.tick_of(0, 10), strip.tick_of(3, 10), strip.tick_of(10, 10)), (0, 300, 1000));
        for tick in 0..1000 {
            assert_eq!(strip.column_of(tick, 10), Some(tick as usize / 100));
        }
        assert_eq!(strip.column_of(1000, 10), None);
        assert_eq!(strip.column_of(0, 0), None);
    }

    #[test]
    fn zoom_keeps_the_cursor_where_it_is_down_to_single_steps_and_back() {
        let mut strip = strip(1 << 20);
        let column = strip.column_of(300_000, 100).unwrap();
        while !strip.stepwise {
            strip.zoom(true, 300_000);
            assert!(strip.column_of(300_000, 100).unwrap().abs_diff(column) <= 7, "{strip:?}");
        }
        assert_eq!(strip.to - strip.from, STEPWISE);
        strip.zoom(false, 300_000);
        assert!(!strip.stepwise);
        (0..40).for_each(|_| strip.zoom(false, 300_000));
        assert_eq!((strip.from, strip.to, strip.factor()), (0, 1 << 20, 1));
    }

    #[test]
    fn panning_stops_at_the_ends_and_the_cursor_is_brought_into_sight() {
        let mut strip = strip(1000);
        strip.zoom(true, 0);
        (0..20).for_each(|_| strip.pan(false));
        assert_eq!((strip.from, strip.to), (500, 1000));
        strip.reveal(10);
        assert_eq!((strip.from, strip.to), (0, 500));
        strip.reveal(999);
        assert_eq!(strip.to, 1000);
    }

    #[test]
    fn columns_may_be_equal_parts_of_time() {
        let mut strip = strip(1000);
        strip.axis = Axis::Time;
        assert_eq!(strip.tick_of(5, 10), 500, "as long as no time is known");
        // The CPU is idle at tick 100 for as long as all the rest takes.
        strip.set_clock(vec![(0, 0), (100, 100), (101, 1100), (1000, 2000)]);
        assert_eq!(strip.tick_of(5, 10), 100);
        assert_eq!(strip.tick_of(8, 10), 600);
        assert_eq!(strip.column_of(50, 10), Some(0));
        assert_eq!(strip.column_of(999, 10), Some(9));
        assert_eq!(strip.ns(550), Some(1549));
        let mut last = 0;
        for column in 0..=77 {
            assert!(strip.tick_of(column, 77) >= last);
            last = strip.tick_of(column, 77);
        }
    }

    #[test]
    fn a_short_run_has_a_timeline_too() {
        let mut strip = Strip::new(Position::START, Position::START);
        strip.zoom(false, 0);
        strip.pan(true);
        assert_eq!((strip.from, strip.to), (0, 1));
        assert_eq!(strip.column_of(0, 10), Some(0));
        strip.zoom(true, 0);
        assert!(strip.stepwise);
    }
}
