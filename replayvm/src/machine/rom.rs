//! Read-only memory that ends at 4 GiB: the firmware of a machine that boots from its reset vector.
//!
//! It is an image of the recording, not state: nothing can change it, so no checkpoint holds it. Stores are ignored, as on a bus
//! that has no one to take them. Not here: the copy below 1 MiB, which is RAM (`boot::firmware`).

use std::sync::Arc;

/// The end of the ROM.
const END: u64 = 1 << 32;

/// The ROM; empty in most machines.
#[derive(Debug, Clone, Default)]
pub struct Rom(Arc<[u8]>);

impl Rom {
    /// A ROM with this image. The caller has seen to it that it does not reach down to the devices.
    #[must_use]
    pub fn new(image: &[u8]) -> Self {
        Self(Arc::from(image))
    }

    /// Bytes of the ROM from an address to the end of the ROM, if it lies in the ROM.
    fn from(&self, gpa: u64) -> Option<&[u8]> {
        let start = END - self.0.len() as u64;
        let offset = gpa.checked_sub(start)?;
        let bytes = self.0.get(usize::try_from(offset).ok()?..)?;
        (!bytes.is_empty()).then_some(bytes)
    }

    /// Loads `N` bytes if they are ROM.
    #[must_use]
    pub fn load<const N: usize>(&self, gpa: u64) -> Option<[u8; N]> {
        self.from(gpa)?.first_chunk::<N>().copied()
    }

    /// Copies bytes out of the ROM; returns how many there were.
    pub fn read(&self, gpa: u64, bytes: &mut [u8]) -> usize {
        let there = self.from(gpa).unwrap_or_default();
        let count = there.len().min(bytes.len());
        bytes[..count].copy_from_slice(&there[..count]);
        count
    }

    /// Whether `len` bytes at an address are all ROM.
    #[must_use]
    pub fn contains(&self, gpa: u64, len: usize) -> bool {
        self.from(gpa).is_some_and(|bytes| bytes.len() >= len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rom_ends_at_4_gib_and_has_nothing_around_it() {
        let image: Vec<u8> = (0..=255).cycle().take(0x1_0000).collect();
        let rom = Rom::new(&image);
        assert_eq!(rom.load(0xffff_0000), Some([0, 1, 2, 3]));
        assert_eq!(rom.load(0xffff_fff0), Some([0xf0, 0xf1]));
        assert_eq!(rom.load::<4>(0xffff_fffd), None);
        assert_eq!(rom.load::<1>(0xfffe_ffff), None);
        assert_eq!(rom.load::<1>(1 << 32), None);
        assert!(rom.contains(0xffff_0000, 0x1_0000) && !rom.contains(0xffff_0001, 0x1_0000));
        let mut bytes = [0; 4];
        assert_eq!((rom.read(0xffff_fffe, &mut bytes), bytes), (2, [0xfe, 0xff, 0, 0]));
        assert_eq!(Rom::default().load::<1>(0xffff_ffff), None);
        assert_eq!(Rom::default().read(u64::MAX, &mut bytes), 0);
    }
}
