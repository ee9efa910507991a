//! The programs of the guests, compiled with this crate from `corpora/linux/programs`: static ELF files.

use super::{BuildError, Initramfs};

macro_rules! programs {
    ($($name:literal)*) => {
        &[$(($name, include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".program")))),*]
    };
}

static PROGRAMS: &[(&str, &[u8])] = programs![
    "verdict"
    "data-race"
    "data-race-fixed"
    "signal-handler"
    "signal-handler-fixed"
    "toctou"
    "toctou-fixed"
    "floats"
    "ciphers"
    "crunch"
];

/// A program by name.
///
/// # Errors
/// There was no compiler for it, or there is no such program.
pub fn program(name: &str) -> Result<&'static [u8], BuildError> {
    match PROGRAMS.iter().find(|(there, _)| *there == name) {
        Some((_, bytes)) if !bytes.is_empty() => Ok(bytes),
        _ => Err(BuildError::NoPrograms(env!("CORPORA_NO_PROGRAMS"))),
    }
}

/// Names of all programs.
pub fn programs() -> impl Iterator<Item = &'static str> {
    PROGRAMS.iter().map(|(name, _)| *name)
}

/// What is printed when all that comes before the job is over.
pub(super) const JOB_BEGINS: &str = "init: the job begins";

/// A file system whose job is a program that checks itself: the machine ends with its verdict at port 0xf4.
pub(super) fn judged(name: &str) -> Result<Initramfs, BuildError> {
    let initramfs = Initramfs::new()?.program("verdict", program("verdict")?).program(name, program(name)?);
    Ok(initramfs.job(&format!("echo {JOB_BEGINS}\n{name}\nverdict $?")))
}

/// What the workload does: a shell script for busybox. It and two of the programs print sums of all that they make, one a
/// line, to be compared with another machine's.
pub const WORKLOAD_SCRIPT: &str = include_str!("../../linux/workloads/busybox.sh");

/// A file system whose job is work for the processor alone, by a shell script with the program `crunch`.
pub(super) fn crunch(script: &str) -> Result<Initramfs, BuildError> {
    let mut initramfs = Initramfs::new()?;
    for name in ["verdict", "crunch"] {
        initramfs = initramfs.program(name, program(name)?);
    }
    Ok(initramfs.job(&format!("{script}\nverdict $?")))
}

/// A file system whose job is to run the workloads, so much of each: thousands of lines of text for busybox, floating-point
/// values, KiB to encrypt. Their lines come after `begin` and before `end`.
///
/// # Errors
/// Something has not been fetched or not been compiled.
pub fn workload(text: u32, values: u32, kibibytes: u32) -> Result<Initramfs, BuildError> {
    let mut initramfs = Initramfs::new()?.file("busybox.sh", WORKLOAD_SCRIPT);
    for name in ["verdict", "floats", "ciphers"] {
        initramfs = initramfs.program(name, program(name)?);
    }
    Ok(initramfs.job(&format!(
        "echo begin\nsh /busybox.sh {text} && floats {values} && ciphers {kibibytes}\nstatus=$?\necho end\nverdict $status"
    )))
}
