//! The CPU at the cursor.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph};

use crate::machine::Snapshot;

/// Pairs of general registers as indexes in encoding order, the way debuggers list them.
const PAIRS: [[(&str, usize); 2]; 8] = [
    [("rax", 0), ("rbx", 3)],
    [("rcx", 1), ("rdx", 2)],
    [("rsi", 6), ("rdi", 7)],
    [("rbp", 5), ("rsp", 4)],
    [("r8", 8), ("r9", 9)],
    [("r10", 10), ("r11", 11)],
    [("r12", 12), ("r13", 13)],
    [("r14", 14), ("r15", 15)],
];

pub fn draw(frame: &mut Frame<'_>, area: Rect, machine: &Snapshot) {
    let name = Style::new().fg(Color::Cyan);
    let field =
        |label: &str, value: String| vec![Span::styled(format!("{label:<4}"), name), Span::raw(value)];
    let with = |mut spans: Vec<Span<'static>>, more: Vec<Span<'static>>| {
        spans.push(Span::raw(" "));
        spans.extend(more);
        Line::from(spans)
    };
    let wide = |value: u64| format!("{value:016x}");
    let mut lines = vec![with(
        field("rip", wide(machine.rip)),
        field("cs", format!("{:04x} ss {:04x}", machine.cs, machine.ss)),
    )];
    for [left, right] in PAIRS {
        let register = |(label, index): (&str, usize)| {
            field(label, wide(machine.gpr.get(index).copied().unwrap_or_default()))
        };
        lines.push(with(register(left), register(right)));
    }
    let bits = |label: &str, value: u64, names: String| {
        with(field(label, format!("{value:08x}")), vec![Span::raw(names)])
    };
    lines.push(bits("fl", machine.rflags, machine.flag_names()));
    lines.push(bits("cr0", machine.cr0, machine.cr0_names()));
    lines.push(with(field("cr2", wide(machine.cr2)), field("cr3", wide(machine.cr3))));
    lines.push(bits("cr4", machine.cr4, machine.cr4_names()));
    lines.push(with(field("mode", format!(" {}", machine.mode)), field("cpl", machine.cpl.to_string())));
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" CPU ")), area);
}
