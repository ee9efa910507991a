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

/// A file system whose job is a program that checks itself: the machine ends with its verdict at port 0xf4.
pub(super) fn judged(name: &str) -> Result<Initramfs, BuildError> {
    let initramfs = Initramfs::new()?.program("verdict", program("verdict")?).program(name, program(name)?);
    Ok(initramfs.job(&format!("{name}\nverdict $?")))
}
