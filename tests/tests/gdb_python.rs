//! The commands in Python that `replayvm gdb --launch` gives to real gdb, and `--print-python` prints.
//!
//! Where gdb is not installed, or has no Python, the tests say SKIPPED and pass.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use gdb_bridge::{Listen, ServeOptions, launch_gdb, serve};
use replayvm::timeline::Timeline;
use replayvm_tests::{Person, Replayvm, binary, folder, is_installed, path_text, replayvm};

/// A recording of the guest `lost-update`, made once.
fn recording() -> &'static str {
    static MADE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = MADE.get_or_init(|| {
        let folder = folder();
        let path = folder.path().join("run.rvm");
        let _ = replayvm(["record", "lost-update", "--seed", "16", "--output", path_text(&path)]).run();
        assert!(path.exists(), "nothing is recorded");
        (folder, path)
    });
    path_text(path)
}

fn gdb_has_python() -> bool {
    let there = Command::new("gdb")
        .args(["-nx", "-batch", "-ex", "python print(1)"])
        .output()
        .is_ok_and(|output| output.stdout == b"1\n");
    if !there {
        println!("SKIPPED: no gdb with Python installed");
    }
    there
}

/// Answers of `monitor` and complaints in their places among the rest.
fn together(command: &Command) -> String {
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$0\" \"$@\" 2>&1"]).arg(command.get_program()).args(command.get_args());
    Replayvm::from_command(shell).run().stdout
}

/// What gdb prints, started by the command with these arguments and this script.
fn gdb_with(arguments: &[&str], script: &[&str]) -> String {
    let mut command = Command::new(binary());
    command.args(["gdb", recording(), "--launch", "--", "-nx"]).args(arguments);
    command.args(script.iter().flat_map(|line| ["-ex", line]));
    together(&command)
}

fn gdb(script: &[&str]) -> String {
    gdb_with(&["-batch"], script)
}

/// The lines between two that the script has printed.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let rest = text.split_once(&format!("{from}\n")).unwrap_or_else(|| panic!("no `{from}` in {text}")).1;
    rest.split_once(&format!("{to}\n")).unwrap_or_else(|| panic!("no `{to}` in {text}")).0
}

#[test]
fn seek_and_back_complete_ends_and_marks() {
    if !gdb_has_python() {
        return;
    }
    let text = gdb(&[
        "mark before-the-store",
        "mark end-of-it",
        "echo A\\n",
        "complete seek b",
        "echo B\\n",
        "complete seek e",
        "echo C\\n",
        "complete back before-the-s",
        "echo D\\n",
        "complete back b",
        "echo E\\n",
    ]);
    assert_eq!(between(&text, "A", "B"), "seek before-the-store\nseek begin\n", "{text}");
    assert_eq!(between(&text, "B", "C"), "seek end\nseek end-of-it\n", "{text}");
    assert_eq!(between(&text, "C", "D"), "back before-the-store\n", "{text}");
    assert_eq!(between(&text, "D", "E"), "back before-the-store\n", "{text}");
}

#[test]
fn rvm_position_is_true_after_seeks_and_stops_and_text_in_every_language() {
    if !gdb_has_python() {
        return;
    }
    let text = gdb(&[
        "p $rvm_position",
        "seek 100000",
        "p $rvm_position",
        "mark here",
        "stepi",
        "printf \"%s!\\n\", $rvm_position",
        "echo A\\n",
        "printf \"%d+%d!\\n\", $tick, $tick_offset",
        "set language c",
        "seek here",
        "p $_streq($rvm_position, \"100000+0\")",
        "tt-marks",
    ]);
    assert!(text.contains("$2 = \"100000+0\""), "{text}");
    let moved = text.lines().filter(|line| line.ends_with('!')).collect::<Vec<_>>();
    assert!(moved.len() == 2 && moved[0] == moved[1], "{text}");
    assert_ne!(moved[0], "100000+0!");
    assert!(text.contains("$3 = 1"), "{text}");
    assert!(text.contains("here             100000+0"), "{text}");
    // Where gdb has no machine there is no position.
    let mut alone = Command::new("gdb");
    let file = folder();
    let script = file.path().join("replayvm.py");
    std::fs::write(&script, gdb_bridge::GDB_PYTHON).expect("a file");
    alone.args(["-nx", "-batch", "-x", path_text(&script), "-ex", "p $rvm_position", "-ex", "when"]);
    let text = together(&alone);
    assert!(text.contains("$1 = void") && text.contains("`monitor when`: "), "{text}");
    assert!(!text.contains("Python Exception"), "{text}");
}

#[test]
fn after_a_seek_gdb_stands_in_the_innermost_frame_and_watchpoints_know_the_value_there() {
    if !gdb_has_python() {
        return;
    }
    let text = gdb(&[
        "watch lost_update::COUNTER",
        "break lost_update::count",
        "reverse-continue",
        "delete 2",
        "up",
        "seek 200000",
        "echo A\\n",
        "p lost_update::COUNTER",
        "info frame",
        "continue",
        "echo B\\n",
    ]);
    let part = between(&text, "A", "B");
    let here = part.split_once(" = ").and_then(|(_, rest)| rest.lines().next()).expect("a value");
    assert!(part.contains("Stack level 0"), "{text}");
    assert!(part.contains(&format!("Old value = {here}\n")), "{text}");
}

#[test]
fn many_steps_are_walked_exactly_and_ctrl_c_stops_them_and_keeps_the_connection() {
    if !gdb_has_python() {
        return;
    }
    let text = gdb(&[
        "seek 100000",
        "mark here",
        "seek +1700",
        "echo A\\n",
        "seek -1700",
        "echo B\\n",
        "seek 100",
        "seek -3000000",
        "echo C\\n",
        "seek here",
        // Ctrl-C while the server walks.
        "python import os; rvm_real = rvm_ask",
        "python rvm_ask = lambda line: (os.kill(os.getpid(), signal.SIGINT), rvm_real(line))[1]",
        "seek +5000",
        "python rvm_ask = rvm_real",
        "echo D\\n",
        "when",
        "p $rvm_position",
        "echo E\\n",
    ]);
    let instructions = |part: &str| -> u64 {
        let line = part.lines().rev().find_map(|line| line.strip_prefix("instructions "));
        line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no instructions in {part}"))
    };
    let start = instructions(between(&text, "A", "B"));
    assert!(between(&text, "A", "B").contains("position 100000+0\n"), "{text}");
    assert!(between(&text, "B", "C").contains("the begin of the recording"), "{text}");
    let interrupted = between(&text, "D", "E");
    let walked = instructions(interrupted) - start;
    assert!((1..=1000).contains(&walked), "{walked} instructions: {text}");
    let position = interrupted.lines().find_map(|line| line.strip_prefix("position ")).expect("a position");
    assert!(interrupted.contains(&format!("= \"{position}\"")), "{text}");
}

#[test]
fn last_write_asks_about_the_place_or_the_address() {
    if !gdb_has_python() {
        return;
    }
    let text = gdb(&[
        "output/x &lost_update::COUNTER",
        "echo <\\n",
        // What is sent is what is looked at here.
        "python rvm_ask = lambda line: 'asked ' + line + '\\n'",
        "last-write lost_update::COUNTER",
        "last-write &lost_update::COUNTER",
        "last-write &lost_update::COUNTER 2",
        "last-write 0x1000 0x10",
        "last-write 0x1000",
        "set language c",
        "last-write (long*)0x1000 + 4",
        "last-write (short*)0x1000 + 4 6",
        "last-write (void*)0x1000",
        "last-write *(short*)0x1000",
    ]);
    let counter = text.split_once("<\n").expect("an address").0.lines().last().expect("an address");
    let asked: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("asked last-write ")).collect();
    let expected = [
        &format!("{counter} 8"),
        &format!("{counter} 8"),
        &format!("{counter} 2"),
        "0x1000 16",
        "0x1000",
        "0x1020 8",
        "0x1008 6",
        "0x1000",
        "0x1000 2",
    ];
    assert_eq!(asked, expected, "{text}");
}

#[test]
fn calls_and_the_state_of_the_machine_are_what_monitor_says_of_them() {
    if !gdb_has_python() {
        return;
    }
    let text = gdb(&[
        "seek 2ms",
        "echo A\\n",
        "calls lost_update::count 100000..102000",
        "echo B\\n",
        "monitor calls lost_update::count 100000..102000",
        "echo C\\n",
        "rvm-info pagetable &lost_update::COUNTER",
        "echo D\\n",
        "complete rvm-info p",
        "echo E\\n",
        "rvm-info pit",
        "echo F\\n",
        "monitor info pit",
        "echo G\\n",
        "output/x &lost_update::COUNTER",
        "echo <\\n",
    ]);
    assert!(text.contains("position 200000+0\nvirtual time 2000000 ns\n"), "{text}");
    let calls = between(&text, "A", "B");
    assert!(calls.lines().count() >= 2 && calls.contains(" rdi=0x"), "{text}");
    assert_eq!(calls, between(&text, "B", "C"));
    let counter =
        text.split_once("<\n").expect("an address").0.lines().last().expect("an address").to_owned();
    assert!(between(&text, "C", "D").contains(&format!("\n{counter} is physical {counter}, ")), "{text}");
    assert_eq!(between(&text, "D", "E"), "rvm-info pagetable\nrvm-info pic\nrvm-info pit\n");
    assert_eq!(between(&text, "E", "F"), between(&text, "F", "G"));
    assert!(between(&text, "E", "F").contains("rate generator"), "{text}");
}

#[test]
fn what_is_wrong_is_one_sentence() {
    if !gdb_has_python() {
        return;
    }
    for (line, sentence) in [
        ("seek", "Usage: seek TICK+OFFSET"),
        ("seek nowhere", "`nowhere` is not a position: write TICK or TICK+OFFSET, for example 12345+3"),
        ("back nowhere", "there is no mark `nowhere`"),
        ("back", "Usage: back NAME"),
        ("mark two words", "Usage: mark NAME"),
        ("when now", "Usage: when"),
        ("seek 1.5xs", "`1.5xs` is not a time in whole nanoseconds"),
        ("calls", "Usage: calls FUNCTION [A..B]"),
        ("calls nosuch", "there is no symbol `nosuch`"),
        ("rvm-info", "Usage: rvm-info apic|cpu|gdt|idt|ioapic|ldt|pagetable|pic|pit|rtc|tss|uart"),
        ("rvm-info gtd", "there is no subject of `info` `gtd`, but `gdt`"),
        ("rvm-info pagetable nosuch", "No symbol 'nosuch' in current context"),
        ("last-write", "Usage: last-write EXPR [LEN]"),
        ("last-write nosuch 4", "No symbol 'nosuch' in current context"),
        ("last-write 1.5", "`1.5` is neither a place in memory nor an address."),
    ] {
        // A command in a script that fails ends it.
        let text = gdb(&["echo A\\n", &format!("python gdb.execute({line:?})"), "echo B\\n"]);
        let plain = gdb(&["echo A\\n", line, "echo B\\n"]);
        let said = between(&plain, "A", "B");
        assert!(said.starts_with(sentence) || said.contains(sentence), "{line}: {said}");
        assert_eq!(said.lines().count(), 1, "{line}: {said}");
        assert!(between(&text, "A", "B").contains(sentence), "{line} fails: {text}");
    }
}

#[test]
fn the_prompt_shows_the_position_until_told_not_to() {
    if !gdb_has_python() {
        return;
    }
    let mut person = Person::at(&["gdb", recording(), "--launch", "--at", "100000", "--", "-nx"]);
    person.sees("(gdb 100000+0) ");
    person.types("seek 200000\n");
    person.sees("(gdb 200000+0) ");
    person.types("set replayvm-prompt off\n");
    person.sees("(gdb) ");
    person.types("set replayvm-prompt on\n");
    person.sees("(gdb 200000+0) ");
    person.types("set prompt mine>\\040\n");
    person.sees("200000+0 mine>");
    person.types("detach\n");
    person.sees("detached]");
    let between = person.sees("mine>");
    assert!(!between.contains("200000"), "without a machine there is no position: {between}");
    person.types("quit\n");
    let (finished, seen, _) = person.leaves();
    finished.exits(0);
    assert!(!seen.contains("Python Exception"), "{seen}");
}

#[test]
fn mi_stays_mi() {
    if !gdb_has_python() {
        return;
    }
    let folder = folder();
    let script = folder.path().join("mi");
    let lines = "-interpreter-exec console \"seek 2000\"\n-exec-step-instruction\n\
        -data-evaluate-expression $rvm_position\n-interpreter-exec console \"seek nowhere\"\n-gdb-exit\n";
    std::fs::write(&script, lines).expect("a file");
    let input = std::fs::File::open(&script).expect("a file");
    let text = replayvm(["gdb", recording(), "--launch", "--", "-nx", "-i=mi"]).stdin(input).run().stdout;
    assert!(text.contains("~\"position 2000+0\\n"), "{text}");
    assert!(text.contains("^done,value=\"\\\"2000+1\\\"\""), "{text}");
    assert!(text.contains("^error,msg=\"`nowhere` is not a position"), "{text}");
    assert!(text.contains("\n(gdb) \n") && !text.contains("(gdb 2000"), "{text}");
}

#[test]
fn the_printed_file_serves_a_gdb_that_came_by_itself() {
    if !gdb_has_python() {
        return;
    }
    let folder = folder();
    let script = folder.path().join("replayvm.py");
    let printed = replayvm(["gdb", "--print-python"]).run().exits(0).stdout;
    std::fs::write(&script, printed).expect("a file");
    let source = format!("source {}", path_text(&script));
    let mut timeline = Timeline::open(Path::new(recording())).expect("opens");
    let options = ServeOptions::default();
    let stop = std::sync::Arc::clone(&options.stop);
    let listen = Listen::Unix(folder.path().join("socket"));
    let text = std::thread::scope(|scope| {
        let (ready, at) = std::sync::mpsc::channel();
        let server = scope.spawn(move || {
            serve(&mut timeline, &listen, &options, |at| ready.send(at.clone()).expect("somebody waits"))
        });
        let at = at.recv().expect("the server listens");
        // Twice: nothing is there twice for it.
        let script =
            [&source, &source, "seek 100000", "p $rvm_position", "mark here", "complete seek h", "when"];
        let mut extra = vec!["-nx".into(), "-batch".into()];
        extra.extend(script.iter().flat_map(|line| ["-ex".into(), (*line).into()]));
        extra.extend(["-ex".into(), "python print(repr(gdb.prompt_hook('(gdb) ')))".into()]);
        let text = together(&launch_gdb(&at, None, &extra));
        stop.store(true, Ordering::Relaxed);
        server.join().expect("the server lives").expect("the server serves");
        text
    });
    assert!(text.contains("$1 = \"100000+0\"") && text.contains("seek here\n"), "{text}");
    assert!(text.contains("'(gdb 100000+0) '"), "{text}");
    assert_eq!(text.matches("position 100000+0").count(), 2, "{text}");
}

#[test]
fn a_gdb_without_python_has_the_commands_without_it() {
    if !is_installed("gdb") {
        return;
    }
    // gdb cannot run Python without its own files, and then has none of what it writes in it either.
    let folder = folder();
    let text = gdb_with(
        &["-batch", "-data-directory", path_text(folder.path())],
        &["seek 100000", "mark here", "seek end", "back here", "marks", "when", "tt-marks"],
    );
    assert!(text.contains("here             100000+0"), "{text}");
    assert_eq!(text.matches("position 100000+0").count(), 3, "{text}");
    assert!(text.contains("Undefined command: \"tt-marks\""), "{text}");
}
