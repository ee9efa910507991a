//! The board through its ports.

use super::*;
use crate::devices::Devices;

fn command(devices: &mut Devices, value: u8) -> u32 {
    devices.io_write(0, 0x64, 1, u32::from(value));
    devices.io_read(0, 0x60, 1)
}

#[test]
fn a_write_to_port_f4_ends_the_run_with_a_value_as_wide_as_the_access() {
    for (size, expected) in [(1, 0x78), (2, 0x5678), (4, 0x1234_5678)] {
        let mut devices = Devices::new();
        devices.io_write(0, 0xf4, size, 0x1234_5678);
        assert_eq!(devices.take_signal(), Some(Signal::DebugExit(expected)));
        assert_eq!(devices.take_signal(), None);
    }
}

#[test]
fn four_ports_reset_the_machine() {
    for (port, value) in [(0x64, 0xfe), (0xcf9, 0x06), (0x92, 0x01)] {
        let mut devices = Devices::new();
        devices.io_write(0, port, 1, value);
        assert_eq!(devices.take_signal(), Some(Signal::Reset), "port {port:#x}");
    }
    let mut devices = Devices::new();
    devices.io_write(0, 0x64, 1, 0xd1);
    devices.io_write(0, 0x60, 1, 0x02);
    assert_eq!(devices.take_signal(), Some(Signal::Reset), "the 8042's output port");
}

#[test]
fn a_probe_for_pci_does_not_reset() {
    let mut devices = Devices::new();
    devices.io_write(0, 0xcf8, 4, 0x8000_0400);
    assert_eq!(devices.take_signal(), None);
    assert_eq!(devices.io_read(0, 0xcf8, 4), 0xffff_ffff);
}

#[test]
fn the_first_signal_stands() {
    let mut devices = Devices::new();
    devices.io_write(0, 0xf4, 1, 1);
    devices.io_write(0, 0x64, 1, 0xfe);
    assert_eq!(devices.take_signal(), Some(Signal::DebugExit(1)));
}

#[test]
fn a20_is_on_at_power_on_and_has_three_switches() {
    let mut devices = Devices::new();
    assert!(devices.a20_enabled());
    devices.io_write(0, 0x92, 1, 0);
    assert!(!devices.a20_enabled());
    devices.io_write(0, 0x64, 1, 0xdf);
    assert!(devices.a20_enabled());
    assert_eq!(devices.io_read(0, 0x92, 1), 2);
    devices.io_write(0, 0x64, 1, 0xd1);
    devices.io_write(0, 0x60, 1, 0x01);
    assert!(!devices.a20_enabled());
    assert_eq!(command(&mut devices, 0xd0), 1);
}

#[test]
fn the_8042_passes_its_self_test_and_is_empty() {
    let mut devices = Devices::new();
    assert_eq!(devices.io_read(0, 0x64, 1) & 3, 0);
    devices.io_write(0, 0x64, 1, 0xaa);
    assert_eq!(devices.io_read(0, 0x64, 1) & 3, 1);
    assert_eq!(devices.io_read(0, 0x60, 1), 0x55);
    assert_eq!(devices.io_read(0, 0x64, 1) & 3, 0);
    assert_eq!(command(&mut devices, 0xab), 0);
}

#[test]
fn the_8042_keeps_its_control_byte() {
    let mut devices = Devices::new();
    devices.io_write(0, 0x64, 1, 0x60);
    devices.io_write(0, 0x60, 1, 0x47);
    assert_eq!(command(&mut devices, 0x20), 0x47);
    assert_eq!(command(&mut devices, 0xad), 0, "no answer");
    assert_eq!(command(&mut devices, 0x20), 0x57);
}

#[test]
fn a_keyboard_that_is_not_there_does_not_answer() {
    let mut devices = Devices::new();
    devices.io_write(0, 0x60, 1, 0xff);
    assert_eq!(devices.io_read(0, 0x64, 1) & 1, 0);
}

#[test]
fn both_debug_consoles_print_and_say_who_they_are() {
    let mut devices = Devices::new();
    devices.io_write(0, 0xe9, 1, u32::from(b'h'));
    devices.io_write(0, 0x402, 1, u32::from(b'i'));
    assert_eq!(devices.take_debug_output(), b"hi");
    assert_eq!((devices.io_read(0, 0xe9, 1), devices.io_read(0, 0x402, 1)), (0xe9, 0xe9));
}

#[test]
fn post_codes_only_take_time() {
    let mut devices = Devices::new();
    let before = devices.save();
    devices.io_write(0, 0x80, 1, 0x55);
    assert_eq!(devices.save(), before);
    assert_eq!(devices.io_read(0, 0x80, 1), 0xff);
}
