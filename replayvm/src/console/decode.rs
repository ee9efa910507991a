//! Bytes out of port writes: what the serial port and the debug ports make of them.

use recorder::{Exit, Position};

// COM1 (PC16550D, table 1): the transmitter shares its port with the low divisor latch, which LCR bit 7 selects.
const DATA: u16 = 0x3f8;
const LINE_CONTROL: u16 = 0x3fb;
const MODEM_CONTROL: u16 = 0x3fc;
const LCR_DLAB: u8 = 0x80;
const MCR_LOOPBACK: u8 = 0x10;
/// The debug ports of Bochs and QEMU.
const DEBUG: [u16; 2] = [0xe9, 0x402];

/// Through what a byte was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The first serial port.
    Serial,
    /// A debug port, 0xe9 or 0x402.
    Debug,
}

/// A byte on the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Printed {
    /// The position before the instruction that printed it.
    pub at: Position,
    /// Through what.
    pub source: Source,
    /// The byte.
    pub byte: u8,
}

/// Follows the port writes of a run from power-on.
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    divisor_selected: bool,
    loopback: bool,
}

impl Decoder {
    /// The next exit of the run; `print` is called for each byte that it printed. The exit says what the guest wrote, byte
    /// by byte from the low port up, as the bus takes it apart.
    pub fn exit(&mut self, at: Position, exit: &Exit, print: &mut impl FnMut(Printed)) {
        let Exit::PortWrite { port, size, value } = *exit else { return };
        for (index, byte) in (0..u16::from(size)).zip(value.to_le_bytes()) {
            let Some(port) = port.checked_add(index) else { return };
            if let Some(source) = self.write(port, byte) {
                print(Printed { at, source, byte });
            }
        }
    }

    fn write(&mut self, port: u16, byte: u8) -> Option<Source> {
        match port {
            // In loopback what is sent is received again, and nothing leaves the port.
            DATA if !self.divisor_selected && !self.loopback => return Some(Source::Serial),
            LINE_CONTROL => self.divisor_selected = byte & LCR_DLAB != 0,
            MODEM_CONTROL => self.loopback = byte & MCR_LOOPBACK != 0,
            port if DEBUG.contains(&port) => return Some(Source::Debug),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(writes: &[(u16, u8, u32)]) -> Vec<(u64, Source, u8)> {
        let mut decoder = Decoder::default();
        let mut found = Vec::new();
        for (tick, (port, size, value)) in (0..).zip(writes) {
            let exit = Exit::PortWrite { port: *port, size: *size, value: *value };
            let at = Position::new(tick, 0);
            decoder.exit(at, &exit, &mut |p| found.push((p.at.tick, p.source, p.byte)));
        }
        found
    }

    #[test]
    fn the_divisor_latch_and_loopback_print_nothing() {
        let writes = [
            (0x3f8, 1, 0x61),
            (0x3fb, 1, 0x80),
            (0x3f8, 1, 0x01),
            (0x3fb, 1, 0x03),
            (0x3fc, 1, 0x13),
            (0x3f8, 1, 0x62),
            (0x3fc, 1, 0x03),
            (0x3f8, 1, 0x63),
        ];
        assert_eq!(run(&writes), [(0, Source::Serial, b'a'), (7, Source::Serial, b'c')]);
    }

    #[test]
    fn a_wide_write_is_one_a_byte() {
        // Divisor latch on in the third byte of one write: the first byte is still data.
        assert_eq!(run(&[(0x3f8, 4, 0x8000_0061), (0x3f8, 1, 0x62)]), [(0, Source::Serial, b'a')]);
    }

    #[test]
    fn debug_ports_are_told_apart_from_the_serial_port() {
        let found = run(&[(0x402, 1, 0x61), (0xe9, 1, 0x62), (0x3f9, 1, 0x63), (0xffff, 2, 0x6464)]);
        assert_eq!(found, [(0, Source::Debug, b'a'), (1, Source::Debug, b'b')]);
    }
}
