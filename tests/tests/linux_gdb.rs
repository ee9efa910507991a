//! Real gdb on the boot of a Linux kernel whose package has no symbols: they come out of its memory.
//!
//! Needs gdb and what `corpora/linux/fetch` gets; without them the test says SKIPPED.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use corpora::linux::{busybox, kernel, required};
use recorder::Position;
use replayvm_tests::{Replayvm, Serving, binary, folder, path_text, position, replayvm};

/// What gdb prints, started by the command, with the guest at its end.
fn gdb(file: &Path, script: &[&str]) -> String {
    gdb_with(file, &[], script)
}

/// The same with more arguments of the command.
fn gdb_with(file: &Path, arguments: &[&str], script: &[&str]) -> String {
    // The answers of `monitor` come as complaints do; they belong in their places among the rest.
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 2>&1"]).arg(binary());
    command.args(["gdb", path_text(file)]).args(arguments).args(["--launch", "--", "-nx", "-batch"]);
    command.args(script.iter().flat_map(|line| ["-ex", line]));
    Replayvm::from_command(command).patiently().run().exits(0).stdout
}

/// An ELF file with two functions of the kernel, as if that had been linked 0x1e00000 bytes before where it runs. `None` without
/// a C compiler.
fn moved_kernel(recording: &Path, folder: &Path) -> Option<PathBuf> {
    if !Command::new("cc").arg("--version").stdout(Stdio::null()).status().is_ok_and(|s| s.success()) {
        println!("SKIPPED: a moved kernel: cc not installed");
        return None;
    }
    let at = |name| {
        let found = replayvm(["symbols", path_text(recording), "--find", name]).run().exits(0).stdout;
        u64::from_str_radix(found.split_once(' ')?.0.strip_prefix("0x")?, 16).ok()
    };
    let mut functions = ["do_exit", "entry_SYSCALL_64"].map(|name| (at(name).expect(name), name));
    functions.sort_unstable();
    let base = functions[0].0 & !0x1f_ffff;
    let mut source = String::from(".text\n");
    for (address, name) in functions {
        let place = address - base;
        source +=
            &format!(".org {place}\n.globl {name}\n.type {name}, @function\n{name}: nop\n.size {name}, 64\n");
    }
    let (from, to) = (folder.join("moved.s"), folder.join("moved.elf"));
    std::fs::write(&from, source).unwrap();
    let place = format!("-Wl,-Ttext={:#x}", base - 0x1e0_0000);
    let mut compiler = Command::new("cc");
    compiler.args(["-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-e,0", &place]);
    assert!(compiler.arg(&from).arg("-o").arg(&to).status().unwrap().success());
    Some(to)
}

/// The part of `text` between two marks that the script has printed.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let rest = text.split_once(from).unwrap_or_else(|| panic!("no `{from}` in {text}")).1;
    rest.split_once(to).unwrap_or_else(|| panic!("no `{to}` in {text}")).0
}

/// What `when` has printed.
fn when(text: &str) -> Position {
    let line = text.lines().find_map(|line| line.strip_prefix("position "));
    position(line.unwrap_or_else(|| panic!("no position in {text}")))
}

#[test]
fn a_boot_is_debugged_backwards_by_the_names_that_the_kernel_has_for_itself() {
    if required(kernel()).and_then(|_| required(busybox())).is_none() {
        return;
    }
    if !Command::new("gdb").arg("--version").stdout(Stdio::null()).status().is_ok_and(|s| s.success()) {
        println!("SKIPPED: gdb not installed");
        return;
    }
    let folder = folder();
    let file = folder.path().join("boot.rvm");
    let mut record = Command::new(binary());
    record.args(["record", "linux-hello", "--checkpoint-every", "4000000", "--output", path_text(&file)]);
    let recorded = Replayvm::from_command(record).patiently().run();
    assert!(recorded.stdout.contains("hello from init"), "{recorded}");

    // Where the run ended has a name, and so does every function that the kernel can name itself.
    let info = replayvm(["info", path_text(&file)]).run().exits(0);
    assert!(info.stdout.contains("at the end   rip 0xffffffff"), "{info}");
    let found = replayvm(["symbols", path_text(&file), "--find", "vfs_read"]).run().exits(0).stdout;
    let (address, name) = found.trim().split_once(' ').expect("an address and a name");
    assert_eq!(name, "vfs_read");
    let back = replayvm(["symbols", path_text(&file), "--find", address]).run().exits(0).stdout;
    assert_eq!(back.trim(), format!("{address} vfs_read+0x0"));

    let text = gdb(
        &file,
        &[
            "echo BEGIN\\n",
            "break do_exit",
            "reverse-continue",
            "when",
            "info symbol $pc",
            "echo PREVIOUS\\n",
            "reverse-continue",
            "when",
            "echo AGAIN\\n",
            "continue",
            "when",
            "echo BACK\\n",
            "reverse-stepi",
            "reverse-stepi",
            "stepi",
            "stepi",
            "when",
            "echo DONE\\n",
        ],
    );
    let last = between(&text, "BEGIN\n", "PREVIOUS\n");
    assert!(last.contains("in do_exit ()") && last.contains("do_exit in section .text"), "{text}");
    let previous = between(&text, "PREVIOUS\n", "AGAIN\n");
    assert!(previous.contains("in do_exit ()"), "{text}");
    assert!(when(previous) < when(last), "{text}");
    assert_eq!(when(between(&text, "AGAIN\n", "BACK\n")), when(last), "{text}");
    assert_eq!(when(between(&text, "BACK\n", "DONE\n")), when(last), "{text}");

    // From the end of the boot backwards: who wrote the clock last, and before that?
    let text = gdb(
        &file,
        &[
            "seek end",
            "watch *(unsigned long*)&jiffies_64",
            "echo BEGIN\\n",
            "reverse-continue",
            "info symbol $pc",
            "when",
            "echo PREVIOUS\\n",
            "reverse-continue",
            "when",
            "echo DONE\\n",
        ],
    );
    let last = between(&text, "BEGIN\n", "PREVIOUS\n");
    let value = |which: &str| -> u64 {
        let line = last.lines().find_map(|line| line.strip_prefix(which)).unwrap_or_else(|| panic!("{text}"));
        line.trim().parse().unwrap_or_else(|_| panic!("{line}: {text}"))
    };
    // Backwards, the new value is the one before the store.
    assert!(value("Old value =") > value("New value ="), "{text}");
    assert!(last.contains("do_timer") || last.contains("jiffies"), "{text}");
    assert!(when(between(&text, "PREVIOUS\n", "DONE\n")) < when(last), "{text}");

    // A gdb that comes by itself finds the names over the connection, and of a file with a kernel that was linked to another
    // place it is told how far the guest's has been moved.
    let text = Serving::start(&file, &[]).gdb(&[], &["info symbol do_exit", "monitor symbols"]);
    assert!(text.contains("Reading symbols from target:/guest.elf"), "{text}");
    assert!(text.contains("do_exit in section .text") && text.contains("the memory of the kernel"), "{text}");
    if let Some(moved) = moved_kernel(&file, folder.path()) {
        let script = ["info address do_exit", "break do_exit", "reverse-continue", "monitor symbols"];
        let here = replayvm(["symbols", path_text(&file), "--find", "do_exit"]).run().exits(0).stdout;
        let here = here.split_once(' ').expect("an address and a name").0;
        let named = Serving::start(&file, &["--symbols", path_text(&moved)]).gdb(&[], &script);
        let launched = gdb_with(&file, &["--symbols", path_text(&moved)], &script);
        for text in [named, launched] {
            assert!(text.contains(&format!("\"do_exit\" is at {here}")), "{text}");
            assert!(text.contains("Breakpoint 1, ") && text.contains(" in do_exit ()"), "{text}");
            assert!(text.contains("the guest runs 0x1e00000 bytes from where the file says"), "{text}");
        }
    }

    // The file that gdb got is to be had for other debuggers too.
    let elf = folder.path().join("kernel.elf");
    let written = replayvm(["symbols", path_text(&file), "--output", path_text(&elf)]).run().exits(0);
    assert!(written.stdout.contains("the memory of the kernel"), "{written}");
    assert!(std::fs::read(&elf).unwrap().starts_with(b"\x7fELF"));
}
