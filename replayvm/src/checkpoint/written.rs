//! Which pages of RAM were written between one stored checkpoint and the next.
//!
//! Made of the lists in the recording. Not here: what the pages hold ([`super::PageMap`]), and pages that no address reaches.

use std::ops::RangeInclusive;

use crate::machine::FIRST_HIDDEN_GFN;

/// Pages by interval: interval `i` goes from checkpoint `i` to the next one. Four bytes a page and interval.
#[derive(Debug, Default)]
pub struct WrittenLists {
    /// The pages of all intervals, one interval after the other, in order within each.
    gfns: Vec<u32>,
    /// Where in `gfns` each interval ends.
    ends: Vec<usize>,
}

impl WrittenLists {
    /// Adds the next interval. `gfns` are in order.
    pub fn push(&mut self, gfns: impl Iterator<Item = u64>) {
        let reachable = gfns.take_while(|gfn| *gfn < FIRST_HIDDEN_GFN);
        self.gfns.extend(reachable.filter_map(|gfn| u32::try_from(gfn).ok()));
        self.ends.push(self.gfns.len());
    }

    /// Whether one of these pages was written in an interval; `None` if that is not known of the interval.
    #[must_use]
    pub fn any(&self, interval: usize, pages: &[RangeInclusive<u64>]) -> Option<bool> {
        let end = *self.ends.get(interval)?;
        let start = interval.checked_sub(1).map_or(0, |before| self.ends[before]);
        let written = &self.gfns[start..end];
        let meets = |pages: &RangeInclusive<u64>| {
            let first = written.partition_point(|gfn| u64::from(*gfn) < *pages.start());
            written.get(first).is_some_and(|gfn| pages.contains(&u64::from(*gfn)))
        };
        Some(pages.iter().any(meets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_found_in_the_interval_that_lists_them_and_in_no_other() {
        let mut written = WrittenLists::default();
        written.push([1, 5, 6, FIRST_HIDDEN_GFN].into_iter());
        written.push(std::iter::empty());
        written.push([0, 7].into_iter());
        assert_eq!(written.any(0, &[2..=4]), Some(false));
        assert_eq!(written.any(0, &[2..=4, 6..=6]), Some(true));
        assert_eq!(written.any(0, &[2..=5]), Some(true));
        assert_eq!(written.any(0, &[7..=9, FIRST_HIDDEN_GFN..=FIRST_HIDDEN_GFN]), Some(false));
        assert_eq!(written.any(1, &[0..=u64::MAX]), Some(false));
        assert_eq!(written.any(2, &[0..=0]), Some(true));
        assert_eq!(written.any(2, &[1..=6]), Some(false));
        assert_eq!(written.any(3, &[0..=0]), None);
    }
}
