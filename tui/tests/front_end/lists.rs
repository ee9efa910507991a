//! Lists: exits, console, marks.

use recorder::{ExitKind, Position};
use tui::action::{Action, Landmark};
use tui::exits::Order;
use tui::layout::{Pane, Slot};
use tui::machine::FrameKind;

use crate::support::{Front, LARGE, SMALL, copy};

#[test]
fn exits_are_filtered_by_kind_port_and_text() {
    let mut front = Front::new(SMALL);
    let all = front.side().exits.len();
    let count = |front: &mut Front, text: &str| {
        front.write(Action::Filter, text);
        front.side().exits.len()
    };
    assert_eq!(count(&mut front, "port=0x3f8"), 6 * 7);
    assert_eq!(count(&mut front, "exception"), 1);
    assert_eq!(count(&mut front, "vector=32"), 2);
    assert_eq!(count(&mut front, "port-write 0x6c"), 6, "an l in each line");
    assert_eq!(count(&mut front, "msr=0xc0000080"), 1);
    front.act(&[Action::Enter]);
    assert!(front.side().machine.next.contains("rdmsr"), "{}", front.side().machine.next);
    assert_eq!(count(&mut front, ""), all);
    front.write(Action::Filter, "port=x");
    assert!(front.error().contains("needs a number"), "{}", front.error());
    front.act(&[Action::First, Action::FilterKind]);
    let kind = front.side().exits.selected().unwrap().exit.kind();
    assert_eq!(front.side().filter().map(|filter| filter.text().to_owned()), Some(kind.name().to_owned()));
    front.act(&[Action::FilterKind]);
    assert_eq!(front.side().exits.len(), all);
}

#[test]
fn exits_are_sorted() {
    let mut front = Front::new(LARGE);
    front.act(&[Action::Sort, Action::First]);
    assert_eq!(front.side().sorted(), Order::Backward);
    let rows = |front: &Front| {
        let rows = front.side().exits.visible().map(|(_, row)| *row.unwrap());
        rows.collect::<Vec<_>>()
    };
    assert!(rows(&front).is_sorted_by_key(|row| std::cmp::Reverse(row.number)));
    front.act(&[Action::Sort, Action::First]);
    assert!(rows(&front).is_sorted_by_key(|row| (row.exit.kind() as u8, row.number)));
    front.act(&[Action::Sort, Action::Sort, Action::First]);
    assert_eq!(front.side().sorted(), Order::Value);
    front.act(&[Action::Sort]);
    assert_eq!(front.side().sorted(), Order::Position);
}

#[test]
fn the_list_follows_the_cursor_unless_somebody_is_in_it() {
    let mut front = Front::new(SMALL);
    front.act(&[Action::Focus { back: false }, Action::End]);
    let selected = front.side().exits.selected_index();
    assert_eq!(selected, front.side().exits.len() - 1);
    front.show(Pane::Exits).act(&[Action::First, Action::Begin, Action::PageDown, Action::End]);
    assert!(front.side().exits.selected_index() < 20);
    front.act(&[Action::SelectAtCursor]);
    assert_eq!(front.side().exits.selected_index(), selected);
}

#[test]
fn the_summary_counts_what_the_timeline_shows() {
    let mut front = Front::new(SMALL);
    front.show(Pane::Summary);
    let all = front.state().summary();
    assert_eq!(all.iter().map(|(_, count)| count).sum::<u64>(), front.side().exits.len());
    assert_eq!(all[0].0, ExitKind::PortWrite);
    front.act(&[Action::End]);
    (0..6).for_each(|_| {
        front.act(&[Action::ZoomIn]);
    });
    let part = front.state().summary();
    assert!(part.iter().map(|(_, count)| count).sum::<u64>() < front.side().exits.len());
    front.act(&[Action::WholeRun, Action::First, Action::Enter]);
    assert_eq!(front.state().layout.focused(), Pane::Exits);
    assert_eq!(front.side().exits.len(), all[0].1);
}

#[test]
fn marks_are_kept_beside_the_recording_and_never_in_it() {
    let (_folder, path) = copy();
    let before = std::fs::read(&path).unwrap();
    let mut front = Front::over(&path, SMALL);
    front.go_to("count").write(Action::Mark, "a call");
    front.go_to("50%").write(Action::Mark, "the middle");
    let middle = front.position();
    assert_eq!(std::fs::read(&path).unwrap(), before);
    drop(front);

    let mut front = Front::over(&path, SMALL);
    assert_eq!(front.side().marks.len(), 2);
    front.act(&[Action::Jump { to: Landmark::Mark, back: false }]);
    assert_eq!(front.place(), "count+0x0");
    front.show(Pane::Marks).act(&[Action::Down, Action::Enter]);
    assert_eq!(front.position(), middle);
    front.act(&[Action::Delete]);
    assert_eq!(front.info(), "`the middle` is no mark any more");
    drop(front);
    assert_eq!(Front::over(&path, SMALL).side().marks.len(), 1);
}

#[test]
fn marks_that_cannot_be_kept_are_told_of() {
    let (_folder, path) = copy();
    let mut front = Front::over(&path, SMALL);
    std::fs::create_dir(path.with_extension("rvm.marks")).unwrap();
    front.write(Action::Mark, "lost");
    assert!(front.error().contains("marks cannot be kept"), "{}", front.error());
}

#[test]
fn stops_are_listed_with_the_marks_and_taken_away_there() {
    let mut front = Front::new(SMALL);
    front.write(Action::Breakpoint, "trap").show(Pane::Memory).write(Action::Address, "counter");
    front.act(&[Action::Watch]).show(Pane::Marks);
    assert_eq!(front.side().len(Pane::Marks), 2);
    front.act(&[Action::Enter]);
    assert_eq!(front.state().layout.focused(), Pane::Code);
    front.show(Pane::Marks).act(&[Action::First, Action::Delete, Action::Delete]);
    assert_eq!(front.side().len(Pane::Marks), 0);
}

#[test]
fn memory_shows_what_has_changed_and_follows_a_register() {
    let mut front = Front::new(LARGE);
    front.go_to("count").show(Pane::Memory).write(Action::Address, "counter");
    assert!(!front.side().machine.memory.changed.contains(&true));
    front.act(&[Action::Out { back: false }]);
    let changed = &front.side().machine.memory.changed;
    assert_eq!(changed.iter().position(|changed| *changed), Some(0));
    assert_eq!(changed.iter().filter(|changed| **changed).count(), 1);
    front.write(Action::Address, "rsp");
    let stack = front.side().machine.registers.named("rsp").unwrap();
    assert_eq!(front.side().machine.memory.first, stack);
    front.act(&[Action::Begin]);
    assert_ne!(front.side().machine.memory.first, stack);
    front.act(&[Action::End, Action::PageDown]);
    assert!(front.side().machine.memory.first > front.side().machine.registers.named("rsp").unwrap());
}

#[test]
fn the_stack_leads_to_code_and_memory() {
    let mut front = Front::new(LARGE);
    front.go_to("count").act(&[Action::Step { back: false }, Action::Step { back: false }]);
    let frames: Vec<_> = front.side().machine.frames.iter().filter_map(|frame| frame.name.clone()).collect();
    assert!(frames[0].starts_with("count+") && frames[1].starts_with("start+"), "{frames:?}");
    front.show(Pane::Stack).act(&[Action::Down, Action::Enter]);
    assert_eq!(front.state().layout.focused(), Pane::Code);
    let caller = front.side().machine.frames[1].address;
    assert_eq!(front.side().code_line, Some(caller));
}

#[test]
fn the_caller_is_known_before_within_and_after_a_frame() {
    let mut front = Front::new(LARGE);
    front.go_to("count");
    for step in 0..7 {
        let frames = &front.side().machine.frames;
        let caller = frames[1].name.as_deref().unwrap_or("");
        assert!(front.place().starts_with("count"), "{step}: {}", front.place());
        assert!(caller.starts_with("start+") && frames[1].kind == FrameKind::Known, "{step}: {frames:?}");
        front.act(&[Action::Step { back: false }]);
    }
    assert!(front.place().starts_with("start"));
}

#[test]
fn devices_are_walked_through() {
    let mut front = Front::new(LARGE);
    front.go_to("end").show(Pane::Devices);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..13 {
        assert!(!front.side().machine.device.is_empty(), "{:?}", front.side().look.device);
        seen.insert(front.side().look.device.name());
        front.act(&[Action::Right]);
    }
    assert_eq!(seen.len(), 13);
    assert_eq!(front.side().look.device.name(), "pic");
    front.act(&[Action::Left]);
    assert_eq!(front.side().look.device.name(), "mapped");
}

#[test]
fn processes_are_not_made_up() {
    let mut front = Front::new(SMALL);
    front.show(Pane::Tasks);
    assert!(front.screen().contains("no `init_task`"), "{}", front.screen());
}

#[test]
fn clicks_select_and_go() {
    let mut front = Front::new(SMALL);
    let cell = |x, y| ratatui::layout::Position::new(x, y);
    // The timeline's middle.
    front.app.click(cell(40, 2));
    front.serve();
    assert!(front.position().tick.abs_diff(front.side().end.tick / 2) <= front.side().end.tick / 50);
    // The third row of the exits, and again.
    front.app.click(cell(5, 8));
    front.serve();
    assert_eq!(front.side().exits.selected_index(), front.side().exits.top() + 2);
    front.app.click(cell(5, 8));
    front.serve();
    assert_eq!(front.position(), front.side().exits.selected().unwrap().at);
    front.app.click(cell(60, 8));
    assert_eq!(front.state().layout.focus(), Slot::Right);
    front.app.wheel(cell(5, 8), true);
    assert_eq!(front.state().layout.focus(), Slot::Left);
    assert_eq!(front.side().exits.selected_index(), front.side().exits.top() + 5);
    front.app.wheel(cell(5, 2), false);
    assert_eq!(front.state().strip.factor(), 2);
}

#[test]
fn single_steps_are_columns_at_the_closest_look() {
    let mut front = Front::new(SMALL);
    front.go_to("count");
    while !front.state().strip.stepwise {
        front.act(&[Action::ZoomIn]);
    }
    let steps = front.side().machine.steps.clone();
    let here = front.position();
    assert!(steps.is_sorted_by(|a, b| a.at < b.at));
    assert!(steps.iter().any(|step| step.at == here));
    assert!(steps.iter().any(|step| step.exit == Some(ExitKind::PortWrite)));
    front.act(&[Action::Step { back: false }]);
    assert_eq!(front.position(), Position::new(here.tick, here.offset + 1));
}
