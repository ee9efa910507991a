//! Recordings, screens, and the front end without its threads.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::Size;
use recorder::Position;
use replayvm::machine::GuestImages;
use replayvm::session::{RecordSession, Settings};
use replayvm::timeline::{Progress, Timeline};
use tempfile::TempDir;
use tui::action::Action;
use tui::app::{App, Note, Request, Side, State};
use tui::exits::select;
use tui::index::{ConsoleLines, Index, Inputs};
use tui::layout::Pane;
use tui::library::{Answer, Ask, find_symbols};
use tui::view;
use tui::worker::Desk;

use crate::guest::guest;

/// A screen that everything has to fit on.
pub const SMALL: Size = Size { width: 80, height: 24 };
/// A large one.
pub const LARGE: Size = Size { width: 130, height: 44 };

/// Records a guest to its end.
pub fn record(path: &Path, name: &str, kernel: Vec<u8>, settings: &Settings) {
    let images = GuestImages { kernel, ..GuestImages::default() };
    RecordSession::start(path, name, &images, settings, None, Default::default())
        .and_then(RecordSession::run)
        .expect("records");
}

struct Made {
    _folder: TempDir,
    recording: PathBuf,
    map: PathBuf,
}

/// The recording of the guest whose every byte is known, made once, and its symbols.
fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let (recording, map) = (folder.path().join("known.rvm"), folder.path().join("System.map"));
        let guest = guest();
        std::fs::write(&map, guest.map).expect("a file of ours");
        let settings =
            Settings { seed: 7, memory_bytes: 4 << 20, checkpoint_ticks: 20_000, ..Settings::default() };
        record(&recording, "known", guest.image, &settings);
        Made { _folder: folder, recording, map }
    })
}

/// The file of that recording.
pub fn recording() -> &'static Path {
    &made().recording
}

/// A copy of that recording in a folder of its own, so that it has marks of its own.
pub fn copy() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("known.rvm");
    std::fs::copy(recording(), &path).expect("copies");
    (folder, path)
}

/// The front end without threads: whatever is asked for is done at once.
pub struct Front {
    pub app: App,
    desk: Desk,
    /// Stops what the worker does, at once.
    pub impatient: bool,
    /// The worker holds back what it has done.
    pub slow: bool,
    /// Where somebody wanted to go on in gdb.
    pub in_gdb: Vec<Position>,
}

impl Front {
    /// Of the known guest, everything read.
    pub fn new(size: Size) -> Self {
        Self::over(recording(), size)
    }

    /// Of a copy of its recording.
    pub fn over(path: &Path, size: Size) -> Self {
        Self::with(path, Some(&made().map), size)
    }

    /// Of another recording, with this file of symbols or what the guest has in its memory.
    pub fn with(path: &Path, symbols: Option<&Path>, size: Size) -> Self {
        let timeline = Timeline::open(path).expect("opens");
        let recording = timeline.opened().recording().clone();
        let app = App::new(&timeline, size);
        let desk = Desk::new(timeline);
        let mut front = Self { app, desk, impatient: false, slow: false, in_gdb: Vec::new() };
        front.serve();
        let index = Index::build(&recording, &mut |_| true).expect("nobody stops it");
        front.app.read(Answer::Index(index.into()));
        let console = ConsoleLines::build(&recording, &mut || true).expect("nobody stops it");
        front.app.read(Answer::Console(console.into()));
        front.app.read(Answer::Inputs(Inputs::build(&recording).into()));
        front.app.read(Answer::Symbols(find_symbols(path, symbols)));
        front.serve();
        front
    }

    /// Does what was asked for, until nobody asks for anything.
    pub fn serve(&mut self) {
        loop {
            let requests = self.app.requests();
            if requests.is_empty() {
                return;
            }
            for request in requests {
                match request {
                    Request::Work(order) if !self.slow => {
                        let impatient = self.impatient;
                        let outcome = self.desk.perform(&order, &mut |_: Progress| !impatient);
                        self.app.done(outcome).expect("the recording is sound");
                    }
                    Request::Read(Ask::Select { filter, order }) => {
                        let side = &self.app.state().side;
                        let (recording, index) = (side.recording.clone(), side.index.clone());
                        let found =
                            select(&recording, index.as_deref(), filter.as_ref(), order, &mut |_| true);
                        self.app.read(Answer::Selected(found.map_err(|error| error.to_string())));
                    }
                    Request::Gdb { .. } => self.in_gdb.push(self.side().machine.position),
                    Request::Work(_) | Request::Stop => {}
                }
            }
        }
    }

    /// Does one thing after the other.
    pub fn act(&mut self, actions: &[Action]) -> &mut Self {
        for action in actions {
            self.app.act(*action);
            self.serve();
        }
        self
    }

    /// Shows a pane.
    pub fn show(&mut self, pane: Pane) -> &mut Self {
        self.act(&[Action::Show(pane)])
    }

    /// Does something that asks for a line, and writes it.
    pub fn write(&mut self, action: Action, text: &str) -> &mut Self {
        self.act(&[action]);
        assert!(self.state().prompt.is_some(), "{action:?} asks for nothing");
        self.app.erase_all();
        text.chars().for_each(|c| self.app.write(c));
        self.app.answer();
        self.serve();
        self
    }

    pub fn go_to(&mut self, text: &str) -> &mut Self {
        self.write(Action::GoTo, text)
    }

    pub fn state(&self) -> &State {
        self.app.state()
    }

    pub fn side(&self) -> &Side {
        &self.app.state().side
    }

    pub fn position(&self) -> Position {
        self.side().machine.position
    }

    /// The function that the cursor is in, and how far.
    pub fn place(&self) -> &str {
        self.side().machine.place.as_deref().expect("a place with a name")
    }

    #[track_caller]
    pub fn info(&self) -> &str {
        match &self.state().note {
            Some(Note::Info(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub fn error(&self) -> &str {
        match &self.state().note {
            Some(Note::Error(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    pub fn screen(&self) -> String {
        screen(self.state())
    }
}

/// The screen as text, one line a row, blanks at the ends of lines dropped.
pub fn screen(state: &State) -> String {
    let Size { width, height } = state.size;
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| view::draw(frame, state)).expect("draws");
    let buffer = terminal.backend().buffer();
    let rows = buffer.content().chunks(usize::from(width).max(1));
    rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned() + "\n")
        .collect()
}
