//! When a timer fires: its nominal deadline and the one perturbation that may move this firing.
//!
//! Not a timer: each device computes its own deadlines, exactly, and keeps them here.

use rkyv::{Archive, Deserialize, Serialize};

/// A timer that can raise an interrupt. The numbers are part of the recording format
/// (`recorder::Event::TimerDelay`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TimerSource {
    /// Channel 0 of the 8254.
    Pit = 0,
    /// The timer of the local APIC, in any of its modes.
    LapicTimer = 1,
    /// The periodic interrupt of the real-time clock.
    RtcPeriodic = 2,
    /// The once-a-second update of the real-time clock: its update-ended and alarm interrupts.
    RtcUpdate = 3,
    /// The power-management timer of ACPI: its highest bit has changed.
    PmTimer = 4,
}

impl TimerSource {
    /// All sources, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Pit, Self::LapicTimer, Self::RtcPeriodic, Self::RtcUpdate, Self::PmTimer];
}

impl From<TimerSource> for u8 {
    fn from(source: TimerSource) -> Self {
        source as Self
    }
}

/// A number that is no [`TimerSource`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no timer number {0}")]
pub struct UnknownTimerSource(pub u8);

impl TryFrom<u8> for TimerSource {
    type Error = UnknownTimerSource;

    fn try_from(number: u8) -> Result<Self, UnknownTimerSource> {
        Self::ALL.into_iter().find(|source| u8::from(*source) == number).ok_or(UnknownTimerSource(number))
    }
}

/// A nominal deadline in nanoseconds of virtual time, and how much later this one firing happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub(super) struct Deadline {
    nominal_ns: Option<u64>,
    /// `None` while no perturbation was decided for this deadline.
    delay_ns: Option<u64>,
}

impl Deadline {
    /// Moves the nominal deadline. A decision made for another deadline is forgotten.
    pub(super) fn set(&mut self, nominal_ns: Option<u64>) {
        if self.nominal_ns != nominal_ns {
            *self = Self { nominal_ns, delay_ns: None };
        }
    }

    /// Forgets the deadline and its decision.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether there is a deadline.
    #[cfg(test)]
    pub(super) fn is_set(&self) -> bool {
        self.nominal_ns.is_some()
    }

    /// When it fires, delay included.
    pub(super) fn fires_at(&self) -> Option<u64> {
        self.nominal_ns.map(|nominal| nominal.saturating_add(self.delay_ns.unwrap_or(0)))
    }

    /// When it fires, for a person who stands at `now_ns`.
    pub(super) fn in_words(&self, now_ns: u64) -> String {
        match (self.fires_at(), self.delay_ns) {
            (None, _) => "never".to_owned(),
            (Some(at), Some(delay @ 1..)) => {
                format!("in {} ns, at {at} ns, delayed by {delay} ns", at.saturating_sub(now_ns))
            }
            (Some(at), _) => format!("in {} ns, at {at} ns", at.saturating_sub(now_ns)),
        }
    }

    /// Whether it is to fire at `now_ns` or before.
    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        self.fires_at().is_some_and(|at| at <= now_ns)
    }

    /// Whether the nominal deadline was reached and the firing is still to come.
    pub(super) fn is_overdue(&self, now_ns: u64) -> bool {
        self.nominal_ns.is_some_and(|at| at <= now_ns)
    }

    /// Whether the nominal deadline was reached and nobody decided yet if it is perturbed.
    pub(super) fn is_undecided(&self, now_ns: u64) -> bool {
        self.delay_ns.is_none() && self.is_overdue(now_ns)
    }

    /// Decides that this firing happens `ns` after its nominal deadline. Without a deadline there is nothing to decide.
    pub(super) fn decide(&mut self, ns: u64) {
        if self.nominal_ns.is_some() {
            self.delay_ns = Some(ns);
        }
    }

    /// Whether a value read from a recording can be a deadline at all.
    pub(super) fn is_valid(&self) -> bool {
        self.nominal_ns.is_some() || self.delay_ns.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_the_sources_are_stable() {
        let numbers = TimerSource::ALL.map(u8::from);
        assert_eq!(numbers, [0, 1, 2, 3, 4]);
        for source in TimerSource::ALL {
            assert_eq!(TimerSource::try_from(u8::from(source)), Ok(source));
        }
        assert_eq!(TimerSource::try_from(5), Err(UnknownTimerSource(5)));
    }

    #[test]
    fn a_decision_belongs_to_one_deadline() {
        let mut deadline = Deadline::default();
        deadline.decide(7);
        assert_eq!(deadline, Deadline::default(), "nothing to decide without a deadline");
        deadline.set(Some(100));
        assert!(!deadline.is_undecided(99));
        assert!(deadline.is_undecided(100));
        deadline.decide(7);
        assert!(!deadline.is_undecided(100));
        assert!(deadline.is_overdue(100) && !deadline.is_due(106) && deadline.is_due(107));
        deadline.set(Some(100));
        assert_eq!(deadline.fires_at(), Some(107), "the same deadline keeps its decision");
        deadline.set(Some(200));
        assert_eq!(deadline.fires_at(), Some(200), "another deadline starts undecided");
    }
}
