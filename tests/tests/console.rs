//! The guest's console: a person at a terminal, and what they saw, read back out of the recording.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "how long a guest sleeps is what is tested")]

use std::path::Path;
use std::time::{Duration, Instant};

use replayvm_tests::{Person, folder, info, path_text, position, replay_end, replayvm};
use rustix::process::Signal;

/// A person before the prompt of the guest `echo`.
fn at_the_prompt(file: &Path, options: &[&str]) -> Person {
    let arguments = ["record", "echo", "--interactive", "--output", path_text(file)];
    let mut person = Person::at(&[&arguments, options].concat());
    person.sees("echo: say something");
    person.sees("> ");
    person
}

fn says(mut person: Person, line: &str, answer: &str) -> Person {
    person.types(line);
    person.types("\r");
    person.sees(answer);
    person.sees("> ");
    person
}

/// What `replayvm console` prints.
fn console(file: &Path, options: &[&str]) -> String {
    let arguments = [&["console", path_text(file)], options].concat();
    replayvm(arguments).run().exits(0).stdout
}

#[test]
fn a_terminal_that_is_gone_ends_the_recording_as_a_good_one() {
    let folder = folder();
    let file = folder.path().join("run.rvm");
    let mut person = at_the_prompt(&file, &[]);
    person = says(person, "hello", "you said hello");
    person.takes_the_terminal_away().exits(0);
    assert_eq!(info(&file)["end"]["reason"], "interrupted");
    replayvm(["replay", path_text(&file)]).run().exits(0);
}

#[test]
fn a_person_types_sees_and_leaves_and_the_replay_shows_the_same() {
    let folder = folder();
    let file = folder.path().join("run.rvm");
    let mut person = at_the_prompt(&file, &[]);
    assert!(person.before().cooked);
    assert!(!person.attributes().cooked, "the guest has the terminal");
    person = says(person, "hello", "you said hello");
    // Ctrl-C is the guest's.
    person.types("half a line\x03");
    person.sees("^C");
    person.types("\x01h");
    person.sees("end the recording and leave");
    person = says(person, "still here", "you said still here");
    person.types("\x01x");
    let before = person.before().clone();
    let (finished, seen, after) = person.leaves();
    finished.exits(0);
    assert_eq!(before, after);
    assert!(seen.contains("stopped (interrupted)"), "{seen}");

    let guest = console(&file, &["--raw"]);
    assert_eq!(
        guest,
        "echo: say something\r\n> hello\r\nyou said hello\r\n> half a line^C\r\n> still here\r\nyou said still here\r\n> "
    );
    let replayed = replayvm(["replay", path_text(&file), "--console"]).run().exits(0);
    assert!(replayed.stdout.starts_with(&guest.replace('\r', "")), "{replayed}");
    assert_eq!(info(&file)["end"]["reason"], "interrupted");
}

#[test]
fn whatever_ends_the_command_the_terminal_is_as_it_was() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let folder = folder();
        let file = folder.path().join("run.rvm");
        let person = at_the_prompt(&file, &[]);
        assert!(!person.attributes().cooked);
        person.signal(signal);
        let before = person.before().clone();
        let (finished, _, after) = person.leaves();
        finished.exits(0);
        assert_eq!(before, after, "{signal:?}");
        replayvm(["replay", path_text(&file)]).run().exits(0);
    }
    // A guest that ends by itself, and a disk that is full.
    let folder = folder();
    let person = at_the_prompt(&folder.path().join("run.rvm"), &[]);
    person.types("quit\r");
    let before = person.before().clone();
    let (finished, seen, after) = person.leaves();
    finished.exits(0);
    assert!(seen.contains("echo: PASS"), "{seen}");
    assert_eq!(before, after);
}

#[test]
fn two_signals_end_it_at_once_and_the_terminal_is_as_it_was() {
    let folder = folder();
    let person = at_the_prompt(&folder.path().join("run.rvm"), &["--realtime"]);
    person.signal(Signal::TERM);
    person.signal(Signal::INT);
    let before = person.before().clone();
    let (finished, _, after) = person.leaves();
    // The first may have been enough.
    assert!(matches!(finished.status.code(), Some(0 | 130)), "{finished}");
    assert_eq!(before, after);
}

#[test]
fn a_second_of_sleep_takes_a_second_only_in_real_time() {
    let folder = folder();
    let mut took = Vec::new();
    for options in [&[][..], &["--realtime"]] {
        let file = folder.path().join(format!("{}.rvm", options.len()));
        let person = at_the_prompt(&file, options);
        let start = Instant::now();
        let person = says(person, "sleep 100", "slept");
        took.push(start.elapsed());
        person.types("quit\r");
        person.leaves().0.exits(0);
        let start = Instant::now();
        let replayed = replayvm(["replay", path_text(&file), "--console"]).run().exits(0);
        assert!(start.elapsed() < Duration::from_millis(900), "a replay waits for nothing: {replayed}");
        assert!(replayed.stdout.contains("slept"), "{replayed}");
    }
    assert!(took[0] < Duration::from_millis(500), "{took:?}");
    assert!(took[1] >= Duration::from_millis(990), "{took:?}");
}

#[test]
fn without_a_terminal_nobody_sits_at_it() {
    let folder = folder();
    let file = folder.path().join("run.rvm");
    let arguments = ["record", "echo", "--interactive", "--output", path_text(&file)];
    replayvm(arguments).run().refused(&["standard input is no terminal", "--stdin"]);
}

#[test]
fn a_line_has_a_position_and_the_position_has_the_line() {
    let folder = folder();
    let file = folder.path().join("run.rvm");
    let person = at_the_prompt(&file, &[]);
    let person = says(person, "one", "you said one");
    let person = says(person, "two", "you said two");
    person.types("quit\r");
    person.leaves().0.exits(0);

    let listed = console(&file, &["--positions"]);
    let lines: Vec<Vec<&str>> =
        listed.lines().map(|line| line.trim_start().splitn(2, ' ').collect()).collect();
    let text = |number: usize| lines[number - 1][1].trim_start().split_once("  ").unwrap();
    assert_eq!(text(3).1, "you said one", "{listed}");
    assert_eq!(text(5).1, "you said two", "{listed}");
    let fifth = console(&file, &["--to-line", "5"]);
    assert_eq!(fifth.trim_end(), text(5).0);
    assert_eq!(console(&file, &["--line", "5"]), "you said two\n");

    // There the machine stands before the line's first byte, and one step later that is printed.
    let at = position(fifth.trim_end());
    let to = |to: String| replayvm(["replay", path_text(&file), "--to", &to, "--console"]).run().exits(0);
    let before = to(at.to_string());
    assert_eq!(replay_end(&before).position, at);
    let was = console(&file, &["--at", &at.to_string()]);
    assert!(was.ends_with("> two\n") && before.stdout.starts_with(&was), "{was} {before}");
    let after = to(format!("{}+{}", at.tick, at.offset + 1));
    assert!(after.stdout.starts_with(&format!("{was}y")), "{after}");
    assert_eq!(console(&file, &["--from", &at.to_string()]).lines().next(), Some("you said two"));

    let rows = replayvm(["console", path_text(&file), "--json"]).run().exits(0).json();
    assert_eq!(rows[4]["text"], "you said two");
    assert_eq!(rows[4]["position"], at.to_string());
    replayvm(["console", path_text(&file), "--to-line", "99"])
        .run()
        .refused(&["no line 99", "has printed 7"]);
}
