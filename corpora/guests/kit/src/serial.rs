//! The 16550 serial port at 0x3f8, written byte by byte.

use crate::cpu::{inb, outb, without_interrupts};
use core::fmt;

const PORT: u16 = 0x3f8;
const TRANSMITTER_EMPTY: u8 = 0x20;

/// 115200 baud, 8 data bits, no parity, no interrupts.
pub fn init() {
    outb(PORT + 1, 0x00); // interrupts off
    outb(PORT + 3, 0x80); // divisor latch
    outb(PORT, 1);
    outb(PORT + 1, 0);
    outb(PORT + 3, 0x03); // 8N1
    outb(PORT + 2, 0x07); // FIFOs on and cleared
    outb(PORT + 4, 0x03); // DTR, RTS
}

struct Serial;

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            while inb(PORT + 5) & TRANSMITTER_EMPTY == 0 {}
            outb(PORT, byte);
        }
        Ok(())
    }
}

/// Prints with interrupts off: the formatting code of `core` comes compiled with a red zone, which an
/// interrupt on the same stack would overwrite.
pub fn print(text: fmt::Arguments) {
    without_interrupts(|| {
        let _ = fmt::Write::write_fmt(&mut Serial, text);
    });
}

/// Prints a line on the serial port.
#[macro_export]
macro_rules! println {
    ($($text:tt)*) => {
        $crate::serial::print(format_args!("{}\n", format_args!($($text)*)))
    };
}
