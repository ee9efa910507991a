//! The table of the Linux guests.

use super::{BuildError, Initramfs, LinuxGuest};

/// What all of them say to the kernel. `nokaslr` so that symbols are where the kernel's file has them, the tests of the
/// ciphers left out because they are more than half of the boot.
const COMMAND_LINE: &str =
    "console=ttyS0 panic=-1 reboot=t nokaslr mitigations=off cryptomgr.notests random.trust_cpu=on quiet";
const MEMORY_BYTES: u64 = 256 << 20;

fn job(script: &str) -> Result<Initramfs, BuildError> {
    Ok(Initramfs::new()?.job(script))
}

pub(super) static GUESTS: &[LinuxGuest] = &[
    LinuxGuest {
        name: "linux-hello",
        title: "boots Debian's kernel, prints a line and powers off",
        bug: "none",
        oracle: "none",
        failing_seeds: None,
        memory_bytes: MEMORY_BYTES,
        command_line: COMMAND_LINE,
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
        initramfs: || Ok(Initramfs::new()?.shell()),
    },
];
