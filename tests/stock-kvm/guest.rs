//! A Linux guest that runs the engines' conformance suite on its own KVM: Debian's kernel with kvm_amd, busybox, and the suite with
//! its shared objects. `corpora/linux/fetch` gets the first two.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use corpora::linux::{Initramfs, kernel, required};
use replayvm_tests::{Replayvm, executable, folder, is_installed};

use crate::report::{ENDED, ENTIRE, MODULE, TEST};
use crate::{ENGINES, LEFT_OUT};

const QEMU: &str = "qemu-system-x86_64";
const LDD: &str = "ldd";

/// How much the suite does, and how long it may take.
struct Form {
    /// Variables that make the suite do less than on a host.
    less: &'static str,
    /// Seconds after which the guest itself ends a test, so that it has a name.
    test_seconds: u32,
    /// A guest that has not ended by then hangs.
    limit: Duration,
}

/// All that the suite does on a host costs ten times as long under emulation.
const LONG: Form = Form { less: "", test_seconds: 1800, limit: Duration::from_secs(3600) };
/// Takes two or three minutes.
const SHORT: Form = Form {
    less: "REPLAYVM_CONFORMANCE_TICKS=500 REPLAYVM_FORMS_TICKS=2000 REPLAYVM_RANDOM_STEPS=3000 \
           REPLAYVM_DIRECT_PROGRAMS=40",
    test_seconds: 300,
    limit: Duration::from_secs(900),
};

fn form() -> Form {
    if std::env::var_os("REPLAYVM_SOAK").is_some() { LONG } else { SHORT }
}

/// The suite, and what the guest needs to run it.
pub struct Suite {
    /// The names of its tests.
    pub tests: Vec<String>,
    kernel: PathBuf,
    initramfs: Initramfs,
}

/// Builds the suite and packs it. `None` after saying what is missing on this host.
pub fn suite() -> Option<Suite> {
    if !is_installed(QEMU) || !is_installed(LDD) {
        return None;
    }
    let kernel = required(kernel())?;
    let initramfs = required(Initramfs::new().and_then(|initramfs| initramfs.module("kvm_amd")))?;
    // The one that `cargo test --workspace` builds, features and all: there is nothing to compile after that.
    let suite = executable("conformance", &["test", "--workspace", "--test=conformance", "--no-run"]);
    let list =
        Command::new(&suite).args(["--list", "--format=terse"]).output().expect("the suite runs here too");
    let list = String::from_utf8(list.stdout).expect("names are text");
    let mut tests: Vec<_> =
        list.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect();
    for (left_out, _) in LEFT_OUT {
        let at = tests.iter().position(|test| test == left_out);
        tests.remove(at.unwrap_or_else(|| panic!("the suite has no test {left_out} to leave out")));
    }
    assert!(!tests.is_empty(), "the suite has no tests: {list}");
    let read =
        |path: &Path| std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let initramfs = shared_objects(&suite)
        .iter()
        .fold(initramfs, |initramfs, path| initramfs.executable(path, read(path.as_ref())))
        .program("conformance", read(&suite))
        .file("tests", tests.join("\n") + "\n")
        .job(&job());
    Some(Suite { tests, kernel, initramfs })
}

/// Where the shared objects of a program are, its dynamic linker among them.
fn shared_objects(program: &Path) -> Vec<String> {
    let output = Command::new(LDD).arg(program).output().expect("it is installed");
    let list = String::from_utf8(output.stdout).expect("paths are text");
    assert!(output.status.success() && !list.contains("not found"), "{LDD} {}: {list}", program.display());
    // `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)`; the kernel's own has no path.
    let paths = list.split_whitespace().filter(|word| word.starts_with('/'));
    paths.map(str::to_owned).collect()
}

/// What the guest does: each test in a process of its own, between two lines that `report` looks for.
fn job() -> String {
    let engines = ENGINES.join(" ");
    let Form { less, test_seconds, .. } = form();
    format!(
        "export {less} REPLAYVM_REQUIRED_ENGINES='{engines}'\n\
         ls /sys/module | grep '^kvm_' | sed 's/^/{MODULE}/'\n\
         while read -r test; do\n\
             echo \"{TEST}$test\"\n\
             timeout -s KILL {test_seconds} conformance --exact \"$test\" --nocapture --test-threads=1 </dev/null 2>&1\n\
             echo \"{ENDED}$?\"\n\
         done </tests\n\
         echo '{ENTIRE}'"
    )
}

/// Runs the guest to its end and returns what it said.
pub fn run(suite: &Suite) -> String {
    let folder = folder();
    let initrd = folder.path().join("initrd");
    std::fs::write(&initrd, suite.initramfs.clone().build()).expect("a file can be written");
    let mut qemu = Command::new(QEMU);
    qemu.args(["-accel", "tcg", "-cpu", "max", "-m", "512", "-nodefaults", "-no-user-config", "-no-reboot"]);
    qemu.args(["-display", "none", "-serial", "stdio"]);
    qemu.arg("-kernel").arg(&suite.kernel).arg("-initrd").arg(&initrd);
    // Only what the suite says is to be on the serial port, and a panic ends QEMU.
    qemu.args(["-append", "console=ttyS0 quiet loglevel=0 panic=-1 mitigations=off"]);
    let finished = Replayvm::from_command(qemu).within(form().limit).run().exits(0);
    finished.stdout.replace('\r', "")
}
