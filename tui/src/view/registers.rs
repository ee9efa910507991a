//! Registers; what is other than at the stop before stands out.

use ratatui::text::{Line, Span};

use crate::app::State;
use crate::layout::Pane;
use crate::machine::{GENERAL, Registers};
use crate::theme::Role;

/// Lines that registers take.
pub const LINES: usize = 16;

/// Pairs of general registers by index, the way debuggers list them.
const PAIRS: [[usize; 2]; 8] = [[0, 3], [1, 2], [6, 7], [5, 4], [8, 9], [10, 11], [12, 13], [14, 15]];

pub fn lines(state: &State) -> (String, Vec<Line<'static>>) {
    let now = &state.side.machine.registers;
    let before = state.side.before.as_ref();
    let changed = |get: &dyn Fn(&Registers) -> u64| before.is_some_and(|before| get(before) != get(now));
    let field = |label: &str, value: String, is_changed: bool| {
        let style = if is_changed { state.theme.style(Role::Changed) } else { ratatui::style::Style::new() };
        // Without colours, and for those who do not see them.
        let sign = if is_changed { "*" } else { " " };
        [
            Span::styled(format!("{label:<3} "), state.theme.style(Role::Label)),
            Span::styled(format!("{value}{sign}"), style),
        ]
    };
    let wide = |label: &str, get: &dyn Fn(&Registers) -> u64| {
        field(label, format!("{:016x}", get(now)), changed(get))
    };
    let bits = |label: &str, get: &dyn Fn(&Registers) -> u64, names: String| {
        let mut spans = Vec::from(field(label, format!("{:08x}", get(now)), changed(get)));
        spans.push(Span::raw(names));
        Line::from(spans)
    };
    let mut lines = Vec::new();
    let mut rip = Vec::from(wide("rip", &|registers| registers.rip));
    rip.push(Span::raw(format!("cpl {} {}", now.cpl, now.mode)));
    lines.push(Line::from(rip));
    for pair in PAIRS {
        let spans = pair.into_iter().flat_map(|index| {
            let get = move |registers: &Registers| registers.gpr.get(index).copied().unwrap_or_default();
            wide(GENERAL.get(index).copied().unwrap_or(""), &get)
        });
        lines.push(Line::from_iter(spans));
    }
    lines.push(bits("fl", &|registers| registers.rflags, now.flag_names()));
    lines.push(bits("cr0", &|registers| registers.cr0, now.cr0_names()));
    let both =
        |left: [Span<'static>; 2], right: [Span<'static>; 2]| Line::from_iter(left.into_iter().chain(right));
    lines.push(both(wide("cr2", &|registers| registers.cr2), wide("cr3", &|registers| registers.cr3)));
    lines.push(bits("cr4", &|registers| registers.cr4, now.cr4_names()));
    lines
        .push(both(wide("fs", &|registers| registers.bases[0]), wide("gs", &|registers| registers.bases[1])));
    let [es, cs, ss, ds, fs, gs] = now.selectors;
    lines
        .push(Line::from(format!("cs {cs:04x} ss {ss:04x} ds {ds:04x} es {es:04x} fs {fs:04x} gs {gs:04x}")));
    lines.push(bits("efer", &|registers| registers.efer, String::new()));
    lines.drain(..state.side.scroll(Pane::Registers).top.min(lines.len()));
    ("registers".to_owned(), lines)
}
