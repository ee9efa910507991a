//! A router whose network interrupt handles frames with interrupts on, on a stack of 4 KiB.
//!
//! The bug: [`poll`] acknowledges the interrupt and turns interrupts back on before it works off the frames that
//! wait. While it is busy the next interrupt comes on top of it, up to [`MAX_DEPTH`] levels. But only three fit on
//! the stack. The fourth, which takes several bursts close together, runs over its end into the routes below.
#![no_std]
#![no_main]

use core::arch::naked_asm;
use kit::{cpu, entropy, fixed, get, irq, pit, set, verdict};

kit::guest!(main);

const POLLS: u32 = 40;
const TIMER_HZ: u32 = 10_000;
const ROUTES: usize = 512;
/// Polls that may be under way, one on top of the other.
const MAX_DEPTH: u32 = if fixed!() { 3 } else { 6 };
const STACK_BYTES: usize = 4096;
const BURST_FRAMES: u32 = 3;
const FRAME_BYTES: usize = 640;

/// What belongs to a processor, in one piece.
#[repr(C, align(16))]
pub struct PerCpu {
    /// Next hops.
    pub routes: [u64; ROUTES],
    /// Grows down, towards the routes.
    pub stack: [u8; STACK_BYTES],
}

/// What belongs to this processor.
#[unsafe(no_mangle)]
pub static mut CPU0: PerCpu = PerCpu { routes: [0; ROUTES], stack: [0; STACK_BYTES] };

/// Polls begun.
static mut BEGUN: u32 = 0;
/// Polls under way, one on top of the other.
#[unsafe(no_mangle)]
pub static mut DEPTH: u32 = 0;
/// The most polls that ever were under way.
static mut DEEPEST: u32 = 0;

fn main() -> ! {
    for at in 0..ROUTES {
        set!(CPU0.routes[at], next_hop(at));
    }
    let top = &raw const CPU0 as u64 + size_of::<PerCpu>() as u64; // the stack comes last
    // SAFETY: the stack is free, and `route` does not return.
    unsafe { run_on(top, route) }
}

/// Starts `body` on another stack, as if called from address zero: there a backtrace ends.
#[unsafe(naked)]
unsafe extern "C" fn run_on(top: u64, body: extern "C" fn() -> !) -> ! {
    naked_asm!("mov rsp, rdi", "xor ebp, ebp", "push 0", "jmp rsi")
}

extern "C" fn route() -> ! {
    irq::install(irq::TIMER, irq::Handler::Plain(poll));
    pit::periodic(TIMER_HZ);
    cpu::sti();
    while get!(BEGUN) < POLLS {
        cpu::hlt();
    }
    cpu::cli();

    let mut bad = 0;
    for at in 0..ROUTES {
        if get!(CPU0.routes[at]) != next_hop(at) {
            bad += 1;
        }
    }
    verdict!(bad == 0, "{bad} of {ROUTES} routes overwritten, polls up to {} deep", get!(DEEPEST));
}

/// The network interrupt, paced by the timer.
fn poll() {
    set!(BEGUN, get!(BEGUN) + 1);
    set!(DEPTH, get!(DEPTH) + 1);
    set!(DEEPEST, get!(DEEPEST).max(get!(DEPTH)));
    irq::end_of_interrupt();
    if get!(DEPTH) < MAX_DEPTH {
        cpu::sti(); // the wire does not wait
    }

    let mut frame = [0u8; FRAME_BYTES];
    for _ in 0..bursts_waiting() {
        for _ in 0..BURST_FRAMES {
            receive(&mut frame);
            forward(&frame);
        }
    }

    cpu::cli();
    set!(DEPTH, get!(DEPTH) - 1);
}

/// Half of the polls find nothing, a quarter one burst of frames, an eighth two, and so on. The card has room
/// for five.
fn bursts_waiting() -> u32 {
    entropy::random().trailing_zeros().min(5)
}

fn receive(frame: &mut [u8]) {
    for (at, byte) in frame.iter_mut().enumerate() {
        *byte = core::hint::black_box(at as u8);
    }
}

fn forward(frame: &[u8]) {
    let mut sum = 0u32;
    for byte in frame {
        sum = core::hint::black_box(sum + u32::from(*byte));
    }
}

fn next_hop(at: usize) -> u64 {
    0x0a00_0001 + (at as u64) * 0x100
}
