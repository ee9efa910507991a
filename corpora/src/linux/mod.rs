//! Real Linux: kernel, programs and firmware that `corpora/linux/fetch` gets, and what is built of them.

/// Where the fetched files are.
mod cache;

pub use cache::{Missing, busybox, config, folder, kernel, memtest, modules, required, seabios};
