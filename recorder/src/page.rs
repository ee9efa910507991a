//! Pages of RAM by content. Not where they are in a file: that is the reader's business.

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};

/// Bytes of a page.
pub const PAGE_BYTES: usize = 4096;

/// The content of a page.
pub type Page = [u8; PAGE_BYTES];

/// A page of zeros.
pub const ZERO_PAGE: Page = [0; PAGE_BYTES];

/// The address of a page by its content: 128-bit XXH3. It finds accidents, it does not resist an adversary.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Archive, Serialize, Deserialize,
)]
pub struct PageHash(pub u128);

impl PageHash {
    /// The hash reserved for the page of zeros, which is never stored.
    pub const ZERO: Self = Self(0);

    /// The hash of a page's content.
    #[must_use]
    pub fn of(page: &Page) -> Self {
        if page == &ZERO_PAGE {
            return Self::ZERO;
        }
        // A page that happens to hash to the reserved value moves aside.
        Self(xxhash_rust::xxh3::xxh3_128(page).max(1))
    }

    /// Whether this is the page of zeros.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for PageHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_page_of_zeros_has_the_reserved_hash() {
        assert_eq!(PageHash::of(&ZERO_PAGE), PageHash::ZERO);
        let mut page = ZERO_PAGE;
        page[4095] = 1;
        assert!(!PageHash::of(&page).is_zero());
    }
}
