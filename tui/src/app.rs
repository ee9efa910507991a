//! State, and what each action does to it. Nothing here knows a key or a terminal.

use std::error::Error;
use std::path::Path;

use recorder::{ExitKind, Position, ReadError};
use replayvm::machine::{DiskPaths, ExitFilter};
use replayvm::timeline::{Landing, Progress, Reason, Stops, Timeline, TimelineError};

use crate::exits::ExitList;
use crate::machine::Snapshot;

/// The name of the mark on the timeline.
const MARK: &str = "mark";

/// What a person may want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Select the next exit.
    Down,
    /// Select the exit before.
    Up,
    /// A screen down the list.
    PageDown,
    /// A screen up the list.
    PageUp,
    /// Select the first exit.
    First,
    /// Select the last exit.
    Last,
    /// Select the first exit at or after the cursor.
    SelectAtCursor,
    /// List the next kind of exit alone.
    NextFilter,
    /// List the kind before alone.
    PreviousFilter,
    /// Move the cursor to the selected exit.
    SeekSelected,
    /// One step forward.
    StepForward,
    /// One step backward.
    StepBackward,
    /// Run forward to an exit of the selected kind.
    NextOfKind,
    /// Run backward to an exit of the selected kind.
    PreviousOfKind,
    /// Move the cursor to the begin.
    Begin,
    /// Move the cursor to the end.
    End,
    /// Mark the cursor's place.
    Mark,
    /// Move the cursor to the mark.
    GoToMark,
    /// Show or hide the help.
    Help,
    /// Hide the help.
    Cancel,
    /// Leave.
    Quit,
}

/// A long operation on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Busy {
    /// The machine is replayed.
    Replay {
        /// Where it is.
        at: Position,
        /// How far it goes at the farthest.
        goal: Position,
    },
    /// Exits are counted.
    Census {
        /// How many have been.
        seen: u64,
        /// How many there are.
        of: u64,
    },
}

/// A line for the person at the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// What came of the last action.
    Info(String),
    /// What went wrong.
    Error(String),
}

/// Everything that is drawn.
#[derive(Debug)]
pub struct State {
    /// What is open.
    pub title: String,
    /// The machine under the cursor.
    pub machine: Snapshot,
    /// The first position.
    pub begin: Position,
    /// The last position.
    pub end: Position,
    /// The mark.
    pub mark: Option<Position>,
    /// The exits.
    pub exits: ExitList,
    /// The number of the first exit at or after the cursor.
    pub next_exit: u64,
    /// What to say.
    pub note: Option<Note>,
    /// What is running.
    pub busy: Option<Busy>,
    /// Whether the help is shown.
    pub help: bool,
    /// Whether it is over.
    pub quit: bool,
}

/// Looks on while a long operation runs.
pub trait Watch {
    /// Called every few milliseconds; [`State::busy`] says how far it is. `false` stops the operation.
    fn go_on(&mut self, state: &State) -> bool;
}

/// Why an action failed.
#[derive(Debug, thiserror::Error)]
enum ActionError {
    #[error(transparent)]
    Timeline(#[from] TimelineError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A timeline and what is shown of it.
#[derive(Debug)]
pub struct App {
    timeline: Timeline,
    state: State,
    /// The first replay that failed. It must not be forgotten with the note that told it.
    failed: Option<TimelineError>,
}

impl App {
    /// Opens a recording, with the cursor at its begin.
    ///
    /// # Errors
    /// The recording cannot be opened.
    pub fn open(path: &Path) -> Result<Self, TimelineError> {
        Self::open_finding(path, &DiskPaths::default())
    }

    /// The same with other places for disk images that are not in the recording.
    ///
    /// # Errors
    /// The recording cannot be opened, or an image is missing.
    pub fn open_finding(path: &Path, disks: &DiskPaths) -> Result<Self, TimelineError> {
        let timeline = Timeline::open_finding(path, disks)?;
        let recording = timeline.opened().recording();
        let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let guest = &recording.description().guest_name;
        let state = State {
            title: format!("{file}: guest {guest}, seed {}", recording.description().seed),
            machine: Snapshot::take(&timeline),
            begin: timeline.begin(),
            end: timeline.end(),
            mark: None,
            exits: ExitList::new(recording.clone()),
            next_exit: 0,
            note: recording.recovery().map(|recovery| Note::Error(recovery.to_string())),
            busy: None,
            help: false,
            quit: false,
        };
        Ok(Self { timeline, state, failed: None })
    }

    /// What is to be drawn.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// How many rows the list has on the screen.
    pub fn set_list_height(&mut self, rows: u16) {
        if let Err(error) = self.state.exits.set_height(rows) {
            self.state.note = Some(Note::Error(chain(&error)));
        }
    }

    /// Ends it.
    ///
    /// # Errors
    /// A replay failed on the way, and the screen that said so is gone.
    pub fn close(self) -> Result<(), TimelineError> {
        self.failed.map_or(Ok(()), Err)
    }

    /// Does what somebody wants. What goes wrong in a replay becomes a note, and is told again by [`App::close`].
    ///
    /// # Errors
    /// The recording cannot be used any more; the cursor is in no defined place.
    pub fn act(&mut self, action: Action, watch: &mut dyn Watch) -> Result<(), TimelineError> {
        self.state.note = None;
        if self.state.help {
            self.state.help = false;
            self.state.quit = action == Action::Quit;
            return Ok(());
        }
        let result = self.perform(action, watch);
        self.state.busy = None;
        match result.and_then(|()| Ok(self.look()?)) {
            Ok(()) => {}
            Err(ActionError::Timeline(error @ TimelineError::Session(_))) => {
                self.state.note = Some(Note::Error(chain(&error)));
                self.failed.get_or_insert(error);
                // The error that matters more has just been noted.
                let _ = self.look();
            }
            Err(ActionError::Timeline(error)) => return Err(error),
            Err(ActionError::Read(error)) => self.state.note = Some(Note::Error(chain(&error))),
        }
        Ok(())
    }

    fn perform(&mut self, action: Action, watch: &mut dyn Watch) -> Result<(), ActionError> {
        match action {
            Action::Down => self.state.exits.move_by(1)?,
            Action::Up => self.state.exits.move_by(-1)?,
            Action::PageDown => self.state.exits.move_by_pages(1)?,
            Action::PageUp => self.state.exits.move_by_pages(-1)?,
            Action::First => self.state.exits.select(0)?,
            Action::Last => self.state.exits.select(u64::MAX)?,
            Action::SelectAtCursor => self.state.exits.select_number(self.state.next_exit)?,
            Action::NextFilter => self.filter(true, watch)?,
            Action::PreviousFilter => self.filter(false, watch)?,
            Action::SeekSelected => match self.state.exits.selected() {
                Some(row) => self.seek(row.at, watch)?,
                None => self.info("there is no exit to go to"),
            },
            Action::StepForward => {
                let landing = self.timeline.step_forward()?;
                self.tell(landing);
            }
            Action::StepBackward => {
                let landing =
                    self.timeline.step_backward_supervised(&mut supervisor(&mut self.state, watch))?;
                self.tell(landing);
            }
            Action::NextOfKind => self.next_of_kind(watch)?,
            Action::PreviousOfKind => self.previous_of_kind(watch)?,
            Action::Begin => self.seek(self.state.begin, watch)?,
            Action::End => self.seek(self.state.end, watch)?,
            Action::Mark => {
                self.timeline.mark(MARK);
                self.state.mark = Some(self.timeline.position());
                self.info(&format!("marked {}", self.timeline.position()));
            }
            Action::GoToMark => match self.state.mark {
                Some(mark) => self.seek(mark, watch)?,
                None => self.info("there is no mark yet"),
            },
            Action::Help => self.state.help = true,
            Action::Cancel => {}
            Action::Quit => self.state.quit = true,
        }
        Ok(())
    }

    fn info(&mut self, text: &str) {
        self.state.note = Some(Note::Info(text.to_owned()));
    }

    /// Says where the cursor came to rest, if that is not where it was sent.
    fn tell(&mut self, landing: Landing) {
        match landing.reason {
            Reason::Begin => self.info("the begin of the recording"),
            Reason::End => self.info("the end of the recording"),
            Reason::Interrupted => self.info(&format!("stopped at {}", landing.position)),
            _ => {}
        }
    }

    fn seek(&mut self, target: Position, watch: &mut dyn Watch) -> Result<(), ActionError> {
        let landing = self.timeline.seek(target, &mut supervisor(&mut self.state, watch))?;
        self.tell(landing);
        Ok(())
    }

    fn filter(&mut self, forward: bool, watch: &mut dyn Watch) -> Result<(), ActionError> {
        // The list is away from the state while it counts; whoever looks on sees an empty one of the same recording.
        let state = &mut self.state;
        let of = state.exits.len();
        let placeholder = ExitList::new(self.timeline.opened().recording().clone());
        let mut exits = std::mem::replace(&mut state.exits, placeholder);
        let done = exits.cycle_filter(forward, &mut |seen| {
            state.busy = Some(Busy::Census { seen, of });
            watch.go_on(state)
        });
        self.state.exits = exits;
        if !done? {
            self.info("stopped; nothing is filtered");
        }
        Ok(())
    }

    /// The kind of the selected exit, and the stops that look for it.
    fn wanted(&mut self) -> Option<(ExitKind, Stops)> {
        let Some(kind) = self.state.exits.selected().map(|row| row.exit.kind()) else {
            self.info("there is no exit to look for");
            return None;
        };
        Some((kind, Stops { exits: ExitFilter::NONE.with(kind), ..Stops::default() }))
    }

    /// A run rests after the exit that it hits; the cursor is put before it, where it is when one comes from behind.
    fn next_of_kind(&mut self, watch: &mut dyn Watch) -> Result<(), ActionError> {
        let Some((kind, stops)) = self.wanted() else { return Ok(()) };
        let start = self.timeline.position();
        loop {
            let landing = self.timeline.run_forward(&stops, &mut supervisor(&mut self.state, watch))?;
            match landing.reason {
                Reason::Exit(at, _) if at > start => {
                    self.seek(at, watch)?;
                    return self.select_hit(at, kind);
                }
                Reason::Exit(..) => {}
                Reason::End => {
                    self.info(&format!("no {} up to the end", kind.name()));
                    return Ok(());
                }
                _ => {
                    self.tell(landing);
                    return Ok(());
                }
            }
        }
    }

    fn previous_of_kind(&mut self, watch: &mut dyn Watch) -> Result<(), ActionError> {
        let Some((kind, stops)) = self.wanted() else { return Ok(()) };
        let landing = self.timeline.run_backward(&stops, &mut supervisor(&mut self.state, watch))?;
        match landing.reason {
            Reason::Exit(at, _) => self.select_hit(at, kind)?,
            Reason::Begin => self.info(&format!("no {} back to the begin", kind.name())),
            _ => self.tell(landing),
        }
        Ok(())
    }

    fn select_hit(&mut self, at: Position, kind: ExitKind) -> Result<(), ActionError> {
        if let Some(number) = self.state.exits.find(at, kind)? {
            self.state.exits.select_number(number)?;
        }
        Ok(())
    }

    /// Brings what is shown of the machine up to date.
    fn look(&mut self) -> Result<(), ReadError> {
        let before = self.state.machine.position;
        let now = self.timeline.position();
        if now == before {
            return Ok(());
        }
        self.state.machine = Snapshot::take(&self.timeline);
        self.state.next_exit = self.state.exits.number_at(now, Some((before, self.state.next_exit)))?;
        Ok(())
    }
}

/// Tells whoever looks on how far the replay is.
fn supervisor<'a>(state: &'a mut State, watch: &'a mut dyn Watch) -> impl FnMut(Progress) -> bool + 'a {
    move |progress: Progress| {
        state.busy = Some(Busy::Replay { at: progress.position, goal: progress.goal });
        watch.go_on(state)
    }
}

/// An error with its causes, on one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
