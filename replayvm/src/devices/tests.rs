//! The devices together: the seam, the wiring, saved state, and abuse.

use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;

/// One thing that the machine may do to the devices.
#[derive(Debug, Clone)]
enum Op {
    In(u16, u8),
    Out(u16, u8, u32),
    MmioRead(u64, u8),
    MmioWrite(u64, u8, u64),
    Rdmsr(u32),
    Wrmsr(u32, u64),
    Cr8(u8),
    Serial(u8),
    Delay(u8, u64),
    Acknowledge,
    Pass(u64),
}

const PORTS: &[u16] = &[
    0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x40, 0x41, 0x42, 0x43, 0x61, 0x60, 0x64, 0x70, 0x71, 0x92, 0x402,
    0xe9, 0xf4, 0xcf9, 0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff, 0x80, 0xffff, 0x2f8, 0x600,
    0x602, 0x605, 0x608,
];
const LAPIC_REGISTERS: &[u64] = &[
    0x20, 0x30, 0x80, 0xa0, 0xb0, 0xd0, 0xe0, 0xf0, 0x280, 0x300, 0x310, 0x320, 0x350, 0x360, 0x370, 0x380,
    0x390, 0x3e0, 0x3f0, 0x100, 0x200, 0x2f0,
];

/// A small generator, so that millions of operations cost little.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn op(&mut self) -> Op {
        let value = match self.below(6) {
            0 => self.next(),
            1 => 0,
            2 => u64::MAX,
            _ => self.below(256),
        };
        let size = self.pick(&[1u8, 1, 1, 1, 2, 4, 8, 0]);
        match self.below(20) {
            0..=3 => Op::In(self.pick(PORTS), size),
            // Register A and B of the clock, and the PIT's control, deserve more than chance.
            4 => Op::Out(0x70, 1, self.pick(&[0x0a, 0x0b, 0x0c, 0x00, 0x01, 0x04, 0x32])),
            5 => Op::Out(0x43, 1, self.pick(&[0x30, 0x34, 0x36, 0x38, 0xb6, 0x14, 0xe2, 0x35])),
            6..=9 => Op::Out(self.pick(PORTS), size, value as u32),
            10 => Op::MmioRead(APIC_DEFAULT_BASE + self.pick(LAPIC_REGISTERS), self.pick(&[1, 4, 4, 8])),
            11..=12 => Op::MmioWrite(
                APIC_DEFAULT_BASE + self.pick(LAPIC_REGISTERS),
                4,
                value | self.pick(&[0, 0x20000, 0x100]),
            ),
            13 => Op::MmioWrite(IOAPIC_BASE, 4, self.below(0x42)),
            14 => Op::MmioWrite(IOAPIC_BASE + 0x10, 4, value | self.pick(&[0, 0x8000, 0x10000])),
            15 => match self.below(4) {
                0 => Op::Rdmsr(0x800 + self.below(0x100) as u32),
                1 => Op::Wrmsr(0x800 + self.below(0x40) as u32, value),
                2 => Op::Wrmsr(IA32_TSC_DEADLINE, value),
                _ => Op::Wrmsr(
                    IA32_APIC_BASE,
                    APIC_DEFAULT_BASE | self.pick(&[0x900, 0x900, 0x900, 0xd00, 0x100]),
                ),
            },
            16 => match self.below(3) {
                0 => Op::Cr8(self.below(16) as u8),
                1 => Op::Serial(value as u8),
                _ => Op::Delay(self.below(5) as u8, self.pick(&[0, 1, 100_000, u64::MAX])),
            },
            17 => Op::Acknowledge,
            _ => Op::Pass(match self.below(40) {
                0 => self.below(1 << 45),
                1..=10 => self.below(2_000_000_000),
                _ => self.below(1_000_000),
            }),
        }
    }
}

/// Does one operation; whatever the machine could see of it comes back.
fn apply(devices: &mut Devices, now_ns: &mut u64, op: &Op) -> (u64, bool, Option<(TimerSource, u64)>) {
    let seen = match *op {
        Op::In(port, size) => u64::from(devices.io_read(*now_ns, port, size)),
        Op::Out(port, size, value) => {
            devices.io_write(*now_ns, port, size, value);
            0
        }
        Op::MmioRead(gpa, size) => devices.mmio_read(*now_ns, gpa, size),
        Op::MmioWrite(gpa, size, value) => {
            devices.mmio_write(*now_ns, gpa, size, value);
            0
        }
        Op::Rdmsr(index) => devices.msr_read(*now_ns, index).unwrap_or(0xbad),
        Op::Wrmsr(index, value) => devices.msr_write(*now_ns, *now_ns, index, value).map_or(0xbad, |()| 0),
        Op::Cr8(value) => {
            devices.set_tpr(value);
            u64::from(devices.tpr())
        }
        Op::Serial(byte) => devices.serial_input(&[byte]) as u64,
        Op::Delay(source, ns) => {
            devices.delay_timer(TimerSource::try_from(source).unwrap(), ns);
            0
        }
        Op::Acknowledge => devices.acknowledge(*now_ns).map_or(0xbad, u64::from),
        Op::Pass(ns) => {
            *now_ns = now_ns.saturating_add(ns);
            devices.advance(*now_ns);
            assert!(
                devices.next_deadline().is_none_or(|(_, at)| at > *now_ns || at == u64::MAX),
                "advance makes progress"
            );
            devices.timers_due_undecided(*now_ns).count() as u64
        }
    };
    let signal = devices.take_signal().map_or(0, |signal| match signal {
        Signal::DebugExit(code) => 1 << 40 | u64::from(code),
        Signal::Reset => 2 << 40,
        Signal::Init => 3 << 40,
        Signal::PowerOff => 4 << 40,
    });
    let nmi = u64::from(devices.take_nmi()) << 50;
    (seen ^ signal ^ nmi, devices.interrupt_pending(), devices.next_deadline())
}

fn saved(devices: &Devices) -> Vec<Section> {
    devices.save()
}

#[test]
fn no_sequence_of_accesses_panics() {
    let mut dice = Dice(0x5eed);
    let (mut taken, mut signals) = (0, 0);
    for _ in 0..40 {
        let mut devices = Devices::new();
        let mut now_ns = 0;
        for _ in 0..50_000 {
            let op = dice.op();
            let (seen, ..) = apply(&mut devices, &mut now_ns, &op);
            taken += usize::from(matches!(op, Op::Acknowledge) && seen < 256);
            signals += usize::from(seen >> 40 & 0xf != 0);
        }
        devices.take_serial_output();
    }
    assert!(taken > 2_000 && signals > 5_000, "the operations have to reach something: {taken}, {signals}");
}

#[test]
fn the_end_of_time_is_survived() {
    let mut dice = Dice(77);
    let mut devices = Devices::new();
    for mut now_ns in [i64::MAX as u64 - 5, i64::MAX as u64 + 5, u64::MAX - 1_000_000, u64::MAX] {
        for _ in 0..50_000 {
            let op = dice.op();
            if !matches!(op, Op::Pass(_)) {
                apply(&mut devices, &mut now_ns, &op);
            }
            devices.advance(now_ns);
        }
    }
}

#[test]
fn damaged_sections_are_refused_or_harmless() {
    let mut dice = Dice(0xbad_5eed);
    let mut accepted = 0;
    for round in 0..4000 {
        let mut devices = Devices::new();
        let mut now_ns = 0;
        for _ in 0..round % 100 {
            let op = dice.op();
            apply(&mut devices, &mut now_ns, &op);
        }
        let mut sections = devices.save();
        let which = dice.below(sections.len() as u64) as usize;
        let bytes = &mut sections[which].bytes;
        for _ in 0..1 + dice.below(3) {
            let at = dice.below(bytes.len() as u64) as usize;
            bytes[at] = dice.next() as u8;
        }
        if devices.restore(&sections).is_err() {
            continue;
        }
        accepted += 1;
        assert_eq!(devices.save(), sections, "what was accepted is the state");
        for _ in 0..300 {
            let op = dice.op();
            apply(&mut devices, &mut now_ns, &op);
        }
    }
    assert!(accepted > 100, "the test has to get past the checks: {accepted}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_restored_machine_behaves_as_the_saved_one(seed in 1u64.., before in 0usize..400, after in 1usize..400) {
        let mut dice = Dice(seed);
        let mut first = Devices::new();
        first.set_clock(1_709_251_198);
        let mut now_ns = 0;
        for _ in 0..before {
            let op = dice.op();
            apply(&mut first, &mut now_ns, &op);
        }
        let sections = saved(&first);
        let mut second = Devices::new();
        second.restore(&sections).unwrap();
        prop_assert_eq!(saved(&second), sections);
        let mut now_second = now_ns;
        for _ in 0..after {
            let op = dice.op();
            let one = apply(&mut first, &mut now_ns, &op);
            let other = apply(&mut second, &mut now_second, &op);
            prop_assert_eq!(one, other, "{:?}", op);
        }
        prop_assert_eq!(saved(&first), saved(&second));
    }

    #[test]
    fn the_polled_pin_and_deadline_are_always_what_a_fresh_look_finds(seed in 1u64.., length in 1usize..300) {
        let mut dice = Dice(seed);
        let mut devices = Devices::new();
        let mut now_ns = 0;
        for _ in 0..length {
            let op = dice.op();
            apply(&mut devices, &mut now_ns, &op);
            let polled = (devices.interrupt_pending(), devices.next_deadline());
            let state = saved(&devices);
            devices.settle();
            prop_assert_eq!(polled, (devices.interrupt_pending(), devices.next_deadline()));
            prop_assert_eq!(state, saved(&devices), "settling twice changes nothing");
        }
    }

    #[test]
    fn looking_at_undecided_timers_and_advancing_early_change_nothing(seed in 1u64.., length in 1usize..300) {
        let mut dice = Dice(seed);
        let mut quiet = Devices::new();
        let mut nervous = Devices::new();
        let (mut now_ns, mut now_nervous) = (0, 0);
        for _ in 0..length {
            let op = dice.op();
            let one = apply(&mut quiet, &mut now_ns, &op);
            let early = nervous.next_deadline().map_or(now_nervous, |(_, at)| now_nervous.min(at.saturating_sub(1)));
            nervous.advance(early);
            let _ = nervous.timers_due_undecided(now_nervous).count();
            let other = apply(&mut nervous, &mut now_nervous, &op);
            prop_assert_eq!(one, other);
        }
        prop_assert_eq!(saved(&quiet), saved(&nervous));
    }
}

#[test]
fn the_sections_have_fixed_names_versions_and_lengths() {
    let sections = Devices::new().save();
    let summary: Vec<_> = sections.iter().map(|s| (s.name.as_str(), s.version, s.bytes.len())).collect();
    // A change here is a change of format: raise the version of the section.
    assert_eq!(
        summary,
        [
            ("uart", 1, 16),
            ("pic", 1, 34),
            ("pit", 1, 167),
            ("rtc", 1, 199),
            ("lapic", 1, 194),
            ("ioapic", 1, 201),
            ("platform", 1, 14),
            ("power", 1, 31),
            ("fw-cfg", 1, 6),
        ]
    );
}

#[test]
fn a_missing_section_is_named() {
    for missing in 0..7 {
        let mut sections = Devices::new().save();
        let name = sections.remove(missing).name;
        let error = Devices::new().restore(&sections).unwrap_err();
        assert!(matches!(error, RestoreError::Missing { section } if section == name));
        assert!(error.to_string().contains(&name));
    }
}

#[test]
fn an_unknown_or_doubled_section_is_named() {
    let mut sections = Devices::new().save();
    sections.push(Section { name: "vga".into(), version: 1, bytes: vec![] });
    assert_eq!(Devices::new().restore(&sections), Err(RestoreError::Unknown { section: "vga".into() }));
    let mut sections = Devices::new().save();
    sections.push(sections[3].clone());
    assert_eq!(Devices::new().restore(&sections), Err(RestoreError::Duplicate { section: "rtc".into() }));
}

#[test]
fn another_version_is_named() {
    let mut sections = Devices::new().save();
    sections[2].version = 9;
    let error = Devices::new().restore(&sections);
    assert_eq!(error, Err(RestoreError::Version { section: "pit", found: 9, expected: 1 }));
}

#[test]
fn a_section_that_is_too_short_or_too_long_is_named() {
    for which in 0..7 {
        for change in [-1i64, 1, 5000] {
            let mut sections = Devices::new().save();
            let section = &mut sections[which];
            section.bytes.resize((section.bytes.len() as i64 + change) as usize, 0);
            let name = section.name.clone();
            let error = Devices::new().restore(&sections).unwrap_err();
            assert!(error.to_string().contains(&name), "{error}");
        }
    }
}

#[test]
fn sections_of_two_machines_do_not_mix() {
    let mut busy = Devices::new();
    busy.io_write(0, 0x3f9, 1, 2);
    let mut sections = busy.save();
    sections[1] = Devices::new().save().swap_remove(1);
    let error = Devices::new().restore(&sections).unwrap_err();
    assert!(matches!(error, RestoreError::Invalid { section: "pic", .. }), "{error}");
}

#[test]
fn a_failed_restore_changes_nothing() {
    let mut devices = Devices::new();
    devices.io_write(0, 0x3ff, 1, 0x5a);
    let before = devices.save();
    let mut sections = Devices::new().save();
    sections.pop();
    assert!(devices.restore(&sections).is_err());
    assert_eq!(devices.save(), before);
}

#[test]
fn unclaimed_ports_and_addresses_read_as_ones() {
    let mut devices = Devices::new();
    assert_eq!(devices.io_read(0, 0x2f8, 1), 0xff, "COM2 is absent");
    assert_eq!(devices.io_read(0, 0xcf8, 4), 0xffff_ffff, "so is PCI");
    assert_eq!(devices.io_read(0, 0x1234, 2), 0xffff);
    assert_eq!(devices.io_read(0, 0xffff, 4), 0xffff_ffff);
    assert_eq!(devices.mmio_read(0, 0xfed0_0000, 4), 0xffff_ffff);
    assert_eq!(devices.mmio_read(0, 0xfed0_0000, 8), u64::MAX);
    assert!(!devices.claims_mmio(0xfed0_0000));
    assert!(devices.claims_mmio(APIC_DEFAULT_BASE) && devices.claims_mmio(IOAPIC_BASE + 0x10));
}

#[test]
fn a_wide_access_reaches_consecutive_byte_registers() {
    let mut devices = Devices::new();
    devices.io_write(0, 0x20, 1, 0x11);
    // ICW2 is the second byte of this OUT to 0x20; the first is an OCW3 that changes nothing.
    devices.io_write(0, 0x20, 2, 0x3008);
    devices.io_write(0, 0x21, 1, 4);
    devices.io_write(0, 0x21, 1, 1);
    devices.io_write(0, 0x21, 1, 0xa5);
    assert_eq!(devices.io_read(0, 0x20, 2), 0xa500);
}

fn init_pics(devices: &mut Devices) {
    for (port, value) in
        [(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0xa0, 0x11), (0xa1, 0x28), (0xa1, 2), (0xa1, 1)]
    {
        devices.io_write(0, port, 1, value);
    }
}

#[test]
fn the_timer_interrupts_through_the_8259_in_virtual_wire_mode() {
    let mut devices = Devices::new();
    init_pics(&mut devices);
    devices.io_write(0, 0x43, 1, 0x34);
    devices.io_write(0, 0x40, 1, 0xa9);
    devices.io_write(0, 0x40, 1, 0x04);
    assert!(!devices.interrupt_pending(), "programming the timer is no interrupt");
    let (source, at) = devices.next_deadline().unwrap();
    assert_eq!(source, TimerSource::Pit);
    devices.advance(at - 1);
    assert!(!devices.interrupt_pending());
    devices.advance(at);
    assert!(devices.interrupt_pending());
    assert_eq!(devices.acknowledge(at), Some(0x20));
    assert!(!devices.interrupt_pending());
    assert_eq!(devices.acknowledge(at), None, "an interrupt that is not there is not delivered");
}

#[test]
fn the_8259_still_interrupts_when_the_apic_is_disabled() {
    let mut devices = Devices::new();
    init_pics(&mut devices);
    devices.io_write(0, 0x3f9, 1, 2);
    assert_eq!(devices.msr_write(0, 0, IA32_APIC_BASE, APIC_DEFAULT_BASE | 0x100), Some(()));
    assert_eq!(devices.acknowledge(0), Some(0x24));
}

fn write_entry(devices: &mut Devices, pin: u64, entry: u64) {
    for half in [1, 0] {
        devices.mmio_write(0, IOAPIC_BASE, 4, 0x10 + 2 * pin + half);
        devices.mmio_write(0, IOAPIC_BASE + 0x10, 4, (entry >> (32 * half)) & 0xffff_ffff);
    }
}

fn enable_apic(devices: &mut Devices) {
    devices.mmio_write(0, APIC_DEFAULT_BASE + 0xf0, 4, 0x1ff);
    // LINT0 masked: the 8259 is out of the way.
    devices.mmio_write(0, APIC_DEFAULT_BASE + 0x350, 4, 0x1_0700);
}

#[test]
fn the_timer_arrives_at_io_apic_pin_2() {
    let mut devices = Devices::new();
    enable_apic(&mut devices);
    write_entry(&mut devices, 2, 0x40);
    devices.io_write(0, 0x43, 1, 0x34);
    devices.io_write(0, 0x40, 1, 0);
    devices.io_write(0, 0x40, 1, 0);
    let (_, at) = devices.next_deadline().unwrap();
    devices.advance(at);
    assert_eq!(devices.acknowledge(at), Some(0x40));
}

#[test]
fn a_level_triggered_line_interrupts_again_after_its_eoi() {
    let mut devices = Devices::new();
    enable_apic(&mut devices);
    write_entry(&mut devices, 4, 0x8044);
    devices.io_write(0, 0x3f9, 1, 1);
    assert_eq!(devices.serial_input(b"ab"), 2);
    assert_eq!(devices.acknowledge(0), Some(0x44));
    devices.mmio_write(0, IOAPIC_BASE, 4, 0x18);
    assert_eq!(devices.mmio_read(0, IOAPIC_BASE + 0x10, 4) & 1 << 14, 1 << 14, "remote IRR");
    devices.io_read(0, 0x3f8, 1);
    devices.mmio_write(0, APIC_DEFAULT_BASE + 0xb0, 4, 0);
    assert_eq!(devices.acknowledge(0), Some(0x44), "a byte is left");
    devices.io_read(0, 0x3f8, 1);
    devices.mmio_write(0, APIC_DEFAULT_BASE + 0xb0, 4, 0);
    assert!(!devices.interrupt_pending());
}

#[test]
fn the_8259_can_reach_the_cpu_through_io_apic_pin_0() {
    let mut devices = Devices::new();
    enable_apic(&mut devices);
    init_pics(&mut devices);
    devices.io_write(0, 0x3f9, 1, 2);
    assert!(!devices.interrupt_pending());
    write_entry(&mut devices, 0, 0x700);
    assert_eq!(devices.acknowledge(0), Some(0x24));
}

#[test]
fn the_8259_goes_before_the_local_apic() {
    let mut devices = Devices::new();
    init_pics(&mut devices);
    devices.mmio_write(0, APIC_DEFAULT_BASE + 0xf0, 4, 0x1ff);
    devices.mmio_write(0, APIC_DEFAULT_BASE + 0x350, 4, 0x700);
    devices.mmio_write(0, APIC_DEFAULT_BASE + 0x300, 4, 0x4_00f0);
    devices.io_write(0, 0x3f9, 1, 2);
    devices.set_tpr(15);
    assert_eq!(devices.acknowledge(0), Some(0x24), "ExtINT ignores the task priority");
    assert_eq!(devices.acknowledge(0), None);
    devices.set_tpr(0);
    assert_eq!(devices.acknowledge(0), Some(0xf0));
}

#[test]
fn an_io_apic_entry_can_be_an_nmi() {
    let mut devices = Devices::new();
    write_entry(&mut devices, 4, 0x400);
    devices.io_write(0, 0x3f9, 1, 2);
    assert!(devices.nmi_pending() && !devices.interrupt_pending());
    assert!(devices.take_nmi() && !devices.nmi_pending());
}

#[test]
fn a_delayed_firing_is_late_once_and_the_period_is_not_shifted() {
    let mut devices = Devices::new();
    enable_apic(&mut devices);
    devices.mmio_write(0, APIC_DEFAULT_BASE + 0x3e0, 4, 0xb);
    devices.mmio_write(0, APIC_DEFAULT_BASE + 0x320, 4, 0x2_0050);
    devices.mmio_write(0, APIC_DEFAULT_BASE + 0x380, 4, MS);
    assert_eq!(devices.next_deadline(), Some((TimerSource::LapicTimer, MS)));
    assert_eq!(devices.timers_due_undecided(MS - 1).count(), 0);
    assert_eq!(devices.timers_due_undecided(MS).collect::<Vec<_>>(), [TimerSource::LapicTimer]);
    devices.delay_timer(TimerSource::LapicTimer, 300);
    assert_eq!(devices.timers_due_undecided(MS).count(), 0, "decided");
    assert_eq!(devices.next_deadline(), Some((TimerSource::LapicTimer, MS + 300)));
    devices.advance(MS + 299);
    assert!(!devices.interrupt_pending());
    assert_eq!(
        devices.mmio_read(MS + 299, APIC_DEFAULT_BASE + 0x390, 4),
        MS - 299,
        "the counter does not know"
    );
    devices.advance(MS + 300);
    assert!(devices.interrupt_pending());
    assert_eq!(devices.next_deadline(), Some((TimerSource::LapicTimer, 2 * MS)));
}

#[test]
fn a_delay_of_zero_fires_on_time_and_counts_as_decided() {
    let mut devices = Devices::new();
    devices.io_write(0, 0x43, 1, 0x34);
    devices.io_write(0, 0x40, 1, 0);
    devices.io_write(0, 0x40, 1, 0);
    let (_, at) = devices.next_deadline().unwrap();
    devices.delay_timer(TimerSource::Pit, 0);
    assert_eq!(devices.timers_due_undecided(at).count(), 0);
    assert_eq!(devices.next_deadline(), Some((TimerSource::Pit, at)));
}

#[test]
fn a_delay_is_part_of_the_saved_state() {
    let mut devices = Devices::new();
    devices.io_write(0, 0x43, 1, 0x34);
    devices.io_write(0, 0x40, 1, 0);
    devices.io_write(0, 0x40, 1, 0);
    let (_, at) = devices.next_deadline().unwrap();
    devices.delay_timer(TimerSource::Pit, 5);
    let mut restored = Devices::new();
    restored.restore(&devices.save()).unwrap();
    assert_eq!(restored.next_deadline(), Some((TimerSource::Pit, at + 5)));
    assert_eq!(restored.timers_due_undecided(at).count(), 0);
}

#[test]
fn a_delay_longer_than_the_period_swallows_firings() {
    let mut devices = Devices::new();
    devices.mmio_write(0, APIC_DEFAULT_BASE + 0x3e0, 4, 0xb);
    devices.mmio_write(0, APIC_DEFAULT_BASE + 0x320, 4, 0x2_0050);
    devices.mmio_write(0, APIC_DEFAULT_BASE + 0x380, 4, 1000);
    devices.delay_timer(TimerSource::LapicTimer, 5500);
    devices.advance(6500);
    assert_eq!(devices.next_deadline(), Some((TimerSource::LapicTimer, 7000)));
}

#[test]
fn a_very_long_sleep_costs_one_firing() {
    let mut devices = Devices::new();
    devices.mmio_write(0, APIC_DEFAULT_BASE + 0x3e0, 4, 0xb);
    devices.mmio_write(0, APIC_DEFAULT_BASE + 0x320, 4, 0x2_0050);
    devices.mmio_write(0, APIC_DEFAULT_BASE + 0x380, 4, 1);
    let year = 365 * 86_400 * 1_000_000_000;
    devices.advance(year);
    assert_eq!(devices.next_deadline(), Some((TimerSource::LapicTimer, year + 1)));
}

#[test]
fn an_init_message_asks_the_machine() {
    let mut devices = Devices::new();
    devices.mmio_write(0, APIC_DEFAULT_BASE + 0x300, 4, 0x4_4500);
    assert_eq!(devices.take_signal(), Some(Signal::Init));
}

#[test]
fn output_is_not_state() {
    let mut quiet = Devices::new();
    let mut loud = Devices::new();
    for byte in b"hello" {
        loud.io_write(0, 0x3f8, 1, u32::from(*byte));
        loud.io_write(0, 0x402, 1, u32::from(*byte));
    }
    assert!(loud.has_output() && !quiet.has_output());
    assert_eq!(loud.save(), quiet.save());
    assert_eq!(loud.take_serial_output(), b"hello");
    assert_eq!(loud.take_debug_output(), b"hello");
    assert!(!loud.has_output());
    quiet.restore(&loud.save()).unwrap();
    assert!(quiet.take_serial_output().is_empty());
}

#[test]
fn output_that_nobody_takes_is_bounded() {
    let mut devices = Devices::new();
    for _ in 0..(1 << 20) + 1 {
        devices.io_write(0, 0x3f8, 1, 0x41);
    }
    assert_eq!(devices.uart.output_dropped(), 1 << 19);
    assert_eq!(devices.take_serial_output().len(), (1 << 19) + 1);
}
