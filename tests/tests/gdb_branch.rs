//! Real gdb in a branch of a recording: it changes what went wrong, the guest runs live, and the recording is as it was.
//!
//! Where gdb is not installed, the tests say so and pass.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use corpora::linux::{busybox, kernel, required};
use replayvm_tests::{Person, Replayvm, binary, folder, is_installed, path_text, position, record, replayvm};

/// A run of `lost-update` that loses an update, made once.
fn recording() -> &'static Path {
    static MADE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = MADE.get_or_init(|| {
        let folder = folder();
        let path = folder.path().join("run.rvm");
        record("lost-update", &path, &["--seed", "16", "--checkpoint-every", "100000"]).exits(1);
        (folder, path)
    });
    path
}

/// What gdb prints, started by the command with this script. The answers of `monitor` stand in their places.
fn gdb(file: &Path, script: &[&str]) -> String {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 2>&1"]).arg(binary());
    command.args(["gdb", path_text(file), "--launch", "--", "-nx", "-batch"]);
    command.args(script.iter().flat_map(|line| ["-ex", line]));
    Replayvm::from_command(command).patiently().run().exits(0).stdout
}

/// The part of `text` between two lines that the script has printed.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let rest = text.split_once(&format!("{from}\n")).unwrap_or_else(|| panic!("no `{from}` in {text}")).1;
    rest.split_once(&format!("{to}\n")).unwrap_or_else(|| panic!("no `{to}` in {text}")).0
}

/// The values that `print` has printed.
fn values(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.split_once(" = ")).map(|(_, value)| value).collect()
}

#[test]
fn a_lost_update_is_put_right_in_a_branch_and_the_guest_passes_its_own_check() {
    if !is_installed("gdb") {
        return;
    }
    let file = recording();
    let before = std::fs::read(file).unwrap();
    let text = gdb(
        file,
        &[
            "seek end",
            "set language rust",
            "break lost-update.rs:57 if seen != lost_update::COUNTER",
            "reverse-continue",
            "delete",
            "echo FOUND\\n",
            "print seen",
            "print lost_update::COUNTER",
            "set var seen = 0",
            "echo REFUSED\\n",
            "fork",
            "set var seen = lost_update::COUNTER",
            "print seen",
            "echo RUN\\n",
            "continue",
            "monitor console",
            "when",
            "echo BACK\\n",
            "reverse-stepi",
            "reverse-continue",
            "print seen",
            "echo RETURN\\n",
            "return-to-recording",
            "print seen",
            "continue",
            "monitor console 1",
            "echo DONE\\n",
        ],
    );
    let found = between(&text, "FOUND", "REFUSED");
    assert_eq!(values(found), ["345", "346"], "{text}");
    assert!(found.contains("this is a recording") && found.contains("`monitor fork`"), "{text}");
    let fork = between(&text, "REFUSED", "RUN");
    assert!(fork.contains(", the begin of the branch\n") && fork.contains(", seed 0\n"), "{text}");
    assert_eq!(values(fork), ["346"], "{text}");
    let run = between(&text, "RUN", "BACK");
    assert!(run.contains("No more reverse-execution history."), "{text}");
    assert!(run.contains("the guest's run is over: exit code 0x10\n"), "{text}");
    assert!(run.contains("lost-update: PASS counter 532 expected 532"), "{text}");
    // Backwards it comes to the change, and not to what was before.
    let back = between(&text, "BACK", "RETURN");
    assert_eq!(values(back), ["346"], "{text}");
    assert!(back.contains("No more reverse-execution history."), "{text}");
    let returned = between(&text, "RETURN", "DONE");
    assert_eq!(values(returned), ["345"], "{text}");
    assert!(returned.contains("lost-update: FAIL counter 531 expected 532"), "{text}");
    assert!(std::fs::read(file).unwrap() == before, "the recording is changed");
}

#[test]
fn gdb_makes_the_guest_call_return_and_jump() {
    if !is_installed("gdb") {
        return;
    }
    let text = gdb(
        recording(),
        &[
            "seek 200000",
            "fork 1",
            "break lost_update::count",
            "continue",
            "delete",
            "set $entry = $pc",
            "echo CALL\\n",
            "print lost_update::COUNTER",
            "print/x $rsp",
            "call lost_update::count()",
            "print lost_update::COUNTER",
            "print/x $rsp",
            "print $pc == $entry",
            "echo JUMP\\n",
            "stepi",
            "stepi",
            "tbreak *$pc",
            "jump *$entry",
            "print $pc != $entry",
            "echo RETURN\\n",
            "return",
            "frame",
            "print lost_update::COUNTER",
            "echo WRITE\\n",
            "set var $rax = 0x1234",
            "set var $xmm0.uint128 = 77",
            "set var lost_update::BEACONS = 99",
            "maintenance flush register-cache",
            "print $rax",
            "print $xmm0.uint128",
            "print lost_update::BEACONS",
            "set var $cs = 3",
            "echo DONE\\n",
        ],
    );
    let call = values(between(&text, "CALL", "JUMP"));
    let number = |text: &str| text.parse::<u64>().unwrap();
    assert_eq!(number(call[2]), number(call[0]) + 1, "{text}");
    assert_eq!((call[1], call[4]), (call[3], "true"), "{text}");
    assert!(!text.contains("Could not write register \"tick"), "{text}");
    let jump = between(&text, "JUMP", "RETURN");
    assert!(jump.contains("Temporary breakpoint") && values(jump) == ["true"], "{text}");
    let returned = between(&text, "RETURN", "WRITE");
    assert!(returned.contains("in lost_update::main ()"), "{text}");
    assert_eq!(values(returned), [call[2]], "nothing has been counted: {text}");
    let written = between(&text, "WRITE", "DONE");
    assert_eq!(values(written), ["4660", "77", "99"], "{text}");
    assert!(written.contains("only the guest's own instructions do that"), "{text}");
}

#[test]
fn a_shell_in_a_branch_answers_what_was_never_typed() {
    if required(kernel()).and_then(|_| required(busybox())).is_none() || !is_installed("gdb") {
        return;
    }
    let folder = folder();
    let file = folder.path().join("shell.rvm");
    let arguments = ["record", "linux-shell", "--checkpoint-every", "20000000", "--output", path_text(&file)];
    let mut person = Person::at(&arguments);
    // A boot takes seconds, but not in a build without optimisation on a busy machine.
    person.waits(Duration::from_secs(900));
    person.sees("# ");
    person.types("echo recorded\r");
    person.sees("\nrecorded");
    person.sees("# ");
    person.types("exit\r");
    person.leaves().0.exits(0);
    let console = replayvm(["console", path_text(&file), "--positions"]).run().exits(0).stdout;
    let prompt = console.lines().find(|line| line.ends_with("# echo recorded"));
    let prompt = prompt.and_then(|line| line.split_whitespace().nth(1)).expect("a prompt and its position");
    let at = position(prompt);
    let text = gdb(
        &file,
        &[
            &format!("seek {prompt}"),
            "fork 7",
            "type uname -r\\n",
            "break __x64_sys_newuname",
            "echo RUN\\n",
            "continue",
            "monitor console",
            "delete",
            &format!("seek {}", at.tick + 300_000),
            "echo ANSWER\\n",
            "monitor console",
            "echo BACK\\n",
            "seek begin",
            "monitor console",
            "echo AGAIN\\n",
            &format!("seek {}", at.tick + 300_000),
            "monitor console",
            "echo EXIT\\n",
            "type exit\\n",
            "continue",
            "echo RETURN\\n",
            "return-to-recording",
            "monitor console",
            "echo DONE\\n",
        ],
    );
    let run = between(&text, "RUN", "ANSWER");
    assert!(run.contains("in __x64_sys_newuname ()") && run.contains("# uname -r\n"), "{text}");
    // Each line has its position before it.
    let lines = |part: &str| {
        let lines = part.lines().filter_map(|line| line.split_once("  "));
        lines.map(|(_, line)| line.trim_start().to_owned()).collect::<Vec<_>>()
    };
    let answer = lines(between(&text, "ANSWER", "BACK"));
    assert!(answer.len() == 3 && answer[1].starts_with("6."), "{answer:?} {text}");
    assert!(between(&text, "BACK", "AGAIN").contains("nothing is printed between the fork"), "{text}");
    assert!(between(&text, "AGAIN", "EXIT").contains(between(&text, "ANSWER", "BACK")), "{text}");
    assert!(between(&text, "EXIT", "RETURN").contains("the guest's run is over: power off\n"), "{text}");
    let returned = between(&text, "RETURN", "DONE");
    assert!(!returned.contains("uname") && returned.contains("BusyBox"), "{text}");
}
