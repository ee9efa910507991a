//! The behaviours that the 8254 datasheet promises. Times are in clocks; `at` makes nanoseconds of them.

use super::*;

/// The first nanosecond of a clock.
fn at(clock: i64) -> u64 {
    ns_of_clock(clock).unwrap()
}

/// Programs a channel at clock 0 with a two-byte count: it is loaded at clock 1.
fn program(pit: &mut Pit, channel: u8, mode: u8, count: u16) {
    pit.write_control(0, channel << 6 | 0x30 | mode << 1);
    let [low, high] = count.to_le_bytes();
    pit.write_channel(0, usize::from(channel), low);
    pit.write_channel(0, usize::from(channel), high);
}

fn count(pit: &mut Pit, channel: u8, clock: i64) -> u16 {
    pit.write_control(at(clock), channel << 6);
    let low = pit.read_channel(at(clock), usize::from(channel));
    let high = pit.read_channel(at(clock), usize::from(channel));
    u16::from_le_bytes([low, high])
}

fn status(pit: &mut Pit, channel: u8, clock: i64) -> u8 {
    pit.write_control(at(clock), 0xe0 | 2 << channel);
    pit.read_channel(at(clock), usize::from(channel))
}

fn output(pit: &mut Pit, channel: u8, clock: i64) -> bool {
    status(pit, channel, clock) & 0x80 != 0
}

/// The outputs of channel 2 at clocks, seen through port 0x61.
fn out2(pit: &mut Pit, clock: i64) -> bool {
    pit.read_port61(at(clock)) & PORT61_OUT2 != 0
}

/// The clocks of the next edges of channel 0.
fn edges(pit: &mut Pit, number: usize) -> Vec<i64> {
    (0..number)
        .map_while(|_| {
            let ns = pit.deadline().fires_at()?;
            assert!(!pit.advance(ns - 1));
            assert!(pit.advance(ns));
            Some(clocks_at(ns))
        })
        .collect()
}

#[test]
fn clocks_and_nanoseconds_convert_without_drift() {
    assert_eq!(clocks_at(1_000_000_000), 1_193_182);
    assert_eq!(clocks_at(86_400_000_000_000), 86_400 * 1_193_182);
    for clock in [0, 1, 2, 3, 1_193_181, 1_193_182, 1 << 40] {
        assert_eq!(clocks_at(at(clock)), clock);
        assert!(clock == 0 || clocks_at(at(clock) - 1) == clock - 1);
    }
}

#[test]
fn nothing_counts_at_power_on() {
    let pit = Pit::new();
    assert!(pit.line());
    assert_eq!(pit.deadline().fires_at(), None);
}

#[test]
fn mode_0_interrupts_once_n_plus_one_clocks_after_the_count_was_written() {
    let mut pit = Pit::new();
    program(&mut pit, 0, 0, 100);
    assert!(!pit.line());
    assert_eq!(edges(&mut pit, 3), [101]);
    assert!(pit.line());
    assert!(!output(&mut pit, 0, 100) && output(&mut pit, 0, 101));
    assert_eq!(count(&mut pit, 0, 102), 0xffff, "the counter goes on");
}

#[test]
fn mode_0_starts_again_with_a_new_count() {
    let mut pit = Pit::new();
    program(&mut pit, 0, 0, 100);
    pit.write_channel(at(50), 0, 10);
    assert!(!output(&mut pit, 0, 200), "the first byte of a count stops the counter");
    pit.write_channel(at(200), 0, 0);
    assert_eq!(edges(&mut pit, 3), [211]);
}

#[test]
fn mode_2_has_an_edge_each_n_clocks_and_is_low_for_one() {
    let mut pit = Pit::new();
    program(&mut pit, 0, 2, 5);
    assert_eq!(edges(&mut pit, 4), [6, 11, 16, 21]);
    let mut fresh = Pit::new();
    program(&mut fresh, 0, 2, 5);
    let levels: Vec<_> = (1..12).map(|clock| output(&mut fresh, 0, clock)).collect();
    assert_eq!(levels, [true, true, true, true, false, true, true, true, true, false, true]);
    let counts: Vec<_> = (1..8).map(|clock| count(&mut fresh, 0, clock)).collect();
    assert_eq!(counts, [5, 4, 3, 2, 1, 5, 4]);
}

#[test]
fn mode_2_takes_a_new_count_at_the_end_of_the_period() {
    let mut pit = Pit::new();
    program(&mut pit, 0, 2, 100);
    pit.write_channel(at(50), 0, 10);
    pit.write_channel(at(50), 0, 0);
    assert_eq!(count(&mut pit, 0, 60), 100 - 59);
    assert_eq!(edges(&mut pit, 3), [101, 111, 121]);
}

#[test]
fn mode_3_is_a_square_wave_for_even_counts() {
    let mut pit = Pit::new();
    program(&mut pit, 0, 3, 6);
    let levels: Vec<_> = (1..10).map(|clock| output(&mut pit, 0, clock)).collect();
    assert_eq!(levels, [true, true, true, false, false, false, true, true, true]);
    let counts: Vec<_> = (1..8).map(|clock| count(&mut pit, 0, clock)).collect();
    assert_eq!(counts, [6, 4, 2, 6, 4, 2, 6]);
    assert_eq!(edges(&mut pit, 3), [7, 13, 19]);
}

#[test]
fn mode_3_is_high_one_clock_longer_for_odd_counts() {
    let mut pit = Pit::new();
    program(&mut pit, 0, 3, 5);
    let levels: Vec<_> = (1..8).map(|clock| output(&mut pit, 0, clock)).collect();
    assert_eq!(levels, [true, true, true, false, false, true, true]);
    let counts: Vec<_> = (1..7).map(|clock| count(&mut pit, 0, clock)).collect();
    assert_eq!(counts, [4, 2, 0, 4, 2, 4]);
}

#[test]
fn mode_3_takes_a_new_count_at_the_end_of_the_half_period() {
    let mut pit = Pit::new();
    program(&mut pit, 0, 3, 100);
    // In the high half, which ends at 51: the low half is already that of 20.
    pit.write_channel(at(10), 0, 20);
    pit.write_channel(at(10), 0, 0);
    assert_eq!(edges(&mut pit, 3), [61, 81, 101]);
    let mut pit = Pit::new();
    program(&mut pit, 0, 3, 100);
    // In the low half, which ends at 101.
    pit.write_channel(at(60), 0, 20);
    pit.write_channel(at(60), 0, 0);
    assert_eq!(edges(&mut pit, 3), [101, 121, 141]);
}

#[test]
fn mode_4_strobes_once_and_rises_one_clock_later() {
    let mut pit = Pit::new();
    program(&mut pit, 0, 4, 100);
    assert!(output(&mut pit, 0, 100) && !output(&mut pit, 0, 101) && output(&mut pit, 0, 102));
    assert_eq!(edges(&mut pit, 3), [102]);
}

#[test]
fn modes_1_and_5_wait_for_a_gate_that_channel_0_does_not_have() {
    for mode in [1, 5] {
        let mut pit = Pit::new();
        program(&mut pit, 0, mode, 100);
        assert_eq!(pit.deadline().fires_at(), None);
        assert!(output(&mut pit, 0, 1000));
    }
}

#[test]
fn mode_1_is_a_one_shot_that_each_rise_of_the_gate_restarts() {
    let mut pit = Pit::new();
    program(&mut pit, 2, 1, 10);
    assert!(out2(&mut pit, 5));
    pit.write_port61(at(20), 1);
    assert!(!out2(&mut pit, 21) && !out2(&mut pit, 30) && out2(&mut pit, 31));
    pit.write_port61(at(40), 0);
    pit.write_port61(at(41), 1);
    pit.write_port61(at(45), 0);
    pit.write_port61(at(46), 1);
    assert!(!out2(&mut pit, 56) && out2(&mut pit, 57));
}

#[test]
fn mode_5_strobes_n_clocks_after_the_gate_rose() {
    let mut pit = Pit::new();
    program(&mut pit, 2, 5, 10);
    pit.write_port61(at(20), 1);
    assert!(out2(&mut pit, 30) && !out2(&mut pit, 31) && out2(&mut pit, 32));
}

#[test]
fn the_gate_stops_mode_0_and_lets_it_go_on() {
    let mut pit = Pit::new();
    pit.write_port61(0, 1);
    program(&mut pit, 2, 0, 100);
    pit.write_port61(at(41), 0);
    assert_eq!(count(&mut pit, 2, 500), 60);
    pit.write_port61(at(500), 1);
    assert!(!out2(&mut pit, 559) && out2(&mut pit, 560));
}

#[test]
fn the_gate_restarts_modes_2_and_3_and_holds_their_output_high() {
    for mode in [2, 3] {
        let mut pit = Pit::new();
        pit.write_port61(0, 1);
        program(&mut pit, 2, mode, 10);
        assert!(!out2(&mut pit, 10));
        pit.write_port61(at(10), 0);
        assert!(out2(&mut pit, 10));
        pit.write_port61(at(100), 1);
        assert!(out2(&mut pit, 101) && !out2(&mut pit, 110) && out2(&mut pit, 111));
    }
}

#[test]
fn kernels_calibrate_with_channel_2_in_mode_0() {
    // Linux, pit_calibrate_tsc: gate on, speaker off, mode 0, latch, wait for OUT2.
    let mut pit = Pit::new();
    let before = pit.read_port61(0);
    pit.write_port61(0, before & !2 | 1);
    pit.write_control(0, 0xb0);
    let latch = 59_659u16.to_le_bytes();
    pit.write_channel(0, 2, latch[0]);
    pit.write_channel(0, 2, latch[1]);
    let first = (0..200).find(|ms| pit.read_port61(ms * 1_000_000) & 0x20 != 0);
    assert_eq!(first, Some(51), "50 ms and a clock");
}

#[test]
fn a_count_of_zero_is_the_largest() {
    let mut pit = Pit::new();
    program(&mut pit, 0, 2, 0);
    assert_eq!(edges(&mut pit, 2), [65_537, 131_073]);
    let mut pit = Pit::new();
    pit.write_control(0, 0x35);
    pit.write_channel(0, 0, 0);
    pit.write_channel(0, 0, 0);
    assert_eq!(edges(&mut pit, 2), [10_001, 20_001], "in BCD it is 10,000");
}

#[test]
fn bcd_counts_are_written_and_read_in_decimal() {
    let mut pit = Pit::new();
    pit.write_control(0, 0x35);
    pit.write_channel(0, 0, 0x34);
    pit.write_channel(0, 0, 0x12);
    assert_eq!(count(&mut pit, 0, 1), 0x1234);
    assert_eq!(count(&mut pit, 0, 36), 0x1199);
}

#[test]
fn the_illegal_count_of_one_has_no_edges() {
    for mode in [2, 3] {
        let mut pit = Pit::new();
        program(&mut pit, 0, mode, 1);
        assert_eq!(pit.deadline().fires_at(), None);
    }
}

#[test]
fn a_latched_count_stays_until_it_is_read() {
    let mut pit = Pit::new();
    program(&mut pit, 0, 2, 1000);
    pit.write_control(at(101), 0x00);
    pit.write_control(at(201), 0x00);
    let low = pit.read_channel(at(300), 0);
    let high = pit.read_channel(at(400), 0);
    assert_eq!(u16::from_le_bytes([low, high]), 900, "the second latch command was ignored");
    assert_eq!(count(&mut pit, 0, 401), 600);
}

#[test]
fn read_back_returns_status_then_count() {
    let mut pit = Pit::new();
    program(&mut pit, 1, 2, 1000);
    pit.write_control(at(101), 0xc4);
    let bytes: Vec<_> = (0..3).map(|_| pit.read_channel(at(500), 1)).collect();
    assert_eq!(bytes, [0x80 | 0x34, 0x84, 0x03], "OUT high, count loaded, mode 2, 900");
}

#[test]
fn null_count_tells_that_a_count_is_not_loaded_yet() {
    let mut pit = Pit::new();
    pit.write_control(0, 0x34);
    assert_eq!(status(&mut pit, 0, 0) & 0x40, 0x40);
    pit.write_channel(0, 0, 0);
    pit.write_channel(0, 0, 1);
    assert_eq!(status(&mut pit, 0, 0) & 0x40, 0x40);
    assert_eq!(status(&mut pit, 0, 1) & 0x40, 0);
}

#[test]
fn a_single_byte_access_reads_and_writes_that_byte() {
    let mut pit = Pit::new();
    pit.write_control(0, 0x14);
    pit.write_channel(0, 0, 200);
    assert_eq!([pit.read_channel(at(1), 0), pit.read_channel(at(2), 0)], [200, 199]);
    pit.write_control(0, 0x24);
    pit.write_channel(0, 0, 2);
    assert_eq!(pit.read_channel(at(1), 0), 2);
    assert_eq!(pit.read_channel(at(2), 0), 1);
}

#[test]
fn a_control_word_stops_the_channel() {
    let mut pit = Pit::new();
    program(&mut pit, 0, 2, 100);
    pit.write_control(at(10), 0x30);
    assert_eq!(pit.deadline().fires_at(), None);
    assert!(!pit.line());
}

#[test]
fn port_61_toggles_with_each_refresh_and_keeps_four_bits() {
    let mut pit = Pit::new();
    pit.write_port61(0, 0xff);
    assert_eq!(pit.read_port61(0) & 0xcf, 0x0f);
    let toggles =
        (0..2000).filter(|us| pit.read_port61(us * 1000) & 0x10 != pit.read_port61((us + 1) * 1000) & 0x10);
    assert_eq!(toggles.count(), 132, "2 ms of 15.09 microseconds");
}

#[test]
fn the_edges_of_channel_0_are_those_of_its_output() {
    for mode in [0, 2, 3, 4] {
        for n in [2u16, 3, 7, 10] {
            let mut pit = Pit::new();
            program(&mut pit, 0, mode, n);
            let levels: Vec<_> = (0..100).map(|clock| pit.state.channels[0].output(clock)).collect();
            let rises: Vec<_> =
                (1..100).filter(|c| levels[*c] && !levels[*c - 1]).map(|c| c as i64).collect();
            assert_eq!(edges(&mut pit, rises.len()), rises, "mode {mode}, count {n}");
        }
    }
}
