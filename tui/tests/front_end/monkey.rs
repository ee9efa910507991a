//! Whatever somebody presses, in whatever order.

use ratatui::layout::{Position as Cell, Size};
use tui::action::Action;
use tui::keys::BINDINGS;

use crate::support::{Front, SMALL, copy};

/// Numbers of a fixed row.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

const TEXTS: [&str; 14] = [
    "",
    "count",
    "-print",
    "50%",
    "3000+2",
    "1ms",
    "rsp",
    "0x103000",
    "port=0x3f8",
    "mov",
    "0f 0b",
    "line",
    "x",
    "end",
];

#[test]
fn nothing_that_is_pressed_leads_off_the_recording() {
    let (_folder, path) = copy();
    let before = std::fs::read(&path).unwrap();
    let mut front = Front::over(&path, SMALL);
    let mut random = Random(99);
    for number in 0..1500 {
        match random.below(20) {
            0 => {
                let size = Size::new(random.below(150) as u16 + 1, random.below(60) as u16 + 1);
                front.app.resize(size);
            }
            1 => front.app.click(Cell::new(random.below(80) as u16, random.below(24) as u16)),
            2 => {
                front.app.wheel(Cell::new(random.below(80) as u16, random.below(24) as u16), number % 2 == 0)
            }
            _ => {
                let action = BINDINGS[random.below(BINDINGS.len())].action;
                if !matches!(action, Action::Quit | Action::Help) {
                    front.app.act(action);
                }
            }
        }
        front.serve();
        if front.state().prompt.is_some() {
            front.app.erase_all();
            TEXTS[random.below(TEXTS.len())].chars().for_each(|c| front.app.write(c));
            front.app.answer();
            front.serve();
        }
        let side = front.side();
        assert!(side.begin <= side.machine.position && side.machine.position <= side.end);
        assert!(!front.app.is_working());
        if number % 10 == 0 {
            front.screen();
        }
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
}
