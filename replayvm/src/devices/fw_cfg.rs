//! fw_cfg: how QEMU's firmware asks about its machine. Selector at port 0x510 (16 bits), data at 0x511, a byte a read.
//!
//! Source: QEMU, docs/specs/fw_cfg.rst. It is there in machines that boot from firmware, and says what such firmware cannot
//! do without: who we are, how much memory there is (as a number and as an E820 table), one processor. What is asked for beyond
//! that reads as zero, like any item that is not there; "no graphics" among it, so that SeaBIOS does not say everything twice, on the
//! debug port and on the serial port. No DMA. Items are a function of the memory size.

use rkyv::{Archive, Deserialize, Serialize};

use super::saved::SavedState;

pub(super) const SELECTOR_PORT: u16 = 0x510;
pub(super) const DATA_PORT: u16 = 0x511;

const SIGNATURE: u16 = 0x00;
/// Features: the port interface.
const ID: u16 = 0x01;
const RAM_SIZE: u16 = 0x03;
const PROCESSORS: u16 = 0x05;
const MAX_PROCESSORS: u16 = 0x0f;
const FILE_DIRECTORY: u16 = 0x19;
const FIRST_FILE: u16 = 0x20;
/// Bits of the selector that choose an item: 14 is for writes, which nobody makes any more.
const SELECTOR_MASK: u16 = 0xbfff;
const FILE_NAME_BYTES: usize = 56;
const E820_RAM: u32 = 1;

/// The saved state.
#[derive(Debug, Clone, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub(super) struct State {
    selector: u16,
    /// The next byte of the item.
    offset: u32,
}

impl SavedState for State {
    const NAME: &'static str = "fw-cfg";
    const VERSION: u32 = 1;

    fn validate(&self) -> Result<(), &'static str> {
        if self.selector & !SELECTOR_MASK != 0 {
            Err("the selector has bits that do not exist")
        } else {
            Ok(())
        }
    }
}

/// The interface.
#[derive(Debug, Clone, Default)]
pub struct FwCfg {
    state: State,
    /// `None`: the machine does not boot from firmware, and nobody answers.
    memory_bytes: Option<u64>,
}

impl FwCfg {
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// The same device in another state.
    pub(super) fn with_state(&self, state: State) -> Self {
        Self { state, memory_bytes: self.memory_bytes }
    }

    /// Makes the device answer.
    pub(super) fn enable(&mut self, memory_bytes: u64) {
        self.memory_bytes = Some(memory_bytes);
    }

    pub(super) fn is_there(&self) -> bool {
        self.memory_bytes.is_some()
    }

    /// Chooses an item, from its beginning.
    pub(super) fn select(&mut self, selector: u16) {
        self.state = State { selector: selector & SELECTOR_MASK, offset: 0 };
    }

    /// The next byte of the item; zero past its end.
    pub(super) fn read(&mut self) -> u8 {
        let Some(memory_bytes) = self.memory_bytes else { return 0xff };
        let item = item(self.state.selector, memory_bytes);
        let byte = item.get(self.state.offset as usize).copied().unwrap_or(0);
        self.state.offset = self.state.offset.saturating_add(1);
        byte
    }
}

/// The bytes of an item; none for one that is not there.
fn item(selector: u16, memory_bytes: u64) -> Vec<u8> {
    match selector {
        SIGNATURE => b"QEMU".to_vec(),
        ID => 1_u32.to_le_bytes().to_vec(),
        RAM_SIZE => memory_bytes.to_le_bytes().to_vec(),
        PROCESSORS | MAX_PROCESSORS => 1_u16.to_le_bytes().to_vec(),
        FILE_DIRECTORY => {
            let mut directory = 1_u32.to_be_bytes().to_vec();
            directory.extend_from_slice(&(e820(memory_bytes).len() as u32).to_be_bytes());
            directory.extend_from_slice(&FIRST_FILE.to_be_bytes());
            directory.extend_from_slice(&[0, 0]);
            let mut name = b"etc/e820".to_vec();
            name.resize(FILE_NAME_BYTES, 0);
            directory.extend_from_slice(&name);
            directory
        }
        FIRST_FILE => e820(memory_bytes),
        _ => Vec::new(),
    }
}

/// All RAM, in one piece: the firmware cuts out what it keeps for itself.
fn e820(memory_bytes: u64) -> Vec<u8> {
    let mut entry = 0_u64.to_le_bytes().to_vec();
    entry.extend_from_slice(&memory_bytes.to_le_bytes());
    entry.extend_from_slice(&E820_RAM.to_le_bytes());
    entry
}

#[cfg(test)]
mod tests {
    use super::super::Devices;
    use super::*;

    fn read(devices: &mut Devices, selector: u16, count: usize) -> Vec<u8> {
        devices.io_write(0, SELECTOR_PORT, 2, u32::from(selector));
        (0..count).map(|_| devices.io_read(0, DATA_PORT, 1) as u8).collect()
    }

    #[test]
    fn without_firmware_nobody_answers() {
        let mut devices = Devices::new();
        assert_eq!(read(&mut devices, SIGNATURE, 4), [0xff; 4]);
    }

    #[test]
    fn the_signature_the_memory_size_and_a_file_can_be_read() {
        let mut devices = Devices::new();
        devices.enable_firmware_configuration(64 << 20);
        assert_eq!(read(&mut devices, SIGNATURE, 5), b"QEMU\0");
        assert_eq!(read(&mut devices, RAM_SIZE, 8), (64_u64 << 20).to_le_bytes());
        let directory = read(&mut devices, FILE_DIRECTORY, 4 + 64);
        assert_eq!(directory[..4], [0, 0, 0, 1]);
        assert_eq!(directory[4..8], [0, 0, 0, 20]);
        assert_eq!(&directory[12..21], b"etc/e820\0");
        let selector = u16::from_be_bytes([directory[8], directory[9]]);
        assert_eq!(read(&mut devices, selector, 20)[8..16], (64_u64 << 20).to_le_bytes());
        assert_eq!(read(&mut devices, 0x3333, 4), [0; 4], "an item that is not there");
    }

    #[test]
    fn reading_goes_on_where_a_saved_machine_stood() {
        let mut devices = Devices::new();
        devices.enable_firmware_configuration(64 << 20);
        read(&mut devices, SIGNATURE, 2);
        let saved = devices.save();
        let mut restored = Devices::new();
        restored.enable_firmware_configuration(64 << 20);
        restored.restore(&saved).unwrap();
        assert_eq!(restored.io_read(0, DATA_PORT, 1), u32::from(b'M'));
        assert_eq!(restored.save(), {
            devices.io_read(0, DATA_PORT, 1);
            devices.save()
        });
    }
}
