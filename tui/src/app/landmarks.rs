//! To the next landmark, or the one before: the recording knows where they are, and nothing is searched for.

use recorder::{ExitKind, Position};

use super::App;
use crate::action::Landmark;
use crate::index::KindSet;

impl Landmark {
    /// The word for it.
    const fn name(self) -> &'static str {
        match self {
            Self::SameKind => "exit of this kind",
            Self::Exit => "exit",
            Self::Interrupt => "interrupt",
            Self::Exception => "exception",
            Self::Input => "input",
            Self::Line => "line of the console",
            Self::Mark => "mark",
        }
    }
}

impl App {
    pub(super) fn jump(&mut self, to: Landmark, back: bool) {
        let kinds = match to {
            Landmark::Exit => KindSet::ALL,
            Landmark::Interrupt => KindSet::NONE.with(ExitKind::Interrupt).with(ExitKind::Nmi),
            Landmark::Exception => KindSet::NONE.with(ExitKind::Exception).with(ExitKind::Shutdown),
            Landmark::SameKind => match self.state.side.exits.selected() {
                Some(row) => KindSet::NONE.with(row.exit.kind()),
                None => KindSet::NONE,
            },
            Landmark::Input | Landmark::Line | Landmark::Mark => KindSet::NONE,
        };
        let here = self.state.side.machine.position;
        let found = if kinds.is_empty() {
            self.nearest(to, here, back)
        } else if self.state.side.index.is_some() {
            let number = self.exit_beside(kinds, here, back);
            if let Some(number) = number {
                let result = self.state.side.exits.show_number(number.0);
                self.note_read(result);
            }
            number.map(|(_, at)| at)
        } else {
            self.info("exits are still being read");
            return;
        };
        match found {
            Some(at) => self.seek(at),
            None if self.state.note.is_some() => {}
            None if back => self.info(format!("no {} before", to.name())),
            None => self.info(format!("no {} after", to.name())),
        }
    }

    /// The number and place of the nearest exit of these kinds.
    fn exit_beside(&mut self, kinds: KindSet, here: Position, back: bool) -> Option<(u64, Position)> {
        let side = &self.state.side;
        let index = std::sync::Arc::clone(side.index.as_ref()?);
        let mut number = side.next_exit;
        loop {
            number = if back { index.previous(kinds, number) } else { index.next(kinds, number) }?;
            let exit = self.state.side.exits.exit(number);
            let row = self.note_read(exit)??;
            // Several exits may be of the step at the cursor.
            if back && row.at < here || !back && row.at > here {
                return Some((number, row.at));
            }
            number += u64::from(!back);
        }
    }

    /// The nearest of what is in a list.
    fn nearest(&self, to: Landmark, here: Position, back: bool) -> Option<Position> {
        let side = &self.state.side;
        match to {
            Landmark::Input => beside(side.inputs.list.iter().map(|input| input.at), here, back),
            Landmark::Line => beside(side.console.lines.iter().map(|line| line.at), here, back),
            Landmark::Mark => beside(side.marks.iter().map(|(at, _)| at), here, back),
            _ => None,
        }
    }
}

/// The nearest of places in order.
fn beside(
    mut places: impl DoubleEndedIterator<Item = Position>,
    here: Position,
    back: bool,
) -> Option<Position> {
    if back { places.rfind(|at| *at < here) } else { places.find(|at| *at > here) }
}
