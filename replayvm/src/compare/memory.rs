//! Bytes of guest memory that differ between two machines.

use crate::checkpoint::PageMap;
use crate::machine::Machine;

/// Ranges that are told.
pub const MAX_RANGES: usize = 32;
/// Bytes of a range that are told.
pub const SHOWN_BYTES: usize = 16;
/// Equal bytes between two different ones of the same range.
const GAP: usize = 8;

/// A stretch of memory that differs; never across a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeDifference {
    /// Guest-physical address.
    pub gpa: u64,
    /// Bytes.
    pub len: usize,
    /// What each side has there, [`SHOWN_BYTES`] at most.
    pub sides: [Vec<u8>; 2],
}

/// What differs of memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemoryDifference {
    /// Pages of RAM that differ.
    pub pages: u64,
    /// Pages that differ of what the guest has written to its disks.
    pub disk_pages: u64,
    /// The first stretches, [`MAX_RANGES`] at most.
    pub ranges: Vec<RangeDifference>,
    /// There are more.
    pub more: bool,
}

pub(super) fn differences(machines: [&Machine; 2], maps: &[PageMap; 2]) -> MemoryDifference {
    let mut found = MemoryDifference::default();
    let ram_pages = machines[0].platform.ram.pages();
    for gfn in maps[0].differing(&maps[1]) {
        if gfn >= ram_pages {
            found.disk_pages += 1;
            continue;
        }
        found.pages += 1;
        if found.more {
            continue;
        }
        let [a, b] = machines.map(|machine| machine.platform.ram.page(gfn));
        let (Ok(a), Ok(b)) = (a, b) else { continue };
        for (start, len) in stretches(a, b) {
            if found.ranges.len() == MAX_RANGES {
                found.more = true;
                break;
            }
            let shown = start..start + len.min(SHOWN_BYTES);
            let sides = [a[shown.clone()].to_vec(), b[shown].to_vec()];
            found.ranges.push(RangeDifference { gpa: gfn * a.len() as u64 + start as u64, len, sides });
        }
    }
    found
}

/// Begin and length of what differs.
fn stretches(a: &[u8], b: &[u8]) -> Vec<(usize, usize)> {
    let mut stretches: Vec<(usize, usize)> = Vec::new();
    for (at, _) in a.iter().zip(b).enumerate().filter(|(_, (a, b))| a != b) {
        match stretches.last_mut() {
            Some((start, len)) if at <= *start + *len + GAP => *len = at + 1 - *start,
            _ => stretches.push((at, 1)),
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_bytes_are_one_stretch_and_far_ones_are_two() {
        let a = [0; 64];
        let mut b = a;
        assert_eq!(stretches(&a, &b), []);
        (b[3], b[9], b[40]) = (1, 1, 1);
        assert_eq!(stretches(&a, &b), [(3, 7), (40, 1)]);
    }
}
