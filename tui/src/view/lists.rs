//! Panes that are lists of lines: stack, console, devices, processes, results, marks, inputs.

use ratatui::text::{Line, Span};
use recorder::Position;

use super::selectable;
use crate::app::State;
use crate::layout::Pane;
use crate::machine::{Device, FrameKind, Tasks};
use crate::theme::Role;

pub fn lines(state: &State, pane: Pane, rows: usize) -> (String, Vec<Line<'static>>) {
    let side = &state.side;
    let len = side.len(pane);
    if len == 0 {
        return (title(state, pane), empty(state, pane));
    }
    let scroll = side.scroll(pane);
    let width = side.end.to_string().len();
    let lines = scroll.visible(len, rows).map(|row| {
        let line = match pane {
            Pane::Stack => stack(state, row),
            Pane::Console => console(state, row, width),
            Pane::Devices => Line::from(side.machine.device.get(row).cloned().unwrap_or_default()),
            Pane::Tasks => task(state, row),
            Pane::Results => result(state, row, width),
            Pane::Marks => mark(state, row, width),
            _ => input(state, row, width),
        };
        selectable(state, pane, row == scroll.selected, line)
    });
    (title(state, pane), lines.collect())
}

fn title(state: &State, pane: Pane) -> String {
    let side = &state.side;
    match pane {
        Pane::Devices => {
            let shown = side.look.device.name();
            let names =
                Device::names().map(|name| if name == shown { format!("<{name}>") } else { name.to_owned() });
            names.collect::<Vec<_>>().join(" ")
        }
        Pane::Results if !side.results.title.is_empty() => {
            let more = side.results.more.as_ref().map_or_else(String::new, |more| format!(" ({more})"));
            format!("{} of {}{more}", side.results.list.len(), side.results.title)
        }
        Pane::Console => format!("console at {}", side.machine.position),
        Pane::Tasks => match &side.machine.tasks {
            Tasks::List(tasks) => format!("{} processes", tasks.len()),
            _ => "processes".to_owned(),
        },
        pane => pane.name().to_owned(),
    }
}

/// What there is to say where there is nothing.
fn empty(state: &State, pane: Pane) -> Vec<Line<'static>> {
    let side = &state.side;
    let text = match pane {
        Pane::Tasks => match &side.machine.tasks {
            Tasks::Unknown(why) => why.clone(),
            _ => "...".to_owned(),
        },
        Pane::Console => "nothing is printed, or not read yet".to_owned(),
        Pane::Marks => "no marks, breakpoints or watches: m, b, w".to_owned(),
        Pane::Inputs => "no inputs".to_owned(),
        Pane::Results => "nothing has been looked for".to_owned(),
        Pane::Stack => "the stack is not mapped".to_owned(),
        _ => String::new(),
    };
    vec![Line::styled(text, state.theme.style(Role::Dim))]
}

/// Where the cursor is among places in order.
fn marker(state: &State, at: Position, next: Option<Position>) -> Span<'static> {
    let here = state.side.machine.position;
    let sign = if at == here {
        "▶ "
    } else if at < here && next.is_none_or(|next| next > here) {
        "▷ "
    } else {
        "  "
    };
    Span::styled(sign, state.theme.style(Role::Cursor))
}

fn stack(state: &State, row: usize) -> Line<'static> {
    let machine = &state.side.machine;
    if let Some(frame) = machine.frames.get(row) {
        let how = match frame.kind {
            FrameKind::Here | FrameKind::Known => format!("#{row}"),
            FrameKind::Guess => format!("#{row}?"),
        };
        let name = frame.name.clone().unwrap_or_default();
        return Line::from(vec![
            Span::styled(format!("{how:<5}"), state.theme.style(Role::Label)),
            Span::raw(format!("{:x} ", frame.address)),
            Span::styled(name, state.theme.style(Role::Mark)),
        ]);
    }
    let Some(slot) = row.checked_sub(machine.frames.len()).and_then(|row| machine.stack.get(row)) else {
        return Line::default();
    };
    let sign = if slot.returns { "<- " } else { "   " };
    Line::from(vec![
        Span::styled(format!("{:x}: ", slot.address), state.theme.style(Role::Dim)),
        Span::raw(format!("{:016x} {sign}", slot.value)),
        Span::styled(slot.name.clone().unwrap_or_default(), state.theme.style(Role::Mark)),
    ])
}

fn console(state: &State, row: usize, width: usize) -> Line<'static> {
    let side = &state.side;
    let Some(line) = side.console.lines.get(row) else { return Line::default() };
    let begun = side.console.begun(side.machine.position);
    let place = Span::styled(format!("{:>width$} ", line.at), state.theme.style(Role::Dim));
    if row >= begun {
        // The next one, so that one can go there.
        let text = Span::styled(line.text.clone(), state.theme.style(Role::Dim));
        return Line::from(vec![Span::styled("▷ ", state.theme.style(Role::Cursor)), place, text]);
    }
    let text = match &side.console_tail {
        Some(tail) if row + 1 == begun => format!("{tail}_"),
        _ => line.text.clone(),
    };
    Line::from(vec![Span::raw("  "), place, Span::raw(text)])
}

fn task(state: &State, row: usize) -> Line<'static> {
    let Tasks::List(tasks) = &state.side.machine.tasks else { return Line::default() };
    let Some(task) = tasks.get(row) else { return Line::default() };
    let name = if task.kernel { format!("[{}]", task.name) } else { task.name.clone() };
    let sign = if task.current { "▶ " } else { "  " };
    Line::from(vec![
        Span::styled(sign, state.theme.style(Role::Cursor)),
        Span::raw(format!("{:>6} {:>6} {} ", task.pid, task.parent, task.state)),
        Span::styled(format!("{name:<18}"), state.theme.style(Role::Mark)),
        Span::styled(format!(" {:x}", task.address), state.theme.style(Role::Dim)),
    ])
}

fn result(state: &State, row: usize, width: usize) -> Line<'static> {
    let list = &state.side.results.list;
    let Some(found) = list.get(row) else { return Line::default() };
    let next = list.get(row + 1).and_then(|next| next.at);
    let (sign, place) = match (found.at, found.address) {
        (Some(at), _) => (marker(state, at, next), format!("{at:>width$} ")),
        (None, Some(address)) => (Span::raw("  "), format!("{address:x} ")),
        (None, None) => (Span::raw("  "), String::new()),
    };
    Line::from(vec![sign, Span::styled(place, state.theme.style(Role::Label)), Span::raw(found.text.clone())])
}

fn mark(state: &State, row: usize, width: usize) -> Line<'static> {
    let side = &state.side;
    if let Some((at, name)) = side.marks.iter().nth(row) {
        let next = side.marks.iter().nth(row + 1).map(|(at, _)| at);
        return Line::from(vec![
            marker(state, at, next),
            Span::styled(format!("{at:>width$} "), state.theme.style(Role::Label)),
            Span::styled(name.to_owned(), state.theme.style(Role::Mark)),
        ]);
    }
    let row = row - side.marks.len();
    let name = |address: u64| {
        let place = side.names.as_ref().and_then(|names| names.place(address));
        place.map_or_else(String::new, |place| format!(" {}+{:#x}", place.name, place.offset))
    };
    let text = match side.points.breakpoints.get(row) {
        Some(address) => format!("* breakpoint {address:#x}{}", name(*address)),
        None => match side.points.watches.get(row - side.points.breakpoints.len()) {
            Some(bytes) => {
                let kind = if bytes.physical { "physical " } else { "" };
                format!("w {} bytes at {kind}{:#x}{}", bytes.len, bytes.address, name(bytes.address))
            }
            None => String::new(),
        },
    };
    Line::from(text)
}

fn input(state: &State, row: usize, width: usize) -> Line<'static> {
    let list = &state.side.inputs.list;
    let Some(input) = list.get(row) else { return Line::default() };
    let next = list.get(row + 1).map(|next| next.at);
    Line::from(vec![
        marker(state, input.at, next),
        Span::styled(format!("{:>width$} ", input.at), state.theme.style(Role::Label)),
        Span::styled(input.text.clone(), state.theme.style(Role::Input)),
    ])
}
