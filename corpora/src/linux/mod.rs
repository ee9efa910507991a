//! Real Linux: kernel, programs and firmware that `corpora/linux/fetch` gets, and what is built of them.

/// Where the fetched files are.
mod cache;
/// Every Linux guest.
mod catalogue;
/// Archives for the kernel.
mod cpio;
/// A guest and its files.
mod guest;
/// File systems in memory.
mod initramfs;
/// The kernel's modules.
mod modules;
/// Compiled programs.
mod programs;

pub use cache::{Missing, busybox, config, folder, kernel, memtest, modules, required, seabios};
pub use guest::{LinuxGuest, LinuxImages};
pub use initramfs::{BuildError, Initramfs};
pub use programs::{WORKLOAD_SCRIPT, program, programs, workload};

/// Every Linux guest. They are there to be built only after `corpora/linux/fetch`.
pub fn all() -> &'static [LinuxGuest] {
    catalogue::GUESTS
}

/// The Linux guest with this name, or the fixed twin of one, which goes by its name and `-fixed`.
pub fn find(name: &str) -> Option<&'static LinuxGuest> {
    all().iter().chain(catalogue::FIXED).find(|guest| guest.name == name)
}
