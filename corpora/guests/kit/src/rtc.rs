//! The CMOS wall clock (MC146818), read as the PC sets it up: BCD, 24 hours.

use crate::cpu::{inb, outb};

const INDEX: u16 = 0x70;
const DATA: u16 = 0x71;

/// A time of day.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TimeOfDay {
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
}

/// Reads the clock, again and again until two readings agree, so that an update cannot tear it.
pub fn time_of_day() -> TimeOfDay {
    let mut last = read();
    loop {
        let now = read();
        if now == last {
            return now;
        }
        last = now;
    }
}

fn read() -> TimeOfDay {
    TimeOfDay { hour: bcd(register(4)), minute: bcd(register(2)), second: bcd(register(0)) }
}

fn register(index: u8) -> u8 {
    outb(INDEX, index);
    inb(DATA)
}

fn bcd(value: u8) -> u8 {
    (value >> 4) * 10 + (value & 15)
}
