//! What is looked for.

use tui::action::Action;
use tui::layout::Pane;

use crate::guest::COUNTER;
use crate::support::{Front, LARGE, SMALL};

#[test]
fn who_wrote_this_byte_is_the_store() {
    let mut front = Front::new(SMALL);
    front.act(&[Action::End]).show(Pane::Memory).write(Action::Address, "counter");
    assert_eq!(front.side().machine.memory.first, COUNTER);
    front.act(&[Action::LastWrite]);
    assert!(front.place().starts_with("count"), "{}", front.place());
    assert!(front.side().machine.next.contains("%rax, counter"), "{}", front.side().machine.next);
    let last = front.position();
    front.act(&[Action::LastWrite]);
    assert!(front.position() < last);
}

#[test]
fn all_writes_are_a_list_that_one_can_walk() {
    let mut front = Front::new(SMALL);
    front.show(Pane::Memory).write(Action::Address, "counter");
    let here = front.position();
    front.act(&[Action::Writes]);
    assert_eq!(front.position(), here, "looking around moves nothing");
    let results = front.side().results.clone();
    assert_eq!(results.list.len(), 8);
    for (number, found) in results.list.iter().enumerate() {
        assert!(
            found.text.starts_with(&format!("{number:#x} -> {:#x}  count", number + 1)),
            "{}",
            found.text
        );
    }
    assert_eq!(front.state().layout.focused(), Pane::Results);
    front.act(&[Action::Down, Action::Enter]);
    assert_eq!(Some(front.position()), results.list[1].at);
    front.act(&[Action::Match { back: false }]);
    assert_eq!(Some(front.position()), results.list[2].at);
    front.act(&[Action::Match { back: true }]);
    assert_eq!(Some(front.position()), results.list[1].at);
    front.write(Action::Find, "0x6 -> 0x7");
    assert_eq!(front.side().scroll(Pane::Results).selected, 6);
}

#[test]
fn calls_are_found_with_their_callers_and_arguments() {
    let mut front = Front::new(SMALL);
    front.go_to("print").act(&[Action::Calls]);
    let list = &front.side().results.list;
    assert_eq!(list.len(), 6);
    assert!(list[3].text.starts_with("from start+") && list[3].text.contains("rdi=0x3 "), "{}", list[3].text);
}

#[test]
fn instructions_are_found_by_their_text() {
    let mut front = Front::new(LARGE);
    front.show(Pane::Code).write(Action::Find, "iretq");
    let list = front.side().results.list.clone();
    let places: Vec<&str> =
        list.iter().filter_map(|found| found.text.split_once("  ")).map(|(_, p)| p).collect();
    assert_eq!(places.len(), 2, "{list:?}");
    assert!(places[0].starts_with("timer+") && places[1].starts_with("trap+"), "{places:?}");
    front.act(&[Action::Enter]);
    assert_eq!(front.state().layout.focused(), Pane::Code);
    assert_eq!(front.side().code_line, list[0].address);
}

#[test]
fn bytes_are_found_in_linear_and_in_physical_memory() {
    let mut front = Front::new(SMALL);
    front.act(&[Action::End]).show(Pane::Memory);
    front.write(Action::Address, "0x100000").write(Action::Find, "0x0000000000000008");
    assert!(front.side().results.list.iter().any(|found| found.address == Some(COUNTER)));
    front.show(Pane::Memory).act(&[Action::Physical]).write(Action::Find, "0f0100000010");
    assert_eq!(front.info().split(' ').next(), Some("0"));
    front.show(Pane::Memory).write(Action::Find, "nonsense");
    assert!(front.info().starts_with("bytes are written as"));
    // lidt 0x101000
    front.write(Action::Find, "00 10 10 00");
    assert!(!front.side().results.list.is_empty());
    front.act(&[Action::Enter]);
    assert!(front.side().machine.memory.physical);
}

#[test]
fn console_text_is_found_before_and_after_the_cursor() {
    let mut front = Front::new(SMALL);
    front.go_to("print").show(Pane::Console).write(Action::Find, "line 4");
    let found = front.side().results.list.clone();
    assert_eq!(found.len(), 1);
    front.act(&[Action::Enter]);
    assert_eq!(Some(front.position()), found[0].at);
    front.show(Pane::Console);
    let lines: Vec<_> = front.side().console.lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(lines, ["line 0", "line 1", "line 2", "line 3", "line 4", "line 5"]);
    assert_eq!(front.side().len(Pane::Console), 5, "four lines, and the one that comes next");
    front.act(&[Action::Over { back: false }, Action::Over { back: false }, Action::Over { back: false }]);
    assert!(front.screen().contains(" l_"), "{}", front.screen());
}
