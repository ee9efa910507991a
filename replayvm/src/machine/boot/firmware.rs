//! Firmware: a ROM image that ends at 4 GiB, entered at the reset vector in real mode, as the processor wakes up.
//!
//! The last 128 KiB are also at 0xe0000 to 0xfffff. On a board that is the same chip until the chipset is told to put RAM there
//! (PIIX: PAM registers); here it is RAM from the start, with a copy of the image, as in QEMU's microvm and ISA machines:
//! firmware that would have to unlock it finds that it can write.

use replayvm_cpu::CpuState;

use super::BootError;
use super::map::HIGH_MEMORY;
use crate::machine::{Machine, Rom};

/// What is copied below 1 MiB.
const SHADOW: usize = 128 << 10;
/// Images are whole 64 KiB segments, and end below the devices: the I/O APIC is at 0xfec00000.
const GRANULE: usize = 64 << 10;
const LIMIT: usize = 16 << 20;
/// Where the reset vector is from the end, and the far jump that every firmware has there.
const RESET_VECTOR: usize = 16;
const JUMP_FAR: u8 = 0xea;

/// Whether an image looks like firmware.
pub(super) fn is_firmware(image: &[u8]) -> bool {
    let sized = !image.is_empty() && image.len().is_multiple_of(GRANULE) && image.len() <= LIMIT;
    sized && image[image.len() - RESET_VECTOR] == JUMP_FAR
}

/// Puts the image in place and leaves the CPU as it is after power-on.
pub(super) fn load(machine: &mut Machine, image: &[u8]) -> Result<(), BootError> {
    attach(machine, image)?;
    let shadow = &image[image.len().saturating_sub(SHADOW)..];
    machine.platform.ram.write_slice(HIGH_MEMORY - shadow.len() as u64, shadow)?;
    machine.cpu.state = CpuState::power_on();
    machine.cpu.state_changed();
    Ok(())
}

/// Puts the ROM in place and nothing else: for a machine whose state comes from a checkpoint.
pub(super) fn attach(machine: &mut Machine, image: &[u8]) -> Result<(), BootError> {
    if !is_firmware(image) {
        return Err(BootError::Unknown);
    }
    machine.platform.rom = Rom::new(image);
    Ok(())
}

#[cfg(test)]
mod tests;
