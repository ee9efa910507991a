//! Drawing: from a [`State`](crate::app::State) to a frame, and nothing else.

/// Instructions.
mod code;
/// Exits and their summary.
mod exits;
/// The help line and the help window.
mod help;
/// Panes that are lists of lines.
mod lists;
/// Memory.
mod memory;
/// Registers.
pub(crate) mod registers;
/// The lines of text below.
mod status;
/// The timeline.
mod strip;

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph};

pub use status::{grouped, milliseconds};

use crate::app::State;
use crate::layout::{Pane, Slot};
use crate::theme::Role;

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, state: &State) {
    let places = state.layout.places(frame.area(), state.banner.is_some());
    frame.render_widget(Line::styled(state.title.as_str(), state.theme.style(Role::Title)), places.title);
    if let Some(banner) = &state.banner {
        let style = state.theme.style(Role::Error).patch(state.theme.style(Role::Selected));
        let wide = usize::from(places.banner.width);
        frame.render_widget(Line::styled(format!("{banner:<wide$}"), style), places.banner);
    }
    strip::draw(frame, places.strip, state);
    for slot in Slot::ALL {
        let area = places.slots[slot as usize];
        if !area.is_empty() {
            draw_pane(frame, area, state, slot);
        }
    }
    status::draw_next(frame, places.next, state);
    status::draw(frame, places.status, state);
    if let Some(prompt) = &state.prompt {
        let text = format!("{}: {}", prompt.question.text(), prompt.text);
        let wide = u16::try_from(text.chars().count()).unwrap_or(u16::MAX);
        // Of a line that is too long the end is seen: that is where it is written.
        let hidden = wide.saturating_add(1).saturating_sub(places.bottom.width);
        let seen: String = text.chars().skip(usize::from(hidden)).collect();
        frame.render_widget(Line::styled(seen, state.theme.style(Role::Info)), places.bottom);
        let x = places.bottom.x.saturating_add(wide - hidden).min(places.bottom.right().saturating_sub(1));
        frame.set_cursor_position(Position::new(x, places.bottom.y));
    } else if state.busy.is_some() || state.note.is_some() {
        status::draw_note(frame, places.bottom, state);
    } else {
        help::draw_line(frame, places.bottom, state.theme);
    }
    if let Some(top) = state.help {
        help::draw_window(frame, frame.area(), state.theme, top);
    }
}

fn draw_pane(frame: &mut Frame<'_>, area: Rect, state: &State, slot: Slot) {
    let rows = usize::from(area.height.saturating_sub(crate::layout::BORDER));
    let pane = state.layout.pane(slot);
    let (title, lines) = match pane {
        Pane::Exits => exits::list(state),
        Pane::Summary => exits::summary(state, rows),
        Pane::Code => code::lines(state),
        Pane::Registers => registers::lines(state),
        Pane::Memory => memory::lines(state),
        _ => lists::lines(state, pane, rows),
    };
    let focused = state.layout.focus() == slot;
    let style = if focused { state.theme.style(Role::Title) } else { Style::new() };
    let title = if focused { format!("[{title}]") } else { format!(" {title} ") };
    let mut block = Block::bordered().title(Span::styled(title, style));
    if !focused {
        block = block.border_style(state.theme.style(Role::Dim));
    }
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// A row that is selected looks so in the pane that has the keys, and less so elsewhere.
fn selectable<'l>(state: &State, pane: Pane, selected: bool, line: Line<'l>) -> Line<'l> {
    match (selected, state.layout.focused() == pane) {
        (true, true) => line.style(state.theme.style(Role::Selected)),
        _ => line,
    }
}
