//! Real lldb on a recording: forwards, since going backwards came to lldb later.
//!
//! Where lldb is not installed, the tests say SKIPPED and pass.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::process::Command;

use replayvm::symbols::{Origin, Symbols};
use replayvm_tests::{Replayvm, Serving, folder, is_installed, path_text, record, replayvm};

/// What lldb prints.
fn lldb(script: &[&str]) -> String {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 2>&1", "lldb", "--batch", "--no-lldbinit"]);
    command.args(script.iter().flat_map(|line| ["-o", line]));
    Replayvm::from_command(command).run().stdout
}

/// The part of `text` between two commands, as lldb repeats them.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let rest =
        text.split_once(&format!("(lldb) {from}\n")).unwrap_or_else(|| panic!("no `{from}` in {text}")).1;
    rest.split_once(&format!("(lldb) {to}\n")).unwrap_or_else(|| panic!("no `{to}` in {text}")).0
}

#[test]
fn lldb_finds_its_way_through_a_recording() {
    if !is_installed("lldb") {
        return;
    }
    let folder = folder();
    let file = folder.path().join("run.rvm");
    record("lost-update", &file, &[]);
    replayvm(["corpora", "--export", path_text(folder.path())]).run().exits(0);
    let elf = folder.path().join("lost-update.elf");
    let table = Symbols::parse(&std::fs::read(&elf).unwrap(), Origin::File(elf.clone())).unwrap();
    let counter = table.address("COUNTER").unwrap();
    let watch = format!("watchpoint set expression -w write -s 8 -- {counter:#x}");
    let create = format!("target create {}", path_text(&elf));
    let serving = Serving::start(&file, &["--at", "begin"]);
    let connect = format!("gdb-remote {}", serving.address());
    let text = lldb(&[
        &create,
        &connect,
        "breakpoint set --name lost_update::count",
        "continue",
        "bt",
        "register read rip cr3",
        "thread step-inst",
        "disassemble --start-address $pc --count 2",
        "thread step-over",
        "memory read --format x --size 8 --count 1 $rsp",
        "breakpoint disable",
        &watch,
        "process continue",
        "thread step-out",
        "process plugin packet monitor when",
        "process detach",
    ]);
    let part = |from, to| between(&text, from, to);
    assert!(part("continue", "bt").contains("stop reason = breakpoint 1.1"), "{text}");
    assert!(part("bt", "register read rip cr3").contains("lost_update::main"), "{text}");
    let registers = part("register read rip cr3", "thread step-inst");
    assert!(registers.contains("cr3 = 0x0000000000103000"), "{text}");
    let step = part("thread step-inst", "disassemble --start-address $pc --count 2");
    assert!(step.contains("stop reason = instruction step into"), "{text}");
    let over = part("thread step-over", "memory read --format x --size 8 --count 1 $rsp");
    assert!(over.contains("stop reason = step over"), "{text}");
    assert!(part("process continue", "thread step-out").contains("stop reason = watchpoint 1"), "{text}");
    let out = part("thread step-out", "process plugin packet monitor when");
    assert!(out.contains("stop reason = step out"), "{text}");
    assert!(part("process plugin packet monitor when", "process detach").contains("position "), "{text}");
    assert!(text.contains("Process 1 detached"), "{text}");
}

#[test]
fn lldb_reads_32_bit_code_when_it_is_shown_such_a_machine() {
    if !is_installed("lldb") {
        return;
    }
    let folder = folder();
    let file = folder.path().join("run.rvm");
    record("lost-update", &file, &[]);
    // The guest begins in 32-bit code; its file is of 64-bit code.
    let serving = Serving::start(&file, &["--at", "begin", "--arch", "i386"]);
    let connect = format!("gdb-remote {}", serving.address());
    let text = lldb(&[
        &connect,
        "thread step-inst",
        "thread step-inst",
        "disassemble --start-address $pc --count 1",
        "register read eip",
        "process detach",
    ]);
    let code = between(&text, "disassemble --start-address $pc --count 1", "register read eip");
    assert!(code.contains("movl   $0x10a000, %esp"), "{text}");
    assert!(between(&text, "register read eip", "process detach").contains("eip = 0x00100022"), "{text}");
}
