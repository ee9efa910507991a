//! Memory, as bytes and as text; what is other than at the stop before stands out.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::app::{MemoryShape, State};
use crate::layout::Pane;
use crate::theme::Role;

pub fn lines(state: &State) -> (String, Vec<Line<'static>>) {
    let side = &state.side;
    let window = &side.machine.memory;
    let cursor = window.first.wrapping_add(side.memory_cursor);
    let kind = if window.physical { "physical memory" } else { "memory" };
    let follows = side.look.memory.base.follows().map_or_else(String::new, |name| format!(" at {name}"));
    let name = side.names.as_ref().filter(|_| !window.physical).and_then(|names| names.place(cursor));
    let name = name.map_or_else(String::new, |place| format!(" {}+{:#x}", place.name, place.offset));
    let focused = state.layout.focused() == Pane::Memory;
    let shape = MemoryShape::of(state.columns_of(Pane::Memory));
    // As many as there are, even if the pane has another shape by now.
    let row_bytes = usize::from(side.look.memory.row_bytes.max(1));
    let hidden = 16 - usize::from(shape.digits);
    let changes = window.changed.chunks(row_bytes);
    let lines = window.bytes.chunks(row_bytes).zip(changes).enumerate().map(|(row, (bytes, changed))| {
        let address = window.first.wrapping_add((row * row_bytes) as u64);
        let mut spans = vec![Span::styled(
            format!("{}  ", format!("{address:016x}").get(hidden..).unwrap_or_default()),
            state.theme.style(Role::Label),
        )];
        let mut text = Vec::new();
        for (column, (byte, changed)) in bytes.iter().zip(changed).enumerate() {
            let at = (row * row_bytes + column) as u64;
            let mut style = if *changed { state.theme.style(Role::Changed) } else { Style::new() };
            if side.watches(window.first.wrapping_add(at), window.physical) {
                style = style.patch(state.theme.style(Role::Mark));
            }
            if at == side.memory_cursor && focused {
                style = style.patch(state.theme.style(Role::Selected));
            }
            let hex = byte.map_or_else(|| "--".to_owned(), |byte| format!("{byte:02x}"));
            spans.push(Span::styled(hex, style));
            let sign = if *changed { "*" } else { " " };
            spans.push(Span::styled(sign, state.theme.style(Role::Changed)));
            let c = byte.map_or(' ', |byte| if matches!(byte, 0x20..=0x7e) { byte as char } else { '.' });
            text.push(Span::styled(c.to_string(), style));
        }
        if shape.text {
            spans.push(Span::raw(" "));
            spans.extend(text);
        }
        Line::from(spans)
    });
    (format!("{kind}{follows} {cursor:#x}{name}"), lines.collect())
}
