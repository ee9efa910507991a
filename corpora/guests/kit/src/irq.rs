//! Interrupts: the descriptor table, the way in and out, the two 8259 controllers.
//!
//! The way in saves every general and XMM register in a [`Frame`] on the stack, and the way out restores
//! the frame that the handler returned: returning another thread's frame is a context switch.

use crate::cpu::outb;
use crate::gdt::KERNEL_CODE;
use crate::{get, set, verdict};
use core::arch::{asm, global_asm, naked_asm};

/// What an interrupt saves, lowest address first.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(missing_docs)]
pub struct Frame {
    pub xmm: [[u64; 2]; 16],
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

impl Frame {
    /// A frame with all registers zero.
    pub const ZERO: Frame = Frame {
        xmm: [[0; 2]; 16],
        r15: 0,
        r14: 0,
        r13: 0,
        r12: 0,
        r11: 0,
        r10: 0,
        r9: 0,
        r8: 0,
        rbp: 0,
        rdi: 0,
        rsi: 0,
        rdx: 0,
        rcx: 0,
        rbx: 0,
        rax: 0,
        vector: 0,
        error: 0,
        rip: 0,
        cs: 0,
        rflags: 0,
        rsp: 0,
        ss: 0,
    };
}

/// Vector of IRQ 0, the timer.
pub const TIMER: u8 = 32;
/// Vector that threads raise by `int` to give up the processor.
pub const YIELD: u8 = 48;
const VECTORS: usize = 49;

/// What to do at a vector.
#[derive(Clone, Copy)]
pub enum Handler {
    /// Nothing is expected here.
    None,
    /// Go on where the interrupt came.
    Plain(fn()),
    /// Go on at the frame that the handler returns.
    Switching(fn(*mut Frame) -> *mut Frame),
}

static mut HANDLERS: [Handler; VECTORS] = [Handler::None; VECTORS];

/// Installs a handler. An IRQ's handler acknowledges it with [`end_of_interrupt`]. The line is opened too.
pub fn install(vector: u8, handler: Handler) {
    set!(HANDLERS[vector as usize], handler);
    if vector == TIMER {
        outb(PIC_1 + 1, !1); // only IRQ 0
    }
}

const PIC_1: u16 = 0x20;
const PIC_2: u16 = 0xa0;

/// Tells the first controller that its interrupt was served.
pub fn end_of_interrupt() {
    outb(PIC_1, 0x20);
}

/// An interrupt gate (Intel SDM volume 3, 7.14.1).
#[repr(C)]
#[derive(Clone, Copy)]
struct Gate {
    offset_low: u16,
    selector: u16,
    kind: u16,
    offset_middle: u16,
    offset_high: u32,
    reserved: u32,
}

const NO_GATE: Gate =
    Gate { offset_low: 0, selector: 0, kind: 0, offset_middle: 0, offset_high: 0, reserved: 0 };

static mut GATES: [Gate; VECTORS] = [NO_GATE; VECTORS];

#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

/// Loads the descriptor table and moves the controllers to vectors 32 to 47, all lines closed.
pub(crate) fn init() {
    for (vector, entry) in ENTRIES.iter().enumerate() {
        let offset = *entry as *const () as u64;
        set!(
            GATES[vector],
            Gate {
                offset_low: offset as u16,
                selector: KERNEL_CODE,
                kind: 0x8e00, // present, ring 0, interrupt gate
                offset_middle: (offset >> 16) as u16,
                offset_high: (offset >> 32) as u32,
                reserved: 0,
            }
        );
    }
    let pointer = Pointer { limit: (size_of::<Gate>() * VECTORS - 1) as u16, base: &raw const GATES as u64 };
    // SAFETY: the table lives for ever and every gate leads to an entry below.
    unsafe { asm!("lidt [{}]", in(reg) &pointer, options(nostack, preserves_flags)) }

    for (pic, base, cascade) in [(PIC_1, 32, 4), (PIC_2, 40, 2)] {
        outb(pic, 0x11); // initialise, four words
        outb(pic + 1, base);
        outb(pic + 1, cascade);
        outb(pic + 1, 0x01); // 8086 mode
        outb(pic + 1, 0xff);
    }
}

/// Chooses the handler. Called by `interrupt_common` with interrupts off.
extern "C" fn dispatch(frame: *mut Frame) -> *mut Frame {
    // SAFETY: `interrupt_common` passes the frame it has just built.
    let (vector, error, rip) = unsafe { ((*frame).vector, (*frame).error, (*frame).rip) };
    match get!(HANDLERS[vector as usize]) {
        Handler::Plain(handler) => {
            handler();
            frame
        }
        Handler::Switching(handler) => handler(frame),
        Handler::None => {
            let cr2: u64;
            // SAFETY: reads a register.
            unsafe { asm!("mov {}, cr2", out(reg) cr2, options(nomem, nostack, preserves_flags)) }
            verdict!(false, "unexpected vector {vector} at {rip:#x}, error code {error:#x}, cr2 {cr2:#x}")
        }
    }
}

/// Entry of one vector: makes all frames alike and goes on at `interrupt_common`.
#[unsafe(naked)]
unsafe extern "C" fn entry<const VECTOR: u8>() {
    naked_asm!(
        ".if {has_error} == 0",
        "push 0",
        ".endif",
        "push {vector}",
        "jmp interrupt_common",
        has_error = const matches!(VECTOR, 8 | 10..=14 | 17 | 21 | 29 | 30) as u8,
        vector = const VECTOR,
    )
}

macro_rules! entries {
    ($($vector:literal)*) => { [$(entry::<$vector>),*] };
}

static ENTRIES: [unsafe extern "C" fn(); VECTORS] = entries!(
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24
    25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48
);

// The call frame information lets a debugger walk from a handler to what it interrupted.
global_asm!(
    r#"
    .pushsection .text.interrupt_common, "ax", @progbits
    .global interrupt_common
    .type interrupt_common, @function
interrupt_common:
    .cfi_startproc simple
    .cfi_signal_frame
    .cfi_def_cfa rsp, 56
    .cfi_offset rip, -40
    .cfi_offset rsp, -16
    .irp register, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
    push \register
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset \register, 0
    .endr
    sub rsp, 256
    .cfi_adjust_cfa_offset 256
    .irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    movups xmmword ptr [rsp + 16 * \number], xmm\number
    .endr
    cld
    mov rdi, rsp
    call {dispatch}
    mov rsp, rax
    .cfi_endproc
    .global interrupt_return
interrupt_return:
    .irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    movups xmm\number, xmmword ptr [rsp + 16 * \number]
    .endr
    add rsp, 256
    .irp register, r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax
    pop \register
    .endr
    add rsp, 16
    iretq
    .size interrupt_common, . - interrupt_common
    .popsection
    "#,
    dispatch = sym dispatch,
);

/// Leaves the running code for good and goes on at `frame`.
///
/// # Safety
/// The frame describes code that can run: address, stack, segments, flags.
#[unsafe(naked)]
pub unsafe extern "C" fn resume(frame: *const Frame) -> ! {
    naked_asm!("mov rsp, rdi", "jmp interrupt_return")
}
