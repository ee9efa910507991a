//! Instructions: the next one marked, with names and source lines.

use ratatui::text::{Line, Span};

use super::selectable;
use crate::app::State;
use crate::layout::Pane;
use crate::theme::Role;

pub fn lines(state: &State) -> (String, Vec<Line<'static>>) {
    let side = &state.side;
    let registers = &side.machine.registers;
    let here = registers.rip;
    let selected = side.code_line.unwrap_or(here);
    let lines = state.visible_code().iter().map(|line| {
        let linear = registers.cs_base.wrapping_add(line.address);
        let next = if line.address == here { '▶' } else { ' ' };
        let stop = if side.points.breakpoints.contains(&linear) { '*' } else { ' ' };
        let mut spans = vec![
            Span::styled(format!("{stop}{next}"), state.theme.style(Role::Cursor)),
            Span::styled(format!("{:x} ", line.address), state.theme.style(Role::Dim)),
        ];
        if let Some(label) = &line.label {
            spans.push(Span::styled(format!("<{label}>: "), state.theme.style(Role::Mark)));
        }
        spans.push(Span::raw(line.text.clone()));
        if let Some(taken) = line.taken {
            let text = if taken { "  taken" } else { "  not taken" };
            spans.push(Span::styled(text, state.theme.style(Role::Info)));
        }
        if let Some(source) = &line.source {
            spans.push(Span::styled(format!("  {source}"), state.theme.style(Role::Dim)));
        }
        selectable(state, Pane::Code, line.address == selected, Line::from(spans))
    });
    let place = side.machine.place.as_deref().unwrap_or(if side.naming { "..." } else { "" });
    (format!("code {place}"), lines.collect())
}
