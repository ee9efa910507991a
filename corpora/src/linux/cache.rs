//! Where the files are that `corpora/linux/fetch` gets. They are Debian's, and no part of this crate.

use std::path::{Path, PathBuf};

/// A file that has not been fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Where it would be.
    pub path: PathBuf,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "there is no {}: run corpora/linux/fetch", self.path.display())
    }
}

impl std::error::Error for Missing {}

/// The folder of the cache, there or not: `$REPLAYVM_LINUX_CACHE`, or `corpora/linux/cache` in the sources.
pub fn folder() -> PathBuf {
    match std::env::var_os("REPLAYVM_LINUX_CACHE") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("linux/cache"),
    }
}

fn look_up(name: &str) -> Result<PathBuf, Missing> {
    let path = folder().join(name);
    if path.exists() { Ok(path) } else { Err(Missing { path }) }
}

/// The kernel, a bzImage.
///
/// # Errors
/// It has not been fetched; so with all of these.
pub fn kernel() -> Result<PathBuf, Missing> {
    look_up("vmlinuz")
}

/// The configuration that the kernel was built with.
///
/// # Errors
/// As [`kernel`].
pub fn config() -> Result<PathBuf, Missing> {
    look_up("config")
}

/// The folder of the kernel's modules, `lib/modules/VERSION`.
///
/// # Errors
/// As [`kernel`].
pub fn modules() -> Result<PathBuf, Missing> {
    look_up("modules")
}

/// Busybox, linked statically.
///
/// # Errors
/// As [`kernel`].
pub fn busybox() -> Result<PathBuf, Missing> {
    look_up("busybox")
}

/// Memtest86+ for 64-bit mode; boots by the Linux protocol.
///
/// # Errors
/// As [`kernel`].
pub fn memtest() -> Result<PathBuf, Missing> {
    look_up("memtest.bin")
}

/// An image of SeaBIOS, for example `bios-microvm.bin` or `bios.bin`.
///
/// # Errors
/// As [`kernel`].
pub fn seabios(name: &str) -> Result<PathBuf, Missing> {
    look_up(&format!("seabios/{name}"))
}

/// For tests: what was found, or `None` after saying on standard output what is skipped and why. Where `CI` is `true`
/// nothing may be missing.
///
/// ```no_run
/// let Some(kernel) = corpora::linux::required(corpora::linux::kernel()) else { return };
/// ```
///
/// # Panics
/// Something is missing where `CI` is `true`.
pub fn required<T, E: std::fmt::Display>(found: Result<T, E>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(missing) => {
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{missing}");
            println!("SKIPPED: {missing}");
            None
        }
    }
}
