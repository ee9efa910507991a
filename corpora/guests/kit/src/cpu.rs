//! Instructions that Rust has no word for. Each function is one or two instructions.

use core::arch::asm;

/// Writes a byte to an I/O port.
pub fn outb(port: u16, value: u8) {
    // SAFETY: port I/O does not touch memory that Rust knows of.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) }
}

/// Writes a double word to an I/O port.
pub fn outl(port: u16, value: u32) {
    // SAFETY: port I/O does not touch memory that Rust knows of.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack, preserves_flags)) }
}

/// Reads a byte from an I/O port.
pub fn inb(port: u16) -> u8 {
    let value;
    // SAFETY: port I/O does not touch memory that Rust knows of.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) }
    value
}

/// Turns interrupts on.
pub fn sti() {
    // SAFETY: handlers are installed before a guest calls this; memory is clobbered on purpose.
    unsafe { asm!("sti", options(nostack)) }
}

/// Turns interrupts off.
pub fn cli() {
    // SAFETY: only delays interrupts; memory is clobbered on purpose.
    unsafe { asm!("cli", options(nostack)) }
}

/// Waits for the next interrupt.
pub fn hlt() {
    // SAFETY: goes on after the next interrupt; memory is clobbered on purpose.
    unsafe { asm!("hlt", options(nostack)) }
}

/// Turns interrupts on and waits for the next one. Nothing can come between the two.
pub fn sti_hlt() {
    // SAFETY: as `sti` and `hlt`.
    unsafe { asm!("sti", "hlt", options(nostack)) }
}

/// Whether interrupts are on.
pub fn interrupts_on() -> bool {
    let flags: u64;
    // SAFETY: reads RFLAGS through the stack.
    unsafe { asm!("pushfq", "pop {}", out(reg) flags, options(preserves_flags)) }
    flags & (1 << 9) != 0
}

/// Runs `body` with interrupts off and puts them back as they were.
pub fn without_interrupts<R>(body: impl FnOnce() -> R) -> R {
    let on = interrupts_on();
    cli();
    let result = body();
    if on {
        sti();
    }
    result
}

/// The time stamp counter.
pub fn rdtsc() -> u64 {
    // SAFETY: every 64-bit processor has it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Writes a model-specific register.
///
/// # Safety
/// The register exists and the value suits the way the guest goes on.
pub unsafe fn wrmsr(register: u32, value: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack, preserves_flags))
    }
}

/// Reads a model-specific register.
///
/// # Safety
/// The register exists.
pub unsafe fn rdmsr(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller's promise.
    unsafe {
        asm!("rdmsr", in("ecx") register, out("eax") low, out("edx") high,
            options(nomem, nostack, preserves_flags))
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Loads the root of the page tables.
///
/// # Safety
/// `root` is the physical address of tables that map the running code and stack.
pub unsafe fn load_cr3(root: u64) {
    // SAFETY: the caller's promise.
    unsafe { asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags)) }
}
