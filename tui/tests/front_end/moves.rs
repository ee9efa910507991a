//! Moving the cursor.

use recorder::Position;
use tui::action::{Action, Landmark};
use tui::layout::Pane;

use crate::support::{Front, LARGE, SMALL, copy};

const STEP: Action = Action::Step { back: false };
const BACK: Action = Action::Step { back: true };

fn jump(to: Landmark) -> Action {
    Action::Jump { to, back: false }
}

fn jump_back(to: Landmark) -> Action {
    Action::Jump { to, back: true }
}

#[test]
fn a_recording_opens_at_its_begin() {
    let front = Front::new(SMALL);
    assert_eq!(front.position(), Position::START);
    assert_eq!(front.place(), "start+0x0");
    assert!(front.side().index.as_ref().is_some_and(|index| index.len() > 60));
    assert_eq!(front.state().note, None);
    assert!(front.state().strip.ns(front.side().end.tick).is_some_and(|ns| ns > 1_000_000));
}

#[test]
fn a_step_and_one_back_lead_back() {
    let mut front = Front::new(SMALL);
    front.go_to("count");
    let before = front.side().machine.clone();
    front.act(&[STEP]);
    assert!(front.position() > before.position);
    assert_eq!(front.side().machine.instructions, before.instructions + 1);
    assert_eq!(front.side().before.as_ref(), Some(&before.registers));
    front.act(&[BACK]);
    assert_eq!(front.position(), before.position);
    assert_eq!(front.side().machine.registers, before.registers);
}

#[test]
fn steps_over_the_ends_say_so_and_stay() {
    let mut front = Front::new(SMALL);
    front.act(&[BACK]);
    assert_eq!(front.info(), "the begin of the recording");
    front.act(&[Action::End, STEP]);
    assert_eq!(front.info(), "the end of the recording");
    assert_eq!(front.position(), front.side().end);
    front.act(&[Action::Begin]);
    assert_eq!(front.position(), Position::START);
}

#[test]
fn a_call_is_gone_over_and_back_over() {
    let mut front = Front::new(SMALL);
    front.go_to("count").act(&[BACK]);
    let call = front.position();
    assert!(front.side().machine.next.contains("call"), "{}", front.side().machine.next);
    front.act(&[Action::Over { back: false }]);
    assert!(front.place().starts_with("start"), "{}", front.place());
    assert!(front.position() > call);
    front.act(&[Action::Over { back: true }]);
    assert_eq!(front.position(), call);
}

#[test]
fn out_of_a_function_is_where_it_returns_and_back_out_where_it_was_called() {
    let mut front = Front::new(SMALL);
    front.go_to("count").act(&[BACK]);
    let call = front.position();
    front.act(&[STEP, STEP, STEP]);
    let inside = front.position();
    assert!(front.place().starts_with("count"));
    front.act(&[Action::Out { back: false }]);
    assert!(front.place().starts_with("start"), "{}", front.place());
    front.act(&[Action::HistoryBack]);
    assert_eq!(front.position(), inside);
    front.act(&[Action::Out { back: true }]);
    assert_eq!(front.position(), call);
}

#[test]
fn an_interrupt_is_gone_over_as_a_whole() {
    let mut front = Front::new(SMALL);
    front.act(&[jump(Landmark::Interrupt)]);
    assert!(front.side().machine.next.starts_with("delivers an interrupt"), "{}", front.side().machine.next);
    let at = front.position();
    front.act(&[Action::Over { back: false }]);
    assert!(front.place().starts_with("start"), "{}", front.place());
    front.act(&[Action::Over { back: true }]);
    assert_eq!(front.position(), at);
    front.act(&[STEP]);
    assert_eq!(front.place(), "timer+0x0");
}

#[test]
fn an_exception_is_gone_over_to_where_its_handler_returns() {
    let mut front = Front::new(SMALL);
    front.act(&[jump(Landmark::Exception), Action::Over { back: false }]);
    assert!(front.side().machine.next.contains("xor %r12d"), "{}", front.side().machine.next);
}

#[test]
fn places_are_positions_times_parts_marks_and_symbols() {
    let (_folder, path) = copy();
    let mut front = Front::over(&path, SMALL);
    front.go_to("700+0");
    assert_eq!(front.position(), Position::new(700, 0));
    front.go_to("50%");
    assert!(front.position().tick.abs_diff(front.side().end.tick / 2) < 2);
    front.go_to("1ms");
    assert!(
        front.side().machine.virtual_ns.abs_diff(1_000_000) < 10_000,
        "{}",
        front.side().machine.virtual_ns
    );
    front.write(Action::Mark, "here");
    front.go_to("end").go_to("-trap");
    assert_eq!(front.place(), "trap+0x0");
    front.go_to("trap");
    assert!(front.info().contains("is not executed up to the end"), "{}", front.info());
    front.go_to("here");
    assert!(front.side().machine.virtual_ns.abs_diff(1_000_000) < 10_000);
    front.go_to("nowhere");
    assert_eq!(front.error(), "`nowhere` is no symbol");
    front.go_to("99999999999+0");
    assert!(front.info().contains("beyond the end"), "{}", front.info());
}

#[test]
fn landmarks_are_found_in_both_directions() {
    let mut front = Front::new(SMALL);
    front.act(&[jump(Landmark::Exception)]);
    assert!(front.side().machine.next.contains("ud2"), "{}", front.side().machine.next);
    front.act(&[jump(Landmark::Exception)]);
    assert_eq!(front.info(), "no exception after");
    let places: Vec<Position> = (0..3)
        .map(|_| {
            front.act(&[jump(Landmark::Line)]);
            front.position()
        })
        .collect();
    assert!(places.is_sorted());
    front.act(&[jump_back(Landmark::Line)]);
    assert_eq!(front.position(), places[1]);
    front.act(&[Action::End, jump_back(Landmark::Interrupt)]);
    let last = front.position();
    front.act(&[jump(Landmark::Interrupt)]);
    assert_eq!(front.position(), last);
    assert_eq!(front.info(), "no interrupt after");
    front.act(&[Action::Begin, jump_back(Landmark::Exit)]);
    assert_eq!(front.info(), "no exit before");
    front.act(&[jump(Landmark::Input)]);
    assert!(front.side().inputs.list.iter().any(|input| input.at == front.position()));
}

#[test]
fn exits_of_one_kind_are_walked_and_selected() {
    let mut front = Front::new(SMALL);
    front.act(&[jump(Landmark::Exit)]);
    let kind = front.side().exits.selected().unwrap().exit.kind();
    for _ in 0..5 {
        front.act(&[jump(Landmark::SameKind)]);
        let row = *front.side().exits.selected().unwrap();
        assert_eq!((row.at, row.exit.kind()), (front.position(), kind));
    }
}

#[test]
fn the_cursor_goes_back_along_its_way() {
    let mut front = Front::new(SMALL);
    front.go_to("count");
    let count = front.position();
    front.act(&[STEP, STEP, STEP]);
    let stepped = front.position();
    front.act(&[Action::End, Action::HistoryBack]);
    assert_eq!(front.position(), stepped);
    front.act(&[Action::HistoryBack]);
    assert_eq!(front.position(), count);
    front.act(&[Action::HistoryForward, Action::HistoryForward]);
    assert_eq!(front.position(), front.side().end);
    front.act(&[Action::HistoryForward]);
    assert_eq!(front.info(), "the cursor has been nowhere else");
}

#[test]
fn runs_stop_at_breakpoints_and_before_writes_to_watched_memory() {
    let mut front = Front::new(SMALL);
    front.act(&[Action::Run { back: false }]);
    assert!(front.info().starts_with("there is no breakpoint"), "{}", front.info());
    front.write(Action::Breakpoint, "print");
    front.act(&[Action::Run { back: false }, Action::Run { back: false }]);
    assert_eq!(front.place(), "print+0x0");
    let second = front.position();
    front.act(&[Action::Run { back: false }, Action::Run { back: true }]);
    assert_eq!(front.position(), second);
    front.write(Action::Breakpoint, "print");
    front.show(Pane::Memory).write(Action::Address, "counter");
    front.act(&[Action::Watch, Action::Run { back: false }]);
    assert!(front.place().starts_with("count"), "{}", front.place());
    assert!(front.side().machine.next.contains("counter"), "{}", front.side().machine.next);
    let write = front.position();
    front.act(&[STEP, Action::Run { back: true }]);
    assert_eq!(front.position(), write);
}

#[test]
fn the_selected_line_is_run_to_in_both_directions() {
    let mut front = Front::new(LARGE);
    front.go_to("count").show(Pane::Code);
    let here = front.position();
    front.act(&[Action::Down, Action::Down, Action::Down, Action::RunToLine { back: false }]);
    assert_eq!(front.position().tick, here.tick);
    assert_eq!(front.position().offset, here.offset + 3);
    front.act(&[Action::Up, Action::RunToLine { back: true }]);
    assert_eq!(front.position().offset, here.offset + 2);
}

#[test]
fn what_takes_long_can_be_stopped_and_what_was_typed_waits() {
    let mut front = Front::new(SMALL);
    front.impatient = true;
    front.go_to("50%");
    assert!(front.info().starts_with("stopped at "), "{}", front.info());
    front.impatient = false;
    front.act(&[Action::Begin]);
    front.slow = true;
    front.act(&[Action::End, STEP, Action::Show(Pane::Memory)]);
    assert!(front.app.is_working());
    assert_eq!(front.app.waits(), Some(STEP), "movement waits");
    assert_eq!(front.state().layout.focused(), Pane::Memory, "the screen does not");
    front.act(&[Action::Cancel]);
    assert_eq!(front.app.waits(), None);
}

#[test]
fn gdb_is_handed_the_position_and_hands_one_back() {
    let mut front = Front::new(SMALL);
    front.go_to("count").act(&[Action::Gdb]);
    assert_eq!(front.in_gdb, [front.position()]);
    // A look that is under way does not keep it.
    front.app.resize(LARGE);
    assert!(front.app.is_working());
    front.app.come_to(Position::new(5, 0), "gdb was left here");
    front.serve();
    assert_eq!(front.position(), Position::new(5, 0));
    assert_eq!(front.info(), "gdb was left here");
    front.act(&[Action::HistoryBack]);
    assert_eq!(front.place(), "count+0x0");
}
