//! A receiver that counts packets, and a timer that counts beacons into the same counter.
//!
//! The bug: [`count`] loads the counter, checks it and stores it back. When the timer interrupt comes between
//! the load and the store, its own increment is overwritten. The counter ends lower than it should.
#![no_std]
#![no_main]

use kit::{cpu, get, guarded, irq, pit, set, verdict};

kit::guest!(main);

const PACKETS: u64 = 500;
const PACKET_BYTES: usize = 64;
const TIMER_HZ: u32 = 10_000;
/// The statistics are 48 bits wide on the wire.
const COUNTER_LIMIT: u64 = 1 << 48;

/// Frames seen: packets and beacons.
#[unsafe(no_mangle)]
pub static mut COUNTER: u64 = 0;

/// Beacons seen. Only the timer interrupt writes it.
#[unsafe(no_mangle)]
pub static mut BEACONS: u64 = 0;

fn main() -> ! {
    irq::install(irq::TIMER, irq::Handler::Plain(beacon));
    pit::periodic(TIMER_HZ);
    cpu::sti();

    let mut packet = [0u8; PACKET_BYTES];
    for number in 0..PACKETS {
        receive(number, &mut packet);
        if crc(&packet) != 0 {
            guarded!(count());
        }
    }

    cpu::cli();
    let expected = PACKETS + get!(BEACONS);
    verdict!(get!(COUNTER) == expected, "counter {} expected {expected}", get!(COUNTER));
}

/// The timer interrupt.
fn beacon() {
    set!(BEACONS, get!(BEACONS) + 1);
    count();
    irq::end_of_interrupt();
}

/// Counts one frame.
fn count() {
    let seen = get!(COUNTER);
    if seen >= COUNTER_LIMIT {
        panic!("the counter has left its 48 bits");
    }
    set!(COUNTER, seen + 1);
}

/// Makes up the packet with this number.
fn receive(number: u64, packet: &mut [u8]) {
    for (at, byte) in packet.iter_mut().enumerate() {
        *byte = (number as u8).wrapping_mul(31) ^ (at as u8);
    }
}

/// CRC-16 (CCITT), a bit at a time, as small firmware does it.
fn crc(packet: &[u8]) -> u16 {
    let mut crc = 0xffff;
    for byte in packet {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
        }
    }
    crc
}
