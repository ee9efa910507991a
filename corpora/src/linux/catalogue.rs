//! The table of the Linux guests.

use super::programs::{JOB_BEGINS, crunch, judged, workload};
use super::{BuildError, Initramfs, LinuxGuest};

/// What all of them say to the kernel. `nokaslr` so that symbols are where the kernel's file has them, the tests of the
/// ciphers left out because they are more than half of the boot.
const COMMAND_LINE: &str =
    "console=ttyS0 panic=-1 reboot=t nokaslr mitigations=off cryptomgr.notests random.trust_cpu=on quiet";
const MEMORY_BYTES: u64 = 256 << 20;

fn job(script: &str) -> Result<Initramfs, BuildError> {
    Ok(Initramfs::new()?.job(script))
}

macro_rules! fixed {
    ($($name:literal)*) => {
        &[$(LinuxGuest {
            name: concat!("linux-", $name, "-fixed"),
            title: concat!("linux-", $name, " without its bug"),
            bug: "none",
            oracle: concat!("that of linux-", $name),
            failing_seeds: None,
            memory_bytes: MEMORY_BYTES,
            command_line: COMMAND_LINE,
            vary_after: Some(JOB_BEGINS),
            program: Some(concat!($name, "-fixed")),
            initramfs: || judged(concat!($name, "-fixed")),
        }),*]
    };
}

/// The twins of those that have a bug.
pub(super) static FIXED: &[LinuxGuest] = fixed!["data-race" "signal-handler" "toctou"];

pub(super) static GUESTS: &[LinuxGuest] = &[
    LinuxGuest {
        name: "linux-hello",
        title: "boots Debian's kernel, prints a line and powers off",
        bug: "none",
        oracle: "none",
        failing_seeds: None,
        memory_bytes: MEMORY_BYTES,
        command_line: COMMAND_LINE,
        vary_after: None,
        program: None,
        initramfs: || job("echo hello from init"),
    },
    LinuxGuest {
        name: "linux-shell",
        title: "boots Debian's kernel to busybox's shell on the console; `exit` powers off",
        bug: "none",
        oracle: "none",
        failing_seeds: None,
        memory_bytes: MEMORY_BYTES,
        command_line: COMMAND_LINE,
        vary_after: None,
        program: None,
        initramfs: || Ok(Initramfs::new()?.shell()),
    },
    LinuxGuest {
        name: "linux-workload",
        title: "compresses, sorts, encrypts and computes, and prints sums of what comes out",
        bug: "none",
        oracle: "every compression, conversion and cipher gives back what went in; the sums are another machine's",
        failing_seeds: None,
        memory_bytes: MEMORY_BYTES,
        command_line: COMMAND_LINE,
        vary_after: None,
        program: None,
        initramfs: || workload(20, 100_000, 1024),
    },
    LinuxGuest {
        name: "linux-crunch",
        title: "hashes 256 MiB and sorts a million numbers eight times: work for the processor alone",
        bug: "none",
        oracle: "the numbers are in order",
        failing_seeds: None,
        memory_bytes: MEMORY_BYTES,
        command_line: COMMAND_LINE,
        vary_after: None,
        program: Some("crunch"),
        initramfs: || crunch("crunch hash 256 && crunch sort 8"),
    },
    LinuxGuest {
        name: "linux-crunch-two",
        title: "two processes that hash and sort at the same time",
        bug: "none",
        oracle: "the numbers are in order",
        failing_seeds: None,
        memory_bytes: MEMORY_BYTES,
        command_line: COMMAND_LINE,
        vary_after: None,
        program: Some("crunch"),
        initramfs: || crunch("crunch hash 12 & crunch sort 1 && wait $!"),
    },
    LinuxGuest {
        name: "linux-data-race",
        title: "two threads that move money between accounts",
        bug: "pay() reads two balances, checks them and stores them without a lock; a thread preempted in between undoes the other's payments",
        oracle: "no money comes or goes",
        failing_seeds: Some((21, 200)),
        memory_bytes: MEMORY_BYTES,
        command_line: COMMAND_LINE,
        vary_after: Some(JOB_BEGINS),
        program: Some("data-race"),
        initramfs: || judged("data-race"),
    },
    LinuxGuest {
        name: "linux-signal-handler",
        title: "a daemon that reads routes as text and its settings at every alarm",
        bug: "parse() and on_alarm() both use strtok(), which keeps its place in one variable; an alarm inside parse() loses the rest of a route",
        oracle: "every route in the table is the one that was sent",
        failing_seeds: Some((17, 200)),
        memory_bytes: MEMORY_BYTES,
        command_line: COMMAND_LINE,
        vary_after: Some(JOB_BEGINS),
        program: Some("signal-handler"),
        initramfs: || judged("signal-handler"),
    },
    LinuxGuest {
        name: "linux-toctou",
        title: "a print service of root's and a user who swaps his file for a link, on tmpfs",
        bug: "fetch() asks lstat() whether the file is the user's own and then opens it by name; the user runs in between",
        oracle: "what is for root only is never printed",
        failing_seeds: Some((29, 200)),
        memory_bytes: MEMORY_BYTES,
        command_line: COMMAND_LINE,
        vary_after: Some(JOB_BEGINS),
        program: Some("toctou"),
        initramfs: || judged("toctou"),
    },
];
