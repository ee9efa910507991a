//! What a small guest needs of a bare PC: start-up, a serial line, interrupts, a timer, a way to say how it went.
//!
//! Not an operating system: no allocator, no threads. A guest that needs those brings its own, bugs included.
#![no_std]
#![allow(clippy::macro_metavars_in_unsafe, reason = "what `get` and `set` are for")]

/// From the multiboot entry in 32-bit protected mode to `main` in long mode.
pub mod boot;
/// Instructions that Rust has no word for.
pub mod cpu;
/// Random numbers from the processor.
pub mod entropy;
/// Segments, and the task state segment that ring 3 needs.
pub mod gdt;
/// Interrupts: descriptor table, entry and exit, the two 8259 controllers.
pub mod irq;
/// The memory functions that compiled code calls.
mod mem;
/// What the loader tells: how much memory there is, the command line.
pub mod multiboot;
/// The 8254 interval timer.
pub mod pit;
/// The CMOS wall clock.
pub mod rtc;
/// The 16550 serial port.
pub mod serial;
/// How a guest reports that its invariant held or not.
pub mod verdict;

/// Reads a `static mut` (or what a pointer leads to) that interrupt handlers share: one load, here and now.
#[macro_export]
macro_rules! get {
    ($place:expr) => {{
        $crate::fence();
        // SAFETY: statics are always valid, and guests keep their pointers so; one processor, so no load is torn.
        let value = unsafe { $place };
        $crate::fence();
        value
    }};
}

/// Writes a `static mut` (or what a pointer leads to) that interrupt handlers share: one store, here and now.
#[macro_export]
macro_rules! set {
    ($place:expr, $value:expr) => {{
        let value = $value;
        $crate::fence();
        // SAFETY: statics are always valid, and guests keep their pointers so; one processor, so no store is torn.
        unsafe { $place = value };
        $crate::fence();
    }};
}

/// Keeps the compiler, and only it, from moving loads and stores across: interrupts may come here.
#[inline(always)]
pub fn fence() {
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
}

/// Whether this is the guest's twin that has no bug (feature `fixed`).
#[macro_export]
macro_rules! fixed {
    () => {
        cfg!(feature = "fixed")
    };
}

/// Evaluates an expression: in the fixed twin with interrupts off, otherwise as it is.
#[macro_export]
macro_rules! guarded {
    ($body:expr) => {
        if $crate::fixed!() { $crate::cpu::without_interrupts(|| $body) } else { $body }
    };
}

/// Names the function that a guest starts in.
#[macro_export]
macro_rules! guest {
    ($main:path) => {
        #[unsafe(no_mangle)]
        static GUEST_NAME: &str =
            if $crate::fixed!() { concat!(env!("CARGO_BIN_NAME"), "-fixed") } else { env!("CARGO_BIN_NAME") };

        #[unsafe(no_mangle)]
        extern "Rust" fn guest_main() -> ! {
            $main()
        }
    };
}

unsafe extern "Rust" {
    /// The guest's name, as it prints it.
    safe static GUEST_NAME: &'static str;
    /// The guest's `main`.
    safe fn guest_main() -> !;
}
