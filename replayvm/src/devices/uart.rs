//! COM1: a 16550A at ports 0x3f8 to 0x3ff, interrupt line 4.
//!
//! The registers, the receive queue and loopback are vm-superio's `Serial`. The interrupt output is computed here: on a
//! PC it is a level (IER and a pending cause, National Semiconductor PC16550D, section 8.6), while `Serial` only signals
//! edges, never reports one cause at a time and forgets a waiting byte once IIR was read.
//!
//! Not here: baud rate (a byte is sent the moment it is written), parity and framing errors, modem lines other than in
//! loopback, receive trigger levels (each byte interrupts), the gating of the interrupt by OUT2 (neither QEMU nor
//! vm-superio gates, and small kernels rely on it). COM2 to COM4 are absent.

use std::io;

use rkyv::{Archive, Deserialize, Serialize};
use vm_superio::serial::{NoEvents, SerialState};
use vm_superio::{Serial, Trigger};

use super::saved::SavedState;

/// What a person sees.
mod inspect;

/// First port of COM1.
pub(super) const BASE: u16 = 0x3f8;
/// Last port of COM1.
pub(super) const LAST: u16 = 0x3ff;
/// The interrupt line of COM1.
pub(super) const IRQ: u8 = 4;

/// How many received bytes the device holds for the guest.
const RECEIVE_QUEUE: usize = 64;
/// How much output waits for the host before the oldest is dropped. The guest cannot tell.
const OUTPUT_LIMIT: usize = 1 << 20;

// Register offsets (PC16550D, table 1). Offset 0 is RBR, THR or DLL; 1 is IER or DLM; 2 is IIR or FCR.
const DATA: u8 = 0;
const IER: u8 = 1;
const IIR_FCR: u8 = 2;
const LCR: u8 = 3;
const MCR: u8 = 4;
const LCR_DLAB: u8 = 0x80;
const MCR_LOOPBACK: u8 = 0x10;
const IER_RECEIVED: u8 = 1;
const IER_THR_EMPTY: u8 = 2;
// Interrupt identification, highest priority first (PC16550D, table 4).
const IIR_RECEIVED: u8 = 4;
const IIR_THR_EMPTY: u8 = 2;
const IIR_NONE: u8 = 1;
const IIR_FIFOS: u8 = 0xc0;
const FCR_ENABLE: u8 = 1;
const FCR_CLEAR_RECEIVE: u8 = 2;
const LSR_DATA_READY: u8 = 1;

/// The edge that vm-superio wants to signal, which the level below makes superfluous.
#[derive(Debug, Clone, Copy)]
struct NoEdge;

impl Trigger for NoEdge {
    type E = std::convert::Infallible;

    fn trigger(&self) -> Result<(), Self::E> {
        Ok(())
    }
}

/// Where the guest's bytes go: a bounded queue to the host.
#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    dropped: u64,
}

impl Output {
    /// Adds one byte, dropping the older half when nobody takes them.
    pub(super) fn push(&mut self, byte: u8) {
        if self.bytes.len() >= OUTPUT_LIMIT {
            self.bytes.drain(..OUTPUT_LIMIT / 2);
            self.dropped = self.dropped.saturating_add(OUTPUT_LIMIT as u64 / 2);
        }
        self.bytes.push(byte);
    }

    /// Takes what has come since the last call.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Whether there is something to take.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many bytes were dropped since power-on because nobody took them.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            self.push(*byte);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The saved state: what a guest can find out about the device, now or later.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub(super) struct State {
    divisor: [u8; 2],
    interrupt_enable: u8,
    line_control: u8,
    modem_control: u8,
    scratch: u8,
    fifos_enabled: bool,
    thr_empty_pending: bool,
    received: Vec<u8>,
}

impl SavedState for State {
    const NAME: &'static str = "uart";
    const VERSION: u32 = 1;

    fn validate(&self) -> Result<(), &'static str> {
        if self.interrupt_enable & 0xf0 != 0 {
            return Err("the high bits of the interrupt enable register are always zero");
        }
        if self.received.len() > RECEIVE_QUEUE {
            return Err("the receive queue holds 64 bytes");
        }
        if self.thr_empty_pending && self.interrupt_enable & IER_THR_EMPTY == 0 {
            return Err("a transmit interrupt is pending that is not enabled");
        }
        Ok(())
    }
}

/// The first serial port.
#[derive(Debug)]
pub struct Uart {
    serial: Serial<NoEdge, NoEvents, Output>,
    /// IER, which cannot be read back from `serial` while DLAB is set.
    interrupt_enable: u8,
    /// Bit 4 of MCR.
    loopback: bool,
    fifos_enabled: bool,
    /// THR became empty and nobody was told: cleared by reading IIR when it says so, or by writing THR.
    thr_empty_pending: bool,
}

impl Uart {
    /// The power-on state: 9600 baud, 8N1, no interrupts.
    pub(super) fn new() -> Self {
        let serial = Serial::new(NoEdge, Output::default());
        Self { serial, interrupt_enable: 0, loopback: false, fifos_enabled: false, thr_empty_pending: false }
    }

    /// Reads a register. Reading RBR takes a byte; reading IIR takes the transmit cause.
    pub(super) fn read(&mut self, offset: u8) -> u8 {
        if offset != IIR_FCR {
            return self.serial.read(offset);
        }
        let cause = if self.received_interrupt() {
            IIR_RECEIVED
        } else if self.thr_empty_pending {
            self.thr_empty_pending = false;
            IIR_THR_EMPTY
        } else {
            IIR_NONE
        };
        cause | if self.fifos_enabled { IIR_FIFOS } else { 0 }
    }

    /// Writes a register.
    pub(super) fn write(&mut self, offset: u8, value: u8) {
        match offset {
            IIR_FCR => {
                // Changing FCR bit 0 clears the queues as well (PC16550D, section 8.4).
                let enable = value & FCR_ENABLE != 0;
                if value & FCR_CLEAR_RECEIVE != 0 && enable || enable != self.fifos_enabled {
                    self.clear_received();
                }
                self.fifos_enabled = enable;
                return;
            }
            IER if !self.divisor_selected() => {
                let before = std::mem::replace(&mut self.interrupt_enable, value & 0x0f);
                if (before ^ value) & IER_THR_EMPTY != 0 {
                    // Enabling the interrupt while THR is empty, and here it always is, requests it at once.
                    self.thr_empty_pending = value & IER_THR_EMPTY != 0;
                }
            }
            DATA if !self.divisor_selected() => {
                self.thr_empty_pending = self.interrupt_enable & IER_THR_EMPTY != 0;
            }
            MCR => self.loopback = value & MCR_LOOPBACK != 0,
            _ => {}
        }
        // The trigger cannot fail and the output takes every byte.
        let _never = self.serial.write(offset, value);
    }

    /// The interrupt output.
    pub(super) fn line(&self) -> bool {
        self.thr_empty_pending || self.received_interrupt()
    }

    /// How many bytes of input the device takes now. None in loopback, where the line is disconnected.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.loopback { 0 } else { self.serial.fifo_capacity() }
    }

    /// Receives bytes; returns how many were taken.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> usize {
        let taken = &bytes[..bytes.len().min(self.room())];
        self.serial.enqueue_raw_bytes(taken).unwrap_or(0)
    }

    /// Whether output waits for the host.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.serial.writer().is_empty()
    }

    /// How many bytes of output were dropped since power-on or restore, because the host did not take them.
    #[must_use]
    pub fn output_dropped(&self) -> u64 {
        self.serial.writer().dropped()
    }

    /// What the guest has sent since the last call.
    pub(super) fn take_output(&mut self) -> Vec<u8> {
        self.serial.writer_mut().take()
    }

    fn divisor_selected(&mut self) -> bool {
        self.serial.read(LCR) & LCR_DLAB != 0
    }

    fn received_interrupt(&self) -> bool {
        self.interrupt_enable & IER_RECEIVED != 0 && self.serial.fifo_capacity() < RECEIVE_QUEUE
    }

    fn clear_received(&mut self) {
        let line_control = self.serial.read(LCR);
        let _never = self.serial.write(LCR, line_control & !LCR_DLAB);
        while self.serial.fifo_capacity() < RECEIVE_QUEUE {
            self.serial.read(DATA);
        }
        let _never = self.serial.write(LCR, line_control);
    }

    pub(super) fn state(&self) -> State {
        let serial = self.serial.state();
        State {
            divisor: [serial.baud_divisor_low, serial.baud_divisor_high],
            interrupt_enable: self.interrupt_enable,
            line_control: serial.line_control,
            modem_control: serial.modem_control,
            scratch: serial.scratch,
            fifos_enabled: self.fifos_enabled,
            thr_empty_pending: self.thr_empty_pending,
            received: serial.in_buffer,
        }
    }

    /// The device in a validated state. `None` when vm-superio refuses it.
    pub(super) fn from_state(state: State) -> Option<Self> {
        let default = SerialState::default();
        let line_status = if state.received.is_empty() {
            default.line_status
        } else {
            default.line_status | LSR_DATA_READY
        };
        let serial = SerialState {
            baud_divisor_low: state.divisor[0],
            baud_divisor_high: state.divisor[1],
            interrupt_enable: state.interrupt_enable,
            line_control: state.line_control,
            line_status,
            modem_control: state.modem_control,
            scratch: state.scratch,
            in_buffer: state.received,
            ..default
        };
        Some(Self {
            serial: Serial::from_state(&serial, NoEdge, NoEvents, Output::default()).ok()?,
            interrupt_enable: state.interrupt_enable,
            loopback: state.modem_control & MCR_LOOPBACK != 0,
            fifos_enabled: state.fifos_enabled,
            thr_empty_pending: state.thr_empty_pending,
        })
    }
}

#[cfg(test)]
mod tests;
