//! How a guest reports that its invariant held or not: a line on the serial port, then a value at port 0xf4
//! (QEMU's `isa-debug-exit` turns 0x10 into exit status 33 and 0x11 into 35).

use crate::cpu::{cli, hlt, outl};
use crate::{GUEST_NAME, println};
use core::fmt;

const PORT: u16 = 0xf4;
const PASS: u32 = 0x10;
const FAIL: u32 = 0x11;

/// Ends the run: prints `name: PASS what` or `name: FAIL what`.
#[cold]
#[inline(never)]
pub fn verdict(held: bool, what: fmt::Arguments) -> ! {
    cli();
    println!("{GUEST_NAME}: {} {what}", if held { "PASS" } else { "FAIL" });
    outl(PORT, if held { PASS } else { FAIL });
    loop {
        hlt();
    }
}

/// Ends the run with the verdict of a condition, described by a format string.
#[macro_export]
macro_rules! verdict {
    ($held:expr, $($what:tt)*) => {
        $crate::verdict::verdict($held, format_args!($($what)*))
    };
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    cli();
    verdict(false, format_args!("panic: {}", info.message()))
}
