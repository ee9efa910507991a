//! A shell in a Linux guest, through a terminal: what issue "a stock Linux kernel" asks of the console.
//!
//! Needs what `corpora/linux/fetch` gets; without it the tests say SKIPPED.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "how long a guest sleeps is what is tested")]

use std::path::Path;
use std::time::{Duration, Instant};

use corpora::linux::{busybox, kernel, required};
use replayvm_tests::{Person, end_of, folder, info, path_text, position, replay_end, replayvm};

fn is_there() -> bool {
    required(kernel()).and_then(|_| required(busybox())).is_some()
}

/// A person before the shell's first prompt. Nobody has to ask for it: a Linux kernel on a terminal is interactive.
fn at_the_shell(file: &Path, options: &[&str]) -> Person {
    let arguments = ["record", "linux-shell", "--checkpoint-every", "20000000", "--output", path_text(file)];
    let mut person = Person::at(&[&arguments, options].concat());
    // A boot takes seconds, but not in a build without optimisation on a busy machine.
    person.waits(Duration::from_secs(900));
    person.sees("# ");
    person
}

/// Types a command and waits for its answer and the next prompt; says how long that took.
fn command(person: &mut Person, command: &str, answer: &str) -> Duration {
    let start = Instant::now();
    person.types(command);
    person.types("\r");
    person.sees(answer);
    let took = start.elapsed();
    person.sees("# ");
    took
}

/// The whole session: commands, a second of sleep, and its replay. Gives how long the sleep took.
fn session(options: &[&str]) -> Duration {
    let folder = folder();
    let file = folder.path().join("run.rvm");
    let mut person = at_the_shell(&file, options);
    assert!(!person.attributes().cooked, "the guest has the terminal");
    command(&mut person, "echo $((6 * 7))", "\n42");
    command(&mut person, "ls /bin/busybox /proc/version", "\n/proc/version");
    let took = command(&mut person, "sleep 1; echo sle''pt", "\nslept");
    // Ctrl-C is the guest's and ends what runs there.
    person.types("cat\r");
    person.sees("cat");
    person.types("\x03");
    person.sees("# ");
    let before = person.before().clone();
    person.types("exit\r");
    let (finished, seen, after) = person.leaves();
    assert!(finished.status.code().is_some(), "{finished}");
    assert_eq!(before, after, "{seen}");

    let console = |options: &[&str]| {
        let arguments = [&["console", path_text(&file)], options].concat();
        replayvm(arguments).run().exits(0).stdout
    };
    let said = console(&["--raw"]);
    assert!(said.contains("\n42\r\n") && said.contains("\nslept\r\n"), "{said}");
    let start = Instant::now();
    let replayed = replayvm(["replay", path_text(&file), "--json"]).run().exits(0);
    println!("the sleep took {took:?}, the whole replay {:?}", start.elapsed());
    let clean = console(&[]);
    assert_eq!(replayed.json()["console"], clean.as_str(), "the replay says what the recording said");
    assert_eq!(replayed.json()["digest"], info(&file)["end"]["digest"]);

    // A line leads to the machine that printed it.
    let number = clean.lines().position(|line| line == "slept").expect("the line") + 1;
    let to_line = console(&["--to-line", &number.to_string()]);
    let there = replayvm(["replay", path_text(&file), "--to", to_line.trim()]).run().exits(0);
    assert_eq!(replay_end(&there).position, position(to_line.trim()));
    // Its kernel has names for where that is, though Debian's packages have none.
    assert!(there.stdout.contains("io_serial_out+"), "{there}");
    assert!(end_of(&info(&file)).position > position(to_line.trim()));
    took
}

#[test]
fn a_shell_answers_and_its_sleep_takes_a_second_only_in_real_time() {
    if !is_there() {
        return;
    }
    let at_once = session(&[]);
    let real = session(&["--realtime"]);
    assert!(real >= Duration::from_millis(990), "{real:?}");
    assert!(at_once < real / 2, "{at_once:?} against {real:?}");
}
