//! A small kernel with two processes in ring 3: page tables of their own, SYSCALL, preemption by the timer. They
//! share one page, a mailbox, and post what is in it with a system call.
//!
//! The bug: [`post`] checks the length in the mailbox, and then reads it again while it copies. The kernel can be
//! preempted, so the other process may have made the message longer in between. The copy then runs past the
//! kernel's buffer into the credits behind it.
#![no_std]
#![no_main]

use core::arch::{asm, naked_asm};
use kit::irq::Frame;
use kit::{cpu, fixed, gdt, get, irq, pit, set, verdict};

kit::guest!(main);

const TIMER_HZ: u32 = 10_000;
const POSTS: u32 = 120;
const CREDITS: usize = 32;
const INITIAL_CREDIT: u32 = 1000;

// --- What kernel and processes agree on -------------------------------------------------------------------

/// Longest message that the kernel takes.
const MESSAGE_BYTES: usize = 64;
/// What the writer posts, and what the editor drafts.
const SHORT: u32 = 8;
const LONG: u32 = 160;

const POST: u64 = 1;
const FINISH: u64 = 2;
const TOO_LONG: u64 = 1;

/// The page that the processes share.
#[repr(C)]
struct Mailbox {
    length: u32,
    text: [u8; 4092],
}

/// Where both processes see the mailbox, and where each sees its own stack.
const MAILBOX: *mut Mailbox = 0x4000_0000 as *mut Mailbox;
const USER_STACK: u64 = 0x4000_1000;

// --- The kernel -------------------------------------------------------------------------------------------

/// What the kernel knows of messages and senders.
#[repr(C)]
pub struct Post {
    /// The last message.
    pub message: [u8; MESSAGE_BYTES],
    /// What each user may still send.
    pub credits: [u32; CREDITS],
}

/// The post office.
#[unsafe(no_mangle)]
pub static mut OFFICE: Post = Post { message: [0; MESSAGE_BYTES], credits: [INITIAL_CREDIT; CREDITS] };

const PROCESSES: usize = 2;
const KERNEL_STACK_BYTES: usize = 8192;

#[repr(C, align(4096))]
struct Page([u64; 512]);
const BLANK: Page = Page([0; 512]);

/// The memory of one process: its page tables, its stacks.
#[repr(C, align(4096))]
struct Process {
    level_4: Page,
    level_3: Page,
    kernel_level_2: Page,
    kernel_level_1: Page,
    user_level_2: Page,
    user_level_1: Page,
    user_stack: Page,
    kernel_stack: [u8; KERNEL_STACK_BYTES],
}

static mut PROCESS: [Process; PROCESSES] = [const {
    Process {
        level_4: BLANK,
        level_3: BLANK,
        kernel_level_2: BLANK,
        kernel_level_1: BLANK,
        user_level_2: BLANK,
        user_level_1: BLANK,
        user_stack: BLANK,
        kernel_stack: [0; KERNEL_STACK_BYTES],
    }
}; PROCESSES];
static mut SHARED: Page = BLANK;

/// The process that runs.
#[unsafe(no_mangle)]
pub static mut CURRENT: usize = 0;
/// What each process goes on from, while it does not run.
static mut FRAMES: [*mut Frame; PROCESSES] = [core::ptr::null_mut(); PROCESSES];
/// The stack that a system call switches to, and where it puts the user's meanwhile.
static mut KERNEL_RSP: u64 = 0;
static mut USER_RSP: u64 = 0;

fn main() -> ! {
    spawn(0, writer);
    spawn(1, editor);
    gdt::load_task();
    enable_syscall();
    irq::install(irq::TIMER, irq::Handler::Switching(preempt));
    pit::periodic(TIMER_HZ);
    let frame = switch_to(0);
    // SAFETY: `spawn` made the frame.
    unsafe { irq::resume(frame) }
}

fn process(number: usize) -> *mut Process {
    (&raw mut PROCESS).cast::<Process>().wrapping_add(number)
}

/// Builds a process: its address space, and a frame on its kernel stack that starts `body` in ring 3.
fn spawn(number: usize, body: extern "C" fn() -> !) {
    const PRESENT: u64 = 1;
    const WRITABLE: u64 = 2;
    const USER: u64 = 4;
    const LARGE: u64 = 0x80;
    const ALL: u64 = PRESENT | WRITABLE | USER;

    unsafe extern "C" {
        static user_start: u8;
        static user_end: u8;
    }
    let user_text = &raw const user_start as u64..&raw const user_end as u64;
    let this = process(number);

    // SAFETY: takes addresses of fields of a static, no more.
    let [level_4, level_3, kernel_2, kernel_1, user_2, user_1, user_stack] = unsafe {
        [
            &raw mut (*this).level_4,
            &raw mut (*this).level_3,
            &raw mut (*this).kernel_level_2,
            &raw mut (*this).kernel_level_1,
            &raw mut (*this).user_level_2,
            &raw mut (*this).user_level_1,
            &raw mut (*this).user_stack,
        ]
    };

    // The kernel's 16 MiB, one to one, closed to ring 3 but for the pages that hold the processes' code.
    set!((*level_4).0[0], level_3 as u64 | ALL);
    set!((*level_3).0[0], kernel_2 as u64 | ALL);
    set!((*kernel_2).0[0], kernel_1 as u64 | ALL);
    for at in 1..8 {
        set!((*kernel_2).0[at as usize], at << 21 | LARGE | WRITABLE | PRESENT);
    }
    for at in 0..512 {
        let page = at << 12;
        let access = if user_text.contains(&page) { USER } else { WRITABLE };
        set!((*kernel_1).0[at as usize], page | access | PRESENT);
    }
    // At 1 GiB the mailbox, the same page for all, and a stack, another page for each.
    set!((*level_3).0[1], user_2 as u64 | ALL);
    set!((*user_2).0[0], user_1 as u64 | ALL);
    set!((*user_1).0[0], &raw const SHARED as u64 | ALL);
    set!((*user_1).0[1], user_stack as u64 | ALL);

    let frame = kernel_stack_top(number) - size_of::<Frame>() as u64;
    let frame = frame as *mut Frame;
    let start = Frame {
        rip: body as usize as u64,
        cs: gdt::USER_CODE.into(),
        rflags: 0x202,               // interrupts on
        rsp: USER_STACK + 4096 - 24, // as after a call
        ss: gdt::USER_DATA.into(),
        ..Frame::ZERO
    };
    set!(*frame, start);
    set!(FRAMES[number], frame);
}

fn kernel_stack_top(number: usize) -> u64 {
    process(number + 1) as u64 // the stack is the last field
}

/// The timer interrupt: the other process's turn.
fn preempt(frame: *mut Frame) -> *mut Frame {
    irq::end_of_interrupt();
    let current = get!(CURRENT);
    set!(FRAMES[current], frame);
    switch_to((current + 1) % PROCESSES)
}

/// Makes a process the current one and returns what it goes on from.
fn switch_to(number: usize) -> *mut Frame {
    set!(CURRENT, number);
    set!(KERNEL_RSP, kernel_stack_top(number));
    gdt::set_interrupt_stack(kernel_stack_top(number));
    // SAFETY: every process maps the kernel.
    unsafe { cpu::load_cr3(process(number) as u64) }; // the top level is the first field
    get!(FRAMES[number])
}

fn enable_syscall() {
    const EFER: u32 = 0xc000_0080;
    const STAR: u32 = 0xc000_0081;
    const LSTAR: u32 = 0xc000_0082;
    const FMASK: u32 = 0xc000_0084;
    let segments = u64::from(gdt::USER_BASE) << 48 | u64::from(gdt::KERNEL_CODE) << 32;
    // SAFETY: every 64-bit processor has these registers; the entry follows the protocol.
    unsafe {
        cpu::wrmsr(EFER, cpu::rdmsr(EFER) | 1);
        cpu::wrmsr(STAR, segments);
        cpu::wrmsr(LSTAR, syscall_entry as *const () as u64);
        cpu::wrmsr(FMASK, 0x700); // interrupts, direction and trap off
    }
}

/// Where SYSCALL arrives, with interrupts off and still on the user's stack.
#[unsafe(naked)]
unsafe extern "C" fn syscall_entry() {
    naked_asm!(
        "mov [{user_rsp}], rsp",
        "mov rsp, [{kernel_rsp}]",
        "push [{user_rsp}]",
        "push rcx", // the user's RIP
        "push r11", // and RFLAGS
        "sub rsp, 8",
        "sti",
        "call {syscall}",
        "cli",
        "add rsp, 8",
        "pop r11",
        "pop rcx",
        "pop rsp",
        "sysretq",
        user_rsp = sym USER_RSP,
        kernel_rsp = sym KERNEL_RSP,
        syscall = sym syscall,
    )
}

extern "C" fn syscall(number: u64) -> u64 {
    match number {
        POST => post(),
        FINISH => finish(),
        _ => panic!("system call {number}"),
    }
}

/// Takes the message out of the mailbox.
fn post() -> u64 {
    let checked = get!((*MAILBOX).length) as usize;
    if checked > MESSAGE_BYTES {
        return TOO_LONG;
    }
    let message = (&raw mut OFFICE).cast::<u8>();
    let length = || if fixed!() { checked } else { get!((*MAILBOX).length) as usize };
    let mut at = 0;
    while at < length() {
        set!(*message.add(at), get!((*MAILBOX).text[at]));
        at += 1;
    }
    0
}

/// The writer is done: nothing has ever changed a credit.
fn finish() -> ! {
    cpu::cli();
    let mut bad = 0;
    for user in 0..CREDITS {
        if get!(OFFICE.credits[user]) != INITIAL_CREDIT {
            bad += 1;
        }
    }
    verdict!(bad == 0, "{bad} of {CREDITS} credits overwritten in {POSTS} posts");
}

// --- The processes ----------------------------------------------------------------------------------------
// They can reach only their own code, their stack and the mailbox: no constants, no calls to the kernel's
// functions.

#[inline(always)]
fn call(number: u64) -> u64 {
    let result;
    // SAFETY: the kernel keeps what the C calling convention keeps.
    unsafe {
        asm!("syscall", inout("rdi") number => _, lateout("rax") result, lateout("rcx") _, lateout("r11") _,
            clobber_abi("sysv64"))
    }
    result
}

/// Posts short messages, each a little work.
#[unsafe(link_section = ".user.text")]
extern "C" fn writer() -> ! {
    let mut posted = 0;
    while posted < POSTS {
        let mut text = posted;
        for turn in 0..700 {
            text = core::hint::black_box(text.rotate_left(3) ^ turn);
        }
        for at in 0..SHORT {
            set!((*MAILBOX).text[at as usize], text as u8);
        }
        set!((*MAILBOX).length, SHORT);
        if call(POST) != TOO_LONG {
            posted += 1;
        }
    }
    loop {
        call(FINISH);
    }
}

/// Drafts long messages, finds them too long, and cuts them down.
#[unsafe(link_section = ".user.text")]
extern "C" fn editor() -> ! {
    loop {
        set!((*MAILBOX).length, LONG);
        for at in 0..LONG {
            set!((*MAILBOX).text[at as usize], core::hint::black_box(at) as u8);
        }
        set!((*MAILBOX).length, SHORT);
        for turn in 0..LONG {
            core::hint::black_box(turn);
        }
    }
}
