//! Builds the guests: a cargo of its own, for the bare machine, with flags of its own.
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
