//! The guest's ELF file, for a debugger to read over the connection (gdb manual, "Host I/O Packets"): it asks which file the
//! target runs, opens it and reads it. It is a file in memory, the only one that there is; nothing of this host's is reached.

use gdbstub::common::Pid;
use gdbstub::target::TargetResult;
use gdbstub::target::ext::exec_file::ExecFile;
use gdbstub::target::ext::host_io::{
    FsKind, HostIo, HostIoClose, HostIoCloseOps, HostIoErrno, HostIoError, HostIoFstat, HostIoFstatOps,
    HostIoOpen, HostIoOpenFlags, HostIoOpenMode, HostIoOpenOps, HostIoPread, HostIoPreadOps, HostIoResult,
    HostIoSetfs, HostIoSetfsOps, HostIoStat,
};
use gdbstub::target::ext::section_offsets::{Offsets, SectionOffsets};

use crate::target::{ReplayTarget, TargetFailure};

/// The path of the file, as debuggers show it.
pub(crate) const PATH: &str = "/guest.elf";
/// The descriptor of the file, however often it is opened.
const DESCRIPTOR: u32 = 3;
const BLOCK_BYTES: u64 = 4096;

/// Whether the client has the file open.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    count: u32,
    ever: bool,
}

impl Opened {
    /// Whether it has ever had.
    pub(crate) fn ever(&self) -> bool {
        self.ever
    }
}

/// Copies what `all` has of `length` bytes from `offset` on; says how many those are.
pub(crate) fn part(all: &[u8], offset: u64, length: usize, buf: &mut [u8]) -> usize {
    let rest = usize::try_from(offset).ok().and_then(|start| all.get(start..)).unwrap_or_default();
    let len = rest.len().min(length).min(buf.len());
    buf[..len].copy_from_slice(&rest[..len]);
    len
}

impl ExecFile for ReplayTarget<'_> {
    fn get_exec_file(
        &self,
        _: Option<Pid>,
        offset: u64,
        length: usize,
        buf: &mut [u8],
    ) -> TargetResult<usize, Self> {
        Ok(part(PATH.as_bytes(), offset, length, buf))
    }
}

impl HostIo for ReplayTarget<'_> {
    fn support_setfs(&mut self) -> Option<HostIoSetfsOps<'_, Self>> {
        Some(self)
    }

    fn support_open(&mut self) -> Option<HostIoOpenOps<'_, Self>> {
        Some(self)
    }

    fn support_fstat(&mut self) -> Option<HostIoFstatOps<'_, Self>> {
        Some(self)
    }

    fn support_pread(&mut self) -> Option<HostIoPreadOps<'_, Self>> {
        Some(self)
    }

    fn support_close(&mut self) -> Option<HostIoCloseOps<'_, Self>> {
        Some(self)
    }
}

impl ReplayTarget<'_> {
    /// The file, if that is what the descriptor is of.
    fn file(&self, fd: u32) -> HostIoResult<&[u8], Self> {
        let elf = self.symbols.elf().filter(|_| fd == DESCRIPTOR && self.opened.count > 0);
        elf.ok_or(HostIoError::Errno(HostIoErrno::EBADF))
    }
}

impl HostIoSetfs for ReplayTarget<'_> {
    fn setfs(&mut self, _: FsKind) -> HostIoResult<(), Self> {
        Ok(())
    }
}

impl HostIoOpen for ReplayTarget<'_> {
    fn open(
        &mut self,
        filename: &[u8],
        flags: HostIoOpenFlags,
        _: HostIoOpenMode,
    ) -> HostIoResult<u32, Self> {
        const CHANGES: HostIoOpenFlags = HostIoOpenFlags::O_WRONLY
            .union(HostIoOpenFlags::O_RDWR)
            .union(HostIoOpenFlags::O_CREAT)
            .union(HostIoOpenFlags::O_TRUNC);
        if filename != PATH.as_bytes() || self.symbols.elf().is_none() {
            return Err(HostIoError::Errno(HostIoErrno::ENOENT));
        }
        if flags.intersects(CHANGES) {
            return Err(HostIoError::Errno(HostIoErrno::EROFS));
        }
        self.opened.count = self.opened.count.saturating_add(1);
        self.opened.ever = true;
        Ok(DESCRIPTOR)
    }
}

impl HostIoFstat for ReplayTarget<'_> {
    fn fstat(&mut self, fd: u32) -> HostIoResult<HostIoStat, Self> {
        let size = self.file(fd)?.len() as u64;
        Ok(HostIoStat {
            st_dev: 0,
            st_ino: 1,
            st_mode: HostIoOpenMode::S_IFREG | HostIoOpenMode::S_IRUSR,
            st_nlink: 1,
            st_uid: 0,
            st_gid: 0,
            st_rdev: 0,
            st_size: size,
            st_blksize: BLOCK_BYTES,
            st_blocks: size.div_ceil(512),
            st_atime: 0,
            st_mtime: 0,
            st_ctime: 0,
        })
    }
}

impl HostIoPread for ReplayTarget<'_> {
    fn pread(&mut self, fd: u32, count: usize, offset: u64, buf: &mut [u8]) -> HostIoResult<usize, Self> {
        Ok(part(self.file(fd)?, offset, count, buf))
    }
}

impl HostIoClose for ReplayTarget<'_> {
    fn close(&mut self, fd: u32) -> HostIoResult<(), Self> {
        self.file(fd)?;
        self.opened.count -= 1;
        Ok(())
    }
}

impl SectionOffsets for ReplayTarget<'_> {
    // One segment is moved, and gdb moves the others as far.
    fn get_section_offsets(&mut self) -> Result<Offsets<u64>, TargetFailure> {
        let first = self.symbols.first_segment().unwrap_or_default();
        Ok(Offsets::Segments { text_seg: first, data_seg: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_what_there_is_of_it() {
        let mut buf = [0; 4];
        assert_eq!(part(b"abcdef", 1, 3, &mut buf), 3);
        assert_eq!(buf, *b"bcd\0");
        assert_eq!(part(b"abcdef", 4, 9, &mut buf), 2);
        assert_eq!(part(b"abcdef", 0, usize::MAX, &mut buf), 4);
        assert_eq!(part(b"abcdef", 6, 1, &mut buf), 0);
        assert_eq!(part(b"abcdef", u64::MAX, usize::MAX, &mut buf), 0);
    }
}
