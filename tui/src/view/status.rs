//! The lines of text: the next instruction, the status, and what there is to say.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::app::{Busy, Note, State};
use crate::theme::Role;

/// What the next step does, and where that is in the program.
pub fn draw_next(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let machine = &state.side.machine;
    let mut spans =
        vec![Span::styled("next  ", state.theme.style(Role::Label)), Span::raw(machine.next.as_str())];
    if let Some(place) = &machine.place {
        spans.push(Span::styled(format!("  {place}"), state.theme.style(Role::Mark)));
    }
    frame.render_widget(Line::from(spans), area);
}

/// Where the cursor is, in numbers.
pub fn draw(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let machine = &state.side.machine;
    let text = format!(
        "{} of {}  {} ms  {} instructions",
        machine.position,
        state.side.end,
        milliseconds(machine.virtual_ns),
        grouped(machine.instructions)
    );
    frame.render_widget(Line::from(text), area);
}

/// What is running, or what came of the last action.
pub fn draw_note(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let (text, role) = match (&state.busy, &state.note) {
        (Some(Busy::Work { what, progress: Some(progress) }), _) => {
            (format!("{what}: {}, at most to {}; Esc stops", progress.position, progress.goal), Role::Cursor)
        }
        (Some(Busy::Work { what, progress: None }), _) => (format!("{what}; Esc stops"), Role::Cursor),
        (Some(Busy::Exits { seen, of }), _) => {
            (format!("reading exits: {} of {}; Esc stops", grouped(*seen), grouped(*of)), Role::Cursor)
        }
        (None, Some(Note::Info(text))) => (text.clone(), Role::Info),
        (None, Some(Note::Error(text))) => (text.clone(), Role::Error),
        (None, None) => return,
    };
    frame.render_widget(Line::styled(text, state.theme.style(role)), area);
}

/// A number with its digits in groups of three.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Nanoseconds as milliseconds, to the nanosecond.
#[must_use]
pub fn milliseconds(ns: u64) -> String {
    format!("{}.{:06}", grouped(ns / 1_000_000), ns % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_milliseconds_to_the_nanosecond() {
        assert_eq!(milliseconds(0), "0.000000");
        assert_eq!(milliseconds(1_234_567_000_042), "1,234,567.000042");
    }
}
