//! The behaviours that the PC16550D datasheet promises.

use super::*;

#[test]
fn a_byte_written_is_sent_and_the_transmitter_is_empty_again() {
    let mut uart = Uart::new();
    uart.write(DATA, b'x');
    assert_eq!(uart.read(5), 0x60);
    assert_eq!(uart.take_output(), b"x");
    assert!(!uart.line());
}

#[test]
fn received_bytes_interrupt_until_the_last_is_read() {
    let mut uart = Uart::new();
    assert_eq!(uart.receive(b"ab"), 2);
    assert!(!uart.line(), "not enabled");
    uart.write(IER, IER_RECEIVED);
    assert!(uart.line());
    assert_eq!(uart.read(IIR_FCR), IIR_RECEIVED);
    assert!(uart.line(), "reading IIR does not take the bytes");
    assert_eq!((uart.read(5), uart.read(DATA)), (0x61, b'a'));
    assert!(uart.line());
    assert_eq!((uart.read(DATA), uart.read(5)), (b'b', 0x60));
    assert!(!uart.line());
    assert_eq!(uart.read(IIR_FCR), IIR_NONE);
}

#[test]
fn the_transmit_interrupt_is_taken_by_reading_iir() {
    let mut uart = Uart::new();
    uart.write(IER, IER_THR_EMPTY);
    assert!(uart.line(), "THR is empty when the interrupt is enabled");
    assert_eq!(uart.read(IIR_FCR), IIR_THR_EMPTY);
    assert!(!uart.line());
    uart.write(DATA, b'x');
    assert!(uart.line(), "and again when a byte was sent");
    uart.write(IER, 0);
    assert!(!uart.line());
}

#[test]
fn iir_names_the_received_bytes_first_and_keeps_the_transmit_cause() {
    let mut uart = Uart::new();
    uart.write(IER, IER_RECEIVED | IER_THR_EMPTY);
    uart.receive(b"a");
    assert_eq!(uart.read(IIR_FCR), IIR_RECEIVED);
    uart.read(DATA);
    assert_eq!(uart.read(IIR_FCR), IIR_THR_EMPTY);
    assert_eq!(uart.read(IIR_FCR), IIR_NONE);
}

#[test]
fn writing_ier_again_requests_no_second_transmit_interrupt() {
    let mut uart = Uart::new();
    uart.write(IER, IER_THR_EMPTY);
    uart.read(IIR_FCR);
    uart.write(IER, IER_THR_EMPTY | IER_RECEIVED);
    assert!(!uart.line());
}

#[test]
fn iir_shows_enabled_fifos() {
    let mut uart = Uart::new();
    assert_eq!(uart.read(IIR_FCR), IIR_NONE);
    uart.write(IIR_FCR, FCR_ENABLE);
    assert_eq!(uart.read(IIR_FCR), IIR_NONE | 0xc0, "a 16550A");
}

#[test]
fn fcr_clears_the_received_bytes() {
    let mut uart = Uart::new();
    uart.write(IIR_FCR, FCR_ENABLE);
    uart.receive(b"abc");
    uart.write(LCR, 0x83);
    uart.write(IIR_FCR, FCR_ENABLE | FCR_CLEAR_RECEIVE);
    assert_eq!((uart.read(5), uart.read(LCR), uart.room()), (0x60, 0x83, 64));
}

#[test]
fn dlab_selects_the_divisor() {
    let mut uart = Uart::new();
    uart.write(IER, IER_RECEIVED);
    uart.write(LCR, LCR_DLAB);
    uart.write(DATA, 1);
    uart.write(IER, 2);
    assert_eq!((uart.read(DATA), uart.read(IER)), (1, 2));
    uart.write(LCR, 3);
    assert_eq!(uart.read(IER), IER_RECEIVED);
    assert!(!uart.has_output());
}

#[test]
fn loopback_returns_what_is_sent_and_disconnects_the_line() {
    let mut uart = Uart::new();
    uart.write(MCR, 0x1f);
    uart.write(DATA, 0xae);
    assert_eq!((uart.room(), uart.receive(b"x")), (0, 0));
    assert_eq!(uart.read(DATA), 0xae);
    assert!(!uart.has_output());
    assert_eq!(uart.read(6), 0xf0, "modem outputs are modem inputs");
}

#[test]
fn input_is_taken_as_far_as_there_is_room() {
    let mut uart = Uart::new();
    assert_eq!(uart.receive(&[7; 100]), 64);
    assert_eq!((uart.room(), uart.receive(b"x")), (0, 0));
    uart.read(DATA);
    assert_eq!(uart.receive(b"xy"), 1);
}

#[test]
fn the_scratch_register_is_a_byte_of_memory() {
    let mut uart = Uart::new();
    uart.write(7, 0xa5);
    assert_eq!(uart.read(7), 0xa5);
}
