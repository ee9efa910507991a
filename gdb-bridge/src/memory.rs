//! Memory, by the guest's page tables where the cursor stands, or physical.

use gdbstub::target::{TargetError, TargetResult};

use crate::refusal;
use crate::target::ReplayTarget;

/// Bytes that one packet may read. gdb asks for no more than a packet holds.
pub const READ_BYTES_MAX: usize = 1 << 20;

impl ReplayTarget<'_> {
    /// Reads as far as memory goes; says how far that is.
    pub(crate) fn read_memory(&mut self, start: u64, data: &mut [u8]) -> TargetResult<usize, Self> {
        // gdbstub asks piecewise and adds up addresses: a piece that ends at the very end of the address space must be its
        // last, so that the last byte of all cannot be read.
        if start.checked_add(data.len() as u64).is_none() {
            return Err(TargetError::Errno(refusal::UNMAPPED));
        }
        let left = self.read_budget.checked_sub(data.len());
        self.read_budget = left.ok_or(TargetError::Errno(refusal::TOO_LARGE))?;
        let read = if self.physical {
            self.timeline.read_physical(start, data)
        } else {
            self.timeline.read_linear(start, data)
        };
        match read {
            0 if !data.is_empty() => Err(TargetError::Errno(refusal::UNMAPPED)),
            read => Ok(read),
        }
    }
}
