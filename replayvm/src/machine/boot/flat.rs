//! Flat 16-bit images: loaded and entered at 0000:7c00 in real mode, as a BIOS enters a boot sector.

use replayvm_cpu::{CpuState, SegmentName};

use super::BootError;
use crate::machine::Machine;

const LOAD_ADDRESS: u64 = 0x7c00;
/// Up to the extended BIOS data area of a real machine.
const LIMIT: u64 = 0x9_fc00;
const FIRST_HARD_DISK: u64 = 0x80;

pub(super) fn load(machine: &mut Machine, image: &[u8]) -> Result<(), BootError> {
    let end = LOAD_ADDRESS + image.len() as u64;
    if end > LIMIT {
        return Err(BootError::TooLarge { what: "a flat 16-bit image", end, ram_bytes: LIMIT });
    }
    machine.platform.ram.write_slice(LOAD_ADDRESS, image)?;
    let mut state = CpuState::power_on();
    let code = state.segment_mut(SegmentName::Cs);
    code.selector = 0;
    code.base = 0;
    state.rip = LOAD_ADDRESS;
    state.gpr[4] = LOAD_ADDRESS;
    state.gpr[2] = FIRST_HARD_DISK;
    machine.cpu.state = state;
    machine.cpu.state_changed();
    Ok(())
}
