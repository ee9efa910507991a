//! A logger: the main program and the timer interrupt take blocks from the same pool.
//!
//! The bug: the pool is a free list without any protection. [`allocate`] reads the head, checks it and then
//! unlinks it; [`release`] reads the head, checks against a double free and then links in front of it. An
//! interrupt in between takes the very same block: it ends up with two owners, or on the list while in use.
#![no_std]
#![no_main]

use core::ptr::null_mut;
use kit::{cpu, get, guarded, irq, pit, set, verdict};

kit::guest!(main);

const MESSAGES: u64 = 500;
const BLOCKS: usize = 64;
const WORDS: usize = 12;
const TIMER_HZ: u32 = 10_000;

/// A block of the pool. On the free list, or on the log, `next` leads on.
pub struct Block {
    /// The next block of the same list.
    pub next: *mut Block,
    /// What the owner keeps in it.
    pub words: [u64; WORDS],
}

const BLANK: Block = Block { next: null_mut(), words: [0; WORDS] };
static mut POOL: [Block; BLOCKS] = [BLANK; BLOCKS];

/// Head of the free list.
#[unsafe(no_mangle)]
pub static mut FREE: *mut Block = null_mut();

/// Head of the list of records that the interrupt has made and the main program has not yet read.
static mut LOG: *mut Block = null_mut();
static mut RECORDS: u64 = 0;

fn main() -> ! {
    for at in 0..BLOCKS {
        release((&raw mut POOL).cast::<Block>().wrapping_add(at));
    }
    irq::install(irq::TIMER, irq::Handler::Plain(record));
    pit::periodic(TIMER_HZ);
    cpu::sti();

    for number in 0..MESSAGES {
        let message = guarded!(allocate());
        fill(message, number);
        if !is_intact(message, number) {
            verdict!(false, "message {number} was overwritten by another owner of its block");
        }
        guarded!(release(message));
        if number % 16 == 0 {
            drain();
        }
    }

    cpu::cli();
    drain();
    let free = count_free();
    verdict!(free == BLOCKS, "{free} free blocks expected {BLOCKS}");
}

/// Takes a block from the pool.
fn allocate() -> *mut Block {
    let block = get!(FREE);
    if block.is_null() {
        panic!("the pool is empty");
    }
    // SAFETY: what is on the free list is a block of the pool.
    set!(FREE, unsafe { (*block).next });
    block
}

/// Gives a block back to the pool.
fn release(block: *mut Block) {
    let head = get!(FREE);
    if head == block {
        panic!("block {block:p} was freed twice");
    }
    set!((*block).next, head);
    set!(FREE, block);
}

/// The timer interrupt: logs that it came.
fn record() {
    let block = allocate();
    fill(block, u64::MAX);
    set!((*block).next, get!(LOG));
    set!(LOG, block);
    set!(RECORDS, get!(RECORDS) + 1);
    irq::end_of_interrupt();
}

/// Reads the log and gives its blocks back.
fn drain() {
    let mut next = cpu::without_interrupts(|| {
        let all = get!(LOG);
        set!(LOG, null_mut());
        all
    });
    while !next.is_null() {
        let block = next;
        next = get!((*block).next);
        guarded!(release(block));
    }
}

fn fill(block: *mut Block, number: u64) {
    for at in 0..WORDS {
        set!((*block).words[at], word(number, at));
    }
}

fn is_intact(block: *mut Block, number: u64) -> bool {
    for at in 0..WORDS {
        if get!((*block).words[at]) != word(number, at) {
            return false;
        }
    }
    true
}

/// A word worth keeping: a few rounds of mixing.
fn word(number: u64, at: usize) -> u64 {
    let mut word = number ^ at as u64;
    for _ in 0..16 {
        word = core::hint::black_box(word.rotate_left(13).wrapping_mul(5));
    }
    word
}

/// Walks the free list, no further than it can honestly be long.
fn count_free() -> usize {
    let mut count = 0;
    let mut next = get!(FREE);
    while !next.is_null() && count <= BLOCKS {
        count += 1;
        next = get!((*next).next);
    }
    count
}
