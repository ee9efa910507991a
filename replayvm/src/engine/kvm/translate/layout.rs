//! The memory that translated code and its keeper share.

use std::mem::offset_of;

/// Where the memory lies in the guest's address space. All of it is within 2 GiB of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The code area. What is within 2 GiB of it is addressed in one instruction, as in the original.
    pub code: u64,
    /// Its size, less than 1 GiB.
    pub code_bytes: usize,
    /// The [`Slots`].
    pub slots: u64,
    /// The table of [`TABLE_BYTES`], a multiple of as much.
    pub table: u64,
}

/// Bytes of the table: an address for each value of the low 16 bits of an indirect branch's target.
pub const TABLE_BYTES: usize = 8 << 16;

/// The same memory as the host sees it.
#[derive(Debug)]
pub struct Area<'a> {
    /// The code area: executed by the guest.
    pub code: &'a mut [u8],
    /// Counters and registers put aside: read and written by the guest.
    pub slots: &'a mut Slots,
    /// Where indirect branches lead: read by the guest.
    pub table: &'a mut [u8],
}

/// What translated code reads and writes besides the guest's own memory.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Slots {
    /// What is left of the budget of ticks, in units of [`TICK`], less the instructions of blocks with a tick in them or before
    /// them.
    pub(super) left: u64,
    /// The other instructions.
    pub(super) instructions: u64,
    /// Steps since the last tick, times [`STEP`], where the block does not know them itself.
    pub(super) offset: u64,
    /// Registers put aside.
    pub(super) spill: [u64; 4],
    /// RCX before a repeated instruction.
    pub(super) count: u64,
    /// Where an indirect branch goes.
    pub(super) target: u64,
    /// Which one it is.
    pub(super) branch: u64,
    /// Flags put aside: OF in the first byte, the others as LAHF has them in the second.
    pub(super) flags: u64,
    /// A place to take words apart.
    pub(super) word: u64,
    /// The budget of ticks.
    pub(super) ticks: u64,
}

/// A tick in [`Slots::left`]. The instructions counted there never come to as much: see [`MAX_TICKS`].
pub(super) const TICK: u64 = 1 << 28;
/// Instructions in a block at the most.
pub(super) const MAX_INSTRUCTIONS: usize = 64;
/// The longest budget of ticks: there are no more than two blocks' instructions to a tick.
pub(super) const MAX_TICKS: u64 = TICK / (2 * MAX_INSTRUCTIONS as u64) - 1;
/// A step in [`Slots::offset`]. The fourth byte comes to be other than 0 long before code counts as stalled.
pub(super) const STEP: u32 = 4;

pub(super) const LEFT: usize = offset_of!(Slots, left);
pub(super) const INSTRUCTIONS: usize = offset_of!(Slots, instructions);
pub(super) const OFFSET: usize = offset_of!(Slots, offset);
pub(super) const SPILL: usize = offset_of!(Slots, spill);
pub(super) const COUNT: usize = offset_of!(Slots, count);
pub(super) const TARGET: usize = offset_of!(Slots, target);
pub(super) const BRANCH: usize = offset_of!(Slots, branch);
pub(super) const FLAGS: usize = offset_of!(Slots, flags);
pub(super) const WORD: usize = offset_of!(Slots, word);
