//! A stock Linux kernel: it boots, is recorded and replayed; its flaky programs are hunted down; its arithmetic is the host's.
//!
//! A boot is half a billion instructions. A hunt boots once and forks its seeds where the job begins; each replay boots again,
//! so that the short form replays what it found twice. The long form is more thorough, with repaired twins above all:
//!
//! ```text
//! REPLAYVM_SOAK=1 cargo test --release -p replayvm-tests --test linux -- --nocapture
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use corpora::linux::{LinuxGuest, find, required};
use replayvm_tests::{
    Busy, Finished, Replayvm, end_of, folder, info, path_text, record, replay_end, replayvm,
};

/// So many seeds are enough to find each bug.
const SEEDS: u64 = 64;
/// Seeds that a guest without its bug passes, in the long form.
const PASSING_SEEDS: u64 = 50;
/// Replays of a failing run.
const REPLAYS: usize = 5;

/// Whether this is the long form.
fn long() -> bool {
    std::env::var_os("REPLAYVM_SOAK").is_some()
}

/// One such test at a time: each uses both processors.
fn alone() -> MutexGuard<'static, ()> {
    static RUNNING: Mutex<()> = Mutex::new(());
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A Linux guest, if it can be built here.
fn guest(name: &str) -> Option<&'static LinuxGuest> {
    let guest = find(name).unwrap_or_else(|| panic!("no guest {name}"));
    required(guest.images()).map(|_| guest)
}

/// Where the run ended has a name, and so does every function that the kernel can name itself.
fn it_names_its_functions(file: &Path) {
    let info = replayvm(["info", path_text(file)]).run().exits(0);
    assert!(info.stdout.contains("at the end   rip 0xffffffff"), "{info}");
    let found = replayvm(["symbols", path_text(file), "--find", "vfs_read"]).run().exits(0).stdout;
    let (address, name) = found.trim().split_once(' ').expect("an address and a name");
    assert_eq!(name, "vfs_read");
    let back = replayvm(["symbols", path_text(file), "--find", address]).run().exits(0).stdout;
    assert_eq!(back.trim(), format!("{address} vfs_read+0x0"));
    // The file that gdb gets is to be had for other debuggers too.
    let elf = file.with_extension("elf");
    let written = replayvm(["symbols", path_text(file), "--output", path_text(&elf)]).run().exits(0);
    assert!(written.stdout.contains("the memory of the kernel"), "{written}");
    assert!(fs::read(&elf).unwrap().starts_with(b"\x7fELF"));
}

#[test]
fn a_kernel_boots_prints_a_line_and_powers_off_and_every_replay_is_the_same_to_the_byte() {
    if guest("linux-hello").is_none() {
        return;
    }
    let _alone = alone();
    let folder = folder();
    let file = folder.path().join("idle.rvm");
    let report = record("linux-hello", &file, &["--seed", "1", "--json"]).exits(0).json();
    let said = report["console"].as_str().unwrap();
    assert!(said.contains("hello from init\n"), "{said}");
    assert_eq!(report["reason"], "power off");
    it_names_its_functions(&file);
    let end = end_of(&info(&file));
    // Every exit and the digests at every checkpoint are compared by replay itself.
    let checkpoints = info(&file)["checkpoints"].as_array().unwrap().len();
    assert!(checkpoints >= 100, "{checkpoints} checkpoints");
    let replay = || {
        let replayed = replayvm(["replay", path_text(&file), "--console"]).run().exits(0);
        assert_eq!(replay_end(&replayed), end);
        assert!(replayed.stdout.starts_with(said), "{replayed}");
    };
    // Five in all, the last two of them on a busy host.
    std::thread::scope(|scope| {
        scope.spawn(replay);
        replay();
    });
    replay();
    let _busy = [Busy::start(), Busy::start()];
    let busy = folder.path().join("busy.rvm");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            replay();
            replay();
        });
        record("linux-hello", &busy, &["--seed", "1", "--json"]).exits(0);
    });
    assert!(fs::read(&busy).unwrap() == fs::read(&file).unwrap(), "a busy host makes another file");
}

#[test]
fn both_forms_of_the_cpu_come_to_the_same_states_over_a_boot() {
    if guest("linux-hello").is_none() {
        return;
    }
    let _alone = alone();
    let folder = folder();
    let file = folder.path().join("boot.rvm");
    // Some six instructions a tick: a checkpoint, whose digests are compared, for every million instructions.
    let every = ["--checkpoint-every", "150000", "--json"];
    let report = record("linux-hello", &file, &every).exits(0).json();
    let instructions = report["instructions"].as_u64().unwrap();
    let checkpoints = info(&file)["checkpoints"].as_array().unwrap().len() as u64;
    assert!(instructions / checkpoints < 1_100_000, "{checkpoints} checkpoints, {instructions} instructions");
    let plain = replayvm(["replay", path_text(&file), "--engine", "plain"]).patiently().run().exits(0);
    assert_eq!(replay_end(&plain), end_of(&info(&file)));
}

fn hunt(guest: &LinuxGuest, seeds: &std::ops::Range<u64>, file: &Path) -> Finished {
    let seeds = format!("{}..{}", seeds.start, seeds.end);
    let mut command =
        replayvm(["hunt", guest.name, "--seeds", &seeds, "--json", "--output", path_text(file)]);
    command = command.patiently();
    command.run()
}

/// The bug is found, and its recording is the same run every time.
fn is_found(name: &str) {
    let Some(guest) = guest(name) else { return };
    let _alone = alone();
    let folder = folder();
    let file = folder.path().join("found.rvm");
    let found = &hunt(guest, &(0..SEEDS), &file).exits(1).json()["first_failure"];
    let seed = found["seed"].as_u64().unwrap();
    println!("{name}: seed {seed} of {SEEDS} fails: {}", found["console"].as_str().unwrap().trim_end());
    assert_eq!(found["reason"], format!("exit code {:#x}", corpora::FAIL));
    let said = found["console"].as_str().unwrap();
    assert!(said.contains(&format!("{name}: FAIL ")), "{said}");

    let end = end_of(&info(&file));
    let replay = |_| {
        let replayed = replayvm(["replay", path_text(&file)]).run().exits(0);
        assert_eq!(replay_end(&replayed), end);
        assert!(replayed.stdout.contains("exit code 0x11"), "{replayed}");
    };
    let replays = if long() { REPLAYS } else { 2 };
    std::thread::scope(|scope| {
        scope.spawn(|| (0..replays / 2).for_each(replay));
        (0..replays - replays / 2).for_each(replay);
    });

    let twin = find(&format!("{name}-fixed")).unwrap();
    let passing = 0..if long() { PASSING_SEEDS } else { seed + 1 };
    let report = hunt(twin, &passing, &file).exits(0).json();
    assert_eq!(report["seeds_run"], passing.end - passing.start);
    assert_eq!(report["failures"], 0);
}

#[test]
fn a_data_race_is_found_and_stays_found() {
    is_found("linux-data-race");
}

#[test]
fn a_signal_handler_that_calls_what_is_not_reentrant_is_found_and_stays_found() {
    is_found("linux-signal-handler");
}

#[test]
fn a_race_of_check_and_use_is_found_and_stays_found() {
    is_found("linux-toctou");
}

/// Writes a program where the host can run it.
fn runnable(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, corpora::linux::program(name).unwrap()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// What the workloads print on this host.
fn on_the_host(text: u32, values: u32, kibibytes: u32) -> Vec<String> {
    let folder = folder();
    let script = folder.path().join("busybox.sh");
    fs::write(&script, corpora::linux::WORKLOAD_SCRIPT).unwrap();
    let mut busybox = Command::new(corpora::linux::busybox().unwrap());
    busybox.args(["sh", path_text(&script), &text.to_string()]).env_clear();
    busybox.env("TMPDIR", folder.path()).current_dir(folder.path());
    let mut floats = Command::new(runnable(folder.path(), "floats"));
    // The library's functions have a variant for processors with fused multiplication, which rounds once less.
    floats
        .arg(values.to_string())
        .env_clear()
        .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX2,-AVX,-FMA,-FMA4,-AVX512F");
    let mut ciphers = Command::new(runnable(folder.path(), "ciphers"));
    ciphers.arg(kibibytes.to_string()).env_clear();
    [busybox, floats, ciphers]
        .into_iter()
        .flat_map(|command| {
            let said = Replayvm::from_command(command).run().exits(0).stdout;
            said.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn workloads_make_the_same_bytes_in_the_guest_as_on_the_host() {
    if guest("linux-workload").is_none() {
        return;
    }
    let _alone = alone();
    let folder = folder();
    let file = folder.path().join("workload.rvm");
    let recorded = replayvm(["record", "linux-workload", "--json", "--output", path_text(&file)]).patiently();
    let report = recorded.run().exits(0).json();
    let said = report["console"].as_str().unwrap();
    let (_, said) = said.split_once("begin\n").unwrap_or_else(|| panic!("{said}"));
    let (said, _) = said.split_once("end\n").unwrap_or_else(|| panic!("{said}"));
    let host = on_the_host(20, 100_000, 1024);
    assert!(host.len() > 20, "{host:?}");
    assert_eq!(said.lines().collect::<Vec<_>>(), host);
}

#[test]
fn a_guest_that_has_not_been_fetched_says_how_to_fetch_it() {
    for command in ["record", "hunt"] {
        let mut command_line = Command::new(replayvm_tests::binary());
        command_line.args([command, "linux-hello"]).env("REPLAYVM_LINUX_CACHE", "/nowhere");
        let words = ["/nowhere/vmlinuz", "run corpora/linux/fetch"];
        Replayvm::from_command(command_line).run().refused(&words);
    }
    let mut listing = Command::new(replayvm_tests::binary());
    listing.arg("corpora").env("REPLAYVM_LINUX_CACHE", "/nowhere");
    let listing = Replayvm::from_command(listing).run().exits(0);
    assert!(listing.stdout.contains("linux-data-race: "), "{listing}");
    assert!(listing.stdout.contains("run corpora/linux/fetch"), "{listing}");
}

#[test]
fn a_guest_with_a_file_system_of_its_own_takes_no_other() {
    if guest("linux-hello").is_none() {
        return;
    }
    replayvm(["record", "linux-hello", "--initrd", "/dev/null"])
        .run()
        .refused(&["linux-hello has an initial RAM disk of its own"]);
}

#[test]
fn fetch_finds_what_is_there_and_refuses_what_it_does_not_know() {
    let fetch = |arguments: &[&str]| {
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpora/linux/fetch"));
        command.args(arguments);
        command
    };
    let refused = Replayvm::from_command(fetch(&["--upgrade"])).run().exits(1);
    assert!(refused.stderr.contains("unknown argument --upgrade"), "{refused}");
    // Without apt, and with nothing there.
    let folder = folder();
    let mut without = fetch(&[]);
    without.env("PATH", "/nowhere").env("REPLAYVM_LINUX_CACHE", folder.path().join("cache"));
    assert_ne!(Replayvm::from_command(without).run().status.code(), Some(0));
    if guest("linux-hello").is_some() {
        let there = Replayvm::from_command(fetch(&[])).run().exits(0);
        assert!(there.stdout.lines().any(|line| line.ends_with("/vmlinuz")), "{there}");
    }
}
