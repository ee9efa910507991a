//! Three threads under a preemptive scheduler with fixed priorities, and a bus that two of them share.
//!
//! The bug: the bus is guarded by a mutex without priority inheritance. When the logger is preempted while it
//! holds the bus, the motor thread has to wait for it, and so for the camera thread as well, which needs no bus
//! but has priority over the logger. The motor misses its deadline.
#![no_std]
#![no_main]

use core::arch::asm;
use core::ptr::null_mut;
use kit::irq::Frame;
use kit::{cpu, fixed, gdt, get, irq, pit, set, verdict};

kit::guest!(main);

const TIMER_HZ: u32 = 20_000;
/// Rounds of the motor thread, one every so many ticks, and how late in a round it may be done.
const ROUNDS: u32 = 8;
const ROUND_TICKS: u32 = 6;
const DEADLINE_TICKS: u32 = 2;
/// How long the camera thread computes in each round.
const CAMERA_TICKS: u32 = 3;

// Threads, in the order of their priorities.
const LOGGER: usize = 0;
const CAMERA: usize = 1;
const MOTOR: usize = 2;
const THREADS: usize = 3;
const STACK_BYTES: usize = 4096;

/// A thread.
#[derive(Clone, Copy)]
pub struct Thread {
    /// What it goes on from, while it does not run.
    pub frame: *mut Frame,
    /// The tick it sleeps to.
    pub wake_at: u32,
    /// It waits for the bus.
    pub wants_bus: bool,
}

/// The threads.
#[unsafe(no_mangle)]
pub static mut TABLE: [Thread; THREADS] =
    [Thread { frame: null_mut(), wake_at: 0, wants_bus: false }; THREADS];
/// The thread that runs.
#[unsafe(no_mangle)]
pub static mut CURRENT: usize = LOGGER;
/// The thread that holds the bus.
#[unsafe(no_mangle)]
pub static mut BUS_OWNER: Option<usize> = None;

#[repr(C, align(16))]
struct Stack([u8; STACK_BYTES]);
static mut STACKS: [Stack; THREADS] = [const { Stack([0; STACK_BYTES]) }; THREADS];

static mut TICKS: u32 = 0;
/// Rounds that the motor thread has done.
static mut DONE: u32 = 0;
/// What the logger and the motor write on the bus.
#[unsafe(no_mangle)]
pub static mut BUS: [u32; 8] = [0; 8];

fn main() -> ! {
    spawn(LOGGER, logger);
    spawn(CAMERA, camera);
    spawn(MOTOR, motor);
    irq::install(irq::YIELD, irq::Handler::Switching(schedule));
    irq::install(irq::TIMER, irq::Handler::Switching(tick));
    pit::periodic(TIMER_HZ);
    // SAFETY: `spawn` made the frame.
    unsafe { irq::resume(get!(TABLE[LOGGER].frame)) }
}

/// Gives a thread a frame at the top of its stack that starts `body`.
fn spawn(thread: usize, body: fn() -> !) {
    let top = (&raw mut STACKS).cast::<Stack>().wrapping_add(thread + 1);
    let frame = top.cast::<Frame>().wrapping_sub(1);
    let start = Frame {
        rip: body as usize as u64,
        cs: gdt::KERNEL_CODE.into(),
        rflags: 0x202,       // interrupts on
        rsp: top as u64 - 8, // as after a call
        ss: gdt::KERNEL_DATA.into(),
        ..Frame::ZERO
    };
    set!(*frame, start);
    set!(TABLE[thread].frame, frame);
}

/// The timer interrupt.
fn tick(frame: *mut Frame) -> *mut Frame {
    set!(TICKS, get!(TICKS) + 1);
    irq::end_of_interrupt();

    let (round, late) = (get!(TICKS) / ROUND_TICKS, get!(TICKS) % ROUND_TICKS);
    if late >= DEADLINE_TICKS && get!(DONE) < round {
        let owner = get!(BUS_OWNER).unwrap_or(MOTOR);
        verdict!(false, "round {round} missed its deadline, thread {owner} holds the bus");
    }
    schedule(frame)
}

/// Goes on with the highest thread that can run. The logger always can.
fn schedule(frame: *mut Frame) -> *mut Frame {
    set!(TABLE[get!(CURRENT)].frame, frame);
    let mut next = MOTOR;
    while get!(TABLE[next].wants_bus) || get!(TABLE[next].wake_at) > get!(TICKS) {
        next = match get!(BUS_OWNER) {
            Some(owner) if fixed!() && get!(TABLE[next].wants_bus) => owner, // it inherits the priority
            _ => next - 1,
        };
    }
    set!(CURRENT, next);
    get!(TABLE[next].frame)
}

fn yield_now() {
    // SAFETY: the handler is installed; it saves and restores everything.
    unsafe { asm!("int {}", const irq::YIELD) }
}

fn sleep_to(tick: u32) {
    set!(TABLE[get!(CURRENT)].wake_at, tick);
    yield_now();
}

fn lock_bus() {
    let me = get!(CURRENT);
    loop {
        cpu::cli();
        if get!(BUS_OWNER).is_none() {
            set!(BUS_OWNER, Some(me));
            cpu::sti();
            return;
        }
        set!(TABLE[me].wants_bus, true);
        cpu::sti();
        yield_now();
    }
}

fn unlock_bus() {
    cpu::cli();
    set!(BUS_OWNER, None);
    for thread in 0..THREADS {
        set!(TABLE[thread].wants_bus, false);
    }
    cpu::sti();
    yield_now();
}

/// The highest thread: a bus transfer in each round, in time.
fn motor() -> ! {
    for round in 1..=ROUNDS {
        sleep_to(round * ROUND_TICKS);
        lock_bus();
        transfer(round);
        unlock_bus();
        set!(DONE, round);
    }
    verdict!(true, "{ROUNDS} rounds in time");
}

/// The middle thread: long computations, no bus.
fn camera() -> ! {
    for round in 1.. {
        sleep_to(round * ROUND_TICKS);
        let end = get!(TICKS) + CAMERA_TICKS;
        while get!(TICKS) < end {
            compute(100);
        }
    }
    unreachable!()
}

/// The lowest thread: formats lines, and writes each with one short transfer.
fn logger() -> ! {
    for line in 0.. {
        compute(600);
        lock_bus();
        transfer(line);
        unlock_bus();
    }
    unreachable!()
}

fn transfer(value: u32) {
    for at in 0..8 {
        set!(BUS[at], value);
    }
}

fn compute(turns: u32) {
    for turn in 0..turns {
        core::hint::black_box(turn);
    }
}
