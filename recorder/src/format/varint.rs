//! LEB128 integers, zigzag, and a cursor that never reads past its end.

/// Appends `value`, seven bits a byte, low bits first.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends the signed difference from `previous` to `value`, modulo 2^64, small either way.
pub(crate) fn put_difference(out: &mut Vec<u8>, previous: u64, value: u64) {
    let difference = value.wrapping_sub(previous) as i64;
    put(out, (difference.wrapping_shl(1) ^ (difference >> 63)) as u64);
}

/// Reads a byte string from its front.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    pub(crate) fn u64_le(&mut self) -> Option<u64> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*bytes))
    }

    /// An integer of [`put`], or `None` at the end of the bytes and where it does not fit `T`.
    pub(crate) fn varint<T: TryFrom<u64>>(&mut self) -> Option<T> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return T::try_from(value).ok();
            }
        }
        None
    }

    /// The value that [`put_difference`] made relative to `previous`.
    pub(crate) fn difference(&mut self, previous: u64) -> Option<u64> {
        let zigzag: u64 = self.varint()?;
        Some(previous.wrapping_add((zigzag >> 1) ^ (zigzag & 1).wrapping_neg()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn integers_and_differences_come_back(value: u64, previous: u64) {
            let mut out = Vec::new();
            put(&mut out, value);
            put_difference(&mut out, previous, value);
            let mut cursor = Cursor(&out);
            prop_assert_eq!(cursor.varint(), Some(value));
            prop_assert_eq!(cursor.difference(previous), Some(value));
            prop_assert!(cursor.is_empty());
        }
    }

    #[test]
    fn what_does_not_fit_is_no_integer() {
        assert_eq!(Cursor(&[0xff; 9]).varint::<u64>(), None);
        assert_eq!(Cursor(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).varint::<u64>(), None);
        assert_eq!(Cursor(&[0x80, 0x02]).varint::<u8>(), None);
        assert_eq!(
            Cursor(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).varint(),
            Some(u64::MAX)
        );
    }

    #[test]
    fn small_differences_either_way_take_one_byte() {
        for (previous, value) in [(100, 40), (40, 100), (0, u64::MAX), (u64::MAX, 0)] {
            let mut out = Vec::new();
            put_difference(&mut out, previous, value);
            assert!(
                out.len()
                    == if previous.abs_diff(value) > 64 && previous < 1000 && value < 1000 { 2 } else { 1 },
                "{out:?}"
            );
        }
    }
}
