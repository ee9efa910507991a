//! The information structure of a multiboot 1 loader (Multiboot Specification 0.6.96, section 3.3).

use crate::{get, set};

const MAGIC: u32 = 0x2bad_b002;
const MEMORY: u32 = 1;
const COMMAND_LINE: u32 = 1 << 2;
/// Where the upper memory begins.
const UPPER: u64 = 0x10_0000;
/// What [`crate::boot`] maps; nothing beyond can be read.
const MAPPED: u64 = 0x100_0000;

/// The first words of the structure.
#[repr(C)]
struct Information {
    flags: u32,
    lower_kib: u32,
    upper_kib: u32,
    boot_device: u32,
    command_line: u32,
}

/// Null if the loader is no multiboot loader.
static mut INFORMATION: *const Information = core::ptr::null();

pub(crate) fn init(information: u32, magic: u32) {
    if magic == MAGIC {
        set!(INFORMATION, information as *const Information);
    }
}

/// The structure, if it has the fields that `flag` stands for.
fn information(flag: u32) -> Option<&'static Information> {
    let information = get!(INFORMATION);
    // SAFETY: null or what the loader passed, which nobody writes to.
    unsafe { information.as_ref() }.filter(|information| information.flags & flag != 0)
}

/// Where the memory from 1 MiB up ends.
pub fn memory_end() -> Option<u64> {
    information(MEMORY).map(|information| UPPER + u64::from(information.upper_kib) * 1024)
}

/// The command line, without its end.
pub fn command_line() -> &'static [u8] {
    let Some(information) = information(COMMAND_LINE) else { return b"" };
    let start = u64::from(information.command_line);
    let mut end = start;
    // SAFETY: mapped, and nobody writes to it.
    while end < MAPPED && unsafe { *(end as *const u8) } != 0 {
        end += 1;
    }
    // SAFETY: as above; mapped from start to end.
    unsafe { core::slice::from_raw_parts(start as *const u8, (end - start) as usize) }
}

/// The number that the command line gives to `name`, as in `name=12`.
pub fn number(name: &[u8]) -> Option<u64> {
    command_line().split(|byte| *byte == b' ').find_map(|word| {
        let digits = word.strip_prefix(name)?.strip_prefix(b"=")?;
        core::str::from_utf8(digits).ok()?.parse().ok()
    })
}
