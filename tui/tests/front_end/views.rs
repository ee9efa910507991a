//! What is drawn.

use ratatui::layout::Size;
use tui::action::Action;
use tui::layout::Pane;
use tui::theme::Theme;

use crate::support::{Front, LARGE, SMALL, screen};

/// Every pane on both screens, where there is something in each.
fn shown(pane: Pane, size: Size) -> String {
    let mut front = Front::new(size);
    front.write(Action::Breakpoint, "print").go_to("count").act(&[
        Action::Over { back: false },
        Action::Over { back: false },
        Action::Over { back: false },
    ]);
    front.show(Pane::Memory).write(Action::Address, "counter");
    if pane == Pane::Results {
        front.act(&[Action::Writes]);
    }
    front.go_to("trap").go_to("40%").go_to("count");
    front.act(&[Action::Step { back: false }, Action::Step { back: false }]);
    front.show(Pane::Exits).show(pane);
    assert_eq!(front.state().note, None);
    front.screen()
}

macro_rules! goldens {
    ($($name:ident: $pane:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                insta::assert_snapshot!(concat!(stringify!($name), "_small"), shown(Pane::$pane, SMALL));
                insta::assert_snapshot!(concat!(stringify!($name), "_large"), shown(Pane::$pane, LARGE));
            }
        )*
    };
}

goldens! {
    exits: Exits,
    summary: Summary,
    code: Code,
    registers: Registers,
    memory: Memory,
    stack: Stack,
    console: Console,
    devices: Devices,
    processes: Tasks,
    results: Results,
    marks: Marks,
    inputs: Inputs,
}

#[test]
fn one_pane_alone() {
    let mut front = Front::new(SMALL);
    front.go_to("count").show(Pane::Memory).act(&[Action::ZoomPane]);
    insta::assert_snapshot!(front.screen());
}

#[test]
fn the_help_lists_every_key() {
    let mut front = Front::new(SMALL);
    front.act(&[Action::Help]);
    insta::assert_snapshot!(front.screen());
    let mut seen = front.screen();
    for _ in 0..12 {
        front.act(&[Action::PageDown]);
        seen.push_str(&front.screen());
    }
    for binding in tui::keys::BINDINGS {
        assert!(seen.contains(binding.help), "{}", binding.help);
    }
    front.act(&[Action::Cancel]);
    assert_eq!(front.state().help, None);
}

#[test]
fn a_line_that_is_asked_for_is_seen_as_it_is_written() {
    let mut front = Front::new(SMALL);
    front.act(&[Action::Mark]);
    "the place ".chars().for_each(|c| front.app.write(c));
    assert!(front.screen().ends_with("name of this place: the place\n"), "{}", front.screen());
    "x".repeat(100).chars().for_each(|c| front.app.write(c));
    assert!(front.screen().lines().last().unwrap().starts_with("xxx"));
    front.app.forget_question();
    assert!(front.screen().lines().last().unwrap().starts_with("? help"));
}

#[test]
fn the_timeline_at_every_zoom() {
    let mut front = Front::new(SMALL);
    front.go_to("count");
    let strip = |front: &Front| {
        let lines: Vec<_> = front.screen().lines().skip(1).take(4).map(str::to_owned).collect();
        lines.join("\n")
    };
    let mut seen = vec![strip(&front)];
    while !front.state().strip.stepwise {
        for _ in 0..4 {
            front.act(&[Action::ZoomIn]);
        }
        seen.push(strip(&front));
    }
    front.act(&[Action::WholeRun, Action::Axis]);
    seen.push(strip(&front));
    insta::assert_snapshot!(seen.join("\n\n"));
}

#[test]
fn colours_come_from_the_theme_and_plain_has_none() {
    let colours = |theme: Theme| {
        let mut front = Front::new(SMALL);
        front.go_to("count");
        let layout = front.state().layout.clone();
        front.app.arrange(layout, theme);
        front.serve();
        let backend = ratatui::backend::TestBackend::new(80, 24);
        let mut terminal = ratatui::Terminal::new(backend).unwrap();
        terminal.draw(|frame| tui::view::draw(frame, front.state())).unwrap();
        let cells = terminal.backend().buffer().content().iter();
        cells.map(|cell| cell.fg).filter(|fg| *fg != ratatui::style::Color::Reset).collect::<Vec<_>>()
    };
    let (dark, light) = (colours(Theme::Dark), colours(Theme::Light));
    assert!(!dark.is_empty() && !light.is_empty() && dark != light);
    assert_eq!(colours(Theme::Plain), []);
}

#[test]
fn no_terminal_is_too_small() {
    let mut front = Front::new(SMALL);
    front.go_to("count");
    for pane in Pane::ALL {
        front.show(pane);
        for width in (1..60).step_by(3) {
            for height in (1..30).step_by(2) {
                front.app.resize(Size { width, height });
                front.serve();
                screen(front.state());
            }
        }
        front.app.resize(SMALL);
        front.serve();
    }
    front.act(&[Action::Help]);
    front.app.resize(Size { width: 3, height: 3 });
    front.serve();
    screen(front.state());
}
