//! The real-time clock and CMOS RAM at ports 0x70 and 0x71: a Motorola MC146818 with 128 bytes, interrupt line 8.
//!
//! Source: MC146818 datasheet (registers A to D, update cycle, periodic rates, alarm). The time is that of power-on plus
//! virtual time. Nothing ticks: time, update-in-progress and flags are computed from `now_ns`; only interrupts that
//! are enabled and whose flag is not set yet have deadlines. The bytes of the time stay what was written until the next
//! update, and are read as BCD or binary, 12 or 24 hours, as register B says at that time.
//!
//! Not here: daylight saving (the DSE bit is stored), the square wave output, and the two faster crystals of the datasheet:
//! their divider settings count as the 32,768 Hz of a PC.

use rkyv::{Archive, Deserialize, Serialize};

use super::deadline::Deadline;
use super::saved::SavedState;

/// Dates, and the bytes of the clock's registers.
mod calendar;
/// What a person sees.
mod inspect;

use calendar::{Format, TimeBytes};

/// Interrupt line of the clock.
pub(super) const IRQ: u8 = 8;

const NS_PER_SECOND: i64 = 1_000_000_000;
/// Update in progress: 244 microseconds of warning, 1,984 of update (datasheet, "Update cycle", 32.768 kHz).
const UPDATE_IN_PROGRESS_NS: i64 = 244_000 + 1_984_000;
/// The first update after the divider was released comes after half a second (datasheet, "Divider control").
const RELEASE_NS: i64 = 500_000_000;

const SECONDS_ALARM: usize = 0x01;
const MINUTES_ALARM: usize = 0x03;
const HOURS_ALARM: usize = 0x05;
const REGISTER_A: usize = 0x0a;
const REGISTER_B: usize = 0x0b;
const REGISTER_C: usize = 0x0c;
const REGISTER_D: usize = 0x0d;
/// Where the bytes of the time are; the century is where the PC firmware and ACPI's FADT say.
const TIME_BYTES: [usize; 8] = [0x00, 0x02, 0x04, 0x06, 0x07, 0x08, 0x09, 0x32];

const A_UIP: u8 = 0x80;
const A_DIVIDER: u8 = 0x70;
const A_RATE: u8 = 0x0f;
const B_SET: u8 = 0x80;
const B_UPDATE_INTERRUPT: u8 = 0x10;
const B_ALARM_INTERRUPT: u8 = 0x20;
const B_PERIODIC_INTERRUPT: u8 = 0x40;
const C_REQUEST: u8 = 0x80;
const C_PERIODIC: u8 = 0x40;
const C_ALARM: u8 = 0x20;
const C_UPDATE: u8 = 0x10;
const C_FLAGS: u8 = C_PERIODIC | C_ALARM | C_UPDATE;
/// Valid RAM and time: the battery is fine.
const D_VALID: u8 = 0x80;

/// The saved state.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub(super) struct State {
    /// What port 0x71 reads and writes.
    index: u8,
    /// Bit 7 of port 0x70. Stored; no device here has an NMI to mask with it.
    nmi_masked: bool,
    /// The bytes; those of the time as they were at `base_second`. Registers C and D are zero here.
    ram: [u8; 128],
    /// The second of the divider at which the bytes of the time were right.
    base_second: i64,
    /// Where the divider's seconds begin, in nanoseconds of virtual time; negative just after power-on.
    phase_ns: i64,
    /// Register C without its request bit.
    flags: u8,
    /// Up to when the periodic flag has been computed.
    periodic_seen_ns: u64,
    /// Up to when the alarm and update flags have been computed.
    update_seen_ns: u64,
    periodic: Deadline,
    update: Deadline,
}

impl SavedState for State {
    const NAME: &'static str = "rtc";
    const VERSION: u32 = 1;

    fn validate(&self) -> Result<(), &'static str> {
        if self.index > 0x7f {
            return Err("the index is seven bits");
        }
        if self.flags & !C_FLAGS != 0 || self.ram[REGISTER_C] != 0 || self.ram[REGISTER_D] != 0 {
            return Err("register C or D has bits that do not exist");
        }
        if self.ram[REGISTER_A] & A_UIP != 0 {
            return Err("update in progress is computed, not stored");
        }
        if !self.periodic.is_valid() || !self.update.is_valid() {
            return Err("a delay without a deadline");
        }
        if self.phase_ns < -RELEASE_NS {
            return Err("the divider began before power-on");
        }
        Ok(())
    }
}

/// The clock and its RAM.
#[derive(Debug, Clone)]
pub struct Rtc {
    state: State,
}

fn signed(now_ns: u64) -> i64 {
    i64::try_from(now_ns).unwrap_or(i64::MAX)
}

impl Rtc {
    /// Power-on at the Unix epoch, 24 hours, BCD, 1,024 Hz selected, no interrupt enabled: what a PC's firmware leaves.
    pub(super) fn new() -> Self {
        let mut ram = [0; 128];
        ram[REGISTER_A] = 0x26;
        ram[REGISTER_B] = 0x02;
        // Equipment: a coprocessor.
        ram[0x14] = 0x02;
        let mut rtc = Self {
            state: State {
                index: 0,
                nmi_masked: false,
                ram,
                base_second: 0,
                phase_ns: 0,
                flags: 0,
                periodic_seen_ns: 0,
                update_seen_ns: 0,
                periodic: Deadline::default(),
                update: Deadline::default(),
            },
        };
        rtc.set_clock(0);
        rtc
    }

    pub(super) fn from_state(state: State) -> Self {
        Self { state }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn periodic(&self) -> &Deadline {
        &self.state.periodic
    }

    pub(super) fn periodic_mut(&mut self) -> &mut Deadline {
        &mut self.state.periodic
    }

    pub(super) fn update(&self) -> &Deadline {
        &self.state.update
    }

    pub(super) fn update_mut(&mut self) -> &mut Deadline {
        &mut self.state.update
    }

    /// Sets the wall clock at power-on, in seconds since the Unix epoch. Years past 9999 stop there.
    pub(super) fn set_clock(&mut self, unix_seconds: u64) {
        let bytes = calendar::from_unix_seconds(unix_seconds, self.format());
        self.store_time(bytes);
        self.state.base_second = 0;
        self.reschedule();
    }

    /// Fills in the memory-size bytes, as PC firmware does: kilobytes above 1 MiB (0x17, 0x30), 64 KiB units above
    /// 16 MiB (0x34) and above 4 GiB (0x5b to 0x5d).
    pub(super) fn set_memory_size(&mut self, below_4g_bytes: u64, above_4g_bytes: u64) {
        const KIB: u64 = 1 << 10;
        const MIB: u64 = 1 << 20;
        let base = (below_4g_bytes / KIB).min(640);
        let extended = (below_4g_bytes.saturating_sub(MIB) / KIB).min(0xffff);
        let above_16m = (below_4g_bytes.saturating_sub(16 * MIB) / (64 * KIB)).min(0xffff);
        let above_4g = (above_4g_bytes / (64 * KIB)).min(0xff_ffff);
        let ram = &mut self.state.ram;
        ram[0x15..0x17].copy_from_slice(&base.to_le_bytes()[..2]);
        ram[0x17..0x19].copy_from_slice(&extended.to_le_bytes()[..2]);
        ram[0x30..0x32].copy_from_slice(&extended.to_le_bytes()[..2]);
        ram[0x34..0x36].copy_from_slice(&above_16m.to_le_bytes()[..2]);
        ram[0x5b..0x5e].copy_from_slice(&above_4g.to_le_bytes()[..3]);
    }

    /// Fires what is due.
    pub(super) fn advance(&mut self, now_ns: u64) {
        let periodic = self.state.periodic.is_due(now_ns);
        let update = self.state.update.is_due(now_ns);
        if periodic {
            self.state.periodic.clear();
            self.see_periodic(now_ns);
        }
        if update {
            self.state.update.clear();
            self.see_updates(now_ns);
        }
        if periodic || update {
            self.reschedule();
        }
    }

    /// The interrupt output, high as long as a flag is set whose interrupt is enabled.
    pub(super) fn line(&self) -> bool {
        self.state.flags & self.state.ram[REGISTER_B] & C_FLAGS != 0
    }

    /// Writes port 0x70.
    pub(super) fn write_index(&mut self, value: u8) {
        self.state.index = value & 0x7f;
        self.state.nmi_masked = value & 0x80 != 0;
    }

    /// Reads port 0x71.
    pub(super) fn read(&mut self, now_ns: u64) -> u8 {
        let index = usize::from(self.state.index);
        match index {
            REGISTER_A => {
                self.state.ram[REGISTER_A] | if self.update_in_progress(now_ns) { A_UIP } else { 0 }
            }
            REGISTER_C => {
                self.see(now_ns);
                let request = if self.line() { C_REQUEST } else { 0 };
                let flags = std::mem::take(&mut self.state.flags);
                self.reschedule();
                flags | request
            }
            REGISTER_D => D_VALID,
            _ => match TIME_BYTES.iter().position(|at| *at == index) {
                Some(which) => self.time(now_ns)[which],
                None => self.state.ram.get(index).copied().unwrap_or(0xff),
            },
        }
    }

    /// Writes port 0x71.
    pub(super) fn write(&mut self, now_ns: u64, value: u8) {
        let index = usize::from(self.state.index);
        match index {
            REGISTER_C | REGISTER_D => {}
            REGISTER_A => {
                self.see(now_ns);
                self.store_time_at(now_ns);
                let stopped = !self.divider_runs();
                self.state.ram[REGISTER_A] = value & !A_UIP;
                if stopped && self.divider_runs() {
                    self.state.phase_ns = signed(now_ns).saturating_sub(RELEASE_NS);
                    self.state.base_second = self.second(now_ns);
                }
                self.reschedule();
            }
            REGISTER_B => {
                self.see(now_ns);
                self.store_time_at(now_ns);
                // "The UIE bit is cleared by the SET bit going high."
                let cleared = if value & B_SET != 0 { B_UPDATE_INTERRUPT } else { 0 };
                self.state.ram[REGISTER_B] = value & !cleared;
                self.reschedule();
            }
            _ => {
                let is_time = TIME_BYTES.contains(&index);
                let is_alarm = matches!(index, SECONDS_ALARM | MINUTES_ALARM | HOURS_ALARM);
                if is_time || is_alarm {
                    self.see(now_ns);
                }
                if is_time {
                    self.store_time_at(now_ns);
                }
                if let Some(byte) = self.state.ram.get_mut(index) {
                    *byte = value;
                }
                if is_time || is_alarm {
                    self.reschedule();
                }
            }
        }
    }

    fn format(&self) -> Format {
        Format::of_register_b(self.state.ram[REGISTER_B])
    }

    /// Whether the divider counts: any setting but the two that hold it in reset, and those that do not exist.
    fn divider_runs(&self) -> bool {
        self.state.ram[REGISTER_A] & A_DIVIDER <= 0x20
    }

    /// Whether the time is updated.
    fn updates(&self) -> bool {
        self.divider_runs() && self.state.ram[REGISTER_B] & B_SET == 0
    }

    /// The divider's second that `now_ns` is in.
    fn second(&self, now_ns: u64) -> i64 {
        signed(now_ns).saturating_sub(self.state.phase_ns).div_euclid(NS_PER_SECOND)
    }

    fn ns_of_second(&self, second: i64) -> Option<u64> {
        let ns = second.checked_mul(NS_PER_SECOND)?.checked_add(self.state.phase_ns)?;
        u64::try_from(ns).ok()
    }

    fn update_in_progress(&self, now_ns: u64) -> bool {
        let in_second = signed(now_ns).saturating_sub(self.state.phase_ns).rem_euclid(NS_PER_SECOND);
        self.updates() && in_second >= NS_PER_SECOND - UPDATE_IN_PROGRESS_NS
    }

    fn stored_time(&self) -> TimeBytes {
        TIME_BYTES.map(|at| self.state.ram[at])
    }

    fn store_time(&mut self, bytes: TimeBytes) {
        for (at, byte) in TIME_BYTES.into_iter().zip(bytes) {
            self.state.ram[at] = byte;
        }
    }

    /// The bytes of the time at `now_ns`.
    fn time(&self, now_ns: u64) -> TimeBytes {
        let passed = self.second(now_ns).saturating_sub(self.state.base_second);
        if !self.updates() || passed <= 0 {
            return self.stored_time();
        }
        calendar::after(self.stored_time(), self.format(), passed)
    }

    /// Makes the stored bytes those of `now_ns`, before something changes how they go on.
    fn store_time_at(&mut self, now_ns: u64) {
        let time = self.time(now_ns);
        self.store_time(time);
        self.state.base_second = self.second(now_ns);
    }

    /// The first update after `ns`.
    fn next_update(&self, ns: u64) -> Option<u64> {
        if !self.updates() {
            return None;
        }
        self.ns_of_second(self.second(ns).checked_add(1)?)
    }

    /// The first update after `ns` whose time is that of the alarm.
    fn next_alarm(&self, ns: u64) -> Option<u64> {
        if !self.updates() {
            return None;
        }
        let ram = &self.state.ram;
        let alarm = [ram[HOURS_ALARM], ram[MINUTES_ALARM], ram[SECONDS_ALARM]];
        let seconds = calendar::seconds_to_alarm(self.time(ns), alarm, self.format())?;
        self.ns_of_second(self.second(ns).checked_add(seconds)?)
    }

    /// The first edge of the periodic rate after `ns`: a tap of the same divider that counts the seconds.
    fn next_periodic(&self, ns: u64) -> Option<u64> {
        let cycles: i128 = match self.state.ram[REGISTER_A] & A_RATE {
            0 => return None,
            // The first two repeat 256 and 128 Hz.
            rate @ 1..=2 => 1 << (rate + 6),
            rate => 1 << (rate - 1),
        };
        if !self.divider_runs() {
            return None;
        }
        let since = i128::from(ns) - i128::from(self.state.phase_ns);
        let edge = ((since * 32_768).div_euclid(i128::from(NS_PER_SECOND)).div_euclid(cycles) + 1) * cycles;
        let edge_ns = -(-edge * i128::from(NS_PER_SECOND)).div_euclid(32_768);
        u64::try_from(edge_ns + i128::from(self.state.phase_ns)).ok()
    }

    /// Computes the flags up to `now_ns`, but for a cause whose interrupt is due and delayed: that one happens later.
    fn see(&mut self, now_ns: u64) {
        if !self.state.periodic.is_overdue(now_ns) {
            self.see_periodic(now_ns);
        }
        if !self.state.update.is_overdue(now_ns) {
            self.see_updates(now_ns);
        }
    }

    fn see_periodic(&mut self, now_ns: u64) {
        if self.next_periodic(self.state.periodic_seen_ns).is_some_and(|at| at <= now_ns) {
            self.state.flags |= C_PERIODIC;
        }
        self.state.periodic_seen_ns = now_ns;
    }

    fn see_updates(&mut self, now_ns: u64) {
        let seen_ns = self.state.update_seen_ns;
        if self.next_update(seen_ns).is_some_and(|at| at <= now_ns) {
            self.state.flags |= C_UPDATE;
        }
        if self.next_alarm(seen_ns).is_some_and(|at| at <= now_ns) {
            self.state.flags |= C_ALARM;
        }
        self.state.update_seen_ns = now_ns;
    }

    /// Interrupts that are enabled and whose flag is not set have deadlines; a flag that is set holds the line anyway.
    fn reschedule(&mut self) {
        let wanted = self.state.ram[REGISTER_B] & !self.state.flags;
        let periodic =
            (wanted & B_PERIODIC_INTERRUPT != 0).then(|| self.next_periodic(self.state.periodic_seen_ns));
        let update = (wanted & B_UPDATE_INTERRUPT != 0).then(|| self.next_update(self.state.update_seen_ns));
        let alarm = (wanted & B_ALARM_INTERRUPT != 0).then(|| self.next_alarm(self.state.update_seen_ns));
        let update = [update.flatten(), alarm.flatten()].into_iter().flatten().min();
        self.state.periodic.set(periodic.flatten());
        self.state.update.set(update);
    }
}

#[cfg(test)]
mod tests;
