//! gdb's machine interface, as editors use it: the commands that their buttons send, forwards and backwards.
//!
//! Where gdb is not installed, the test says SKIPPED and passes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::process::Command;

use replayvm_tests::{Replayvm, Serving, folder, is_installed, record};

/// The number that gdb gives back with the answer to a command: its place in the script.
fn numbered(script: &[String]) -> String {
    script.iter().enumerate().fold(String::new(), |text, (index, line)| format!("{text}{index}{line}\n"))
}

/// The records of the stop that a command has led to.
fn stop(text: &str, command: usize) -> &str {
    let rest =
        text.split_once(&format!("\n{command}^running")).unwrap_or_else(|| panic!("{command}: {text}")).1;
    let stop = rest.lines().find(|line| line.starts_with("*stopped"));
    stop.unwrap_or_else(|| panic!("{command} does not stop: {text}"))
}

#[test]
fn an_editor_steps_back_and_runs_back() {
    if !is_installed("gdb") {
        return;
    }
    let folder = folder();
    let file = folder.path().join("run.rvm");
    record("lost-update", &file, &[]);
    let serving = Serving::start(&file, &[]);
    let script = [
        // In the background, as editors have it, a script would have to wait for each stop.
        "-gdb-set mi-async off".to_owned(),
        "-environment-directory .".to_owned(),
        format!("-target-select remote {}", serving.address()),
        "-list-target-features".to_owned(),
        "-break-insert -f lost_update::count".to_owned(),
        "-exec-continue --reverse".to_owned(),
        "-exec-next".to_owned(),
        "-exec-next".to_owned(),
        "-exec-step --reverse".to_owned(),
        "-exec-step --reverse".to_owned(),
        "-stack-list-frames 0 1".to_owned(),
        "-exec-continue --reverse".to_owned(),
        "-exec-finish --reverse".to_owned(),
        "-exec-step-instruction --reverse".to_owned(),
        "-thread-info".to_owned(),
        "-interpreter-exec console \"reverse-continue\"".to_owned(),
        "-gdb-exit".to_owned(),
    ];
    let input = folder.path().join("mi");
    std::fs::write(&input, numbered(&script)).unwrap();
    let mut command = Command::new("gdb");
    command.args(["-nx", "-q", "--interpreter=mi2"]);
    let text =
        Replayvm::from_command(command).stdin(std::fs::File::open(&input).unwrap()).run().exits(0).stdout;

    assert!(text.contains("2^connected"), "{text}");
    let features = text.lines().find(|line| line.starts_with("3^done")).expect(&text);
    assert!(features.contains("\"reverse\""), "{text}");
    for (command, reason) in [(5, "breakpoint-hit"), (6, "end-stepping-range"), (7, "end-stepping-range")] {
        assert!(stop(&text, command).contains(&format!("reason=\"{reason}\"")), "{command}: {text}");
    }
    let line = |command| {
        let stop = stop(&text, command);
        let rest = stop.split_once(",line=\"").unwrap_or_else(|| panic!("no line in {stop}")).1;
        rest.split_once('"').unwrap().0.parse::<u32>().unwrap()
    };
    // Two lines forward and two back.
    assert!(line(7) > line(6) && line(6) > line(5), "{text}");
    assert_eq!((line(8), line(9)), (line(6), line(5)), "{text}");
    assert!(stop(&text, 9).contains("func=\"lost_update::count\""), "{text}");
    let frames = text.lines().find(|line| line.starts_with("10^done")).expect(&text);
    assert!(frames.contains("lost_update::count") && frames.contains("lost_update::main"), "{text}");
    assert!(stop(&text, 11).contains("breakpoint-hit"), "{text}");
    assert!(stop(&text, 12).contains("func=\"lost_update::main\""), "{text}");
    let threads = text.lines().find(|line| line.starts_with("14^done")).expect(&text);
    assert!(threads.contains("vCPU 0: ring 0, 64-bit"), "{text}");
}
