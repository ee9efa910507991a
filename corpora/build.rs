//! Builds the guests: a cargo of its own, for the bare machine, with flags of its own. And the programs of the Linux
//! guests, with the C compiler.
//!
//! Whatever the outer build is (debug or release, `check`, `clippy`, `doc`), the guests come out the same, byte
//! for byte, and hold no path of the machine they were built on.

#![allow(clippy::expect_used, clippy::panic, reason = "a build script reports by panicking")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let guests = here.join("guests");
    let root = here.parent().expect("corpora lies in the repository");

    for path in ["Cargo.toml", "Cargo.lock", "link.ld", "kit", "src"] {
        println!("cargo::rerun-if-changed=guests/{path}");
    }
    println!("cargo::rerun-if-changed=build.rs");

    let target = out.join("guests");
    let copy = |folder: &str, suffix: &str| {
        // The images go by their guests' names, one source file each.
        for entry in fs::read_dir(guests.join(folder)).expect("the guests' sources are there") {
            let source = entry.expect("the guests' sources are readable").path();
            let name = source.file_stem().and_then(|name| name.to_str()).expect("a source has a name");
            let built = target.join("x86_64-unknown-linux-gnu/release").join(name);
            fs::copy(built, out.join(format!("{name}{suffix}.elf")))
                .unwrap_or_else(|error| panic!("no image of {}: {error}", source.display()));
        }
    };
    build(&guests, root, &target, &["--features", "fixed"]);
    copy("src/bin", "-fixed");
    build(&guests, root, &target, &[]);
    copy("src/bin", "");
    copy("src/workloads", "");
    compile_programs(&here, root, &out);
}

/// The programs of the Linux guests: the name of the source, and whether there is a twin without the bug.
const PROGRAMS: &[(&str, bool)] = &[
    ("verdict", false),
    ("data-race", true),
    ("signal-handler", true),
    ("toctou", true),
    ("floats", false),
    ("ciphers", false),
    ("crunch", false),
];

/// Compiles the programs of the Linux guests. They are optional: without a C compiler that links statically the files are
/// empty, and `CORPORA_NO_PROGRAMS` says why.
fn compile_programs(here: &Path, root: &Path, out: &Path) {
    println!("cargo::rerun-if-changed=linux/programs");
    let sources = here.join("linux/programs");
    let mut problem = None;
    for (name, has_twin) in PROGRAMS {
        let variants = [("", ""), ("-fixed", "-DFIXED")];
        for (suffix, define) in &variants[..1 + usize::from(*has_twin)] {
            let program = out.join(format!("{name}{suffix}.program"));
            if let Err(because) = compile(&sources.join(format!("{name}.c")), &program, root, define) {
                println!("cargo::warning=no program {name}{suffix} for Linux guests: {because}");
                problem.get_or_insert(because);
                fs::write(&program, []).expect("OUT_DIR can be written");
            }
        }
    }
    println!("cargo::rustc-env=CORPORA_NO_PROGRAMS={}", problem.unwrap_or_default());
}

fn compile(source: &Path, program: &Path, root: &Path, define: &str) -> Result<(), String> {
    let mut compiler = Command::new("cc");
    compiler.args(["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-O1", "-g", "-fno-omit-frame-pointer"]);
    // At fixed addresses and without traces of this machine, so that a guest is the same file wherever it is built.
    compiler.args(["-static", "-no-pie", "-fno-pie", "-pthread", "-Wl,--build-id=none"]);
    compiler.arg(format!("-ffile-prefix-map={}=.", root.display())).current_dir(root);
    if !define.is_empty() {
        compiler.arg(define);
    }
    let output = compiler.arg("-o").arg(program).arg(source).arg("-lm").output();
    let output = output.map_err(|error| format!("cc: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said
        .lines()
        .find(|line| line.contains("error") || line.contains("cannot"))
        .unwrap_or("cc fails")
        .to_owned())
}

fn build(guests: &Path, root: &Path, target: &Path, more: &[&str]) {
    let flags = [
        // A debugger started in the root of the repository finds the sources.
        format!("--remap-path-prefix={}=.", root.display()),
        "-Crelocation-model=static".into(),
        // Interrupts come on the stack in use, so nothing may lie below the stack pointer.
        "-Cno-redzone=yes".into(),
        // Loops stay as they are written, in general registers.
        "-Cno-vectorize-loops".into(),
        "-Cno-vectorize-slp".into(),
        "-Cforce-frame-pointers=yes".into(),
        "-Clink-arg=-nostartfiles".into(),
        "-Clink-arg=-static".into(),
        "-Clink-arg=-no-pie".into(),
        "-Clink-arg=-Tlink.ld".into(), // relative to the guests' workspace, where cargo runs the linker
        "-Clink-arg=-Wl,--build-id=none,-z,max-page-size=4096,-z,norelro,--no-eh-frame-hdr".into(),
    ];

    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"));
    cargo.current_dir(guests).args(["build", "--release", "--bins", "--locked", "--offline"]).args(more);
    cargo.args(["--target", "x86_64-unknown-linux-gnu"]).arg("--target-dir").arg(target);
    // What the outer cargo, its wrappers and its user set for the host must not reach the guests.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let toolchain = matches!(&*text, "CARGO" | "CARGO_HOME" | "CARGO_MAKEFLAGS" | "RUSTC");
        if !toolchain && (text.starts_with("CARGO") || text.starts_with("RUSTC") || text == "RUSTFLAGS") {
            cargo.env_remove(&name);
        }
    }
    for name in [
        "RUSTDOCFLAGS",
        "CLIPPY_ARGS",
        "CLIPPY_CONF_DIR",
        "OUT_DIR",
        "TARGET",
        "PROFILE",
        "DEBUG",
        "OPT_LEVEL",
    ] {
        cargo.env_remove(name);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    cargo.env("SOURCE_DATE_EPOCH", "0");

    let output = cargo.output().expect("cargo runs");
    if !output.status.success() {
        panic!("the guests do not build:\n{}", String::from_utf8_lossy(&output.stderr));
    }
}
