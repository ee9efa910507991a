//! The list of exits.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph};
use recorder::{Exit, ExitKind};

use super::status::grouped;
use crate::app::State;
use crate::exits::Row;

pub fn draw(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let exits = &state.exits;
    let what = exits.filter().map_or("exits", ExitKind::name);
    let title = match exits.len() {
        0 => format!(" no {what} "),
        len => format!(" {what} {} of {} ", grouped(exits.selected_index() + 1), grouped(len)),
    };
    let block = Block::bordered().title(title);
    let width = state.end.to_string().len();
    let lines: Vec<Line<'_>> = exits
        .visible()
        .map(|(index, row)| {
            let line = match row {
                Some(row) => line(row, marker(state, index, row), width),
                None => Line::from("  cannot be read"),
            };
            let selected = index == exits.selected_index();
            line.style(if selected { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() })
        })
        .collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// Where the cursor is among the exits: at this one, or before this one and after the one above.
fn marker(state: &State, index: u64, row: &Row) -> &'static str {
    let above = index.checked_sub(1).and_then(|above| state.exits.row(above));
    let first = row.number >= state.next_exit && above.is_none_or(|above| above.number < state.next_exit);
    if row.at == state.machine.position {
        "▶ "
    } else if first {
        "▷ "
    } else {
        "  "
    }
}

fn line(row: &Row, marker: &'static str, width: usize) -> Line<'static> {
    let kind = row.exit.kind();
    Line::from(vec![
        Span::styled(marker, Style::new().fg(Color::Green)),
        Span::raw(format!("{:>width$} ", row.at)),
        Span::styled(kind.name(), Style::new().fg(color(kind))),
        Span::raw(details(&row.exit)),
    ])
}

fn color(kind: ExitKind) -> Color {
    match kind {
        ExitKind::PortRead | ExitKind::PortWrite => Color::Cyan,
        ExitKind::MmioRead | ExitKind::MmioWrite => Color::Blue,
        ExitKind::Interrupt | ExitKind::Nmi | ExitKind::SoftwareInterrupt => Color::Yellow,
        ExitKind::Exception | ExitKind::Shutdown => Color::Red,
        ExitKind::Halt => Color::DarkGray,
        _ => Color::Magenta,
    }
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
