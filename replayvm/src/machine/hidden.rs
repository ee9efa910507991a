//! Pages of the machine that are not guest RAM: what the guest has written to its disks.
//!
//! They live under page numbers that no RAM can have, are tracked, digested, stored and restored like pages of RAM, and cannot
//! be reached by any guest-physical address. The host gives memory to those that are written, and to no others.

use std::fs::File;
use std::os::fd::AsFd;

use rustix::mm::{MapFlags, ProtFlags};
use vm_memory::MmapRegion;

use super::ram::PAGE_BYTES;

/// Number of the first hidden page: that of 4 GiB, above every page that RAM can have. Runs of pages of the two kinds are therefore
/// never adjacent.
pub const FIRST_HIDDEN_GFN: u64 = 1 << 20;

/// The hidden pages of a machine.
#[derive(Debug)]
pub(super) struct HiddenPages {
    /// `None`: there are no pages.
    region: Option<MmapRegion>,
    host: *mut u8,
    pages: u64,
}

impl HiddenPages {
    /// So many pages, all zero.
    pub(super) fn new(pages: u64) -> Result<Self, vm_memory::mmap::MmapRegionError> {
        if pages == 0 {
            return Ok(Self { region: None, host: std::ptr::null_mut(), pages });
        }
        let bytes = usize::try_from(pages).ok().and_then(|pages| pages.checked_mul(PAGE_BYTES));
        let region = MmapRegion::new(bytes.unwrap_or(usize::MAX & !(PAGE_BYTES - 1)))?;
        Ok(Self { host: region.as_ptr(), region: Some(region), pages })
    }

    /// The number past the last one.
    pub(super) fn end(&self) -> u64 {
        FIRST_HIDDEN_GFN + self.pages
    }

    /// Bytes from the start of the mapping, if there are `count` pages from `gfn` on.
    fn offset(&self, gfn: u64, count: u64) -> Option<usize> {
        self.region.as_ref()?;
        let index = gfn.checked_sub(FIRST_HIDDEN_GFN)?;
        (index.checked_add(count)? <= self.pages).then_some(index as usize * PAGE_BYTES)
    }

    /// One page.
    pub(super) fn page(&self, gfn: u64) -> Option<&[u8; PAGE_BYTES]> {
        let offset = self.offset(gfn, 1)?;
        // SAFETY: the page lies in the mapping that `region` owns; it is written only through `&mut self`.
        Some(unsafe { &*self.host.add(offset).cast::<[u8; PAGE_BYTES]>() })
    }

    /// One page, to be written.
    pub(super) fn page_mut(&mut self, gfn: u64) -> Option<&mut [u8; PAGE_BYTES]> {
        let offset = self.offset(gfn, 1)?;
        // SAFETY: the page lies in the mapping that `region` owns, and nobody else has a way to it while `self` is borrowed.
        Some(unsafe { &mut *self.host.add(offset).cast::<[u8; PAGE_BYTES]>() })
    }

    /// Maps pages of a file over pages from `gfn` on, copy-on-write. `None`: there are no such pages.
    pub(super) fn map_file(
        &mut self,
        gfn: u64,
        count: u64,
        file: &File,
        file_offset: u64,
    ) -> Option<Result<(), rustix::io::Errno>> {
        let offset = self.offset(gfn, count)?;
        // SAFETY: the range lies in the mapping that `region` owns, so that MAP_FIXED replaces only its pages; the new mapping is
        // private, so that stores never reach the file, and it is unmapped with the whole range on drop.
        let mapped = unsafe {
            rustix::mm::mmap(
                self.host.add(offset).cast(),
                count as usize * PAGE_BYTES,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE,
                file.as_fd(),
                file_offset,
            )
        };
        Some(mapped.map(drop))
    }
}
