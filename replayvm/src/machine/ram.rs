//! Guest RAM: host memory, which of its pages have been written, and its digest.
//!
//! Not here: what lies outside RAM (devices answer there) and where page contents are kept (`checkpoint`).

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use recorder::Digest;
use rustix::mm::{MapFlags, ProtFlags};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};
use xxhash_rust::xxh3::xxh3_128;

use super::hidden::{FIRST_HIDDEN_GFN, HiddenPages};

/// Bytes of a page.
pub const PAGE_BYTES: usize = 4096;
/// The largest RAM: above it, up to 4 GiB, is the window of memory-mapped devices.
pub const MAX_RAM_BYTES: u64 = 3 << 30;

/// What can be wrong with guest RAM.
#[derive(Debug, thiserror::Error)]
pub enum RamError {
    /// The size is not usable.
    #[error("{0} bytes of memory is not a multiple of 4096 between 1 MiB and 3 GiB")]
    Size(u64),
    /// The host has no memory for it.
    #[error("cannot map {bytes} bytes of guest memory")]
    Map {
        /// How much was asked for.
        bytes: u64,
        /// Why not.
        source: vm_memory::mmap::FromRangesError,
    },
    /// The host has no room for what the guest may write to its disks.
    #[error("cannot map {pages} pages for what the guest writes to its disks")]
    MapHidden {
        /// How much was asked for.
        pages: u64,
        /// Why not.
        source: vm_memory::mmap::MmapRegionError,
    },
    /// An access does not lie in RAM.
    #[error("guest-physical {gpa:#x} with {bytes} bytes lies outside the {ram_bytes} bytes of memory")]
    OutOfRange {
        /// Where.
        gpa: u64,
        /// How many bytes.
        bytes: u64,
        /// What there is.
        ram_bytes: u64,
    },
    /// A page of a recording could not be mapped.
    #[error("cannot map pages of the recording")]
    MapFile(#[source] rustix::io::Errno),
}

/// Guest RAM, from guest-physical 0 up, in one piece.
pub struct GuestRam {
    /// Owns the mapping that `host` points into.
    memory: GuestMemoryMmap,
    host: *mut u8,
    bytes: u64,
    /// Pages that are tracked like RAM, but that no address reaches.
    hidden: HiddenPages,
    /// One byte a page, hidden pages included: written since the last [`GuestRam::take_dirty`].
    dirty: Vec<u8>,
    /// Counts writes by others than the CPU.
    version: u64,
    /// Never that of another.
    identity: u64,
    /// Who else knows of pages that have been written.
    elsewhere: Option<Box<dyn WrittenElsewhere>>,
}

/// Knows of pages that the guest has written without [`GuestRam`] being told: an engine that runs it natively.
pub trait WrittenElsewhere: Send {
    /// Adds the physical addresses of the pages that were written since the last call.
    fn take_written(&mut self, into: &mut Vec<u64>);
}

impl std::fmt::Debug for GuestRam {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuestRam")
            .field("bytes", &self.bytes)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

// SAFETY: `host` points into the mapping that `memory` owns, which does not move and lives as long; the pointer is
// private and is used only through `&self` (loads) and `&mut self` (stores).
unsafe impl Send for GuestRam {}

impl GuestRam {
    /// RAM of the given size, all zero.
    ///
    /// # Errors
    /// The size is unusable, or the host has no memory.
    pub fn new(bytes: u64) -> Result<Self, RamError> {
        Self::with_hidden(bytes, 0)
    }

    /// The same with so many hidden pages, from [`FIRST_HIDDEN_GFN`] on.
    ///
    /// # Errors
    /// The size is unusable, or the host has no memory.
    pub fn with_hidden(bytes: u64, hidden_pages: u64) -> Result<Self, RamError> {
        Self::check_size(bytes)?;
        let size = usize::try_from(bytes).map_err(|_| RamError::Size(bytes))?;
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), size)])
            .map_err(|source| RamError::Map { bytes, source })?;
        let region = memory.find_region(GuestAddress(0)).ok_or(RamError::Size(bytes))?;
        let host = region.as_ptr();
        let hidden = HiddenPages::new(hidden_pages)
            .map_err(|source| RamError::MapHidden { pages: hidden_pages, source })?;
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let pages = Self::pages_tracked(bytes, hidden_pages) as usize;
        let dirty = vec![0; pages.next_multiple_of(8)];
        Ok(Self {
            memory,
            host,
            bytes,
            hidden,
            dirty,
            version: 0,
            identity: NEXT.fetch_add(1, Ordering::Relaxed),
            elsewhere: None,
        })
    }

    /// Whether RAM can have this size.
    ///
    /// # Errors
    /// It cannot.
    pub fn check_size(bytes: u64) -> Result<(), RamError> {
        if !bytes.is_multiple_of(PAGE_BYTES as u64) || !(1 << 20..=MAX_RAM_BYTES).contains(&bytes) {
            return Err(RamError::Size(bytes));
        }
        Ok(())
    }

    /// Tells one piece of RAM from every other.
    #[must_use]
    pub fn identity(&self) -> u64 {
        self.identity
    }

    /// Bytes of RAM.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Pages of RAM.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.bytes / PAGE_BYTES as u64
    }

    /// The number past the last page that is tracked, hidden pages included.
    #[must_use]
    pub fn tracked_pages(&self) -> u64 {
        Self::pages_tracked(self.bytes, self.hidden.end() - FIRST_HIDDEN_GFN)
    }

    /// The same of a machine that is not there.
    #[must_use]
    pub fn pages_tracked(bytes: u64, hidden_pages: u64) -> u64 {
        if hidden_pages == 0 { bytes / PAGE_BYTES as u64 } else { FIRST_HIDDEN_GFN + hidden_pages }
    }

    /// The memory as rust-vmm crates see it (KVM memory slots).
    #[must_use]
    pub fn memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }

    /// Whether `len` bytes at `gpa` are RAM.
    #[inline(always)]
    #[must_use]
    pub fn contains(&self, gpa: u64, len: usize) -> bool {
        // One comparison where `len` is known and less than RAM, which is at least 1 MiB.
        len as u64 <= self.bytes && gpa <= self.bytes - len as u64
    }

    /// Loads `N` bytes if they are RAM.
    #[inline(always)]
    #[must_use]
    pub fn load<const N: usize>(&self, gpa: u64) -> Option<[u8; N]> {
        if !self.contains(gpa, N) {
            return None;
        }
        // SAFETY: `contains` has shown that the N bytes lie in the mapping, which is readable; [u8; N] has alignment 1.
        Some(unsafe { self.host.add(gpa as usize).cast::<[u8; N]>().read() })
    }

    /// Stores `N` bytes, which must not cross a page, if they are RAM; says whether they are.
    #[inline(always)]
    pub fn store<const N: usize>(&mut self, gpa: u64, bytes: [u8; N]) -> bool {
        if !self.contains(gpa, N) {
            return false;
        }
        self.mark_dirty(gpa >> 12);
        // SAFETY: `contains` has shown that the N bytes lie in the mapping, which is writable; [u8; N] has alignment 1.
        unsafe { self.host.add(gpa as usize).cast::<[u8; N]>().write(bytes) };
        true
    }

    /// Notes that somebody else (KVM) has written a page.
    #[inline(always)]
    pub fn mark_dirty(&mut self, gfn: u64) {
        if let Some(page) = self.dirty.get_mut(gfn as usize) {
            *page = 1;
        }
    }

    /// Somebody who knows only [`GuestRam::memory`] (a loader, a device) has written bytes of RAM.
    pub fn device_wrote(&mut self, gpa: u64, len: u64) {
        if len == 0 {
            return;
        }
        let last = gpa.saturating_add(len - 1).min(self.bytes - 1);
        for gfn in gpa >> 12..=last >> 12 {
            self.mark_dirty(gfn);
        }
        self.version += 1;
    }

    /// Changes whenever somebody else than the CPU has written RAM.
    #[inline(always)]
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Any bytes of RAM.
    ///
    /// # Errors
    /// The range is not in RAM.
    pub fn slice(&self, gpa: u64, len: usize) -> Result<&[u8], RamError> {
        self.check(gpa, len)?;
        // SAFETY: the range lies in the mapping and nothing writes to it while `self` is borrowed: the vCPU runs on the
        // thread that owns `self`.
        Ok(unsafe { std::slice::from_raw_parts(self.host.add(gpa as usize), len) })
    }

    /// Copies bytes into RAM, for devices and loaders.
    ///
    /// # Errors
    /// The range is not in RAM.
    pub fn write_slice(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), RamError> {
        self.check(gpa, bytes.len())?;
        if bytes.is_empty() {
            return Ok(());
        }
        self.device_wrote(gpa, bytes.len() as u64);
        // SAFETY: the range lies in the mapping, `bytes` cannot overlap it (guest RAM is never lent out mutably).
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.host.add(gpa as usize), bytes.len());
        }
        Ok(())
    }

    fn check(&self, gpa: u64, len: usize) -> Result<(), RamError> {
        if self.contains(gpa, len) || (len == 0 && gpa <= self.bytes) {
            Ok(())
        } else {
            Err(RamError::OutOfRange { gpa, bytes: len as u64, ram_bytes: self.bytes })
        }
    }

    /// Writes into one page, which may be a hidden one.
    ///
    /// # Errors
    /// There is no such page, or the bytes go past its end.
    pub fn write_page(&mut self, gfn: u64, offset: usize, bytes: &[u8]) -> Result<(), RamError> {
        let gpa = gfn.saturating_mul(PAGE_BYTES as u64).saturating_add(offset as u64);
        if gfn < FIRST_HIDDEN_GFN {
            return self.write_slice(gpa, bytes);
        }
        let page = self.hidden.page_mut(gfn).and_then(|page| page.get_mut(offset..offset + bytes.len()));
        let out = RamError::OutOfRange { gpa, bytes: bytes.len() as u64, ram_bytes: self.bytes };
        page.ok_or(out)?.copy_from_slice(bytes);
        self.mark_dirty(gfn);
        Ok(())
    }

    /// One page, which may be a hidden one.
    ///
    /// # Errors
    /// There is no such page.
    pub fn page(&self, gfn: u64) -> Result<&[u8; PAGE_BYTES], RamError> {
        if let Some(page) = self.hidden.page(gfn) {
            return Ok(page);
        }
        let slice = self.slice(gfn.saturating_mul(PAGE_BYTES as u64), PAGE_BYTES)?;
        slice.try_into().map_err(|_| RamError::OutOfRange {
            gpa: gfn << 12,
            bytes: PAGE_BYTES as u64,
            ram_bytes: self.bytes,
        })
    }

    /// Maps `count` pages of a file over the pages from `gfn` on, copy-on-write: the file never changes, and nothing is
    /// copied until the guest writes.
    ///
    /// # Errors
    /// The range is not in RAM, or the host refuses.
    pub fn map_file_pages(
        &mut self,
        gfn: u64,
        count: u64,
        file: &File,
        file_offset: u64,
    ) -> Result<(), RamError> {
        if let Some(mapped) = self.hidden.map_file(gfn, count, file, file_offset) {
            return mapped.map_err(RamError::MapFile);
        }
        let gpa = gfn.saturating_mul(PAGE_BYTES as u64);
        let len = usize::try_from(count.saturating_mul(PAGE_BYTES as u64)).unwrap_or(usize::MAX);
        self.check(gpa, len)?;
        // SAFETY: the range lies in the mapping that `memory` owns, so that MAP_FIXED replaces only guest pages; the
        // mapping is private, so that stores never reach the file, and it is unmapped with the whole range on drop.
        unsafe {
            rustix::mm::mmap(
                self.host.add(gpa as usize).cast(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE,
                file.as_fd(),
                file_offset,
            )
        }
        .map_err(RamError::MapFile)?;
        self.version += 1;
        Ok(())
    }

    /// From now on this one is asked too which pages have been written.
    pub fn ask_elsewhere(&mut self, elsewhere: Box<dyn WrittenElsewhere>) {
        self.gather_elsewhere(&mut Vec::new());
        self.elsewhere = Some(elsewhere);
    }

    /// `pages` is room to work in.
    fn gather_elsewhere(&mut self, pages: &mut Vec<u64>) {
        if let Some(elsewhere) = &mut self.elsewhere {
            elsewhere.take_written(pages);
        }
        for gpa in pages.drain(..) {
            self.mark_dirty(gpa >> 12);
        }
    }

    /// The pages written since the last call, in order; the set is empty afterwards.
    pub fn take_dirty(&mut self) -> Vec<u64> {
        let mut pages = Vec::new();
        self.gather_elsewhere(&mut pages);
        let (words, _) = self.dirty.as_chunks_mut::<8>();
        for (index, word) in words.iter_mut().enumerate() {
            if u64::from_ne_bytes(*word) == 0 {
                continue;
            }
            for (page, written) in word.iter_mut().enumerate() {
                if std::mem::take(written) != 0 {
                    pages.push((index * 8 + page) as u64);
                }
            }
        }
        pages
    }

    /// The digest of RAM from nothing, page by page: the slow twin of [`RamDigest`].
    #[must_use]
    pub fn digest_from_scratch(&self) -> Digest {
        let mut digest = RamDigest::default();
        for gfn in (0..self.pages()).chain(FIRST_HIDDEN_GFN..self.hidden.end()) {
            if let Ok(page) = self.page(gfn) {
                digest.replace(gfn, recorder::PageHash::ZERO, recorder::PageHash::of(page));
            }
        }
        digest.digest()
    }
}

/// A digest of RAM that follows changed pages: the sum, over all pages that are not zero, of a mix of page number and
/// page hash. Its cost is the number of pages that change, and a page of zeros costs nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RamDigest(u128);

impl RamDigest {
    /// A page's content has changed.
    pub fn replace(&mut self, gfn: u64, old: recorder::PageHash, new: recorder::PageHash) {
        self.0 = self.0.wrapping_sub(Self::term(gfn, old)).wrapping_add(Self::term(gfn, new));
    }

    fn term(gfn: u64, hash: recorder::PageHash) -> u128 {
        if hash == recorder::PageHash::ZERO {
            return 0;
        }
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&gfn.to_le_bytes());
        bytes[8..].copy_from_slice(&hash.0.to_le_bytes());
        xxh3_128(&bytes)
    }

    /// The digest.
    #[must_use]
    pub fn digest(self) -> Digest {
        Digest(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_loaded_again_and_mark_their_page_dirty() {
        let mut ram = GuestRam::new(1 << 20).unwrap();
        assert!(ram.store(0x3008, 0x1122_3344_u32.to_le_bytes()));
        assert_eq!(ram.load::<4>(0x3008), Some([0x44, 0x33, 0x22, 0x11]));
        assert_eq!(ram.take_dirty(), [3]);
        assert_eq!(ram.take_dirty(), [] as [u64; 0]);
    }

    #[test]
    fn nothing_outside_ram_is_touched() {
        let mut ram = GuestRam::new(1 << 20).unwrap();
        assert_eq!(ram.load::<8>((1 << 20) - 4), None);
        assert!(!ram.store((1 << 20) - 1, [0; 2]));
        assert!(!ram.store(u64::MAX - 1, [0; 8]));
        assert!(ram.write_slice((1 << 20) - 1, &[1, 2]).is_err());
        assert!(ram.write_slice(u64::MAX, &[1, 2]).is_err());
        assert!(GuestRam::new(4095).is_err());
    }

    #[test]
    fn hidden_pages_are_tracked_like_ram_and_no_address_reaches_them() {
        let mut ram = GuestRam::with_hidden(1 << 20, 3).unwrap();
        let (first, last) = (FIRST_HIDDEN_GFN, FIRST_HIDDEN_GFN + 2);
        ram.write_page(last, 4094, &[1, 2]).unwrap();
        ram.write_page(5, 0, &[3]).unwrap();
        assert_eq!(ram.take_dirty(), [5, last]);
        assert_eq!(ram.page(last).unwrap()[4094..], [1, 2]);
        assert_eq!(ram.load::<1>(0x5000), Some([3]));
        assert_eq!(ram.load::<1>((last << 12) + 4094), None);
        assert!(!ram.store(first << 12, [1]));
        assert!(ram.slice(first << 12, 1).is_err() && ram.write_slice(first << 12, &[1]).is_err());
        assert!(ram.write_page(last, 4095, &[1, 2]).is_err());
        assert!(ram.write_page(last + 1, 0, &[1]).is_err() && ram.page(last + 1).is_err());
        let mut digest = RamDigest::default();
        for gfn in [5, last] {
            let hash = recorder::PageHash::of(ram.page(gfn).unwrap());
            digest.replace(gfn, recorder::PageHash::ZERO, hash);
        }
        assert_eq!(digest.digest(), ram.digest_from_scratch());
    }

    #[test]
    fn pages_of_a_file_are_mapped_over_hidden_pages_and_the_file_stays() {
        use std::io::Write;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[vec![1; PAGE_BYTES], vec![2; PAGE_BYTES], vec![3; PAGE_BYTES]].concat()).unwrap();
        let mut ram = GuestRam::with_hidden(1 << 20, 3).unwrap();
        let gfn = FIRST_HIDDEN_GFN + 1;
        ram.map_file_pages(gfn, 2, &file, PAGE_BYTES as u64).unwrap();
        assert_eq!([gfn - 1, gfn, gfn + 1].map(|gfn| ram.page(gfn).unwrap()[7]), [0, 2, 3]);
        ram.write_page(gfn, 7, &[9]).unwrap();
        assert_eq!(ram.page(gfn).unwrap()[6..9], [2, 9, 2]);
        ram.map_file_pages(gfn - 1, 1, &file, PAGE_BYTES as u64).unwrap();
        assert_eq!(ram.page(gfn - 1).unwrap()[7], 2);
        assert!(ram.map_file_pages(gfn + 1, 2, &file, 0).is_err());
    }

    #[test]
    fn the_digest_that_follows_changes_equals_the_digest_from_scratch() {
        let mut ram = GuestRam::new(1 << 20).unwrap();
        let mut digest = RamDigest::default();
        let mut known = vec![recorder::PageHash::ZERO; 256];
        for (gpa, byte) in [(0x1000_u64, 1_u8), (0x1fff, 2), (0x2f000, 3), (0x1000, 9), (0x2f000, 0)] {
            ram.write_slice(gpa, &[byte]).unwrap();
            for gfn in ram.take_dirty() {
                let hash = recorder::PageHash::of(ram.page(gfn).unwrap());
                digest.replace(gfn, known[gfn as usize], hash);
                known[gfn as usize] = hash;
            }
            assert_eq!(digest.digest(), ram.digest_from_scratch());
        }
    }
}
