//! A Linux guest: a kernel, a command line for it, and a file system with a job.

use super::cache;
use super::{BuildError, Initramfs};

/// A Linux guest and what is known about it.
#[derive(Debug, Clone, Copy)]
pub struct LinuxGuest {
    /// What it is called.
    pub name: &'static str,
    /// What it does, in one line.
    pub title: &'static str,
    /// What is wrong, and in which function.
    pub bug: &'static str,
    /// What it checks at its end.
    pub oracle: &'static str,
    /// How many of how many seeds, from 0 up, make it fail, where that has been measured.
    pub failing_seeds: Option<(u32, u32)>,
    /// Bytes of memory that it is made for.
    pub memory_bytes: u64,
    /// The kernel's command line.
    pub command_line: &'static str,
    /// What it prints when its boot is over and its job begins, if it can fail: a hunt boots it once and tries its seeds
    /// from there.
    pub vary_after: Option<&'static str>,
    /// The program that is its job, by its name in [`super::program`], where it is one of ours: a static ELF file with
    /// symbols, for debuggers.
    pub program: Option<&'static str>,
    pub(super) initramfs: fn() -> Result<Initramfs, BuildError>,
}

/// What a Linux guest boots from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinuxImages {
    /// A bzImage.
    pub kernel: Vec<u8>,
    /// An archive, uncompressed.
    pub initrd: Vec<u8>,
}

impl LinuxGuest {
    /// Its file system, to be added to.
    ///
    /// # Errors
    /// What it is made of has not been fetched, or could not be compiled.
    pub fn initramfs(&self) -> Result<Initramfs, BuildError> {
        (self.initramfs)()
    }

    /// Its files, built from what has been fetched: the same for the same packages.
    ///
    /// # Errors
    /// As [`LinuxGuest::initramfs`].
    pub fn images(&self) -> Result<LinuxImages, BuildError> {
        let path = cache::kernel()?;
        let kernel = std::fs::read(&path).map_err(|error| BuildError::Read { path, error })?;
        Ok(LinuxImages { kernel, initrd: self.initramfs()?.build() })
    }
}
