//! The pages of a checkpoint as pairs of integers: guest frame numbers as differences, and stored pages as
//! differences from the one before plus one, which is 0 for a run of pages stored together.

use super::DecodeError;
use crate::format::varint::{self, Cursor};

/// Guest frame numbers are below this (52-bit physical addresses).
pub(crate) const GFN_LIMIT: u64 = 1 << 40;

/// Where the content of a page is: 0 for zeros, else one more than the number of the stored page.
pub(crate) type Slot = u64;

/// Encodes pages in order of guest frame number, each at most once.
pub(crate) fn encode(pages: impl IntoIterator<Item = (u64, Slot)>) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut next_gfn, mut next_slot) = (0, 1);
    for (gfn, slot) in pages {
        varint::put(&mut out, gfn - next_gfn);
        varint::put_difference(&mut out, next_slot, slot);
        next_gfn = gfn + 1;
        if slot != 0 {
            next_slot = slot + 1;
        }
    }
    out
}

/// Decodes what [`encode`] made; `stored` pages are in the file so far.
pub(crate) fn decode(bytes: &[u8], count: u64, stored: u64) -> Result<Vec<(u64, Slot)>, DecodeError> {
    let mut cursor = Cursor(bytes);
    let mut pages = Vec::with_capacity(usize::try_from(count).unwrap_or(usize::MAX).min(bytes.len() / 2));
    let (mut next_gfn, mut next_slot) = (0_u64, 1);
    while !cursor.is_empty() {
        let missing = DecodeError::Column { column: "pages", index: pages.len() };
        let gfn: u64 = cursor.varint().ok_or(missing.clone())?;
        let gfn = next_gfn.saturating_add(gfn);
        if gfn >= GFN_LIMIT {
            return Err(DecodeError::Gfn { gfn });
        }
        let slot = cursor.difference(next_slot).ok_or(missing)?;
        if slot > stored {
            return Err(DecodeError::NoSuchPage { gfn, page: slot - 1 });
        }
        next_gfn = gfn + 1;
        if slot != 0 {
            next_slot = slot + 1;
        }
        pages.push((gfn, slot));
    }
    if pages.len() as u64 == count { Ok(pages) } else { Err(DecodeError::LeftOver { count: count as usize }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_read_back_and_a_run_takes_two_bytes_a_page() {
        let pages: Vec<_> = (0..100).map(|n| (n + 1000, n + 7)).chain([(5000, 0), (5001, 3)]).collect();
        let bytes = encode(pages.iter().copied());
        assert_eq!(bytes.len(), 2 * 102 + 4);
        assert_eq!(decode(&bytes, 102, 106), Ok(pages));
        assert_eq!(decode(&bytes, 101, 106), Err(DecodeError::LeftOver { count: 101 }));
        assert_eq!(decode(&bytes, 102, 105), Err(DecodeError::NoSuchPage { gfn: 1099, page: 105 }));
        assert!(decode(&bytes[..bytes.len() - 1], 102, 106).is_err());
    }
}
