//! The help line and the help window, both made from the table of keys.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use crate::keys::BINDINGS;

fn key(text: String) -> Span<'static> {
    Span::styled(text, Style::new().fg(Color::Yellow))
}

/// As many keys as there is room for.
pub fn draw_line(frame: &mut Frame<'_>, area: Rect) {
    let mut spans = Vec::new();
    let mut width = 0;
    for binding in BINDINGS.iter().filter(|binding| !binding.brief.is_empty()) {
        let words = format!(" {}  ", binding.brief);
        width += binding.label.len() + words.len();
        // The two blanks at the end need no room.
        if width > usize::from(area.width) + 2 {
            break;
        }
        spans.push(key(binding.label.to_owned()));
        spans.push(Span::raw(words));
    }
    frame.render_widget(Line::from(spans), area);
}

/// All keys.
pub fn draw_window(frame: &mut Frame<'_>, area: Rect) {
    let labels = BINDINGS.iter().map(|binding| binding.label.len()).max().unwrap_or(0);
    let helps = BINDINGS.iter().map(|binding| binding.help.len()).max().unwrap_or(0);
    let lines: Vec<Line<'_>> = BINDINGS
        .iter()
        .map(|binding| {
            let label = key(format!("{:>labels$}", binding.label));
            Line::from(vec![label, Span::raw(format!("  {}", binding.help))])
        })
        .collect();
    let size = |length: usize| u16::try_from(length + 2).unwrap_or(u16::MAX);
    let (width, height) = (size(labels + 2 + helps), size(lines.len()));
    let place = area.centered(Constraint::Length(width), Constraint::Length(height));
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" Keys ")), place);
}
