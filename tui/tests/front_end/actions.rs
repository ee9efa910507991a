//! What each action does.

use recorder::{ExitKind, Position};
use tui::app::{Action, App, Note};

use crate::support::{Impatient, Patient, act, app};

fn position(app: &App) -> Position {
    app.state().machine.position
}

fn selected(app: &App) -> u64 {
    app.state().exits.selected_index()
}

fn selected_at(app: &App) -> Position {
    app.state().exits.selected().expect("a selected exit").at
}

fn info(app: &App) -> &str {
    match &app.state().note {
        Some(Note::Info(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_recording_opens_at_its_begin_with_the_first_exit_selected() {
    let app = app();
    assert_eq!(position(&app), app.state().begin);
    assert_eq!(selected(&app), 0);
    assert!(app.state().exits.len() > 20);
    assert!(app.state().note.is_none());
}

#[test]
fn down_and_up_move_the_selection_and_stop_at_the_ends() {
    let mut app = app();
    act(&mut app, &[Action::Up]);
    assert_eq!(selected(&app), 0);
    act(&mut app, &[Action::Down, Action::Down, Action::Up]);
    assert_eq!(selected(&app), 1);
    act(&mut app, &[Action::Last, Action::Down]);
    assert_eq!(selected(&app), app.state().exits.len() - 1);
    act(&mut app, &[Action::First]);
    assert_eq!(selected(&app), 0);
}

#[test]
fn pages_are_a_row_shorter_than_the_screen() {
    let mut app = app();
    act(&mut app, &[Action::PageDown]);
    assert_eq!(selected(&app), 9);
    act(&mut app, &[Action::PageDown, Action::PageUp]);
    assert_eq!(selected(&app), 9);
    assert!(app.state().exits.visible().any(|(index, _)| index == 9));
    assert_eq!(app.state().exits.visible().count(), 10);
}

#[test]
fn moving_in_the_list_leaves_the_cursor_alone() {
    let mut app = app();
    act(&mut app, &[Action::Last, Action::PageUp, Action::NextFilter]);
    assert_eq!(position(&app), app.state().begin);
}

#[test]
fn the_cursor_goes_to_the_selected_exit() {
    let mut app = app();
    act(&mut app, &[Action::Last, Action::SeekSelected]);
    assert_eq!(position(&app), selected_at(&app));
    assert!(app.state().machine.instructions > 1000);
    act(&mut app, &[Action::First, Action::SeekSelected]);
    assert_eq!(position(&app), selected_at(&app));
    assert_eq!(app.state().next_exit, 0);
}

#[test]
fn a_step_forward_and_one_backward_lead_back() {
    let mut app = app();
    act(&mut app, &[Action::PageDown, Action::SeekSelected]);
    let before = app.state().machine.clone();
    act(&mut app, &[Action::StepForward]);
    assert!(position(&app) > before.position);
    assert_eq!(app.state().machine.instructions, before.instructions + 1);
    act(&mut app, &[Action::StepBackward]);
    assert_eq!(app.state().machine, before);
}

#[test]
fn steps_over_the_ends_say_so_and_stay() {
    let mut app = app();
    act(&mut app, &[Action::StepBackward]);
    assert_eq!(info(&app), "the begin of the recording");
    act(&mut app, &[Action::End, Action::StepForward]);
    assert_eq!(info(&app), "the end of the recording");
    assert_eq!(position(&app), app.state().end);
    act(&mut app, &[Action::Begin]);
    assert_eq!(position(&app), app.state().begin);
}

#[test]
fn the_next_and_the_previous_exit_of_the_selected_kind_are_found_and_selected() {
    let mut app = app();
    let kind = ExitKind::PortRead;
    while app.state().exits.selected().expect("a port is read").exit.kind() != kind {
        act(&mut app, &[Action::Down]);
    }
    let first = (selected(&app), selected_at(&app));
    act(&mut app, &[Action::NextOfKind]);
    assert_eq!((selected(&app), position(&app)), first);
    act(&mut app, &[Action::NextOfKind]);
    let second = (selected(&app), position(&app));
    assert!(second > first);
    let between = (first.0 + 1..second.0).filter_map(|index| app.state().exits.row(index));
    assert!(between.map(|row| row.exit.kind()).all(|other| other != kind));
    assert_eq!(selected_at(&app), position(&app));
    act(&mut app, &[Action::PreviousOfKind]);
    assert_eq!((selected(&app), position(&app)), first);
}

#[test]
fn a_kind_that_does_not_come_again_leads_to_the_end_and_says_so() {
    let mut app = app();
    act(&mut app, &[Action::End, Action::Last, Action::NextOfKind]);
    assert!(info(&app).ends_with("up to the end"), "{}", info(&app));
    act(&mut app, &[Action::Begin, Action::PreviousOfKind]);
    assert!(info(&app).ends_with("back to the begin"), "{}", info(&app));
}

#[test]
fn a_mark_is_gone_back_to() {
    let mut app = app();
    act(&mut app, &[Action::GoToMark]);
    assert_eq!(info(&app), "there is no mark yet");
    act(&mut app, &[Action::PageDown, Action::SeekSelected, Action::Mark]);
    let marked = position(&app);
    assert_eq!(app.state().mark, Some(marked));
    assert_eq!(info(&app), format!("marked {marked}"));
    act(&mut app, &[Action::End, Action::GoToMark]);
    assert_eq!(position(&app), marked);
}

#[test]
fn the_filter_goes_through_the_kinds_there_are_and_back_to_all() {
    let mut app = app();
    let all = app.state().exits.len();
    let mut counted = 0;
    let mut kinds = Vec::new();
    act(&mut app, &[Action::PageDown]);
    loop {
        act(&mut app, &[Action::NextFilter]);
        let Some(kind) = app.state().exits.filter() else { break };
        assert!(!kinds.contains(&kind));
        assert!(!app.state().exits.is_empty());
        assert!(app.state().exits.visible().all(|(_, row)| row.is_some_and(|row| row.exit.kind() == kind)));
        counted += app.state().exits.len();
        kinds.push(kind);
    }
    assert_eq!(counted, all);
    assert!(kinds.len() > 1);
    assert_eq!(selected(&app), 9, "the selection is where it was");
    act(&mut app, &[Action::PreviousFilter]);
    assert_eq!(app.state().exits.filter(), kinds.last().copied());
}

#[test]
fn the_selection_is_brought_to_the_cursor() {
    let mut app = app();
    act(&mut app, &[Action::PageDown, Action::SeekSelected, Action::First, Action::SelectAtCursor]);
    assert_eq!(selected(&app), 9);
    act(&mut app, &[Action::StepForward, Action::SelectAtCursor]);
    assert!(selected(&app) > 9);
    assert!(selected_at(&app) >= position(&app));
}

#[test]
fn any_key_closes_the_help_and_does_nothing_else() {
    let mut app = app();
    act(&mut app, &[Action::Help]);
    assert!(app.state().help);
    act(&mut app, &[Action::Down]);
    assert!(!app.state().help);
    assert_eq!(selected(&app), 0);
    act(&mut app, &[Action::Help, Action::Cancel]);
    assert!(!app.state().help);
}

#[test]
fn quit_ends_it_with_the_help_open_too() {
    let mut app = app();
    act(&mut app, &[Action::Cancel]);
    assert!(!app.state().quit);
    act(&mut app, &[Action::Help, Action::Quit]);
    assert!(app.state().quit);
    app.close().expect("nothing failed");
}

#[test]
fn whoever_looks_on_can_stop_every_long_operation() {
    let mut app = app();
    act(&mut app, &[Action::PageDown]);
    for action in [Action::SeekSelected, Action::NextOfKind] {
        app.act(action, &mut Impatient).expect("stops");
        assert_eq!(position(&app), app.state().begin);
        assert!(info(&app).starts_with("stopped at"), "{action:?}: {}", info(&app));
        assert!(app.state().busy.is_none());
    }
    act(&mut app, &[Action::End]);
    app.act(Action::PreviousOfKind, &mut Impatient).expect("stops");
    assert_eq!(position(&app), app.state().end);
    assert!(info(&app).starts_with("stopped at"));
}

#[test]
fn long_operations_tell_how_far_they_are() {
    let mut app = app();
    act(&mut app, &[Action::PageDown]);
    for action in [Action::SeekSelected, Action::NextOfKind, Action::PreviousOfKind] {
        let mut watch = Patient::default();
        app.act(action, &mut watch).expect("runs");
        assert!(watch.0 > 0, "{action:?}");
    }
}
