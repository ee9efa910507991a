//! Every guest boots under QEMU, without KVM, and reaches its verdict.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::io::{BufRead, BufReader, ErrorKind};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use corpora::{Guest, all, find};

/// What `isa-debug-exit` makes of the two verdicts.
const PASS_STATUS: i32 = (corpora::PASS << 1 | 1) as i32;
const FAIL_STATUS: i32 = (corpora::FAIL << 1 | 1) as i32;

/// Starts a guest. `None` without QEMU.
fn start(guest: &Guest, more: &[&str]) -> Option<Child> {
    let image = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!(
        "{}{}.elf",
        guest.name,
        more.concat().replace([' ', '=', ','], "-")
    ));
    std::fs::write(&image, guest.image).unwrap();
    let spawned = Command::new("qemu-system-x86_64")
        .args([
            "-accel",
            "tcg",
            "-cpu",
            "max",
            "-m",
            "32",
            "-display",
            "none",
            "-no-reboot",
            "-serial",
            "stdio",
        ])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel"])
        .arg(&image)
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    match spawned {
        Ok(child) => Some(child),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("SKIPPED: qemu-system-x86_64 not installed");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Runs a guest for a minute at most. `None` without QEMU.
fn run(guest: &Guest, more: &[&str]) -> Option<Output> {
    let mut child = start(guest, more)?;
    wait(&mut child, guest.name);
    Some(child.wait_with_output().unwrap())
}

fn wait(child: &mut Child, name: &str) {
    for _ in 0..3000 {
        if child.try_wait().unwrap().is_some() {
            return;
        }
        sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    panic!("{name} did not end within a minute");
}

/// Whether the guest passed; the line and the status must agree.
fn passed(guest: &Guest, output: &Output) -> bool {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    let told = |verdict: &str| line.starts_with(&format!("{}: {verdict} ", guest.name));
    match output.status.code() {
        Some(PASS_STATUS) if told("PASS") => true,
        Some(FAIL_STATUS) if told("FAIL") => false,
        status => panic!(
            "{} ended with {status:?}, line {line:?}, {}",
            guest.name,
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

#[test]
fn every_guest_boots_and_reaches_its_verdict() {
    for guest in all() {
        let Some(output) = run(guest, &[]) else { return };
        passed(guest, &output);
    }
}

#[test]
fn a_fixed_guest_passes() {
    for guest in all() {
        let twin = find(&format!("{}-fixed", guest.name)).unwrap();
        // Time by instructions: deadlines are met however busy the host is.
        let Some(output) = run(twin, &["-icount", "shift=1,sleep=off"]) else { return };
        assert!(passed(twin, &output), "{}", twin.name);
    }
}

/// The first line that a guest without end prints.
fn first_line(name: &str, more: &[&str]) -> Option<String> {
    let mut child = start(find(name).unwrap(), more)?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    Some(line.trim_end().to_owned())
}

#[test]
fn the_workload_works() {
    let Some(line) = first_line("workload", &[]) else { return };
    assert!(line.contains(" ms: turn "), "{line}");
}

#[test]
fn the_dirty_pages_are_spread_over_all_memory_and_as_many_as_asked_for() {
    let Some(line) = first_line("dirty", &[]) else { return };
    assert_eq!(line, "dirty: 1000 pages a round, 0x7000 bytes apart, from 0x200000 to 0x1fe0000");
    let Some(line) = first_line("dirty", &["-m", "64", "-append", "quiet pages=77"]) else { return };
    assert!(line.starts_with("dirty: 77 pages a round, "), "{line}");
    let Some(line) = first_line("dirty", &["-append", "pages=1000000"]) else { return };
    assert!(line.ends_with(", 0x1000 bytes apart, from 0x200000 to 0x1fe0000"), "{line}");
}

#[test]
fn a_processor_without_rdrand_will_do() {
    for name in ["stack-overflow", "hash-collision"] {
        let guest = find(name).unwrap();
        let Some(output) = run(guest, &["-cpu", "qemu64"]) else { return };
        passed(guest, &output);
    }
}

#[test]
fn the_wall_clock_decides_over_rtc_rollover() {
    let guest = find("rtc-rollover").unwrap();
    let Some(noon) = run(guest, &["-rtc", "base=2026-01-01T12:00:00"]) else { return };
    assert!(passed(guest, &noon));
    let Some(night) = run(guest, &["-rtc", "base=2026-01-01T23:20:00"]) else { return };
    assert!(!passed(guest, &night));
}

#[test]
fn the_seed_decides_over_hash_collision() {
    let guest = find("hash-collision").unwrap();
    let mut verdicts = Vec::new();
    for seed in 0..60 {
        let Some(output) = run(guest, &["-seed", &seed.to_string()]) else { return };
        verdicts.push(passed(guest, &output));
        if verdicts.contains(&true) && verdicts.contains(&false) {
            return;
        }
    }
    panic!("60 seeds, one verdict: {verdicts:?}");
}
