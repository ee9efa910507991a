//! Segments. The order of the user segments is the one that SYSRET asks for: data, then 64-bit code.

use core::arch::{asm, global_asm};

/// Selector of the kernel's code segment.
pub const KERNEL_CODE: u16 = 0x08;
/// Selector of the kernel's data segment.
pub const KERNEL_DATA: u16 = 0x10;
/// What STAR's upper half holds: SYSRET takes SS from here plus 8 and CS from here plus 16.
pub const USER_BASE: u16 = 0x18 | 3;
/// Selector of the user's data segment.
pub const USER_DATA: u16 = 0x20 | 3;
/// Selector of the user's code segment.
pub const USER_CODE: u16 = 0x28 | 3;
/// Selector of the task state segment.
const TASK: u16 = 0x30;

global_asm!(
    r#"
    .pushsection .data.gdt, "aw", @progbits
    .balign 16
gdt:
    .quad 0
    .quad 0x00af9b000000ffff        // 0x08 kernel code, 64-bit
    .quad 0x00cf93000000ffff        // 0x10 kernel data
    .quad 0x00cffb000000ffff        // 0x18 user code, 32-bit; only a placeholder for SYSRET
    .quad 0x00cff3000000ffff        // 0x20 user data
    .quad 0x00affb000000ffff        // 0x28 user code, 64-bit
gdt_task:
    .quad 0, 0                      // 0x30 task state segment, filled in by load_task
gdt_end:
    .global gdt_pointer
gdt_pointer:
    .word gdt_end - gdt - 1
    .quad gdt
    .popsection
    "#
);

unsafe extern "C" {
    static mut gdt_task: [u64; 2];
}

/// The 64-bit task state segment (Intel SDM volume 3, 9.7). Split into halves: its quad words lie on
/// odd double words.
#[repr(C)]
struct TaskState {
    reserved: u32,
    rsp0: [u32; 2],
    rest: [u32; 22],
    io_map: u32,
}

static mut TASK_STATE: TaskState = TaskState { reserved: 0, rsp0: [0; 2], rest: [0; 22], io_map: 104 << 16 };

/// Tells the processor where the task state segment is. Once, before ring 3 is entered.
pub fn load_task() {
    let base = &raw const TASK_STATE as u64;
    let limit = size_of::<TaskState>() as u64 - 1;
    let low = limit | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56;
    // SAFETY: the descriptor is not in use before LTR.
    unsafe {
        (&raw mut gdt_task).write_volatile([low, base >> 32]);
        asm!("ltr ax", in("ax") TASK, options(nostack, preserves_flags));
    }
}

/// Sets the stack on which interrupts from ring 3 arrive.
pub fn set_interrupt_stack(top: u64) {
    crate::set!(TASK_STATE.rsp0, [top as u32, (top >> 32) as u32]);
}
