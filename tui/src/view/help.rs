//! The help line and the help window, both made from the table of keys.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use crate::keys::{BINDINGS, Group, of_group};
use crate::theme::{Role, Theme};

/// As many keys as there is room for.
pub fn draw_line(frame: &mut Frame<'_>, area: Rect, theme: Theme) {
    let mut spans = Vec::new();
    let mut width = 0;
    for binding in BINDINGS.iter().filter(|binding| !binding.brief.is_empty()) {
        let key = binding.label.split(' ').next().unwrap_or("");
        let words = format!(" {}  ", binding.brief);
        width += key.len() + words.len();
        // The two blanks at the end need no room.
        if width > usize::from(area.width) + 2 {
            break;
        }
        spans.push(Span::styled(key, theme.style(Role::Key)));
        spans.push(Span::raw(words));
    }
    frame.render_widget(Line::from(spans), area);
}

/// All lines of the help.
#[must_use]
pub fn lines(theme: Theme) -> Vec<Line<'static>> {
    let labels = BINDINGS.iter().map(|binding| binding.label.len()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for group in Group::ALL {
        lines.push(Line::styled(group.title(), theme.style(Role::Title)));
        for binding in of_group(group) {
            let label = Span::styled(format!("{:>labels$}", binding.label), theme.style(Role::Key));
            lines.push(Line::from(vec![label, Span::raw(format!("  {}", binding.help))]));
        }
    }
    lines.push(Line::styled("On the timeline", theme.style(Role::Title)));
    for text in [
        "bars: how many exits, each step four times as many; letters: of which kind mostly",
        "p P port read, write  m M memory-mapped  r R MSR  i interrupt  x exception  h halt",
        "c CPUID  t TSC  e entropy  n NMI  s software interrupt  ! shutdown",
        "▲ cursor  # mark  v input  $ console line  i interrupt  | checkpoint",
    ] {
        lines.push(Line::from(format!("  {text}")));
    }
    lines
}

/// As much of the help as there is room for, from a line on.
pub fn draw_window(frame: &mut Frame<'_>, area: Rect, theme: Theme, top: usize) {
    let lines = lines(theme);
    let widest = lines.iter().map(Line::width).max().unwrap_or(0);
    let size = |length: usize| u16::try_from(length + 2).unwrap_or(u16::MAX);
    let (width, height) = (size(widest), size(lines.len()));
    let place = area.centered(Constraint::Length(width), Constraint::Length(height));
    let rows = usize::from(place.height.saturating_sub(2));
    let top = top.min(lines.len().saturating_sub(rows));
    let more = if top + rows < lines.len() { "Keys (Down for more)" } else { "Keys" };
    let shown: Vec<_> = lines.into_iter().skip(top).take(rows).collect();
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(shown).block(Block::bordered().title(format!(" {more} "))), place);
}
