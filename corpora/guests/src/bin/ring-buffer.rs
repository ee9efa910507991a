//! A sampler that passes samples through a ring to the timer interrupt, which sends them off.
//!
//! The bug: [`push`] moves the head on, which offers the slot to the consumer, before it has filled the slot. An
//! interrupt while it is being filled sends what the slot held a lap ago, or half of it.
#![no_std]
#![no_main]

use kit::{cpu, fixed, get, irq, pit, set, verdict};

kit::guest!(main);

const SAMPLES: u64 = 250;
const SLOTS: usize = 32;
const WORDS: usize = 4;
const TIMER_HZ: u32 = 10_000;

/// The samples on their way.
#[unsafe(no_mangle)]
pub static mut RING: [[u64; WORDS]; SLOTS] = [[0; WORDS]; SLOTS];
/// Samples ever pushed.
#[unsafe(no_mangle)]
pub static mut HEAD: u64 = 0;
/// Samples ever sent.
#[unsafe(no_mangle)]
pub static mut TAIL: u64 = 0;
/// Samples that were not what was pushed.
#[unsafe(no_mangle)]
pub static mut STALE: u64 = 0;

fn main() -> ! {
    irq::install(irq::TIMER, irq::Handler::Plain(send));
    pit::periodic(TIMER_HZ);
    cpu::sti();

    for number in 0..SAMPLES {
        let sample = measure(number);
        while get!(HEAD) - get!(TAIL) == SLOTS as u64 {
            cpu::hlt();
        }
        push(sample);
    }

    cpu::cli();
    send();
    verdict!(get!(STALE) == 0, "{} stale samples of {}", get!(STALE), get!(TAIL));
}

fn push(sample: [u64; WORDS]) {
    let head = get!(HEAD);
    if !fixed!() {
        set!(HEAD, head + 1);
    }
    let slot = head as usize % SLOTS;
    for at in 0..WORDS {
        set!(RING[slot][at], sample[at]);
    }
    if fixed!() {
        set!(HEAD, head + 1);
    }
}

/// The timer interrupt: sends all that is there.
fn send() {
    while get!(TAIL) != get!(HEAD) {
        let tail = get!(TAIL);
        for at in 0..WORDS {
            if get!(RING[tail as usize % SLOTS][at]) != word(tail, at) {
                set!(STALE, get!(STALE) + 1);
            }
        }
        set!(TAIL, tail + 1);
    }
    irq::end_of_interrupt();
}

/// Waits for the input to settle, then reads it.
fn measure(number: u64) -> [u64; WORDS] {
    for turn in 0..1000 {
        core::hint::black_box(turn);
    }
    core::array::from_fn(|at| word(number, at))
}

/// What sample `number` measures.
fn word(number: u64, at: usize) -> u64 {
    number * 4 + at as u64 + 1
}
