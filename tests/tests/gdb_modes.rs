//! Real gdb on guests that run 16-, 32- and 64-bit code, one of them all three.
//!
//! Needs gdb and a C compiler for the guests; without them the tests say SKIPPED.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use replayvm::symbols::{Origin, Symbols};
use replayvm_tests::{Replayvm, Serving, binary, folder, path_text, replayvm};

const MODES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests/modes.s");
const NARROW: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests/narrow.c");

fn is_there(tool: &str) -> bool {
    let there = Command::new(tool).arg("--version").stdout(Stdio::null()).status().is_ok_and(|s| s.success());
    if !there {
        println!("SKIPPED: {tool} not installed");
    }
    there
}

/// A guest, compiled.
fn compile(arguments: &[&str], source: &str, to: &Path) {
    let mut compiler = Command::new("cc");
    compiler.args([
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
        "-w",
        "-Wl,--no-warn-rwx-segments",
    ]);
    let status = compiler.args(arguments).arg(source).arg("-o").arg(to).status().unwrap();
    assert!(status.success(), "{source}");
}

/// A recording of the boot sector, and the ELF file that names what is in it. `more` is for the assembler.
fn modes(folder: &Path, more: &[&str]) -> (PathBuf, PathBuf) {
    let (elf, image, file) = (folder.join("modes.elf"), folder.join("modes.bin"), folder.join("modes.rvm"));
    compile(&[more, &["-Wl,-Ttext=0x7c00"]].concat(), MODES, &elf);
    compile(&[more, &["-Wl,-Ttext=0x7c00", "-Wl,--oformat=binary"]].concat(), MODES, &image);
    replayvm(["record", path_text(&image), "--output", path_text(&file)]).run();
    (file, elf)
}

/// A recording of the 32-bit guest.
fn narrow(folder: &Path) -> PathBuf {
    let (elf, file) = (folder.join("narrow.elf"), folder.join("narrow.rvm"));
    compile(
        &[
            "-m32",
            "-g",
            "-O0",
            "-ffreestanding",
            "-fno-pie",
            "-fno-stack-protector",
            "-Wl,-Ttext=0x100000",
            "-Wl,-N",
        ],
        NARROW,
        &elf,
    );
    replayvm(["record", path_text(&elf), "--output", path_text(&file)]).run();
    file
}

/// What gdb prints, started by the command, with the guest at its begin.
fn launched(file: &Path, script: &[&str]) -> String {
    launched_with(file, &["--at", "begin"], script)
}

/// The same with other arguments of the command.
fn launched_with(file: &Path, arguments: &[&str], script: &[&str]) -> String {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 2>&1"]).arg(binary());
    command.args(["gdb", path_text(file), "--launch"]).args(arguments).args(["--", "-nx", "-batch"]);
    command.args(script.iter().flat_map(|line| ["-ex", line]));
    Replayvm::from_command(command).run().exits(0).stdout
}

/// Where an ELF file has a symbol.
fn address(elf: &Path, name: &str) -> u64 {
    let table = Symbols::parse(&std::fs::read(elf).unwrap(), Origin::File(elf.to_owned())).unwrap();
    table.address(name).unwrap_or_else(|| panic!("no {name}"))
}

/// The part of `text` between two marks that the script has printed.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let rest = text.split_once(from).unwrap_or_else(|| panic!("no `{from}` in {text}")).1;
    rest.split_once(to).unwrap_or_else(|| panic!("no `{to}` in {text}")).0
}

#[test]
fn gdb_follows_a_guest_from_16_over_32_to_64_bit_code_and_back() {
    if !is_there("gdb") || !is_there("cc") {
        return;
    }
    let folder = folder();
    let (file, elf) = modes(folder.path(), &[]);
    let at = |name| format!("break *{:#x}", address(&elf, name));
    let upper = address(&elf, "deep") + 0xffff_ffff_8000_0000;
    // What the help says of files of one's own: moved, and where their code is.
    let moved = format!("add-symbol-file {} -o 0xffffffff80000000", path_text(&elf));
    let (real, inner, high) = (at("real"), at("inner"), format!("break *{upper:#x}"));
    let text = launched(
        &file,
        &[
            "show architecture",
            "x/2i $pc",
            &high,
            &inner,
            &real,
            "echo REAL\\n",
            "continue",
            "x/i $pc",
            "x/3xh $ss_base + $sp",
            "echo CROSS\\n",
            "stepi 7",
            "x/i $pc",
            "show architecture",
            "echo NARROW\\n",
            "continue",
            "stepi 2",
            "x/2i $pc",
            "backtrace",
            "echo WIDE\\n",
            "continue",
            "x/2i $pc",
            "show architecture",
            "p/x $rip",
            &moved,
            "info symbol $pc",
            "backtrace 1",
            "echo BACK\\n",
            "reverse-stepi 4",
            "x/i $pc",
            "show architecture",
            "echo AGAIN\\n",
            "stepi 4",
            "reverse-continue",
            "info registers eip",
            "reverse-continue",
            "show architecture",
            "x/i $pc",
            "echo SOUGHT\\n",
            "seek end",
            "show architecture",
            "echo DONE\\n",
        ],
    );
    assert!(text.contains("currently \"i8086\""), "{text}");
    assert!(text.contains("xor    %ax,%ax"), "{text}");
    let real = between(&text, "REAL\n", "CROSS\n");
    assert!(real.contains("Breakpoint 3, ") && real.contains("nop"), "{text}");
    // The return address in four bytes and what was pushed before, by the base of SS.
    assert!(real.contains("0x0000\t0x1234"), "{text}");
    let cross = between(&text, "CROSS\n", "NARROW\n");
    assert!(cross.contains("mov    $0x10,%ax") && cross.contains("currently \"i386\""), "{text}");
    let narrow = between(&text, "NARROW\n", "WIDE\n");
    assert!(narrow.contains("Breakpoint 2, "), "{text}");
    assert!(narrow.contains("nop") && narrow.contains("pop    %ebp"), "{text}");
    // inner, outer and who called that.
    assert!(narrow.contains("#2  0x00007c"), "{text}");
    let wide = between(&text, "WIDE\n", "BACK\n");
    assert!(wide.contains(&format!("{upper:#x}")) && wide.contains("ret"), "{text}");
    assert!(wide.contains("currently \"i386:x86-64\""), "{text}");
    assert!(wide.contains("deep in section .text") && wide.contains(" in deep ()"), "{text}");
    let back = between(&text, "BACK\n", "AGAIN\n");
    assert!(back.contains("ljmp   $0x18,") && back.contains("currently \"i386\""), "{text}");
    let again = between(&text, "AGAIN\n", "SOUGHT\n");
    assert!(again.contains("Breakpoint 2, ") && again.contains("Breakpoint 3, "), "{text}");
    assert!(again.contains("currently \"i8086\""), "{text}");
    assert!(between(&text, "SOUGHT\n", "DONE\n").contains("currently \"i386:x86-64\""), "{text}");
    assert!(!text.contains("rror"), "{text}");
}

#[test]
fn a_gdb_without_our_commands_is_told_what_to_type() {
    if !is_there("gdb") || !is_there("cc") {
        return;
    }
    let folder = folder();
    let (file, elf) = modes(folder.path(), &[]);
    let named = ["--symbols", path_text(&elf), "--at", "begin"];
    let upper = format!("break *{:#x}", address(&elf, "deep") + 0xffff_ffff_8000_0000);
    // The file is one of 64-bit code, and so gdb takes the machine for one until it is told otherwise.
    let text = Serving::start(&file, &named).gdb(
        &[],
        &[
            "show architecture",
            "monitor arch",
            "echo TYPED\\n",
            "set remoteaddresssize 64",
            "exec-file",
            "unset tdesc filename",
            "show architecture",
            &upper,
            "break inner",
            "continue",
            "unset tdesc filename",
            "stepi 2",
            "backtrace",
            "echo WIDE\\n",
            "continue",
            "unset tdesc filename",
            "x/i $pc",
            "info symbol $pc - 0xffffffff80000000",
            "echo FORCED\\n",
            "monitor arch i386",
            "unset tdesc filename",
            "show architecture",
            "monitor arch auto",
            "echo DONE\\n",
        ],
    );
    assert!(text.contains("currently \"i386:x86-64\""), "{text}");
    assert!(
        text.contains("16-bit code; gdb is shown i386:x86-64") && text.contains("`exec-file` and then"),
        "{text}"
    );
    let typed = between(&text, "TYPED\n", "WIDE\n");
    assert!(typed.contains("currently \"i8086\""), "{text}");
    assert!(
        typed.contains("in inner ()") && typed.contains("in outer ()") && typed.contains("in prot ()"),
        "{text}"
    );
    let wide = between(&text, "WIDE\n", "FORCED\n");
    assert!(wide.contains("nop") && wide.contains("deep in section .text"), "{text}");
    assert!(between(&text, "FORCED\n", "DONE\n").contains("currently \"i386\""), "{text}");
}

#[test]
fn a_32_bit_guest_is_debugged_by_its_own_file_which_gdb_finds() {
    if !is_there("gdb") || !is_there("cc") {
        return;
    }
    let folder = folder();
    let file = narrow(folder.path());
    let text = Serving::start(&file, &["--at", "begin"]).gdb(
        &[],
        &[
            "show architecture",
            "info threads",
            "monitor symbols",
            "break inner",
            "continue",
            "continue",
            "echo STACK\\n",
            "backtrace",
            "info registers eip esp cr0 mxcsr",
            "finish",
            "echo WATCH\\n",
            "watch counter",
            "reverse-continue",
            "reverse-continue",
            "echo DONE\\n",
        ],
    );
    assert!(text.contains("Reading symbols from target:/guest.elf"), "{text}");
    assert!(text.contains("currently \"i386\""), "{text}");
    assert!(text.contains("(vCPU 0: ring 0, 32-bit, CR3 0x0)"), "{text}");
    assert!(text.contains("symbols, of the image `narrow.elf` of the recording"), "{text}");
    let stack = between(&text, "STACK\n", "WATCH\n");
    for frame in
        ["#0  inner (depth=2)", "in middle (depth=1)", "in outer ()", "in _start ()", "Value returned"]
    {
        assert!(stack.contains(frame), "{frame}: {text}");
    }
    let watch = between(&text, "WATCH\n", "DONE\n");
    assert!(watch.contains("Old value = 3\nNew value = 1"), "{text}");
}

#[test]
fn the_file_of_a_kernel_that_has_been_moved_is_moved_after_it() {
    if !is_there("gdb") || !is_there("cc") {
        return;
    }
    let folder = folder();
    let (file, elf) = modes(folder.path(), &["-Wa,--defsym,MOVED=1"]);
    let script =
        ["info address deep", "break deep", "reverse-continue", "info symbol $pc", "monitor symbols"];
    let named = ["--symbols", path_text(&elf)];
    let here = format!("{:#x}", address(&elf, "deep") + (2 << 20));
    let by_itself = Serving::start(&file, &named).gdb(&[], &script);
    for text in [by_itself, launched_with(&file, &named, &script)] {
        assert!(text.contains(&format!("\"deep\" is at {here}")), "{text}");
        assert!(text.contains("Breakpoint 1, ") && text.contains(" in deep ()"), "{text}");
        assert!(text.contains("the guest runs 0x200000 bytes from where the file says"), "{text}");
    }
    // A file of the person's own is not: what it is nobody knows here.
    let own = format!("file {}", path_text(&elf));
    let text = Serving::start(&file, &named).gdb(&[&own], &["info address deep"]);
    assert!(!text.contains(&here) && text.contains("\"deep\" is at 0x7c"), "{text}");
}
