//! The 8254 interval timer, channel 0, which raises IRQ 0.

use crate::cpu::outb;

const CHANNEL_0: u16 = 0x40;
const COMMAND: u16 = 0x43;
const INPUT_HZ: u32 = 1_193_182;

/// Interrupts `hz` times a second from now on.
pub fn periodic(hz: u32) {
    let divisor = (INPUT_HZ + hz / 2) / hz;
    outb(COMMAND, 0x34); // channel 0, low byte then high byte, mode 2 (rate generator), binary
    outb(CHANNEL_0, divisor as u8);
    outb(CHANNEL_0, (divisor >> 8) as u8);
}
