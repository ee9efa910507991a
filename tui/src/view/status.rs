//! The lines of text: the next instruction, the status, and what there is to say.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};

use crate::app::{Busy, Note, State};
use crate::machine::Snapshot;

/// What the next step does.
pub fn draw_next(frame: &mut Frame<'_>, area: Rect, machine: &Snapshot) {
    let next = Span::styled("next  ", Style::new().fg(Color::Cyan));
    frame.render_widget(Line::from(vec![next, Span::raw(machine.next.as_str())]), area);
}

/// Where the cursor is, in numbers.
pub fn draw(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let machine = &state.machine;
    let mut text = format!(
        "{} of {}  {} ms  {} instructions",
        machine.position,
        state.end,
        milliseconds(machine.virtual_ns),
        grouped(machine.instructions)
    );
    if let Some(mark) = state.mark {
        text.push_str(&format!("  mark {mark}"));
    }
    frame.render_widget(Line::from(text), area);
}

/// What is running, or what came of the last action.
pub fn draw_note(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let (text, color) = match (&state.busy, &state.note) {
        (Some(Busy::Replay { at, goal }), _) => {
            (format!("replaying: {at}, at most to {goal}; Esc stops"), Color::Green)
        }
        (Some(Busy::Census { seen, of }), _) => {
            (format!("counting exits: {} of {}; Esc stops", grouped(*seen), grouped(*of)), Color::Green)
        }
        (None, Some(Note::Info(text))) => (text.clone(), Color::Yellow),
        (None, Some(Note::Error(text))) => (text.clone(), Color::Red),
        (None, None) => return,
    };
    frame.render_widget(Line::styled(text, Style::new().fg(color)), area);
}

/// A number with its digits in groups of three.
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
fn milliseconds(ns: u64) -> String {
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
