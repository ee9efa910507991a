//! The behaviours that the MC146818 datasheet promises.

use super::*;

const SECOND: u64 = 1_000_000_000;
/// 2024-02-29T23:59:58Z.
const LEAP_NIGHT: u64 = 1_709_251_198;

fn rtc() -> Rtc {
    let mut rtc = Rtc::new();
    rtc.set_clock(LEAP_NIGHT);
    rtc
}

fn read(rtc: &mut Rtc, now_ns: u64, index: u8) -> u8 {
    rtc.write_index(index);
    rtc.read(now_ns)
}

fn write(rtc: &mut Rtc, now_ns: u64, index: u8, value: u8) {
    rtc.write_index(index);
    rtc.write(now_ns, value);
}

fn date(rtc: &mut Rtc, now_ns: u64) -> [u8; 7] {
    [0x32, 0x09, 0x08, 0x07, 0x04, 0x02, 0x00].map(|index| read(rtc, now_ns, index))
}

#[test]
fn time_goes_on_from_power_on_with_virtual_time() {
    let mut rtc = rtc();
    assert_eq!(date(&mut rtc, 0), [0x20, 0x24, 0x02, 0x29, 0x23, 0x59, 0x58]);
    assert_eq!(date(&mut rtc, 2 * SECOND - 1), [0x20, 0x24, 0x02, 0x29, 0x23, 0x59, 0x59]);
    assert_eq!(date(&mut rtc, 2 * SECOND), [0x20, 0x24, 0x03, 0x01, 0x00, 0x00, 0x00]);
    assert_eq!(read(&mut rtc, 2 * SECOND, 0x06), 6, "a Friday");
}

#[test]
fn register_b_selects_binary_and_twelve_hours() {
    let mut rtc = rtc();
    write(&mut rtc, 0, 0x0b, 0x80 | 0x04);
    for (index, value) in
        [(0x00, 58), (0x02, 59), (0x04, 0x80 | 11), (0x07, 29), (0x08, 2), (0x09, 24), (0x32, 20)]
    {
        write(&mut rtc, 0, index, value);
    }
    write(&mut rtc, 0, 0x0b, 0x04);
    assert_eq!(date(&mut rtc, SECOND), [20, 24, 2, 29, 0x80 | 11, 59, 59]);
    assert_eq!(date(&mut rtc, 2 * SECOND), [20, 24, 3, 1, 12, 0, 0]);
}

#[test]
fn set_freezes_the_time_for_the_writer() {
    let mut rtc = rtc();
    write(&mut rtc, 0, 0x0b, 0x82);
    assert_eq!(read(&mut rtc, 10 * SECOND, 0x00), 0x58);
    write(&mut rtc, 10 * SECOND, 0x00, 0x10);
    assert_eq!(read(&mut rtc, 20 * SECOND, 0x00), 0x10);
    write(&mut rtc, 20 * SECOND, 0x0b, 0x02);
    assert_eq!(read(&mut rtc, 21 * SECOND, 0x00), 0x11);
}

#[test]
fn the_divider_released_from_reset_updates_after_half_a_second() {
    let mut rtc = rtc();
    let now = 3 * SECOND + 123;
    write(&mut rtc, now, 0x0a, 0x70);
    assert_eq!(read(&mut rtc, now + 10 * SECOND, 0x00), 0x01, "stopped");
    let now = now + 10 * SECOND;
    write(&mut rtc, now, 0x0a, 0x26);
    assert_eq!(read(&mut rtc, now + SECOND / 2 - 1, 0x00), 0x01);
    assert_eq!(read(&mut rtc, now + SECOND / 2, 0x00), 0x02);
}

#[test]
fn update_in_progress_warns_244_microseconds_before_the_update() {
    let mut rtc = rtc();
    assert_eq!(read(&mut rtc, SECOND - 2_228_001, 0x0a), 0x26);
    assert_eq!(read(&mut rtc, SECOND - 2_228_000, 0x0a), 0xa6);
    assert_eq!(read(&mut rtc, SECOND - 1, 0x0a), 0xa6);
    assert_eq!(read(&mut rtc, SECOND, 0x0a), 0x26);
    write(&mut rtc, SECOND, 0x0b, 0x82);
    assert_eq!(read(&mut rtc, 2 * SECOND - 1, 0x0a), 0x26, "no update while SET");
}

#[test]
fn flags_are_set_without_interrupts_and_reading_register_c_clears_them() {
    let mut rtc = rtc();
    assert_eq!(read(&mut rtc, SECOND, 0x0c), C_PERIODIC | C_UPDATE);
    assert_eq!(read(&mut rtc, SECOND, 0x0c), 0);
    assert!(!rtc.line());
}

#[test]
fn the_periodic_interrupt_has_the_rate_of_register_a() {
    // 1,024 Hz: 32 cycles of 32,768 Hz, 976,562.5 ns.
    let mut rtc = rtc();
    write(&mut rtc, 0, 0x0b, 0x42);
    let mut fired = vec![];
    for _ in 0..3 {
        let at = rtc.periodic().fires_at().unwrap();
        rtc.advance(at - 1);
        assert!(!rtc.line());
        rtc.advance(at);
        assert!(rtc.line());
        assert_eq!(rtc.periodic().fires_at(), None, "the line stays high until register C is read");
        assert_eq!(read(&mut rtc, at, 0x0c), 0xc0);
        assert!(!rtc.line());
        fired.push(at);
    }
    assert_eq!(fired, [976_563, 1_953_125, 2_929_688]);
}

#[test]
fn the_first_two_rates_repeat_later_ones() {
    for (rate, period) in [(1, 3_906_250), (2, 7_812_500), (3, 122_071), (8, 3_906_250), (15, 500_000_000)] {
        let mut rtc = rtc();
        write(&mut rtc, 0, 0x0a, 0x20 | rate);
        write(&mut rtc, 0, 0x0b, 0x42);
        assert_eq!(rtc.periodic().fires_at(), Some(period), "rate {rate}");
    }
    let mut rtc = rtc();
    write(&mut rtc, 0, 0x0a, 0x20);
    write(&mut rtc, 0, 0x0b, 0x42);
    assert_eq!(rtc.periodic().fires_at(), None);
}

#[test]
fn the_update_ended_interrupt_comes_each_second() {
    let mut rtc = rtc();
    write(&mut rtc, 5, 0x0b, 0x12);
    for second in 1..4 {
        assert_eq!(rtc.update().fires_at(), Some(second * SECOND));
        rtc.advance(second * SECOND);
        assert!(rtc.line());
        assert_eq!(read(&mut rtc, second * SECOND, 0x0c) & 0x90, 0x90);
    }
}

#[test]
fn the_alarm_interrupts_when_the_time_matches() {
    let mut rtc = rtc();
    for (index, value) in [(0x05, 0x00), (0x03, 0x00), (0x01, 0x10)] {
        write(&mut rtc, 0, index, value);
    }
    write(&mut rtc, 0, 0x0b, 0x22);
    assert_eq!(rtc.update().fires_at(), Some(12 * SECOND), "two seconds to midnight");
    rtc.advance(12 * SECOND);
    assert_eq!(read(&mut rtc, 12 * SECOND, 0x0c), 0xa0 | C_UPDATE | C_PERIODIC);
    assert_eq!(rtc.update().fires_at(), Some((12 + 86_400) * SECOND));
}

#[test]
fn an_alarm_byte_with_both_high_bits_matches_everything() {
    let mut rtc = rtc();
    for (index, value) in [(0x05, 0xff), (0x03, 0xc0), (0x01, 0x30)] {
        write(&mut rtc, 0, index, value);
    }
    write(&mut rtc, 0, 0x0b, 0x22);
    assert_eq!(rtc.update().fires_at(), Some(32 * SECOND));
}

#[test]
fn set_clears_the_update_interrupt_enable() {
    let mut rtc = rtc();
    write(&mut rtc, 0, 0x0b, 0x92);
    assert_eq!(read(&mut rtc, 0, 0x0b), 0x82);
    assert_eq!(rtc.update().fires_at(), None);
}

#[test]
fn an_interrupt_that_is_enabled_after_its_flag_is_requested_at_once() {
    let mut rtc = rtc();
    write(&mut rtc, SECOND, 0x0b, 0x12);
    assert!(rtc.line());
}

#[test]
fn a_delayed_interrupt_delays_its_flag() {
    let mut rtc = rtc();
    write(&mut rtc, 0, 0x0b, 0x12);
    rtc.update_mut().decide(1000);
    assert_eq!(read(&mut rtc, SECOND, 0x0c) & C_UPDATE, 0);
    rtc.advance(SECOND + 999);
    assert!(!rtc.line());
    rtc.advance(SECOND + 1000);
    assert!(rtc.line());
    read(&mut rtc, SECOND + 1000, 0x0c);
    assert_eq!(rtc.update().fires_at(), Some(2 * SECOND));
}

#[test]
fn the_battery_is_fine_and_ram_is_ram() {
    let mut rtc = rtc();
    assert_eq!(read(&mut rtc, 0, 0x0d), 0x80);
    write(&mut rtc, 0, 0x0d, 0);
    assert_eq!(read(&mut rtc, 0, 0x0d), 0x80);
    write(&mut rtc, 0, 0x7f, 0x5a);
    assert_eq!(read(&mut rtc, 0, 0x80 | 0x7f), 0x5a, "bit 7 masks NMIs and is no part of the index");
}

#[test]
fn the_memory_size_is_where_firmware_puts_it() {
    let mut rtc = rtc();
    rtc.set_memory_size(256 << 20, 1 << 30);
    let word = |rtc: &mut Rtc, low: u8| u16::from_le_bytes([read(rtc, 0, low), read(rtc, 0, low + 1)]);
    assert_eq!(word(&mut rtc, 0x15), 640);
    assert_eq!(word(&mut rtc, 0x17), 0xffff);
    assert_eq!(word(&mut rtc, 0x34), 240 * 16);
    assert_eq!(word(&mut rtc, 0x5b), 16 * 1024);
}

#[test]
fn bytes_out_of_range_are_kept_until_time_passes_over_them() {
    let mut rtc = rtc();
    write(&mut rtc, 0, 0x00, 0x7b);
    assert_eq!(read(&mut rtc, 1, 0x00), 0x7b);
    assert_eq!(read(&mut rtc, SECOND, 0x00), 0x00, "59 was the limit");
}
