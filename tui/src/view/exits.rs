//! The list of exits, and their summary.

use ratatui::text::{Line, Span};
use recorder::Exit;

use super::{grouped, selectable};
use crate::app::State;
use crate::exits::{Order, Row};
use crate::layout::Pane;
use crate::theme::Role;

pub fn list(state: &State) -> (String, Vec<Line<'static>>) {
    let exits = &state.side.exits;
    let what = state.side.filter().map_or_else(|| "exits".to_owned(), |filter| filter.text().to_owned());
    let order = match state.side.sorted() {
        Order::Position => String::new(),
        order => format!(", by {}", order.name()),
    };
    let title = match exits.len() {
        0 => format!("no {what}"),
        len => format!("{what} {} of {}{order}", grouped(exits.selected_index() + 1), grouped(len)),
    };
    let width = state.side.end.to_string().len();
    let lines = exits.visible().map(|(index, row)| {
        let line = match row {
            Some(row) => line(state, row, marker(state, index, row), width),
            None => Line::from("  cannot be read"),
        };
        selectable(state, Pane::Exits, index == exits.selected_index(), line)
    });
    (title, lines.collect())
}

/// Where the cursor is among the exits: at this one, or before this one and after the one above.
fn marker(state: &State, index: u64, row: &Row) -> &'static str {
    let side = &state.side;
    let above = index.checked_sub(1).and_then(|above| side.exits.row(above));
    let first = row.number >= side.next_exit && above.is_none_or(|above| above.number < side.next_exit);
    if row.at == side.machine.position {
        "▶ "
    } else if first && side.sorted() == Order::Position {
        "▷ "
    } else {
        "  "
    }
}

fn line(state: &State, row: &Row, marker: &'static str, width: usize) -> Line<'static> {
    let kind = row.exit.kind();
    Line::from(vec![
        Span::styled(marker, state.theme.style(Role::Cursor)),
        Span::raw(format!("{:>width$} ", row.at)),
        Span::styled(kind.name(), state.theme.style(Role::Exit(kind))),
        Span::raw(details(&row.exit)),
    ])
}

/// What follows the kind. A value has as many digits as it has room for, so that its size is seen.
fn details(exit: &Exit) -> String {
    let sized = |value: u64, size: u8| format!("{value:#0width$x}", width = 2 + 2 * usize::from(size));
    match *exit {
        Exit::PortRead { port, size, value } | Exit::PortWrite { port, size, value } => {
            format!(" {port:#x} = {}", sized(u64::from(value), size))
        }
        Exit::MmioRead { gpa, size, value } | Exit::MmioWrite { gpa, size, value } => {
            format!(" {gpa:#x} = {}", sized(value, size))
        }
        Exit::MsrRead { index, value } | Exit::MsrWrite { index, value } => {
            format!(" {index:#x} = {value:#x}")
        }
        // Whatever else there is says it in the words that all commands use.
        _ => {
            let text = exit.to_string();
            text.strip_prefix(exit.kind().name()).map_or_else(|| format!(" {text}"), str::to_owned)
        }
    }
}

/// How many of each kind are in the part of the run that the timeline shows.
pub fn summary(state: &State, rows: usize) -> (String, Vec<Line<'static>>) {
    let title = format!("summary, ticks {} to {}", state.strip.from, state.strip.to);
    if state.side.index.is_none() {
        return (title, vec![Line::from("exits are being read")]);
    }
    let kinds = state.summary();
    let total: u64 = kinds.iter().map(|(_, count)| count).sum();
    let ticks = (state.strip.to - state.strip.from).max(1);
    // On a narrow screen there is no room for the rate.
    let rates = state.columns_of(Pane::Summary) >= 52;
    let head = format!("{:<19}{:>11}{:>8}", "exit", "count", "share");
    let head = if rates { format!("{head}{:>14}", "a 1000 ticks") } else { head };
    let mut lines = vec![Line::styled(head, state.theme.style(Role::Label))];
    let selected = state.side.scroll(Pane::Summary).selected;
    for (row, (kind, count)) in kinds.into_iter().enumerate() {
        let share = count as f64 * 100.0 / total.max(1) as f64;
        let rate = count as f64 * 1000.0 / ticks as f64;
        let numbers = format!("{:>11}{share:>7.2}%", grouped(count));
        let numbers = if rates { format!("{numbers}{rate:>14.3}") } else { numbers };
        let name = Span::styled(format!("{:<19}", kind.name()), state.theme.style(Role::Exit(kind)));
        let line = Line::from(vec![name, Span::raw(numbers)]);
        lines.push(selectable(state, Pane::Summary, row == selected, line));
    }
    lines.truncate(rows.saturating_sub(1).max(1));
    lines.push(Line::from(format!("{:<19}{:>11}", "total", grouped(total))));
    (title, lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_value_is_seen_by_its_digits() {
        assert_eq!(details(&Exit::PortWrite { port: 0x3f8, size: 1, value: 0x0a }), " 0x3f8 = 0x0a");
        assert_eq!(details(&Exit::PortRead { port: 0xf4, size: 4, value: 0x10 }), " 0xf4 = 0x00000010");
        assert_eq!(details(&Exit::Interrupt { vector: 0x20 }), " 0x20");
        assert_eq!(details(&Exit::Halt), "");
    }
}
