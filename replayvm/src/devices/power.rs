//! ACPI's fixed registers: PM1 event and control blocks, the power-management timer, and the way to turn the machine off.
//!
//! Source: ACPI specification 6.5, 4.8.3 (fixed hardware features). The machine is always in ACPI mode (SCI_EN is wired to one,
//! there is no SMI command port). There is neither a fixed power button nor a fixed sleep button, and no sleep state but S5.
//! The timer counts 3.579545 MHz of virtual time in 32 bits; nothing is stepped.
//!
//! Not here: the tables that tell a kernel where these registers are (`machine::boot`).

use rkyv::{Archive, Deserialize, Serialize};

use super::deadline::Deadline;
use super::saved::SavedState;

/// Interrupt line of the system control interrupt.
pub const SCI_IRQ: u8 = 9;
/// First port of the PM1a event block: status, then enable, 16 bits each.
pub const PM1_EVENT_PORT: u16 = 0x600;
/// The PM1a control register, 16 bits.
pub const PM1_CONTROL_PORT: u16 = 0x604;
/// The timer, 32 bits.
pub const PM_TIMER_PORT: u16 = 0x608;
/// What SLP_TYP has to be for S5.
pub const SLEEP_TYPE_S5: u8 = 5;

pub(super) const FIRST_PORT: u16 = PM1_EVENT_PORT;
pub(super) const LAST_PORT: u16 = PM_TIMER_PORT + 3;

const TIMER_HZ: u128 = 3_579_545;
const NS_PER_SECOND: u128 = 1_000_000_000;
/// Clocks between two changes of the timer's highest bit.
const HALF_TURN: u64 = 1 << 31;

const STATUS_TIMER: u16 = 1;
/// Timer, global lock, power button, sleep button, clock alarm, and no wake by PCI Express: all can be written.
const ENABLE_WRITABLE: u16 = 0x4721;
const CONTROL_SCI_ENABLE: u16 = 1;
/// BM_RLD and SLP_TYP are kept. GBL_RLS and SLP_EN read as zero.
const CONTROL_WRITABLE: u16 = 0x1c02;
const CONTROL_SLEEP_ENABLE: u16 = 1 << 13;
const CONTROL_SLEEP_TYPE_SHIFT: u16 = 10;

/// The saved state.
#[derive(Debug, Clone, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub(super) struct State {
    enable: u16,
    control: u16,
    /// Half turns of the timer up to which its status bit has been cleared.
    half_turns_cleared: u64,
    /// The timer's status bit as far as the interrupt knows: set when a deadline was met.
    fired: bool,
    /// The next change of the timer's highest bit, while that interrupts.
    pub(super) deadline: Deadline,
}

impl SavedState for State {
    const NAME: &'static str = "power";
    const VERSION: u32 = 1;

    fn validate(&self) -> Result<(), &'static str> {
        if self.enable & !ENABLE_WRITABLE != 0 || self.control & !CONTROL_WRITABLE != 0 {
            return Err("bits that are not kept are set");
        }
        if !self.deadline.is_valid() {
            return Err("a delay without a deadline");
        }
        Ok(())
    }
}

/// The registers.
#[derive(Debug, Clone, Default)]
pub struct Power {
    state: State,
}

/// Clocks of the timer since power-on.
fn clocks_at(now_ns: u64) -> u64 {
    (u128::from(now_ns) * TIMER_HZ / NS_PER_SECOND) as u64
}

/// The first nanosecond of a clock.
fn ns_of_clock(clock: u64) -> Option<u64> {
    u64::try_from((u128::from(clock) * NS_PER_SECOND).div_ceil(TIMER_HZ)).ok()
}

impl Power {
    pub(super) fn from_state(state: State) -> Self {
        Self { state }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn deadline(&self) -> &Deadline {
        &self.state.deadline
    }

    pub(super) fn deadline_mut(&mut self) -> &mut Deadline {
        &mut self.state.deadline
    }

    /// The level of the system control interrupt.
    pub(super) fn line(&self) -> bool {
        self.state.fired && self.state.enable & STATUS_TIMER != 0
    }

    /// Fires what is due.
    pub(super) fn advance(&mut self, now_ns: u64) {
        if self.state.deadline.is_due(now_ns) {
            self.state.fired = true;
            self.state.deadline.clear();
        }
    }

    /// Reads a byte of a register.
    pub(super) fn read(&self, now_ns: u64, port: u16) -> u8 {
        let value = match port {
            PM1_EVENT_PORT..PM1_CONTROL_PORT => {
                u32::from(self.status(now_ns)) | u32::from(self.state.enable) << 16
            }
            PM1_CONTROL_PORT..PM_TIMER_PORT => u32::from(self.state.control | CONTROL_SCI_ENABLE),
            _ => clocks_at(now_ns) as u32,
        };
        value.to_le_bytes()[usize::from(port & 3)]
    }

    /// Writes a byte of a register. `true`: the machine goes into S5.
    pub(super) fn write(&mut self, now_ns: u64, port: u16, value: u8) -> bool {
        let merge = |old: u16| {
            let mut bytes = old.to_le_bytes();
            bytes[usize::from(port & 1)] = value;
            u16::from_le_bytes(bytes)
        };
        match port.wrapping_sub(FIRST_PORT) {
            // A one clears the bit; the timer's is the only one that is ever set.
            0 if u16::from(value) & STATUS_TIMER != 0 => {
                self.state.half_turns_cleared = clocks_at(now_ns) / HALF_TURN;
                self.state.fired = false;
                self.state.deadline.clear();
                self.reschedule(now_ns);
            }
            2 | 3 => {
                self.state.enable = merge(self.state.enable) & ENABLE_WRITABLE;
                self.state.fired = self.status(now_ns) & STATUS_TIMER != 0;
                self.reschedule(now_ns);
            }
            4 | 5 => {
                let written = merge(self.state.control);
                self.state.control = written & CONTROL_WRITABLE;
                let sleep_type = written >> CONTROL_SLEEP_TYPE_SHIFT & 7;
                return written & CONTROL_SLEEP_ENABLE != 0 && sleep_type == u16::from(SLEEP_TYPE_S5);
            }
            _ => {}
        }
        false
    }

    fn status(&self, now_ns: u64) -> u16 {
        if self.state.fired || clocks_at(now_ns) / HALF_TURN != self.state.half_turns_cleared {
            STATUS_TIMER
        } else {
            0
        }
    }

    /// A deadline only while the timer's interrupt is enabled and its status bit not yet set.
    fn reschedule(&mut self, now_ns: u64) {
        let waits = self.state.enable & STATUS_TIMER != 0 && !self.state.fired;
        let next = (clocks_at(now_ns) / HALF_TURN + 1).checked_mul(HALF_TURN);
        self.state.deadline.set(if waits { next.and_then(ns_of_clock) } else { None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn timer(power: &Power, now_ns: u64) -> u32 {
        u32::from_le_bytes([0, 1, 2, 3].map(|i| power.read(now_ns, PM_TIMER_PORT + i)))
    }

    fn status(power: &Power, now_ns: u64) -> u8 {
        power.read(now_ns, PM1_EVENT_PORT)
    }

    #[test]
    fn the_timer_counts_virtual_time_in_32_bits() {
        let power = Power::default();
        assert_eq!(timer(&power, 0), 0);
        assert_eq!(timer(&power, SECOND), 3_579_545);
        assert_eq!(timer(&power, 1200 * SECOND), (1200 * 3_579_545_u64 % (1 << 32)) as u32);
        assert_eq!(timer(&power, u64::MAX), clocks_at(u64::MAX) as u32);
    }

    #[test]
    fn a_change_of_the_timers_highest_bit_sets_its_status_until_a_one_is_written() {
        let mut power = Power::default();
        let turn = ns_of_clock(HALF_TURN).unwrap();
        assert_eq!((status(&power, turn - 1), status(&power, turn)), (0, 1));
        power.write(turn, PM1_EVENT_PORT, 0xfe);
        assert_eq!(status(&power, turn), 1, "zeros clear nothing");
        power.write(turn, PM1_EVENT_PORT, 1);
        assert_eq!(status(&power, turn), 0);
        assert_eq!(status(&power, 2 * turn), 1, "it changes back as well");
        assert!(!power.line() && power.deadline().fires_at().is_none(), "it does not interrupt unasked");
    }

    #[test]
    fn an_enabled_timer_interrupts_at_the_change_and_once() {
        let mut power = Power::default();
        let turn = ns_of_clock(HALF_TURN).unwrap();
        power.write(5, PM1_EVENT_PORT + 2, 1);
        assert_eq!(power.deadline().fires_at(), Some(turn));
        power.advance(turn - 1);
        assert!(!power.line());
        power.advance(turn);
        assert!(power.line() && power.deadline().fires_at().is_none());
        power.write(turn, PM1_EVENT_PORT, 1);
        assert!(!power.line());
        assert_eq!(power.deadline().fires_at(), ns_of_clock(2 * HALF_TURN));
        power.write(turn, PM1_EVENT_PORT + 2, 0);
        assert!(power.deadline().fires_at().is_none());
        assert_eq!(status(&power, 2 * turn), 1, "the status bit does not need the interrupt");
        power.write(2 * turn, PM1_EVENT_PORT + 2, 1);
        assert!(power.line(), "enabling what has happened interrupts at once");
    }

    #[test]
    fn only_sleep_type_5_with_the_enable_bit_turns_the_machine_off() {
        let mut power = Power::default();
        for value in 0..=0xff_u8 {
            let off = power.write(0, PM1_CONTROL_PORT + 1, value);
            assert_eq!(off, value & 0x20 != 0 && value >> 2 & 7 == SLEEP_TYPE_S5, "{value:#x}");
            assert_eq!(power.read(0, PM1_CONTROL_PORT + 1), value & 0x1c);
        }
        assert!(!power.write(0, PM1_CONTROL_PORT, 0xff));
        assert_eq!(power.read(0, PM1_CONTROL_PORT), 0x03, "ACPI mode cannot be left");
    }
}
