//! A server that grants leases of 45 minutes, by the wall clock.
//!
//! The bug: [`grant`] keeps the end of a lease as a minute of the day. A lease that is granted in the last
//! three quarters of an hour before midnight ends at a small number, and [`is_valid`] takes it for expired the
//! moment it is granted. The machine has to be switched on at the wrong time of day.
#![no_std]
#![no_main]

use kit::rtc::{self, TimeOfDay};
use kit::{fixed, get, set, verdict};

kit::guest!(main);

const LEASES: usize = 128;
const LEASE_MINUTES: u16 = 45;
const MINUTES_A_DAY: u16 = 24 * 60;

/// When each lease ends, in minutes since midnight.
#[unsafe(no_mangle)]
pub static mut EXPIRY: [u16; LEASES] = [0; LEASES];

fn main() -> ! {
    for lease in 0..LEASES {
        set!(EXPIRY[lease], grant(rtc::time_of_day()));
    }

    let now = rtc::time_of_day();
    let mut expired = 0;
    for lease in 0..LEASES {
        if !is_valid(get!(EXPIRY[lease]), now) {
            expired += 1;
        }
    }
    let TimeOfDay { hour, minute, second } = now;
    verdict!(expired == 0, "{expired} of {LEASES} new leases expired at {hour:02}:{minute:02}:{second:02}");
}

fn grant(now: TimeOfDay) -> u16 {
    (minute_of_day(now) + LEASE_MINUTES) % MINUTES_A_DAY
}

fn is_valid(expiry: u16, now: TimeOfDay) -> bool {
    if fixed!() {
        let left = (expiry + MINUTES_A_DAY - minute_of_day(now)) % MINUTES_A_DAY;
        return (1..=LEASE_MINUTES).contains(&left);
    }
    minute_of_day(now) < expiry
}

fn minute_of_day(time: TimeOfDay) -> u16 {
    u16::from(time.hour) * 60 + u16::from(time.minute)
}
