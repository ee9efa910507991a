//! What is drawn.

use ratatui::layout::Size;
use recorder::{Exit, Position};
use tui::app::{Action, Busy, Note, State};
use tui::exits::ExitList;
use tui::machine::Snapshot;
use tui::view;

use crate::support::{act, app, screen, written};

const SIZE: Size = Size { width: 80, height: 24 };

/// A state in which nothing depends on a guest.
fn made_up() -> State {
    let at = |tick| Position::new(tick, 2);
    let recording = written([
        (at(10), Exit::PortWrite { port: 0x3f8, size: 1, value: 0x41 }),
        (at(20), Exit::PortRead { port: 0x3fd, size: 1, value: 0x60 }),
        (at(30), Exit::MmioWrite { gpa: 0xfee0_0380, size: 4, value: 0xffff }),
        (at(30), Exit::MsrRead { index: 0xc000_0080, value: 0x500 }),
        (at(40), Exit::Cpuid { leaf: 1, subleaf: 0 }),
        (at(500), Exit::Tsc { value: 5000 }),
        (at(600), Exit::Entropy { value: 0x1234_5678_9abc_def0 }),
        (at(700), Exit::Halt),
        (at(701), Exit::Interrupt { vector: 0x20 }),
        (at(800), Exit::Exception { vector: 14, error_code: Some(2), address: 0xdead_b000 }),
        (at(900), Exit::SoftwareInterrupt { vector: 0x80 }),
        (at(1000), Exit::Shutdown),
    ]);
    let mut exits = ExitList::new(recording);
    exits.set_height(view::list_height(SIZE)).expect("reads");
    exits.select(4).expect("reads");
    State {
        title: "made-up.rvm: guest made-up, seed 3".to_owned(),
        machine: Snapshot {
            position: at(500),
            instructions: 12_345_678,
            virtual_ns: 5_000_020,
            gpr: std::array::from_fn(|index| 0x1111_1111_1111_1111 * index as u64),
            rip: 0xffff_ffff_8100_0040,
            rflags: 0x246,
            cr0: 0x8001_0033,
            cr2: 0xdead_b000,
            cr3: 0x1000,
            cr4: 0x6a0,
            cs: 0x10,
            ss: 0x18,
            cpl: 0,
            mode: "64-bit",
            next: "0xffffffff81000040: 0f 31  rdtsc".to_owned(),
        },
        begin: Position::START,
        end: at(1000),
        mark: Some(at(250)),
        exits,
        next_exit: 5,
        note: None,
        busy: None,
        help: false,
        quit: false,
    }
}

/// Puts what may change with the guest's compiler or the CPU's accounting out of the picture: positions become `P`, long
/// hexadecimal numbers `x`, other numbers of the status line `N`, and runs of blanks or of the bar one.
fn redacted(screen: &str) -> String {
    let word = |word: &str| {
        let is_position = word.split_once('+').is_some_and(|(tick, offset)| {
            [tick, offset].iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
        });
        let bare = word.trim_start_matches("0x").trim_end_matches(':');
        let is_hex = bare.bytes().all(|b| b.is_ascii_hexdigit());
        if is_position {
            "P".to_owned()
        } else if is_hex && (bare.len() >= 8 || word.starts_with("0x") && word.ends_with(':')) {
            "x".to_owned()
        } else if word.starts_with(|c: char| c.is_ascii_digit()) && word.contains([',', '.']) {
            "N".to_owned()
        } else {
            word.to_owned()
        }
    };
    let line = |line: &str| {
        let spaced = line.replace('│', " │ ").replace('─', " ");
        spaced.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
    };
    screen.lines().map(|text| line(text) + "\n").collect()
}

#[test]
fn the_main_view() {
    insta::assert_snapshot!(screen(&made_up(), SIZE));
}

#[test]
fn the_main_view_on_a_wide_terminal() {
    insta::assert_snapshot!(screen(&made_up(), Size { width: 132, height: 30 }));
}

#[test]
fn the_main_view_of_a_recording() {
    let mut app = app();
    app.set_list_height(view::list_height(SIZE));
    insta::assert_snapshot!(redacted(&screen(app.state(), SIZE)));
    act(&mut app, &[Action::SeekSelected]);
    let drawn = screen(app.state(), SIZE);
    assert!(drawn.contains("│▶ "), "{drawn}");
}

#[test]
fn the_help_lists_every_key() {
    let state = State { help: true, ..made_up() };
    insta::assert_snapshot!(screen(&state, SIZE));
    let drawn = screen(&state, Size { width: 120, height: 40 });
    for binding in tui::keys::BINDINGS {
        assert!(drawn.contains(binding.help), "{}", binding.help);
    }
}

#[test]
fn progress_and_notes_take_the_place_of_the_help_line() {
    let last = |state: &State| screen(state, SIZE).lines().last().expect("lines").to_owned();
    let (at, goal) = (Position::new(100, 0), Position::new(900, 1));
    let busy = State { busy: Some(Busy::Replay { at, goal }), ..made_up() };
    assert_eq!(last(&busy), "replaying: 100+0, at most to 900+1; Esc stops");
    let busy = State { busy: Some(Busy::Census { seen: 32_768, of: 1_000_000 }), ..made_up() };
    assert_eq!(last(&busy), "counting exits: 32,768 of 1,000,000; Esc stops");
    let noted = State { note: Some(Note::Error("it diverged".to_owned())), ..made_up() };
    assert_eq!(last(&noted), "it diverged");
}

#[test]
fn a_recording_without_exits_says_so() {
    let state = State { exits: ExitList::new(written([])), ..made_up() };
    assert!(screen(&state, SIZE).contains(" no exits "));
}

#[test]
fn no_terminal_is_too_small() {
    let state = State { help: true, ..made_up() };
    for width in 1..50 {
        for height in 1..26 {
            screen(&state, Size { width, height });
        }
    }
}
