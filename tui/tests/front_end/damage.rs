//! Damaged recordings.

use tui::action::Action;
use tui::layout::Pane;

use crate::support::{Front, SMALL, copy};

#[test]
fn a_recording_that_is_cut_off_is_shown_up_to_there_with_a_banner() {
    let (_folder, path) = copy();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() * 3 / 4]).unwrap();
    let mut front = Front::over(&path, SMALL);
    let banner = front.state().banner.clone().expect("a banner");
    assert!(banner.starts_with("DAMAGED OR CUT OFF, shown up to "), "{banner}");
    assert!(front.screen().lines().nth(1).unwrap().starts_with("DAMAGED OR CUT OFF"), "{}", front.screen());
    front.act(&[Action::End]);
    assert_eq!(front.position(), front.side().end);
    front.act(&[Action::Step { back: true }]).show(Pane::Memory);
    assert!(front.screen().contains("DAMAGED OR CUT OFF"));
}

#[test]
fn a_byte_that_is_wrong_is_noticed_wherever_it_is() {
    let (_folder, path) = copy();
    let bytes = std::fs::read(&path).unwrap();
    let mut shown = 0;
    for part in 1..16 {
        let mut wrong = bytes.clone();
        let at = bytes.len() * part / 16;
        wrong[at] ^= 0x40;
        std::fs::write(&path, &wrong).unwrap();
        // What cannot be opened is refused before there is a screen.
        let Ok(timeline) = replayvm::timeline::Timeline::open(&path) else { continue };
        drop(timeline);
        let mut front = Front::over(&path, SMALL);
        front.act(&[Action::End, Action::Begin]);
        shown += 1;
    }
    assert!(shown > 0, "nothing could be opened");
}
