//! The bar: the whole recording as one line, by ticks.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use recorder::Position;

use crate::app::{Busy, State};

/// Columns of the percentage at the end.
const PERCENT: usize = 5;

pub fn draw(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let columns = usize::from(area.width).saturating_sub(PERCENT);
    if columns == 0 {
        return;
    }
    let cursor = match &state.busy {
        Some(Busy::Replay { at, .. }) => *at,
        _ => state.machine.position,
    };
    let column = |position: Position| column(position, state.begin, state.end, columns);
    let mut cells = vec![('─', Color::DarkGray); columns];
    let mut put = |position: Position, cell| {
        if let Some(place) = cells.get_mut(column(position)) {
            *place = cell;
        }
    };
    if let Some(row) = state.exits.selected() {
        put(row.at, ('│', Color::Cyan));
    }
    if let Some(mark) = state.mark {
        put(mark, ('m', Color::Yellow));
    }
    put(cursor, ('●', Color::Green));
    let mut spans: Vec<Span<'_>> =
        cells.into_iter().map(|(c, color)| Span::styled(c.to_string(), Style::new().fg(color))).collect();
    // A percentage is a column of a bar of 101.
    let percent = self::column(cursor, state.begin, state.end, 101);
    spans.push(Span::raw(format!("{:>PERCENT$}", format!("{percent}%"))));
    frame.render_widget(Line::from(spans), area);
}

/// The column of a position: 0 for the begin, the last one for the end and for nothing before it.
fn column(position: Position, begin: Position, end: Position, columns: usize) -> usize {
    let last = columns.saturating_sub(1);
    if position >= end {
        return last;
    }
    let done = u128::from(position.tick.saturating_sub(begin.tick));
    let whole = u128::from(end.tick.saturating_sub(begin.tick)).max(1);
    usize::try_from(done * last as u128 / whole).unwrap_or(last).min(last.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_is_in_the_last_column() {
        let (begin, end) = (Position::new(100, 0), Position::new(200, 5));
        let at = |tick, offset| column(Position::new(tick, offset), begin, end, 11);
        assert_eq!(at(100, 0), 0);
        assert_eq!(at(150, 3), 5);
        assert_eq!(at(200, 4), 9);
        assert_eq!(at(200, 5), 10);
    }

    #[test]
    fn a_recording_without_length_has_one_column() {
        assert_eq!(column(Position::START, Position::START, Position::START, 1), 0);
        assert_eq!(column(Position::START, Position::START, Position::MAX, 1), 0);
    }
}
