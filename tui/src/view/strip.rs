//! The timeline: how many exits where, by height and colour; of which kind mostly, by letter; and where everything else is.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use recorder::{ExitKind, Position};

use super::grouped;
use crate::app::{Axis, State, centered};
use crate::index::Counts;
use crate::theme::{Role, letter};

/// Bars, from few to many.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A column.
#[derive(Clone, Copy)]
struct Column {
    bar: char,
    letter: char,
    kind: Option<ExitKind>,
    sign: char,
    role: Role,
}

const EMPTY: Column = Column { bar: ' ', letter: '·', kind: None, sign: ' ', role: Role::Dim };

pub fn draw(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let count = usize::from(area.width);
    if count == 0 {
        return;
    }
    let columns = if state.strip.stepwise { by_steps(state, count) } else { by_ticks(state, count) };
    let exit = |column: &Column| column.kind.map_or(Style::new(), |kind| state.theme.style(Role::Exit(kind)));
    let row = |get: &dyn Fn(&Column) -> (char, Style)| {
        Line::from_iter(columns.iter().map(get).map(|(c, style)| Span::styled(c.to_string(), style)))
    };
    let lines = [
        row(&|column| (column.bar, exit(column))),
        row(&|column| match column.kind {
            Some(_) => (column.letter, exit(column)),
            None => (column.letter, state.theme.style(Role::Dim)),
        }),
        row(&|column| (column.sign, state.theme.style(column.role))),
        scale(state, count),
    ];
    for (line, y) in lines.into_iter().zip(area.y..area.bottom()) {
        frame.render_widget(line, Rect::new(area.x, y, area.width, 1));
    }
}

/// The height of a bar: each step is four times as many.
fn bar(count: u64) -> char {
    let height = (u64::BITS - count.leading_zeros()) as usize / 2;
    if count == 0 { ' ' } else { BARS.get(height).copied().unwrap_or('█') }
}

/// The kind of most exits.
fn most(counts: &Counts) -> Option<ExitKind> {
    let kinds = ExitKind::ALL.into_iter().zip(counts);
    kinds.filter(|(_, count)| **count > 0).max_by_key(|(_, count)| **count).map(|(kind, _)| kind)
}

fn by_ticks(state: &State, count: usize) -> Vec<Column> {
    let (side, strip) = (&state.side, &state.strip);
    let mut columns = vec![EMPTY; count];
    let bounds: Vec<u64> = (0..=count).map(|column| strip.tick_of(column, count)).collect();
    // A part that is narrower than a tick has that tick all the same.
    let part = |column: usize| {
        let from = bounds.get(column).copied().unwrap_or(0);
        (from, bounds.get(column + 1).copied().unwrap_or(0).max(from + 1))
    };
    for (number, column) in columns.iter_mut().enumerate() {
        let (from, to) = part(number);
        let before = number.checked_sub(1).and_then(|before| bounds.get(before));
        if before == Some(&from) {
            continue;
        }
        if let Some(index) = &side.index {
            let counts = index.counts_between(from, to);
            let total: u64 = counts.iter().map(|count| u64::from(*count)).sum();
            column.bar = bar(total);
            column.kind = most(&counts);
            column.letter = column.kind.map_or('·', letter);
            let interrupts = counts.get(ExitKind::Interrupt as usize).is_some_and(|count| *count > 0);
            if interrupts {
                (column.sign, column.role) = ('i', Role::Exit(ExitKind::Interrupt));
            }
        } else {
            column.letter = '?';
        }
        let holds = |at: Option<Position>| at.is_some_and(|at| at.tick < to);
        let from = Position::new(from, 0);
        let checkpoints = side.recording.checkpoints();
        let checkpoint = checkpoints.partition_point(|info| info.position < from);
        let line = side.console.lines.partition_point(|line| line.at < from);
        let input = side.inputs.list.partition_point(|input| input.at < from);
        for (there, sign, role) in [
            (holds(checkpoints.get(checkpoint).map(|info| info.position)), '|', Role::Dim),
            (holds(side.inputs.list.get(input).map(|input| input.at)), 'v', Role::Input),
            (holds(side.console.lines.get(line).map(|line| line.at)), '$', Role::Console),
        ] {
            // A checkpoint is the least of it; what is rarer hides the rest.
            if there && (sign != '|' || column.sign == ' ') {
                (column.sign, column.role) = (sign, role);
            }
        }
    }
    for (at, _) in side.marks.iter() {
        put(&mut columns, strip.column_of(at.tick, count), '#', Role::Mark);
    }
    put(&mut columns, strip.column_of(side.machine.position.tick, count), '▲', Role::Cursor);
    columns
}

fn put(columns: &mut [Column], at: Option<usize>, sign: char, role: Role) {
    if let Some(column) = at.and_then(|at| columns.get_mut(at)) {
        (column.sign, column.role) = (sign, role);
    }
}

fn by_steps(state: &State, count: usize) -> Vec<Column> {
    let side = &state.side;
    let here = side.machine.position;
    let steps = centered(&side.machine.steps, here, count);
    let mut columns = vec![EMPTY; count];
    for (column, step) in columns.iter_mut().zip(steps) {
        column.kind = step.exit;
        column.bar = if step.exit.is_some() { '█' } else { ' ' };
        column.letter = step.exit.map_or('·', letter);
        let from = side.console.lines.partition_point(|line| line.at < step.at);
        let input = side.inputs.list.partition_point(|input| input.at < step.at);
        let at = |place: Option<Position>| place == Some(step.at);
        // Where a tick begins.
        if step.at.offset == 0 {
            (column.sign, column.role) = ('\'', Role::Dim);
        }
        if at(side.console.lines.get(from).map(|line| line.at)) {
            (column.sign, column.role) = ('$', Role::Console);
        }
        if at(side.inputs.list.get(input).map(|input| input.at)) {
            (column.sign, column.role) = ('v', Role::Input);
        }
        if side.marks.iter().any(|(place, _)| place == step.at) {
            (column.sign, column.role) = ('#', Role::Mark);
        }
        if step.at == here {
            (column.sign, column.role) = ('▲', Role::Cursor);
        }
    }
    columns
}

/// Where the part begins and ends, and how much of the run it is.
fn scale(state: &State, count: usize) -> Line<'static> {
    let strip = &state.strip;
    let place = |tick: u64| match strip.ns(tick) {
        Some(ns) => format!("{tick} {}.{:03} ms", grouped(ns / 1_000_000), ns / 1000 % 1000),
        None => tick.to_string(),
    };
    let (left, right) = if strip.stepwise {
        let steps = centered(&state.side.machine.steps, state.side.machine.position, count);
        let text = |step: Option<&crate::machine::StepColumn>| step.map(|step| step.at.to_string());
        (text(steps.first()).unwrap_or_default(), text(steps.last()).unwrap_or_default())
    } else {
        (place(strip.from), place(strip.to))
    };
    let middle = match (strip.stepwise, strip.axis) {
        (true, _) => "single steps".to_owned(),
        (false, axis) => {
            let axis = if axis == Axis::Time { ", by time" } else { "" };
            format!("x{}{axis}", strip.factor())
        }
    };
    let used = left.chars().count() + middle.chars().count() + right.chars().count();
    let room = count.saturating_sub(used);
    let text = format!("{left}{}{middle}{}{right}", " ".repeat(room / 2), " ".repeat(room - room / 2));
    Line::styled(text, state.theme.style(Role::Dim))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_grow_with_the_logarithm() {
        assert_eq!(bar(0), ' ');
        assert_eq!(bar(1), '▁');
        assert_eq!(bar(2), '▂');
        assert_eq!(bar(8), '▃');
        assert_eq!(bar(u64::MAX), '█');
    }

    #[test]
    fn a_column_is_of_the_kind_that_it_has_most_of() {
        let mut counts = Counts::default();
        assert_eq!(most(&counts), None);
        counts[ExitKind::Halt as usize] = 2;
        counts[ExitKind::Tsc as usize] = 1;
        assert_eq!(most(&counts), Some(ExitKind::Halt));
    }
}
