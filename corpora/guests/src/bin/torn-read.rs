//! A player that reads the position of its audio clock, which the timer interrupt advances.
//!
//! The bug: the clock is 64 bits wide and kept as two words. [`main`] copies it a word at a time with interrupts
//! on. When the clock is advanced between the two words, and the low word overflows just then, the copy is a
//! whole block ahead of the truth, and the next reading is behind it.
#![no_std]
#![no_main]

use kit::{cpu, get, guarded, irq, pit, set, verdict};

kit::guest!(main);

const READINGS: u64 = 1500;
const SAMPLES: usize = 64;
const TIMER_HZ: u32 = 10_000;
/// What a timer tick adds to the clock: a third of a block, rounded up.
const STEP: u64 = (1 << 32) / 3 + 1;

/// Blocks played, 32.32 fixed point: the fraction, then the whole blocks.
#[unsafe(no_mangle)]
pub static mut CLOCK: [u32; 2] = [0; 2];

/// What is being played.
#[unsafe(no_mangle)]
pub static mut WAVE: [u32; SAMPLES] = [0; SAMPLES];

fn main() -> ! {
    irq::install(irq::TIMER, irq::Handler::Plain(advance));
    pit::periodic(TIMER_HZ);
    cpu::sti();

    let mut samples = [0u32; SAMPLES];
    let mut clock = [0u32; 2];
    let mut last = 0;
    for reading in 0..READINGS {
        synthesize(reading as u32);
        copy_words(&raw const WAVE as *const u32, &mut samples);
        mix(&mut samples);

        guarded!(copy_words(&raw const CLOCK as *const u32, &mut clock));
        let now = join(clock);
        if now < last {
            verdict!(false, "clock went back from {last:#x} to {now:#x} at reading {reading}");
        }
        last = now;
    }

    cpu::cli();
    verdict!(true, "clock never went back in {READINGS} readings");
}

/// The timer interrupt.
fn advance() {
    let clock = join(get!(CLOCK)) + STEP;
    set!(CLOCK[0], clock as u32);
    set!(CLOCK[1], (clock >> 32) as u32);
    irq::end_of_interrupt();
}

fn join(clock: [u32; 2]) -> u64 {
    u64::from(clock[1]) << 32 | u64::from(clock[0])
}

/// Copies from memory that changes behind the compiler's back, a word at a time.
#[inline(never)]
fn copy_words(from: *const u32, to: &mut [u32]) {
    for (at, word) in to.iter_mut().enumerate() {
        kit::fence();
        // SAFETY: both callers pass a static array as long as `to`.
        *word = unsafe { *from.add(at) };
    }
}

/// A saw tooth.
fn synthesize(phase: u32) {
    for at in 0..SAMPLES {
        set!(WAVE[at], (phase + at as u32) & 0x3f);
    }
}

/// Turns the volume down.
fn mix(samples: &mut [u32]) {
    for sample in samples {
        *sample = core::hint::black_box(*sample * 3 / 4);
    }
}
