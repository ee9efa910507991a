//! The rest of the board: ways to end the run, ways to print, and the little of the keyboard controller that a kernel's
//! probe needs.
//!
//! isa-debug-exit at 0xf4, reset at 0xcf9 and 0x64, port 0x92 (fast reset and A20), POST codes at 0x80, debug consoles at
//! 0x402 and 0xe9. The 8042 answers its self test and has neither keyboard nor mouse: its output buffer holds answers to controller
//! commands only (IBM PS/2 Hardware Interface Technical Reference, "Keyboard and auxiliary device controller").
//! Not here: PCI (0xcf8 is unclaimed), the speaker (port 0x61 is the PIT's).

use rkyv::{Archive, Deserialize, Serialize};

use super::saved::SavedState;
use super::uart::Output;

/// Interrupt line of the keyboard.
pub(super) const KEYBOARD_IRQ: u8 = 1;

/// What the debug consoles read as: how SeaBIOS and Bochs detect them.
pub(super) const DEBUG_CONSOLE_ID: u8 = 0xe9;

const STATUS_OUTPUT_FULL: u8 = 0x01;
const STATUS_SYSTEM: u8 = 0x04;
const STATUS_COMMAND: u8 = 0x08;
/// The keyboard is not locked.
const STATUS_UNLOCKED: u8 = 0x10;
const CONTROL_KEYBOARD_INTERRUPT: u8 = 0x01;
const CONTROL_KEYBOARD_DISABLED: u8 = 0x10;
const CONTROL_MOUSE_DISABLED: u8 = 0x20;
const OUTPUT_NOT_RESET: u8 = 0x01;
const OUTPUT_A20: u8 = 0x02;
const PORT92_RESET: u8 = 0x01;
const PORT92_A20: u8 = 0x02;
const CF9_RESET: u8 = 0x04;
/// Hard reset and full reset stay as written; the reset bit itself reads back as zero.
const CF9_KEPT: u8 = 0x0a;

/// Something that the guest asks of the machine as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub enum Signal {
    /// The guest wrote to port 0xf4: it is done, with this value.
    DebugExit(u32),
    /// The guest pulled the reset line.
    Reset,
    /// The local APIC delivered INIT to the CPU.
    Init,
    /// The guest turned the machine off.
    PowerOff,
}

/// A controller command that waits for its data byte at port 0x60.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
enum Waiting {
    Nothing,
    ControlByte,
    OutputPort,
    /// A byte that the controller puts into its output buffer.
    Echo,
    /// A byte for a mouse that is not there.
    Mouse,
}

/// The saved state.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub(super) struct State {
    signal: Option<Signal>,
    a20: bool,
    port92: u8,
    reset_control: u8,
    /// The 8042's control byte.
    control: u8,
    /// The 8042's answer.
    answer: Option<u8>,
    waiting: Waiting,
    /// The last byte went to the command port.
    last_was_command: bool,
}

impl SavedState for State {
    const NAME: &'static str = "platform";
    const VERSION: u32 = 1;

    fn validate(&self) -> Result<(), &'static str> {
        if self.reset_control & !CF9_KEPT != 0 || self.port92 & (PORT92_RESET | PORT92_A20) != 0 {
            return Err("a reset register holds bits that it does not keep");
        }
        Ok(())
    }
}

/// Reset, exit, debug console, 8042.
#[derive(Debug)]
pub struct Platform {
    state: State,
    console: Output,
}

impl Platform {
    /// A20 is on: the machine boots its kernel without firmware.
    pub(super) fn new() -> Self {
        let state = State {
            signal: None,
            a20: true,
            port92: 0,
            reset_control: 0,
            control: CONTROL_KEYBOARD_DISABLED | CONTROL_MOUSE_DISABLED | STATUS_SYSTEM,
            answer: None,
            waiting: Waiting::Nothing,
            last_was_command: false,
        };
        Self::from_state(state)
    }

    pub(super) fn from_state(state: State) -> Self {
        Self { state, console: Output::default() }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Whether address line 20 is on. The machine may ignore it: nothing of today masks the line.
    #[must_use]
    pub fn a20_enabled(&self) -> bool {
        self.state.a20
    }

    /// Whether a signal waits.
    #[must_use]
    pub fn has_signal(&self) -> bool {
        self.state.signal.is_some()
    }

    pub(super) fn take_signal(&mut self) -> Option<Signal> {
        self.state.signal.take()
    }

    /// The first signal stands until it is taken.
    pub(super) fn raise(&mut self, signal: Signal) {
        self.state.signal.get_or_insert(signal);
    }

    /// Whether debug console output waits for the host.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.console.is_empty()
    }

    pub(super) fn take_output(&mut self) -> Vec<u8> {
        self.console.take()
    }

    pub(super) fn write_console(&mut self, byte: u8) {
        self.console.push(byte);
    }

    /// The keyboard's interrupt output: an answer waits and the interrupt is enabled.
    pub(super) fn keyboard_line(&self) -> bool {
        self.state.answer.is_some() && self.state.control & CONTROL_KEYBOARD_INTERRUPT != 0
    }

    pub(super) fn read_port92(&self) -> u8 {
        self.state.port92 | if self.state.a20 { PORT92_A20 } else { 0 }
    }

    pub(super) fn write_port92(&mut self, value: u8) {
        self.state.a20 = value & PORT92_A20 != 0;
        self.state.port92 = value & !(PORT92_A20 | PORT92_RESET);
        if value & PORT92_RESET != 0 {
            self.raise(Signal::Reset);
        }
    }

    pub(super) fn read_reset_control(&self) -> u8 {
        self.state.reset_control
    }

    pub(super) fn write_reset_control(&mut self, value: u8) {
        self.state.reset_control = value & CF9_KEPT;
        if value & CF9_RESET != 0 {
            self.raise(Signal::Reset);
        }
    }

    /// Reads port 0x64.
    pub(super) fn read_keyboard_status(&self) -> u8 {
        let full = if self.state.answer.is_some() { STATUS_OUTPUT_FULL } else { 0 };
        let command = if self.state.last_was_command { STATUS_COMMAND } else { 0 };
        full | command | self.state.control & STATUS_SYSTEM | STATUS_UNLOCKED
    }

    /// Reads port 0x60.
    pub(super) fn read_keyboard_data(&mut self) -> u8 {
        self.state.answer.take().unwrap_or(0)
    }

    /// Writes port 0x60.
    pub(super) fn write_keyboard_data(&mut self, value: u8) {
        self.state.last_was_command = false;
        match std::mem::replace(&mut self.state.waiting, Waiting::Nothing) {
            // For a keyboard or a mouse that is not there: no answer ever comes.
            Waiting::Nothing | Waiting::Mouse => {}
            Waiting::ControlByte => self.state.control = value,
            Waiting::OutputPort => self.write_output_port(value),
            Waiting::Echo => self.state.answer = Some(value),
        }
    }

    /// Writes port 0x64: a controller command.
    pub(super) fn write_keyboard_command(&mut self, value: u8) {
        self.state.last_was_command = true;
        self.state.waiting = Waiting::Nothing;
        match value {
            0x20 => self.state.answer = Some(self.state.control),
            0x60 => self.state.waiting = Waiting::ControlByte,
            0xa7 => self.state.control |= CONTROL_MOUSE_DISABLED,
            0xa8 => self.state.control &= !CONTROL_MOUSE_DISABLED,
            // Test of the mouse port: its clock line is stuck low. There is none.
            0xa9 => self.state.answer = Some(0x01),
            // Self test: passed.
            0xaa => {
                self.state.control |= STATUS_SYSTEM;
                self.state.answer = Some(0x55);
            }
            // Test of the keyboard port: fine.
            0xab => self.state.answer = Some(0x00),
            0xad => self.state.control |= CONTROL_KEYBOARD_DISABLED,
            0xae => self.state.control &= !CONTROL_KEYBOARD_DISABLED,
            // Input port: not locked.
            0xc0 => self.state.answer = Some(0x80),
            0xd0 => {
                let a20 = if self.state.a20 { OUTPUT_A20 } else { 0 };
                self.state.answer = Some(OUTPUT_NOT_RESET | a20);
            }
            0xd1 => self.state.waiting = Waiting::OutputPort,
            0xd2 => self.state.waiting = Waiting::Echo,
            // A controller without a mouse port echoes this too, but not as the mouse's byte (status bit 5): a kernel that
            // looks for the port this way need not wait half a second for no answer.
            0xd3 => self.state.waiting = Waiting::Echo,
            0xd4 => self.state.waiting = Waiting::Mouse,
            0xdd => self.state.a20 = false,
            0xdf => self.state.a20 = true,
            // Pulse output lines low, those whose bit is clear; line 0 is reset.
            0xf0..=0xff if value & OUTPUT_NOT_RESET == 0 => self.raise(Signal::Reset),
            _ => {}
        }
    }

    fn write_output_port(&mut self, value: u8) {
        self.state.a20 = value & OUTPUT_A20 != 0;
        if value & OUTPUT_NOT_RESET == 0 {
            self.raise(Signal::Reset);
        }
    }
}

#[cfg(test)]
mod tests;
