//! Unmodified system software on this machine: Debian's kernel by every boot protocol, SeaBIOS, memtest86+.
//!
//! What they are made of comes from `corpora/linux/fetch`; without it these tests say so and pass. Long forms, more of the same,
//! with `REPLAYVM_SOAK=1`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

/// Guests and recordings.
mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::replay;
use corpora::linux::{BuildError, Initramfs, required};
use recorder::{BootKind, EndReason, Recording};
use replayvm::machine::GuestImages;
use replayvm::session::{ConsoleSink, RecordOutcome, RecordSession, ReplayReport, Settings};

/// A command line that leaves out what is not looked at here.
const QUICK: &str = "console=ttyS0 panic=-1 nokaslr mitigations=off cryptomgr.notests random.trust_cpu=on";
const JOB: &str = "echo hello from init; uname -r; ";

fn soak() -> bool {
    std::env::var_os("REPLAYVM_SOAK").is_some()
}

fn linux(job: &str) -> Result<GuestImages, BuildError> {
    let path = corpora::linux::kernel()?;
    let kernel = fs::read(&path).map_err(|error| BuildError::Read { path, error })?;
    let initrd = Initramfs::new()?.job(job).build();
    Ok(GuestImages { kernel, initrd: Some(initrd), ..GuestImages::default() })
}

fn settings(command_line: &str) -> Settings {
    Settings {
        memory_bytes: 256 << 20,
        command_line: command_line.to_owned(),
        limit_ticks: u64::MAX,
        checkpoint_ticks: 10_000_000,
        ..Settings::default()
    }
}

fn record(path: &Path, images: &GuestImages, settings: &Settings) -> RecordOutcome {
    let session =
        RecordSession::start(path, "guest", images, settings, None, Arc::default()).expect("starts");
    session.run().expect("records")
}

fn text(outcome: &RecordOutcome) -> String {
    String::from_utf8_lossy(&outcome.console).into_owned()
}

/// The replay comes to the same end, over the same checkpoints, with the same words.
fn compare(outcome: &RecordOutcome, report: &ReplayReport) {
    assert_eq!(report.reason.as_ref(), Some(&outcome.end.reason));
    assert_eq!((report.position, report.digest), (outcome.end.position, outcome.end.digest));
    assert_eq!((report.checkpoints, report.exits), (outcome.checkpoints, outcome.exits));
    assert!(report.console == outcome.console, "the replay prints something else");
}

/// Records a boot that must power off after its job, and replays it.
fn boots(images: &GuestImages, settings: &Settings, kind: BootKind) -> (RecordOutcome, String) {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("run.rvm");
    let outcome = record(&path, images, settings);
    let console = text(&outcome);
    assert!(console.contains("hello from init"), "{console}");
    assert_eq!((&outcome.end.reason, outcome.passed), (&EndReason::PowerOff, true), "{console}");
    let recording = Recording::open(fs::read(&path).unwrap()).unwrap();
    assert_eq!(recording.description().boot, kind);
    compare(&outcome, &replay(&path));
    (outcome, console)
}

#[test]
fn a_stock_kernel_with_its_default_command_line_boots_is_recorded_and_replays() {
    let Some(images) = required(linux(JOB)) else { return };
    let (_, console) = boots(&images, &settings("console=ttyS0 cryptomgr.notests"), BootKind::LinuxBzImage);
    for line in [
        "ACPI: PM: (supports S0 S5)",
        "ACPI: Using IOAPIC for interrupt routing",
        "pnp: PnP ACPI: found 2 devices",
        "00:00: ttyS0 at I/O 0x3f8 (irq = 4",
        "clocksource: acpi_pm",
        "rtc_cmos",
        "reboot: Power down",
    ] {
        assert!(console.contains(line), "`{line}` is not in\n{console}");
    }
    // The clocks agree: the timer, the TSC and the power-management timer are one time.
    let mhz = console.split("tsc: Detected ").nth(1).and_then(|rest| rest.split(' ').next());
    let mhz: f64 = mhz.expect("the kernel measures the TSC").parse().unwrap();
    assert!((mhz - 1000.0).abs() < 1.0, "{mhz} MHz");
    for line in ["BUG", "WARNING:", "Call Trace", "timekeeping watchdog", "Unstable"] {
        assert!(!console.contains(line), "`{line}` is in\n{console}");
    }
}

/// The first point of what a recording of a kernel has to show: seeds give runs of their own, each of them the same every time.
#[test]
fn a_stock_kernel_without_acpi_boots_is_recorded_and_replays_five_times() {
    let Some(images) = required(linux(&format!("{JOB} reboot -f;"))) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.rvm");
    let settings = settings(&format!("{QUICK} acpi=off pci=off reboot=t"));
    let outcome = record(&path, &images, &settings);
    let console = text(&outcome);
    assert!(console.contains("hello from init"), "{console}");
    assert_eq!(outcome.end.reason, EndReason::TripleFault, "{console}");
    for _ in 0..if soak() { 5 } else { 1 } {
        compare(&outcome, &replay(&path));
        let again = record(&path, &images, &settings);
        assert_eq!(again.end, outcome.end);
        assert_eq!(again.console, outcome.console);
    }
    compare(&outcome, &replay(&path));
}

/// A vmlinux, as it comes out of the bzImage that holds it.
fn vmlinux(bzimage: &[u8]) -> Vec<u8> {
    let word = |at: usize| u32::from_le_bytes(bzimage[at..at + 4].try_into().unwrap()) as usize;
    let start = (usize::from(bzimage[0x1f1]) + 1) * 512 + word(0x248);
    let payload = &bzimage[start..start + word(0x24c)];
    // LZ4's legacy frame: a magic number, then blocks of up to 8 MiB with their lengths; the kernel adds its length.
    let (magic, mut blocks) = payload.split_at(4);
    assert_eq!(magic, [0x02, 0x21, 0x4c, 0x18], "Debian's kernels are compressed with LZ4");
    let mut image = Vec::new();
    while blocks.len() > 4 {
        let length = u32::from_le_bytes(blocks[..4].try_into().unwrap()) as usize;
        let block = &blocks[4..4 + length];
        image.extend(lz4_flex::block::decompress(block, 8 << 20).expect("a block"));
        blocks = &blocks[4 + length..];
    }
    image
}

#[test]
fn a_vmlinux_boots_by_pvh_and_without_its_note_by_the_zero_page() {
    let Some(mut images) = required(linux(JOB)) else { return };
    images.kernel = vmlinux(&images.kernel);
    let (_, console) = boots(&images, &settings(QUICK), BootKind::Pvh);
    assert!(console.contains("ACPI: RSDP 0x00000000000E0000"), "{console}");
    let note = images.kernel.windows(4).position(|window| window == b"Xen\0").unwrap();
    let end = note + 0x200;
    for at in note..end {
        if &images.kernel[at..at + 4] == b"Xen\0" {
            images.kernel[at] = b'?';
        }
    }
    boots(&images, &settings(QUICK), BootKind::LinuxElf);
}

/// Stops a run when the guest has said something, or one of some other things.
#[derive(Debug)]
struct Until {
    said: Vec<u8>,
    words: &'static [&'static str],
    stop: Arc<AtomicBool>,
}

impl ConsoleSink for Until {
    fn output(&mut self, bytes: &[u8]) {
        self.said.extend_from_slice(bytes);
        let said = String::from_utf8_lossy(&self.said);
        if self.words.iter().any(|word| said.contains(word)) {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

/// Records a guest until it says one of these words, and replays what there is.
fn until(path: &Path, kernel: Vec<u8>, settings: &Settings, words: &'static [&'static str]) -> String {
    let stop = Arc::new(AtomicBool::new(false));
    let images = GuestImages { kernel, ..GuestImages::default() };
    let mut session =
        RecordSession::start(path, "guest", &images, settings, None, Arc::clone(&stop)).expect("starts");
    session.set_console(Box::new(Until { said: Vec::new(), words, stop }));
    let outcome = session.run().expect("records");
    assert!(replay(path).console == outcome.console, "the replay prints something else");
    text(&outcome)
}

/// The short form sees all of what it prints about the machine; the long one waits until it gives up on finding a disk.
#[test]
fn seabios_runs_from_the_reset_vector_and_finds_this_machine() {
    let words: &[&str] = if soak() { &["No bootable device."] } else { &["Found 1 serial ports"] };
    for name in ["bios-microvm.bin", "bios.bin"] {
        let Some(image) = required(corpora::linux::seabios(name)) else { return };
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { memory_bytes: 64 << 20, ..settings("") };
        let console = until(&folder.path().join("run.rvm"), fs::read(image).unwrap(), &settings, words);
        for line in [
            "SeaBIOS (version ",
            "Found QEMU fw_cfg",
            "qemu/e820: addr 0x0000000000000000 len 0x0000000004000000 [RAM]",
            "Found 1 cpu(s) max supported 1 cpu(s)",
            "CPU Mhz=1000",
            words[0],
        ] {
            assert!(console.contains(line), "{name}: `{line}` is not in\n{console}");
        }
    }
}

/// What memtest86+ draws on its serial terminal, without the escape sequences that place it.
fn drawn(console: &str) -> Vec<String> {
    let pieces = console.split("\x1b[").skip(1);
    pieces
        .map(|piece| piece.trim_start_matches(|c: char| !c.is_alphabetic()).chars().skip(1).collect())
        .collect()
}

/// The short form sees the first four tests of the pass over; the long one, which takes ten times as long, sees all ten.
#[test]
fn memtest86_tests_64_mib_without_an_error() {
    let Some(image) = required(corpora::linux::memtest()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let command_line = "console=ttyS0,115200 nosmp nobench nopause nosm keyboard=legacy";
    let settings =
        Settings { memory_bytes: 64 << 20, checkpoint_ticks: 100_000_000, ..settings(command_line) };
    let words: &[&str] = if soak() { &["Pass:  1"] } else { &["[Moving inversions, 8 bit pattern]"] };
    let console = until(&folder.path().join("run.rvm"), fs::read(image).unwrap(), &settings, words);
    let lines = drawn(&console);
    assert!(lines.iter().any(|line| line.contains("Errors: 0")), "{lines:?}");
    let errors = lines.iter().filter(|line| line.contains("Errors:") && !line.contains("Errors: 0 "));
    assert_eq!(errors.count(), 0, "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("of 63.6MB")), "{lines:?}");
}
