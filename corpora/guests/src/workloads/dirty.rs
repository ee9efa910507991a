//! A workload: writes to pages spread over all memory, round after round, and reports each round at port 0x80.
//!
//! Every round writes one word into each of the same pages, 1,000 or as many as `pages=N` on the command line says,
//! and no two words are ever the same. It never ends.
#![no_std]
#![no_main]

use kit::{cpu, multiboot, println, set};

kit::guest!(main);

const DEFAULT_PAGES: u64 = 1000;
const PAGE: u64 = 4096;
const LARGE_PAGE: u64 = 2 << 20;
const GIB: u64 = 1 << 30;
/// Memory beyond is left alone: 32-bit devices may lie there.
const LIMIT: u64 = 3 * GIB;
/// Where a round is reported.
const PORT: u16 = 0x80;

#[repr(C, align(4096))]
struct Table([u64; 512]);
const BLANK: Table = Table([0; 512]);

static mut LEVEL_4: Table = BLANK;
static mut LEVEL_3: Table = BLANK;
static mut LEVEL_2: [Table; (LIMIT / GIB) as usize] = [BLANK; (LIMIT / GIB) as usize];

/// Rounds done.
#[unsafe(no_mangle)]
pub static mut ROUND: u32 = 0;

fn main() -> ! {
    unsafe extern "C" {
        static image_end: u8;
    }
    map();
    let start = (&raw const image_end as u64).next_multiple_of(LARGE_PAGE);
    let end = multiboot::memory_end().unwrap_or(0).min(LIMIT).max(start + PAGE);
    let room = (end - start) / PAGE;
    let pages = multiboot::number(b"pages").unwrap_or(DEFAULT_PAGES).clamp(1, room);
    let stride = room / pages * PAGE;
    println!("dirty: {pages} pages a round, {stride:#x} bytes apart, from {start:#x} to {end:#x}");

    for round in 1u32.. {
        for at in 0..pages {
            let place = (start + at * stride) as *mut u64;
            set!(*place, u64::from(round) << 32 | at);
        }
        set!(ROUND, round);
        cpu::outl(PORT, round);
    }
    unreachable!()
}

/// Maps the first three GiB one to one in pages of 2 MiB.
fn map() {
    const PRESENT: u64 = 1;
    const WRITABLE: u64 = 2;
    const LARGE: u64 = 0x80;

    set!(LEVEL_4.0[0], &raw const LEVEL_3 as u64 | WRITABLE | PRESENT);
    for gib in 0..(LIMIT / GIB) as usize {
        let level_2 = (&raw const LEVEL_2).cast::<Table>().wrapping_add(gib);
        set!(LEVEL_3.0[gib], level_2 as u64 | WRITABLE | PRESENT);
        for at in 0..512 {
            let address = gib as u64 * GIB + at as u64 * LARGE_PAGE;
            set!(LEVEL_2[gib].0[at], address | LARGE | WRITABLE | PRESENT);
        }
    }
    // SAFETY: the first 16 MiB are mapped as before.
    unsafe { cpu::load_cr3(&raw const LEVEL_4 as u64) };
}
