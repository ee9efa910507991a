//! Small guests for a bare machine, each with a real bug that shows only for some seeds, and each with its oracle.
//!
//! The guests are built with this crate and are part of it: an image is an ELF64 file with a multiboot 1 header
//! whose address fields are valid. It starts in Replayvm and in `qemu-system-x86_64 -kernel` alike. Their sources
//! are in `corpora/guests/src/bin`, one file each, and `corpora/README.md` tells how to find each bug.

/// Every guest.
mod catalogue;
/// Real Linux: kernel, programs and firmware that `corpora/linux/fetch` gets, and what is built of them.
pub mod linux;

/// What a guest writes to port [`EXIT_PORT`] when its invariant held.
pub const PASS: u32 = 0x10;
/// What a guest writes to port [`EXIT_PORT`] when its bug struck.
pub const FAIL: u32 = 0x11;
/// Where a guest writes its verdict, as a double word, after a line on the serial port.
pub const EXIT_PORT: u16 = 0xf4;

/// A guest and what is known about it.
#[derive(Debug, Clone, Copy)]
pub struct Guest {
    /// What it is called: the name of its source file too.
    pub name: &'static str,
    /// What it does, in one line.
    pub title: &'static str,
    /// What is wrong, and in which function.
    pub bug: &'static str,
    /// What it checks at its end.
    pub oracle: &'static str,
    /// A static worth a watchpoint, as gdb takes it after `set language rust` (`watch lost_update::COUNTER`). Its
    /// last part is a symbol of the image.
    pub watch: Option<&'static str>,
    /// How many of the seeds 0 to 999 make it fail, where that has been measured.
    pub failing_seeds: Option<u32>,
    /// The ELF file.
    pub image: &'static [u8],
    /// The ELF file of its twin, built from the same source without the bug. It never fails.
    pub fixed: Option<&'static [u8]>,
}

impl Guest {
    /// The symbol of the image that [`Guest::watch`] names.
    pub fn watch_symbol(&self) -> Option<&'static str> {
        self.watch.and_then(|path| path.rsplit("::").next())
    }
}

/// Every guest, the simplest first.
pub fn all() -> &'static [Guest] {
    catalogue::GUESTS
}

/// The guest with this name; the fixed twin of one, which goes by its name and `-fixed`; `workload`, `dirty` or `echo`.
pub fn find(name: &str) -> Option<&'static Guest> {
    let mut guests = all().iter().chain(catalogue::FIXED).chain(catalogue::WORKLOADS);
    guests.find(|guest| guest.name == name)
}

/// A guest for measurements: does what a kernel does all day, and never ends. See `guests/src/workloads/workload.rs`.
pub fn workload() -> &'static [u8] {
    catalogue::WORKLOAD
}

/// A guest for measurements: writes to 1,000 pages all over memory (or `pages=N` on its command line) and reports the
/// round at port 0x80, for ever.
pub fn dirty_pages() -> &'static [u8] {
    catalogue::DIRTY
}
