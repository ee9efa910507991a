//! A client that sends a request, works on something else for a while, and then sleeps until the reply is there.
//!
//! The bug: [`wait_for_reply`] looks whether the reply has come and, if not, notes that it sleeps, with interrupts
//! on between the two. A reply that comes in between finds nobody asleep and wakes nobody; then the client lies
//! down and sleeps for ever. A watchdog in the timer interrupt ends the run.
#![no_std]
#![no_main]

use kit::entropy::Random;
use kit::{cpu, fixed, get, irq, pit, set, verdict};

kit::guest!(main);

const REQUESTS: u32 = 40;
const TIMER_HZ: u32 = 20_000;
/// Timer ticks after which a reply that nobody fetches is a failure.
const PATIENCE: u32 = 50;

/// A request is on its way.
static mut REQUESTED: bool = false;
/// The reply has come and waits to be fetched.
#[unsafe(no_mangle)]
pub static mut REPLIED: bool = false;
/// The client sleeps and wants to be woken by a reply.
#[unsafe(no_mangle)]
pub static mut ASLEEP: bool = false;

static mut TICKS: u32 = 0;
/// Requests sent.
static mut SENT: u32 = 0;
/// Timer ticks since the reply came.
static mut UNFETCHED: u32 = 0;

/// What the client did last, for people who look at its memory.
#[unsafe(no_mangle)]
pub static mut TRACE: [u8; 8] = [0; 8];

fn main() -> ! {
    irq::install(irq::TIMER, irq::Handler::Plain(timer));
    pit::periodic(TIMER_HZ);
    cpu::sti();

    let mut random = Random::new(7);
    for _ in 0..REQUESTS {
        next_tick();
        trace(b"request");
        set!(SENT, get!(SENT) + 1);
        set!(REQUESTED, true);
        prefetch(4500 + random.draw() as u32 % 3000);
        wait_for_reply();
        set!(UNFETCHED, 0);
        set!(REPLIED, false);
    }

    cpu::cli();
    verdict!(true, "{REQUESTS} replies in {} ticks", get!(TICKS));
}

fn wait_for_reply() {
    if fixed!() {
        return wait_for_reply_properly();
    }
    if get!(REPLIED) {
        return;
    }
    trace(b"waiting");
    set!(ASLEEP, true);
    while get!(ASLEEP) {
        cpu::hlt();
    }
}

/// Looks and sleeps with interrupts off, but for the moment in which it sleeps.
fn wait_for_reply_properly() {
    cpu::cli();
    while !get!(REPLIED) {
        set!(ASLEEP, true);
        cpu::sti_hlt();
        cpu::cli();
    }
    cpu::sti();
}

/// The timer interrupt. It stands for the other side too, which answers a request with the next tick.
fn timer() {
    set!(TICKS, get!(TICKS) + 1);
    irq::end_of_interrupt();

    if get!(REQUESTED) {
        set!(REQUESTED, false);
        set!(REPLIED, true);
        set!(ASLEEP, false);
    }
    if get!(REPLIED) {
        set!(UNFETCHED, get!(UNFETCHED) + 1);
        if get!(UNFETCHED) > PATIENCE {
            verdict!(false, "asleep, reply {} came {PATIENCE} ticks ago", get!(SENT));
        }
    }
}

/// Sleeps until the next tick. Here nothing can come between the look and the sleep.
fn next_tick() {
    cpu::cli();
    let now = get!(TICKS);
    while get!(TICKS) == now {
        cpu::sti_hlt();
        cpu::cli();
    }
    cpu::sti();
}

fn trace(what: &[u8; 7]) {
    for (at, letter) in what.iter().enumerate() {
        set!(TRACE[at], *letter);
    }
}

/// Work that does not need the reply.
fn prefetch(words: u32) {
    let mut sum = 0u32;
    for word in 0..words {
        sum = core::hint::black_box(sum.rotate_left(5) ^ word);
    }
}
