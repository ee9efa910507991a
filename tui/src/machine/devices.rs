//! Devices, tables and page tables, in words.

use replayvm::inspect::{Found, MappedRanges, Subject, walk_text};
use replayvm::timeline::Timeline;

use super::{Look, Names, Registers};

/// Ranges of mapped addresses that are listed.
const MAX_RANGES: usize = 500;
/// Pages and holes that are looked at in one go, for one range.
const PIECE: u32 = 4096;
/// As often without coming to the end of one.
const MAX_PIECES: u32 = 64;

/// What can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// What has a state of its own.
    Subject(Subject),
    /// The walk to the address that the memory pane shows.
    Walk,
    /// What is mapped where.
    Mapped,
}

impl Default for Device {
    fn default() -> Self {
        Self::Subject(Subject::Pic)
    }
}

impl Device {
    /// How many there are.
    const COUNT: usize = Subject::ALL.len() + 2;

    fn of(number: usize) -> Self {
        match Subject::ALL.get(number) {
            Some(subject) => Self::Subject(*subject),
            None if number == Subject::ALL.len() => Self::Walk,
            None => Self::Mapped,
        }
    }

    fn number(self) -> usize {
        match self {
            Self::Subject(subject) => Subject::ALL.iter().position(|other| *other == subject).unwrap_or(0),
            Self::Walk => Subject::ALL.len(),
            Self::Mapped => Subject::ALL.len() + 1,
        }
    }

    /// The next one, or the one before.
    #[must_use]
    pub fn next(self, forward: bool) -> Self {
        let step = if forward { 1 } else { Self::COUNT - 1 };
        Self::of((self.number() + step) % Self::COUNT)
    }

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Subject(subject) => subject.name(),
            Self::Walk => "page walk",
            Self::Mapped => "mapped",
        }
    }

    /// Every word.
    pub fn names() -> impl Iterator<Item = &'static str> {
        (0..Self::COUNT).map(|number| Self::of(number).name())
    }
}

pub(super) fn lines(
    timeline: &Timeline,
    look: &Look,
    registers: &Registers,
    names: Names<'_>,
) -> Vec<String> {
    let machine = timeline.machine();
    let text = match look.device {
        Device::Subject(subject) => {
            let named = |address| {
                let place = names.and_then(|names| names.place(address))?;
                Some(format!("{}+{:#x}", place.name, place.offset))
            };
            subject.text(machine, &named)
        }
        Device::Walk => walk_text(machine, look.memory.base.resolve(registers)),
        Device::Mapped => mapped(timeline),
    };
    text.lines().map(str::to_owned).collect()
}

fn mapped(timeline: &Timeline) -> String {
    let mut ranges = MappedRanges::from(timeline.machine(), 0);
    let mut text = String::new();
    let (mut listed, mut pieces) = (0, 0);
    while listed < MAX_RANGES && pieces < MAX_PIECES {
        match ranges.next_within(PIECE) {
            Found::Range(range) => {
                text.push_str(&format!("{range}\n"));
                listed += 1;
            }
            Found::Nothing if text.is_empty() => {
                return "paging is off: linear addresses are physical".to_owned();
            }
            Found::Nothing => return text,
            Found::NotYet => pieces += 1,
        }
    }
    text.push_str("... and more\n");
    text
}
