//! State, and what each action does to it. Nothing here knows a key, a terminal or a thread: what takes time is handed out as a
//! [`Request`](crate::app::Request) and comes back as an [`Outcome`](crate::worker::Outcome) or an
//! [`Answer`](crate::library::Answer).

/// What has been asked for comes back.
mod absorb;
/// What is done with a line that was asked for.
mod answer;
/// What is looked for in a pane.
mod find;
/// Where the cursor has been.
mod history;
/// To the next landmark.
mod landmarks;
/// Rows of panes: selecting them, and what they are for.
mod lists;
/// Clicks and wheels.
mod mouse;
/// Breakpoints and watches.
mod points;
/// A line that is asked for.
mod prompt;
/// What is selected of a list.
mod scroll;
/// The state.
mod state;
/// Which part of the run the timeline shows.
mod strip;

pub use history::History;
pub use prompt::{Prompt, Question};
pub use scroll::Scroll;
pub use state::{Busy, MemoryShape, Note, Side, State};
pub use strip::{Axis, Strip, centered};

use ratatui::layout::Size;
use replayvm::timeline::{Timeline, TimelineError};

use crate::action::Action;
use crate::exits::{Filter, Listed, Order as Sorted};
use crate::layout::{Layout, Pane, Slot};
use crate::library::Ask;
use crate::marks::{Marks, path_beside};
use crate::theme::Theme;
use crate::worker::{Job, Order, Results};

/// Actions that wait while something takes long.
const TYPED_AHEAD: usize = 64;

/// What somebody else is to do.
#[derive(Debug)]
pub enum Request {
    /// The worker.
    Work(Box<Order>),
    /// The library.
    Read(Ask),
    /// Whoever does something stops it.
    Stop,
    /// gdb goes on from here.
    Gdb {
        /// In a split of tmux.
        split: bool,
    },
}

/// The state and what becomes of it.
#[derive(Debug)]
pub struct App {
    state: State,
    requests: Vec<Request>,
    /// Actions for after what is being done.
    waiting: std::collections::VecDeque<Action>,
    /// What the worker does is a step.
    stepping: bool,
    /// The worker's job is somebody's wish, and not a look.
    moving: bool,
    /// A look is due once the worker is free.
    look_again: bool,
    /// It is not known yet what time it was when.
    clock_due: bool,
    /// Where to go, and why, once the worker has had its look.
    coming: Option<(recorder::Position, &'static str)>,
    /// What to say once the cursor is where it was sent.
    arrival: Option<&'static str>,
    /// The first replay that failed. It must not be forgotten with the note that told it.
    failed: Option<TimelineError>,
}

impl App {
    /// The front end of a timeline that stands at its begin.
    #[must_use]
    pub fn new(timeline: &Timeline, size: Size) -> Self {
        let opened = timeline.opened();
        let path = opened.path().to_owned();
        let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let recording = opened.recording();
        let description = recording.description();
        let title = format!("{file}: guest {}, seed {}", description.guest_name, description.seed);
        let banner = recording
            .recovery()
            .map(|recovery| format!("DAMAGED OR CUT OFF, shown up to {}: {recovery}", timeline.end()));
        let mut note = None;
        let marks = Marks::read(&path_beside(&path), timeline.end()).unwrap_or_else(|error| {
            note = Some(Note::Error(chain(&error)));
            Marks::default()
        });
        let side = Side::new(timeline, marks);
        let mut app = Self {
            state: State {
                title: printable(&title),
                banner: banner.map(|banner| printable(&banner)),
                strip: Strip::new(timeline.begin(), timeline.end()),
                side,
                layout: Layout::default(),
                size,
                theme: Theme::default(),
                note,
                busy: None,
                prompt: None,
                help: None,
                compared: false,
                quit: false,
                swap: false,
            },
            requests: Vec::new(),
            waiting: std::collections::VecDeque::new(),
            stepping: false,
            moving: false,
            look_again: false,
            clock_due: true,
            coming: None,
            arrival: None,
            failed: None,
        };
        app.resize(size);
        app
    }

    /// What is to be drawn.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whoever runs this has something to say.
    pub fn say(&mut self, note: Note) {
        self.state.note = Some(note);
    }

    /// How far what is running has come, if it takes long enough to be told.
    pub fn set_busy(&mut self, busy: Option<Busy>) {
        self.state.busy = busy;
    }

    /// The panes, and the colours.
    pub fn arrange(&mut self, layout: Layout, theme: Theme) {
        self.state.layout = layout;
        self.state.theme = theme;
        self.resize(self.state.size);
    }

    /// There is another recording, and this is where they part.
    pub fn compare(&mut self, differences: Results) {
        self.state.compared = true;
        self.state.side.results = differences;
        self.state.layout.show(Pane::Results, self.state.size);
        self.seen();
    }

    /// What others are to do.
    pub fn requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }

    /// Whether there are some.
    #[must_use]
    pub fn has_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Goes to where somebody else has been, and says so.
    pub fn come_to(&mut self, position: recorder::Position, why: &'static str) {
        self.state.note = None;
        match (self.is_working(), self.moving) {
            // The cursor is on its way elsewhere: whoever sent it there wants to be there.
            (true, true) => self.info(format!("{why}: {position}")),
            (true, false) => self.coming = Some((position, why)),
            (false, _) => {
                self.seek(position);
                self.arrival = Some(why);
            }
        }
    }

    /// Whether the worker is at something.
    #[must_use]
    pub fn is_working(&self) -> bool {
        self.state.side.working.is_some()
    }

    /// The screen has another size.
    pub fn resize(&mut self, size: Size) {
        self.state.size = size;
        self.fit();
        self.look();
    }

    /// What is in sight has changed.
    fn fit(&mut self) {
        let rows = self.state.rows_of(Pane::Exits).unwrap_or(1);
        let result = self.state.side.exits.set_height(rows);
        self.note_read(result);
        for pane in Pane::ALL {
            self.scroll_by(pane, 0);
        }
    }

    /// Ends it.
    ///
    /// # Errors
    /// A replay failed on the way, and the screen that said so is gone.
    pub fn close(self) -> Result<(), TimelineError> {
        self.failed.map_or(Ok(()), Err)
    }

    fn info(&mut self, text: impl Into<String>) {
        self.state.note = Some(Note::Info(text.into()));
    }

    fn note_read<T>(&mut self, result: Result<T, recorder::ReadError>) -> Option<T> {
        result.map_err(|error| self.state.note = Some(Note::Error(chain(&error)))).ok()
    }

    /// Gives the worker something to do; it has nothing else.
    fn order(&mut self, job: Job) {
        let look = self.state.wanted_look();
        let side = &mut self.state.side;
        side.working = Some(job.name());
        self.stepping = matches!(job, Job::Step { .. } | Job::Over { .. });
        self.moving = !matches!(job, Job::Look | Job::Clock);
        let order = Order { job, look, points: side.points.clone(), names: side.names.clone() };
        self.requests.push(Request::Work(Box::new(order)));
    }

    /// Has a look at what is in sight now, as soon as the worker is free.
    fn look(&mut self) {
        if self.is_working() {
            self.look_again = true;
        } else {
            self.order(Job::Look);
        }
    }

    fn seek(&mut self, position: recorder::Position) {
        self.order(Job::Seek(position));
    }

    /// Does what somebody wants.
    pub fn act(&mut self, action: Action) {
        if self.state.help.is_some() {
            self.act_in_help(action);
            return;
        }
        if self.is_working() && moves(action) {
            if self.waiting.len() < TYPED_AHEAD {
                self.waiting.push_back(action);
            }
            return;
        }
        self.state.note = None;
        self.perform(action);
    }

    fn act_in_help(&mut self, action: Action) {
        let top = self.state.help.unwrap_or(0);
        self.state.help = match action {
            Action::Down => Some(top.saturating_add(1)),
            Action::PageDown => Some(top.saturating_add(10)),
            Action::Up => Some(top.saturating_sub(1)),
            Action::PageUp => Some(top.saturating_sub(10)),
            _ => None,
        };
        self.state.quit |= action == Action::Quit;
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Down
            | Action::Up
            | Action::PageDown
            | Action::PageUp
            | Action::First
            | Action::Last
            | Action::Left
            | Action::Right => self.go_in_pane(action),
            Action::Enter => self.enter(),
            Action::RunToLine { back } => match self.state.side.selected_line() {
                Some(address) => self.order(Job::To { address, back }),
                None => self.info("no line of code is selected"),
            },
            Action::Step { back } => self.order(Job::Step { back }),
            Action::Over { back } => self.order(Job::Over { back }),
            Action::Out { back } => self.order(Job::Out { back }),
            Action::Run { back } => self.order(Job::Run { back }),
            Action::Jump { to, back } => self.jump(to, back),
            Action::Begin => self.seek(self.state.side.begin),
            Action::End => self.seek(self.state.side.end),
            Action::GoTo => self.ask(Question::GoTo, ""),
            Action::HistoryBack | Action::HistoryForward => {
                match self.state.side.history.go(action == Action::HistoryBack) {
                    Some(place) => self.seek(place),
                    None => self.info("the cursor has been nowhere else"),
                }
            }
            Action::Mark => self.ask(Question::Mark, ""),
            Action::Delete => self.delete(),
            Action::Breakpoint => self.breakpoint(),
            Action::Watch => self.watch(),
            Action::LastWrite => self.order(Job::LastWrite(self.selected_byte())),
            Action::Writes => self.order(Job::Writes(self.selected_byte())),
            Action::Calls => match self.state.side.selected_function() {
                Some(address) => self.order(Job::Calls(address)),
                None => self.info("no code is selected"),
            },
            Action::Find => self.ask_find(),
            Action::Match { back } => self.next_match(back),
            Action::Filter => {
                let text = self.state.side.filter().map(|filter| filter.text().to_owned());
                self.ask(Question::Filter, &text.unwrap_or_default());
            }
            Action::FilterKind => self.filter_kind(),
            Action::Sort => {
                let order = self.state.side.sorted().next();
                self.select_exits(self.state.side.filter().cloned(), order);
            }
            Action::SelectAtCursor => {
                let number = self.state.side.next_exit;
                let result = self.state.side.exits.show_number(number);
                self.note_read(result);
            }
            Action::Address => self.ask(Question::Address, ""),
            Action::Physical => {
                self.state.side.look.memory.physical ^= true;
                self.look();
            }
            Action::ZoomIn | Action::ZoomOut => {
                let here = self.state.side.machine.position.tick;
                self.state.strip.zoom(action == Action::ZoomIn, here);
                self.look();
            }
            Action::WholeRun => {
                self.state.strip.show_all();
                self.look();
            }
            Action::Axis => {
                self.state.strip.axis = match self.state.strip.axis {
                    Axis::Ticks => Axis::Time,
                    Axis::Time => Axis::Ticks,
                };
            }
            Action::Pan { back } => self.state.strip.pan(back),
            Action::Show(pane) => {
                self.state.layout.show(pane, self.state.size);
                self.seen();
            }
            Action::Focus { back } => {
                self.state.layout.cycle(!back, self.state.size);
                if self.state.layout.zoomed {
                    self.seen();
                }
            }
            Action::ZoomPane => {
                self.state.layout.zoomed ^= true;
                self.seen();
            }
            Action::Theme => {
                self.state.theme = self.state.theme.next();
                self.info(format!("theme {}", self.state.theme.name()));
            }
            Action::Gdb => self.requests.push(Request::Gdb { split: false }),
            Action::GdbSplit => self.requests.push(Request::Gdb { split: true }),
            Action::Help => self.state.help = Some(0),
            Action::Cancel => {
                self.waiting.clear();
                self.requests.push(Request::Stop);
            }
            Action::OtherRecording if self.state.compared => {
                self.state.swap = true;
                self.state.quit = true;
            }
            Action::OtherRecording => self.info("there is no other recording: --against"),
            Action::Quit => self.state.quit = true,
        }
    }

    /// Other panes are seen than before.
    fn seen(&mut self) {
        self.fit();
        self.look();
    }

    fn ask(&mut self, question: Question, text: &str) {
        self.state.prompt = Some(Prompt::new(question, text));
    }

    fn keep_marks(&mut self) {
        if let Err(error) = self.state.side.marks.write(&path_beside(&self.state.side.path)) {
            self.state.note = Some(Note::Error(chain(&error)));
        }
    }

    fn filter_kind(&mut self) {
        let side = &self.state.side;
        let filter = match (side.filter(), side.exits.selected()) {
            (Some(_), _) | (None, None) => None,
            (None, Some(row)) => Some(Filter::of_kind(row.exit.kind())),
        };
        let order = side.sorted();
        self.select_exits(filter, order);
    }

    /// Lists some exits, in some order.
    fn select_exits(&mut self, filter: Option<Filter>, order: Sorted) {
        if filter.is_none() && order == Sorted::Position {
            self.list_exits(None);
            return;
        }
        self.state.side.selecting = true;
        self.requests.push(Request::Read(Ask::Select { filter, order }));
    }

    fn list_exits(&mut self, listed: Option<Listed>) {
        let side = &mut self.state.side;
        let number = side.exits.selected().map_or(side.next_exit, |row| row.number);
        let result = side.exits.list(listed, number);
        self.note_read(result);
    }

    /// Rows of the slot that has the keys.
    fn focus_rows(&self) -> usize {
        self.state.rows(self.state.layout.focus())
    }
}

impl State {
    /// Lines of the pane in a slot.
    #[must_use]
    pub fn rows(&self, slot: Slot) -> usize {
        usize::from(self.layout.rows(slot, self.size, self.banner.is_some()))
    }
}

/// Whether an action has to wait for what the worker does.
const fn moves(action: Action) -> bool {
    matches!(
        action,
        Action::Enter
            | Action::RunToLine { .. }
            | Action::Step { .. }
            | Action::Over { .. }
            | Action::Out { .. }
            | Action::Run { .. }
            | Action::Jump { .. }
            | Action::Begin
            | Action::End
            | Action::HistoryBack
            | Action::HistoryForward
            | Action::LastWrite
            | Action::Writes
            | Action::Calls
            | Action::Gdb
            | Action::GdbSplit
    )
}

/// An error with its causes, on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
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

/// Without what a terminal would obey: names come out of files.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
