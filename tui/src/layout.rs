//! The panes, which of them are seen, and where on the screen everything is.

use ratatui::layout::{Constraint, Layout as Split, Rect, Size};

/// A pane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pane {
    /// The exits, one a line.
    Exits,
    /// How many exits of each kind.
    Summary,
    /// Instructions.
    Code,
    /// Registers.
    Registers,
    /// Memory.
    Memory,
    /// The stack, and who called whom.
    Stack,
    /// What was printed.
    Console,
    /// Devices and tables.
    Devices,
    /// Processes.
    Tasks,
    /// What was found.
    Results,
    /// Marks.
    Marks,
    /// Inputs.
    Inputs,
}

impl Pane {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Exits,
        Self::Code,
        Self::Registers,
        Self::Memory,
        Self::Stack,
        Self::Console,
        Self::Devices,
        Self::Tasks,
        Self::Results,
        Self::Summary,
        Self::Marks,
        Self::Inputs,
    ];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exits => "exits",
            Self::Summary => "summary",
            Self::Code => "code",
            Self::Registers => "registers",
            Self::Memory => "memory",
            Self::Stack => "stack",
            Self::Console => "console",
            Self::Devices => "devices",
            Self::Tasks => "processes",
            Self::Results => "results",
            Self::Marks => "marks",
            Self::Inputs => "inputs",
        }
    }

    /// By its word.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|pane| pane.name() == name)
    }
}

/// Where a pane is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// Above, left.
    Left,
    /// Above, right.
    Right,
    /// Below, where there is room.
    Bottom,
}

impl Slot {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Left, Self::Right, Self::Bottom];
}

/// Which panes are seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    panes: [Pane; 3],
    focus: Slot,
    /// The pane with the focus has the whole room.
    pub zoomed: bool,
}

impl Default for Layout {
    fn default() -> Self {
        Self { panes: [Pane::Exits, Pane::Registers, Pane::Code], focus: Slot::Left, zoomed: false }
    }
}

/// Columns of the right slot: two registers side by side, and the border.
const RIGHT: u16 = 43;
/// Screens of this height have room below.
const TALL: u16 = 34;
/// Lines of the timeline: bars, letters, signs, scale.
pub const STRIP_ROWS: u16 = 4;
/// What a border takes.
pub const BORDER: u16 = 2;

/// Where everything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// The title line.
    pub title: Rect,
    /// The banner; of no height if there is none.
    pub banner: Rect,
    /// The timeline.
    pub strip: Rect,
    /// The slots; of no size where there is no room.
    pub slots: [Rect; 3],
    /// The next instruction.
    pub next: Rect,
    /// The status line.
    pub status: Rect,
    /// The last line.
    pub bottom: Rect,
}

impl Layout {
    /// The pane in a slot.
    #[must_use]
    pub const fn pane(&self, slot: Slot) -> Pane {
        self.panes[slot as usize]
    }

    /// The slot that has the keys.
    #[must_use]
    pub const fn focus(&self) -> Slot {
        self.focus
    }

    /// The pane that has the keys.
    #[must_use]
    pub const fn focused(&self) -> Pane {
        self.pane(self.focus)
    }

    /// Shows a pane: gives it the keys if it is seen, else puts it where they are.
    pub fn show(&mut self, pane: Pane, size: Size) {
        let seen = |slot: &Slot| self.pane(*slot) == pane && self.is_seen(*slot, size);
        if let Some(slot) = Slot::ALL.into_iter().find(seen) {
            self.focus = slot;
            return;
        }
        // Nothing is seen twice: where it was hidden comes what it takes the place of.
        let hidden = Slot::ALL.into_iter().find(|slot| self.pane(*slot) == pane && *slot != self.focus);
        if let Some(hidden) = hidden {
            self.panes[hidden as usize] = self.focused();
        }
        self.panes[self.focus as usize] = pane;
    }

    /// Puts a pane into a slot.
    pub const fn put(&mut self, slot: Slot, pane: Pane) {
        self.panes[slot as usize] = pane;
    }

    /// Gives a slot the keys.
    pub const fn focus_on(&mut self, slot: Slot) {
        self.focus = slot;
    }

    /// Gives the next slot that is seen the keys.
    pub fn cycle(&mut self, forward: bool, size: Size) {
        let order = [Slot::Left, Slot::Right, Slot::Bottom];
        let mut at = self.focus as usize;
        for _ in order {
            at = (at + if forward { 1 } else { order.len() - 1 }) % order.len();
            if self.zoomed || self.is_seen(order[at], size) {
                self.focus = order[at];
                return;
            }
        }
    }

    fn is_seen(&self, slot: Slot, size: Size) -> bool {
        if self.zoomed {
            return slot == self.focus;
        }
        slot != Slot::Bottom || size.height >= TALL
    }

    /// Where everything is on a screen of this size.
    #[must_use]
    pub fn places(&self, area: Rect, banner: bool) -> Places {
        let rows = [
            Constraint::Length(1),
            Constraint::Length(u16::from(banner)),
            Constraint::Length(STRIP_ROWS),
            Constraint::Min(0),
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(1),
        ];
        let [title, banner, strip, main, next, status, bottom] = area.layout(&Split::vertical(rows));
        let none = Rect::new(main.x, main.y, 0, 0);
        let mut slots = [none; 3];
        let size = Size::new(area.width, area.height);
        if self.zoomed {
            slots[self.focus as usize] = main;
        } else {
            let (upper, lower) = match self.is_seen(Slot::Bottom, size) {
                true => {
                    let halves = [Constraint::Fill(3), Constraint::Fill(2)];
                    let [upper, lower] = main.layout(&Split::vertical(halves));
                    (upper, lower)
                }
                false => (main, none),
            };
            let right = Constraint::Length(RIGHT.max(area.width * 2 / 5));
            let [left, right] = upper.layout(&Split::horizontal([Constraint::Fill(1), right]));
            slots = [left, right, lower];
        }
        Places { title, banner, strip, slots, next, status, bottom }
    }

    /// Lines of the pane in a slot, on a screen of this size.
    #[must_use]
    pub fn rows(&self, slot: Slot, size: Size, banner: bool) -> u16 {
        let places = self.places(Rect::from(size), banner);
        places.slots[slot as usize].height.saturating_sub(BORDER)
    }

    /// The slot in which a pane is seen.
    #[must_use]
    pub fn slot_of(&self, pane: Pane, size: Size) -> Option<Slot> {
        Slot::ALL.into_iter().find(|slot| self.pane(*slot) == pane && self.is_seen(*slot, size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Size = Size { width: 80, height: 24 };
    const TALL: Size = Size { width: 120, height: 50 };

    #[test]
    fn a_pane_that_is_seen_gets_the_keys_and_another_takes_their_place() {
        let mut layout = Layout::default();
        layout.show(Pane::Registers, SMALL);
        assert_eq!((layout.focus(), layout.focused()), (Slot::Right, Pane::Registers));
        layout.show(Pane::Memory, SMALL);
        assert_eq!((layout.pane(Slot::Left), layout.pane(Slot::Right)), (Pane::Exits, Pane::Memory));
        // It was below, where there is no room.
        layout.show(Pane::Code, SMALL);
        assert_eq!((layout.pane(Slot::Right), layout.pane(Slot::Bottom)), (Pane::Code, Pane::Memory));
    }

    #[test]
    fn only_what_is_seen_gets_the_keys() {
        let mut layout = Layout::default();
        layout.cycle(true, SMALL);
        layout.cycle(true, SMALL);
        assert_eq!(layout.focus(), Slot::Left);
        layout.cycle(false, TALL);
        assert_eq!(layout.focus(), Slot::Bottom);
        layout.zoomed = true;
        assert_eq!(layout.slot_of(Pane::Exits, TALL), None);
        assert_eq!(layout.slot_of(Pane::Code, TALL), Some(Slot::Bottom));
    }

    #[test]
    fn panes_are_found_by_name() {
        for pane in Pane::ALL {
            assert_eq!(Pane::named(pane.name()), Some(pane));
        }
    }
}
