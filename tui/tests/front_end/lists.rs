//! What a longer recording asks of the list: only a window is in memory, and everything else is the same.

use std::sync::OnceLock;

use recorder::{Exit, ExitKind, Position, Recording};
use tui::exits::ExitList;

/// More than six batches.
const EXITS: u64 = 200_000;

/// Every exit is a port write, but for every hundredth, which is an interrupt, and number 150,000, which is an NMI.
fn exit(number: u64) -> (Position, Exit) {
    let at = Position::new(number * 3, (number % 7) as u32);
    let exit = match number {
        150_000 => Exit::Nmi,
        _ if number % 100 == 99 => Exit::Interrupt { vector: 0x20 },
        _ => Exit::PortWrite { port: 0x3f8, size: 1, value: (number % 251) as u32 },
    };
    (at, exit)
}

fn list() -> ExitList {
    static MADE: OnceLock<Recording> = OnceLock::new();
    let recording = MADE.get_or_init(|| crate::support::written((0..EXITS).map(exit)));
    let mut list = ExitList::new(recording.clone());
    list.set_height(20).expect("reads");
    list
}

fn go_on(_: u64) -> bool {
    true
}

fn filtered(kind: ExitKind) -> ExitList {
    let mut list = list();
    while list.filter() != Some(kind) {
        list.cycle_filter(true, &mut go_on).expect("reads");
    }
    list
}

#[test]
fn only_a_window_is_in_memory() {
    let mut list = list();
    assert_eq!(list.len(), EXITS);
    for index in [0, 100_000, EXITS, 65_535, 131_072] {
        list.select(index).expect("reads");
        assert!(list.loaded() <= 512);
        let index = index.min(EXITS - 1);
        let row = *list.selected().expect("loaded");
        assert_eq!((row.number, (row.at, row.exit)), (index, exit(index)));
        assert_eq!(list.visible().count(), 20);
    }
}

#[test]
fn every_row_in_sight_is_loaded_wherever_one_scrolls() {
    let mut list = list();
    list.select(32_000).expect("reads");
    for _ in 0..100 {
        list.move_by_pages(1).expect("reads");
        for (index, row) in list.visible() {
            assert_eq!(row.expect("loaded").number, index);
        }
    }
}

#[test]
fn a_filtered_list_finds_its_exits_by_their_index() {
    let mut list = filtered(ExitKind::Interrupt);
    assert_eq!(list.len(), EXITS / 100);
    for index in [0, 1, 327, 328, 1999] {
        list.select(index).expect("reads");
        assert_eq!(list.selected().expect("loaded").number, index * 100 + 99);
    }
    let mut list = filtered(ExitKind::Nmi);
    list.select(5).expect("reads");
    assert_eq!((list.len(), list.selected().expect("loaded").number), (1, 150_000));
}

#[test]
fn a_filter_moves_the_selection_to_the_next_exit_that_is_listed() {
    let mut list = list();
    list.select(70_000).expect("reads");
    while list.filter() != Some(ExitKind::Interrupt) {
        list.cycle_filter(true, &mut go_on).expect("reads");
    }
    assert_eq!(list.selected().expect("loaded").number, 70_099);
    while list.filter().is_some() {
        list.cycle_filter(true, &mut go_on).expect("reads");
    }
    assert_eq!(list.selected().expect("loaded").number, 70_000);
}

#[test]
fn a_count_that_is_stopped_changes_nothing() {
    let mut list = list();
    list.select(1000).expect("reads");
    let mut told = Vec::new();
    let done = list.cycle_filter(true, &mut |seen| {
        told.push(seen);
        told.len() < 2
    });
    assert!(!done.expect("reads"));
    assert_eq!(told, [32_768, 65_536]);
    assert_eq!((list.filter(), list.selected_index(), list.len()), (None, 1000, EXITS));
}

#[test]
fn positions_are_found_in_the_list() {
    let list = list();
    for number in [0, 1, 40_000, EXITS - 1] {
        let (at, exit) = exit(number);
        assert_eq!(list.number_at(at, None).expect("reads"), number);
        assert_eq!(list.find(at, exit.kind()).expect("reads"), Some(number));
        assert_eq!(list.find(at, ExitKind::Halt).expect("reads"), None);
    }
    let near = Some((Position::new(100, 0), list.number_at(Position::new(100, 0), None).expect("reads")));
    assert_eq!(list.number_at(exit(777).0, near).expect("reads"), 777);
    assert_eq!(list.number_at(Position::MAX, None).expect("reads"), EXITS);
}
