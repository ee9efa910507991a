//! What is selected of a list, and what of it is on the screen.

/// A place in a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scroll {
    /// The first row on the screen.
    pub top: usize,
    /// The selected row.
    pub selected: usize,
}

impl Scroll {
    /// Selects a row, and brings it into sight. Beyond the end, the last one.
    pub fn select(&mut self, row: usize, len: usize, height: usize) {
        self.selected = row.min(len.saturating_sub(1));
        let height = height.max(1);
        let lowest = self.selected.saturating_sub(height - 1);
        let bottom = len.saturating_sub(height);
        self.top = self.top.clamp(lowest, self.selected).min(bottom.max(lowest));
    }

    /// Moves the selection.
    pub fn move_by(&mut self, rows: isize, len: usize, height: usize) {
        self.select(self.selected.saturating_add_signed(rows), len, height);
    }

    /// The rows on the screen.
    #[must_use]
    pub fn visible(&self, len: usize, height: usize) -> std::ops::Range<usize> {
        let top = self.top.min(len);
        top..top.saturating_add(height).min(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_selected_is_in_sight() {
        let mut scroll = Scroll::default();
        scroll.move_by(-1, 10, 3);
        assert_eq!(scroll, Scroll { top: 0, selected: 0 });
        scroll.move_by(4, 10, 3);
        assert_eq!(scroll, Scroll { top: 2, selected: 4 });
        scroll.move_by(-1, 10, 3);
        assert_eq!(scroll, Scroll { top: 2, selected: 3 });
        scroll.select(usize::MAX, 10, 3);
        assert_eq!((scroll.selected, scroll.visible(10, 3)), (9, 7..10));
        // The list has become shorter, the screen higher.
        scroll.move_by(0, 4, 10);
        assert_eq!((scroll.selected, scroll.visible(4, 10)), (3, 0..4));
        scroll.select(5, 0, 0);
        assert_eq!((scroll.selected, scroll.visible(0, 0)), (0, 0..0));
    }
}
