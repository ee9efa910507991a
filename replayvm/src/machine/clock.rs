//! Virtual time: what the guest believes has passed.

/// Nanoseconds since power-on as a pure function of ticks and of logged idle jumps. At the end of its 64 bits (584 years)
/// virtual time stands still: it never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VirtualClock {
    ns_per_tick: u32,
    idle_ns: u64,
    /// The last value that the guest has read of the time-stamp counter.
    last_tsc: u64,
}

impl VirtualClock {
    /// The clock at power-on. [`check`](super::check) has refused ticks that take no time.
    #[must_use]
    pub fn new(ns_per_tick: u32) -> Self {
        Self { ns_per_tick: ns_per_tick.max(1), idle_ns: 0, last_tsc: 0 }
    }

    /// Nanoseconds since power-on at a tick.
    #[inline]
    #[must_use]
    pub fn ns_at(&self, tick: u64) -> u64 {
        tick.saturating_mul(u64::from(self.ns_per_tick)).saturating_add(self.idle_ns)
    }

    /// The first tick at or after `now` at which virtual time has reached `ns`.
    #[must_use]
    pub fn tick_reaching(&self, ns: u64, now: u64) -> u64 {
        let ticks = ns.saturating_sub(self.idle_ns).div_ceil(u64::from(self.ns_per_tick));
        ticks.max(now)
    }

    /// Virtual time jumps ahead: the CPU was idle.
    pub fn skip(&mut self, ns: u64) {
        self.idle_ns = self.idle_ns.saturating_add(ns);
    }

    /// The time-stamp counter without a read of it: 1 GHz of virtual time, or the last value read where that is ahead.
    #[must_use]
    pub fn peek_tsc(&self, tick: u64) -> u64 {
        self.ns_at(tick).max(self.last_tsc)
    }

    /// Reads the time-stamp counter. It never stands still: each read is at least one more than the last. Where ticks pass
    /// between reads it is virtual time exactly, so that a guest that measures its pace by another timer finds 1 GHz.
    pub fn read_tsc(&mut self, tick: u64) -> u64 {
        self.last_tsc = self.ns_at(tick).max(self.last_tsc.saturating_add(1));
        self.last_tsc
    }

    /// What the clock remembers besides its configuration: idle nanoseconds and the last value read of the TSC.
    #[must_use]
    pub fn saved(&self) -> (u64, u64) {
        (self.idle_ns, self.last_tsc)
    }

    /// The clock as [`VirtualClock::saved`] described it.
    pub fn restore(&mut self, idle_ns: u64, last_tsc: u64) {
        self.idle_ns = idle_ns;
        self.last_tsc = last_tsc;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_met_at_the_first_tick_at_or_past_it() {
        let mut clock = VirtualClock::new(10);
        assert_eq!(clock.tick_reaching(100, 0), 10);
        assert_eq!(clock.tick_reaching(101, 0), 11);
        assert_eq!(clock.tick_reaching(50, 9), 9);
        clock.skip(95);
        assert_eq!(clock.tick_reaching(101, 0), 1);
        assert!(clock.ns_at(1) >= 101);
    }

    #[test]
    fn at_its_end_virtual_time_stands_still_and_no_deadline_is_missed() {
        let mut clock = VirtualClock::new(u32::MAX);
        assert_eq!(clock.ns_at(u64::MAX), u64::MAX);
        assert!(clock.ns_at(1 << 32) <= clock.ns_at((1 << 32) + 1));
        clock.skip(u64::MAX - 5);
        clock.skip(u64::MAX);
        assert_eq!(clock.ns_at(0), u64::MAX);
        assert_eq!(clock.tick_reaching(u64::MAX, 7), 7);
    }

    #[test]
    fn the_tsc_never_stands_still() {
        let mut clock = VirtualClock::new(10);
        assert_eq!([clock.read_tsc(5), clock.read_tsc(5), clock.read_tsc(5)], [50, 51, 52]);
    }

    #[test]
    fn reads_of_the_tsc_do_not_change_its_pace() {
        let mut clock = VirtualClock::new(10);
        for tick in 1..1000 {
            assert_eq!(clock.read_tsc(tick), tick * 10);
        }
    }
}
