//! Drawing: from a [`State`](crate::app::State) to a frame, and nothing else. The one place that knows where things are on the screen.

/// Where in the recording the cursor is.
mod bar;
/// The CPU at the cursor.
mod cpu;
/// The list of exits.
mod exits;
/// The help line and the help window.
mod help;
/// The lines of text below.
mod status;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect, Size};
use ratatui::style::{Modifier, Style};
use ratatui::widgets::Paragraph;

use crate::app::State;

/// Columns of the CPU: two registers side by side, and the border.
const CPU_WIDTH: u16 = 43;
/// Lines that a border takes.
const BORDER: u16 = 2;

struct Places {
    title: Rect,
    exits: Rect,
    cpu: Rect,
    next: Rect,
    bar: Rect,
    status: Rect,
    help: Rect,
}

fn places(area: Rect) -> Places {
    let [title, main, next, bar, status, help] = area.layout(&Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
    ]));
    let [exits, cpu] = main.layout(&Layout::horizontal([Constraint::Fill(1), Constraint::Length(CPU_WIDTH)]));
    Places { title, exits, cpu, next, bar, status, help }
}

/// Rows that the list of exits has on a screen of this size.
#[must_use]
pub fn list_height(size: Size) -> u16 {
    places(Rect::from(size)).exits.height.saturating_sub(BORDER)
}

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, state: &State) {
    let places = places(frame.area());
    let title = Paragraph::new(state.title.as_str()).style(Style::new().add_modifier(Modifier::BOLD));
    frame.render_widget(title, places.title);
    exits::draw(frame, places.exits, state);
    cpu::draw(frame, places.cpu, &state.machine);
    status::draw_next(frame, places.next, &state.machine);
    bar::draw(frame, places.bar, state);
    status::draw(frame, places.status, state);
    match (&state.busy, &state.note) {
        (None, None) => help::draw_line(frame, places.help),
        _ => status::draw_note(frame, places.help, state),
    }
    if state.help {
        help::draw_window(frame, frame.area());
    }
}
