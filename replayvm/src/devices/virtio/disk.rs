//! A disk: an image that is never written, and the pages that the guest has written, in the machine's own memory.
//!
//! What is written lies in hidden pages of [`GuestRam`](crate::machine::GuestRam), each at its place, with a bit for each that says so. These pages are
//! part of the machine's state as RAM is: a checkpoint costs what changed since the last one, and a restore puts it back.

use crate::machine::{DiskImage, GuestRam, PAGE_BYTES, SECTOR_BYTES, WrittenPages};

/// Bytes of the identification string (Virtio 1.2, 5.2.6).
const ID_BYTES: usize = 20;

/// A disk.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    bytes: u64,
    id: [u8; ID_BYTES],
    /// `None`: the guest may only read.
    written: Option<WrittenPages>,
    /// `None` until it is put in: nothing can be read or written.
    image: Option<DiskImage>,
}

impl Disk {
    /// A disk without its image.
    pub(super) fn new(disk: &recorder::Disk, written: Option<WrittenPages>) -> Self {
        let mut id = [0; ID_BYTES];
        let digits = disk.hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        for (place, digit) in id.iter_mut().zip(digits) {
            *place = b"0123456789abcdef"[usize::from(digit)];
        }
        Self { bytes: disk.size, id, written, image: None }
    }

    /// Puts the image in.
    pub(super) fn set_image(&mut self, image: &DiskImage) {
        self.image = Some(image.clone());
    }

    /// Sectors.
    pub(super) fn sectors(&self) -> u64 {
        self.bytes / SECTOR_BYTES
    }

    /// Whether the guest may only read.
    pub(super) fn read_only(&self) -> bool {
        self.written.is_none()
    }

    /// What the disk calls itself: the first digits of its image's hash.
    pub(super) fn id(&self) -> [u8; ID_BYTES] {
        self.id
    }

    /// The place of `len` bytes from a sector on, if the disk has them and they are whole sectors.
    pub(super) fn place(&self, sector: u64, len: u64) -> Option<u64> {
        let start = sector.checked_mul(SECTOR_BYTES)?;
        (len.is_multiple_of(SECTOR_BYTES) && self.has(start, len)).then_some(start)
    }

    /// Whether the disk has `len` bytes from a place on.
    pub(super) fn has(&self, place: u64, len: u64) -> bool {
        place.checked_add(len).is_some_and(|end| end <= self.bytes)
    }

    /// Reads from a place on; `false`: it cannot be read.
    pub(super) fn read(&self, ram: &GuestRam, place: u64, into: &mut [u8]) -> bool {
        let Some(image) = &self.image else { return false };
        each_page(place, into.len(), |page, start, range| {
            let into = &mut into[range];
            match self.written_page(ram, page) {
                Some(content) => into.copy_from_slice(&content[start..start + into.len()]),
                None => copy_padded(image.bytes(), page * PAGE_BYTES as u64 + start as u64, into),
            }
            true
        })
    }

    /// Writes from a place on; `false`: it cannot be written.
    pub(super) fn write(&self, ram: &mut GuestRam, place: u64, bytes: &[u8]) -> bool {
        let (Some(image), Some(written)) = (&self.image, self.written) else { return false };
        each_page(place, bytes.len(), |page, start, range| {
            let gfn = written.contents + page;
            let bytes = &bytes[range];
            if self.written_page(ram, page).is_none() {
                let (word, mask) = bit(page);
                let Ok(bits) = ram.page(written.bits + page / PAGES_A_BITS_PAGE) else { return false };
                let byte = bits[word] | mask;
                if bytes.len() < PAGE_BYTES {
                    let mut content = [0; PAGE_BYTES];
                    copy_padded(image.bytes(), page * PAGE_BYTES as u64, &mut content);
                    if ram.write_page(gfn, 0, &content).is_err() {
                        return false;
                    }
                }
                if ram.write_page(written.bits + page / PAGES_A_BITS_PAGE, word, &[byte]).is_err() {
                    return false;
                }
            }
            ram.write_page(gfn, start, bytes).is_ok()
        })
    }

    /// What the guest has made of a page of the disk; `None`: nothing, it is as in the image.
    fn written_page<'r>(&self, ram: &'r GuestRam, page: u64) -> Option<&'r [u8; PAGE_BYTES]> {
        let written = self.written?;
        let (word, mask) = bit(page);
        let bits = ram.page(written.bits + page / PAGES_A_BITS_PAGE).ok()?;
        if bits[word] & mask == 0 {
            return None;
        }
        ram.page(written.contents + page).ok()
    }
}

/// Pages of a disk whose bits lie in one page.
const PAGES_A_BITS_PAGE: u64 = 8 * PAGE_BYTES as u64;

/// The byte and the bit of a page of the disk in its page of bits.
fn bit(page: u64) -> (usize, u8) {
    let index = page % PAGES_A_BITS_PAGE;
    ((index / 8) as usize, 1 << (index % 8))
}

/// Cuts `len` bytes from `place` on into what lies in one page each: the page, the place in it, and which of the bytes. Ends where one
/// cannot be done, and says so.
fn each_page(
    place: u64,
    len: usize,
    mut one: impl FnMut(u64, usize, std::ops::Range<usize>) -> bool,
) -> bool {
    let mut done = 0;
    while done < len {
        let at = place + done as u64;
        let start = (at % PAGE_BYTES as u64) as usize;
        let count = (PAGE_BYTES - start).min(len - done);
        if !one(at / PAGE_BYTES as u64, start, done..done + count) {
            return false;
        }
        done += count;
    }
    true
}

/// Copies what the image has from `place` on, and zeros past its end.
fn copy_padded(image: &[u8], place: u64, into: &mut [u8]) {
    let start = usize::try_from(place).unwrap_or(usize::MAX).min(image.len());
    let there = &image[start..image.len().min(start.saturating_add(into.len()))];
    let (head, tail) = into.split_at_mut(there.len());
    head.copy_from_slice(there);
    tail.fill(0);
}
