//! Floating-point operations by the host's own SSE2 under a given MXCSR.
//!
//! SSE2 arithmetic is exact IEEE 754 with NaN rules that are architectural, so that the result does not depend on the
//! host's model. Each operation runs inside one `asm!` block that loads the given MXCSR (every exception masked),
//! operates, and puts the host's MXCSR back: Rust assumes that MXCSR never changes between its own instructions.
#![allow(unsafe_code, reason = "MXCSR can only be changed around an operation within one asm block")]

use std::arch::asm;

#[cfg(not(target_arch = "x86_64"))]
compile_error!("SSE in the guest runs on the SSE2 of an x86-64 host");

/// Destination, source and MXCSR with all exceptions masked to result and MXCSR with the flags that were raised.
pub(in crate::exec) type Operation = fn(u128, u128, u32) -> (u128, u32);

/// What the asm blocks read and write; its layout is known to them.
#[repr(C, align(16))]
struct Frame {
    a: u128,
    b: u128,
    mxcsr: u32,
    saved: u32,
}

/// The masks of all exceptions.
pub(super) const MASKS: u32 = 0x1f80;

/// A function that operates on `xmm0` and `xmm1` (or on the copy of the source at `[r8 + 16]`) and leaves a result in
/// `xmm0`.
macro_rules! body {
    ($a:ident, $b:ident, $mxcsr:ident, [$($text:literal),+] $(, $name:ident = $value:ident)?) => {{
        let mut frame = Frame { a: $a, b: $b, mxcsr: $mxcsr | MASKS, saved: 0 };
        // SAFETY: the block touches only `frame`, whose 16-byte alignment `movaps` needs, and the registers that it
        // declares; it leaves MXCSR as it found it, and with every exception masked nothing in it can trap.
        unsafe {
            asm!(
                "movaps xmm0, [r8]",
                "movaps xmm1, [r8 + 16]",
                "stmxcsr [r8 + 36]",
                "ldmxcsr [r8 + 32]",
                $($text,)+
                "stmxcsr [r8 + 32]",
                "ldmxcsr [r8 + 36]",
                "movaps [r8], xmm0",
                in("r8") &raw mut frame,
                out("rax") _,
                out("rcx") _,
                out("rdx") _,
                out("xmm0") _,
                out("xmm1") _,
                $($name = const $value,)?
                options(nostack),
            );
        }
        (frame.a, frame.mxcsr)
    }};
}

macro_rules! operations {
    ($($name:ident: $($text:literal),+;)*) => {$(
        pub(in crate::exec) fn $name(a: u128, b: u128, mxcsr: u32) -> (u128, u32) {
            body!(a, b, mxcsr, [$($text),+])
        }
    )*};
}

operations! {
    addps: "addps xmm0, xmm1";
    addpd: "addpd xmm0, xmm1";
    addss: "addss xmm0, xmm1";
    addsd: "addsd xmm0, xmm1";
    subps: "subps xmm0, xmm1";
    subpd: "subpd xmm0, xmm1";
    subss: "subss xmm0, xmm1";
    subsd: "subsd xmm0, xmm1";
    mulps: "mulps xmm0, xmm1";
    mulpd: "mulpd xmm0, xmm1";
    mulss: "mulss xmm0, xmm1";
    mulsd: "mulsd xmm0, xmm1";
    divps: "divps xmm0, xmm1";
    divpd: "divpd xmm0, xmm1";
    divss: "divss xmm0, xmm1";
    divsd: "divsd xmm0, xmm1";
    minps: "minps xmm0, xmm1";
    minpd: "minpd xmm0, xmm1";
    minss: "minss xmm0, xmm1";
    minsd: "minsd xmm0, xmm1";
    maxps: "maxps xmm0, xmm1";
    maxpd: "maxpd xmm0, xmm1";
    maxss: "maxss xmm0, xmm1";
    maxsd: "maxsd xmm0, xmm1";
    sqrtps: "sqrtps xmm0, xmm1";
    sqrtpd: "sqrtpd xmm0, xmm1";
    sqrtss: "sqrtss xmm0, xmm1";
    sqrtsd: "sqrtsd xmm0, xmm1";
    cvtss2sd: "cvtss2sd xmm0, xmm1";
    cvtsd2ss: "cvtsd2ss xmm0, xmm1";
    cvtps2pd: "cvtps2pd xmm0, xmm1";
    cvtpd2ps: "cvtpd2ps xmm0, xmm1";
    cvtdq2ps: "cvtdq2ps xmm0, xmm1";
    cvtdq2pd: "cvtdq2pd xmm0, xmm1";
    cvtps2dq: "cvtps2dq xmm0, xmm1";
    cvttps2dq: "cvttps2dq xmm0, xmm1";
    cvtpd2dq: "cvtpd2dq xmm0, xmm1";
    cvttpd2dq: "cvttpd2dq xmm0, xmm1";
    // From a general register, whose value is the low part of the source.
    cvtsi2ss_32: "cvtsi2ss xmm0, dword ptr [r8 + 16]";
    cvtsi2ss_64: "cvtsi2ss xmm0, qword ptr [r8 + 16]";
    cvtsi2sd_32: "cvtsi2sd xmm0, dword ptr [r8 + 16]";
    cvtsi2sd_64: "cvtsi2sd xmm0, qword ptr [r8 + 16]";
    // To a general register: the low part of the result.
    cvtss2si_32: "cvtss2si eax, xmm1", "movq xmm0, rax";
    cvtss2si_64: "cvtss2si rax, xmm1", "movq xmm0, rax";
    cvttss2si_32: "cvttss2si eax, xmm1", "movq xmm0, rax";
    cvttss2si_64: "cvttss2si rax, xmm1", "movq xmm0, rax";
    cvtsd2si_32: "cvtsd2si eax, xmm1", "movq xmm0, rax";
    cvtsd2si_64: "cvtsd2si rax, xmm1", "movq xmm0, rax";
    cvttsd2si_32: "cvttsd2si eax, xmm1", "movq xmm0, rax";
    cvttsd2si_64: "cvttsd2si rax, xmm1", "movq xmm0, rax";
    // To flags: CF, PF and ZF at their places in RFLAGS.
    comiss: "comiss xmm0, xmm1", "setc al", "setp cl", "setz dl",
        "movzx eax, al", "movzx ecx, cl", "movzx edx, dl",
        "shl ecx, 2", "shl edx, 6", "or eax, ecx", "or eax, edx", "movq xmm0, rax";
    ucomiss: "ucomiss xmm0, xmm1", "setc al", "setp cl", "setz dl",
        "movzx eax, al", "movzx ecx, cl", "movzx edx, dl",
        "shl ecx, 2", "shl edx, 6", "or eax, ecx", "or eax, edx", "movq xmm0, rax";
    comisd: "comisd xmm0, xmm1", "setc al", "setp cl", "setz dl",
        "movzx eax, al", "movzx ecx, cl", "movzx edx, dl",
        "shl ecx, 2", "shl edx, 6", "or eax, ecx", "or eax, edx", "movq xmm0, rax";
    ucomisd: "ucomisd xmm0, xmm1", "setc al", "setp cl", "setz dl",
        "movzx eax, al", "movzx ecx, cl", "movzx edx, dl",
        "shl ecx, 2", "shl edx, 6", "or eax, ecx", "or eax, edx", "movq xmm0, rax";
}

macro_rules! compares {
    ($($table:ident $name:ident: $text:literal;)*) => {$(
        fn $name<const PREDICATE: u8>(a: u128, b: u128, mxcsr: u32) -> (u128, u32) {
            body!(a, b, mxcsr, [$text], predicate = PREDICATE)
        }
        /// By predicate: equal, less, less or equal, unordered, and the negations of these.
        pub(super) static $table: [Operation; 8] =
            [$name::<0>, $name::<1>, $name::<2>, $name::<3>, $name::<4>, $name::<5>, $name::<6>, $name::<7>];
    )*};
}

compares! {
    CMPPS cmpps: "cmpps xmm0, xmm1, {predicate}";
    CMPPD cmppd: "cmppd xmm0, xmm1, {predicate}";
    CMPSS cmpss: "cmpss xmm0, xmm1, {predicate}";
    CMPSD cmpsd: "cmpsd xmm0, xmm1, {predicate}";
}
