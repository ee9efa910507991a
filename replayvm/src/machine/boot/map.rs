//! The memory map that a guest is told, and where an initial RAM disk goes in it.

use super::BootError;
use crate::machine::Machine;

/// End of conventional memory: the extended BIOS data area of a PC begins here.
pub(super) const LOW_MEMORY_END: u64 = 0x9_fc00;
/// Where memory goes on above the ISA hole.
pub(super) const HIGH_MEMORY: u64 = 0x10_0000;

/// What a range is, as E820 and PVH number it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RangeKind {
    /// The guest's to use.
    Ram = 1,
    /// Not the guest's.
    Reserved = 2,
}

/// A range of guest-physical memory, its end not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) base: u64,
    pub(super) end: u64,
    pub(super) kind: RangeKind,
}

/// The map of a machine with so much RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemoryMap([Range; 3]);

impl MemoryMap {
    pub(super) fn of(ram_bytes: u64) -> Self {
        let range = |base, end, kind| Range { base, end, kind };
        Self([
            range(0, LOW_MEMORY_END, RangeKind::Ram),
            range(LOW_MEMORY_END, HIGH_MEMORY, RangeKind::Reserved),
            range(HIGH_MEMORY, ram_bytes.max(HIGH_MEMORY), RangeKind::Ram),
        ])
    }

    pub(super) fn ranges(&self) -> &[Range] {
        &self.0
    }
}

/// Places an initial RAM disk as high as the kernel takes it, on a page boundary; returns where.
pub(super) fn place_initrd(
    machine: &mut Machine,
    initrd: &[u8],
    kernel_end: u64,
    highest_byte: u64,
) -> Result<u64, BootError> {
    let ram_bytes = machine.platform.ram.bytes();
    let size = initrd.len() as u64;
    let top = ram_bytes.min(highest_byte.saturating_add(1));
    let base = top.saturating_sub(size) & !0xfff;
    if size > top || base < kernel_end {
        let end = kernel_end.next_multiple_of(0x1000).saturating_add(size);
        return Err(BootError::Initrd { size, end, top });
    }
    machine.platform.ram.write_slice(base, initrd)?;
    Ok(base)
}
