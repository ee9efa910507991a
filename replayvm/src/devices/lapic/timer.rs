//! The timer of the local APIC: one-shot, periodic, TSC-deadline.
//!
//! Source: SDM volume 3, "APIC timer". It counts nanoseconds of virtual time through the divider: a bus of 1 GHz. The current
//! count is computed, never stepped. The LVT entry is the APIC's and comes in as an argument. Not here: delivery.

use rkyv::{Archive, Deserialize, Serialize};

use super::super::deadline::Deadline;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    OneShot,
    Periodic,
    TscDeadline,
}

impl Mode {
    /// Bits 17 and 18 of the LVT entry. The reserved fourth value counts once.
    fn of(entry: u32) -> Self {
        match (entry >> 17) & 3 {
            1 => Self::Periodic,
            2 => Self::TscDeadline,
            _ => Self::OneShot,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub(in super::super) struct State {
    initial_count: u32,
    /// The divide configuration register.
    divide: u32,
    /// When the counter had `start_count`.
    start_ns: u64,
    /// Zero: stopped.
    start_count: u32,
    /// IA32_TSC_DEADLINE; zero: not armed.
    tsc_deadline: u64,
    pub(in super::super) deadline: Deadline,
}

impl State {
    pub(super) fn initial_count(&self) -> u32 {
        self.initial_count
    }

    pub(super) fn divide(&self) -> u32 {
        self.divide
    }

    pub(super) fn tsc_deadline(&self) -> u64 {
        self.tsc_deadline
    }

    /// Nanoseconds a count: bits 0, 1 and 3 of the register; 111 divides by one (SDM figure 11-10).
    pub(super) fn divisor(&self) -> u64 {
        let code = self.divide & 3 | (self.divide >> 1) & 4;
        if code == 7 { 1 } else { 2 << code }
    }

    /// Counts left at `now_ns`.
    pub(super) fn current_count(&self, now_ns: u64, entry: u32) -> u32 {
        let elapsed = now_ns.saturating_sub(self.start_ns) / self.divisor();
        let start = u64::from(self.start_count);
        let initial = u64::from(self.initial_count);
        let left = match Mode::of(entry) {
            Mode::TscDeadline => 0,
            _ if elapsed < start => start - elapsed,
            Mode::Periodic if start != 0 && initial != 0 => initial - (elapsed - start) % initial,
            _ => 0,
        };
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// Starts the counter; zero stops it. In TSC-deadline mode the write is ignored.
    pub(super) fn set_initial_count(&mut self, now_ns: u64, value: u32, entry: u32) {
        if Mode::of(entry) == Mode::TscDeadline {
            return;
        }
        self.initial_count = value;
        self.start_count = value;
        self.start_ns = now_ns;
        self.deadline.clear();
        self.schedule(now_ns, entry);
    }

    /// Changes the divider: what is left is counted at the new rate. A firing that is late stays so.
    pub(super) fn set_divide(&mut self, now_ns: u64, value: u32, entry: u32) {
        let left = self.current_count(now_ns, entry);
        self.divide = value;
        if Mode::of(entry) != Mode::TscDeadline {
            self.restart(now_ns, left, entry);
        }
    }

    /// Takes a new LVT entry. A change to or from TSC-deadline mode disarms; between the other two the count goes on.
    pub(super) fn change_mode(&mut self, now_ns: u64, before: u32, after: u32) {
        let (was, is) = (Mode::of(before), Mode::of(after));
        if was == is {
            return;
        }
        if was == Mode::TscDeadline || is == Mode::TscDeadline {
            self.start_count = 0;
            self.tsc_deadline = 0;
            self.deadline.clear();
        } else {
            let left = self.current_count(now_ns, before);
            self.restart(now_ns, left, after);
        }
    }

    /// Arms the timer for a value of the time-stamp counter, which is `tsc` now; zero disarms. Ignored in the other modes.
    pub(super) fn set_tsc_deadline(&mut self, now_ns: u64, tsc: u64, value: u64, entry: u32) {
        if Mode::of(entry) != Mode::TscDeadline {
            return;
        }
        self.tsc_deadline = value;
        self.deadline.clear();
        if value != 0 {
            self.deadline.set(now_ns.checked_add(value.saturating_sub(tsc)));
        }
    }

    /// Fires when due; `true` when it did. Periods that were missed altogether are one firing.
    pub(super) fn advance(&mut self, now_ns: u64, entry: u32) -> bool {
        if !self.deadline.is_due(now_ns) {
            return false;
        }
        self.deadline.clear();
        match Mode::of(entry) {
            Mode::TscDeadline => self.tsc_deadline = 0,
            Mode::OneShot | Mode::Periodic => self.schedule(now_ns, entry),
        }
        true
    }

    fn restart(&mut self, now_ns: u64, left: u32, entry: u32) {
        self.start_count = left;
        self.start_ns = now_ns;
        if !self.deadline.is_overdue(now_ns) {
            self.schedule(now_ns, entry);
        }
    }

    /// Sets the first nominal deadline after `now_ns`.
    fn schedule(&mut self, now_ns: u64, entry: u32) {
        self.deadline.set(self.next(now_ns, entry));
    }

    fn next(&self, now_ns: u64, entry: u32) -> Option<u64> {
        if self.start_count == 0 {
            return None;
        }
        let divisor = self.divisor();
        let first = self.start_ns.checked_add(u64::from(self.start_count) * divisor)?;
        if first > now_ns {
            return Some(first);
        }
        let period = u64::from(self.initial_count) * divisor;
        if Mode::of(entry) != Mode::Periodic || period == 0 {
            return None;
        }
        let periods = (now_ns - first) / period + 1;
        first.checked_add(periods.checked_mul(period)?)
    }

    pub(super) fn validate(&self) -> Result<(), &'static str> {
        if self.divide & !0xb != 0 {
            return Err("the divide configuration register has reserved bits set");
        }
        if !self.deadline.is_valid() {
            return Err("a delay without a deadline");
        }
        Ok(())
    }
}
