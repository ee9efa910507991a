//! The event loop: keys and clicks in, frames out, and in between whatever the threads have done.
#![allow(clippy::disallowed_methods, reason = "a person looks on: frames and looks are taken by the clock")]

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{
    self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEventKind,
};
use ratatui::layout::Position as Cell;
use recorder::Position;
use replayvm::machine::DiskPaths;
use replayvm::timeline::{Timeline, TimelineError, unsupervised};
use rustix::process::Signal;

use crate::app::{App, Busy, Note, Request, chain};
use crate::library::Library;
use crate::terminal::{self, Screen};
use crate::theme::Theme;
use crate::worker::{Desk, Gone, Results, Worker};
use crate::{keys, settings, view};

/// How long the wish to stop from outside may go unheard.
const PATIENCE: Duration = Duration::from_millis(200);
/// The same of a thread that may have something to say.
const AWAITED: Duration = Duration::from_millis(10);
/// A long operation is told of from here on, and as often.
const LONG: Duration = Duration::from_millis(100);
/// Events that are taken in one go before the next frame.
const AT_ONCE: usize = 100;

/// Why the front end ended.
#[derive(Debug, thiserror::Error)]
pub enum TuiError {
    /// Nobody would see it.
    #[error("there is no terminal to show it on")]
    NoTerminal,
    /// The terminal failed.
    #[error("the terminal cannot be used")]
    Terminal(#[from] io::Error),
    /// The recording, or its replay.
    #[error(transparent)]
    Timeline(#[from] TimelineError),
    /// It does not go that far.
    #[error("{at} is beyond the end of the recording, {end}")]
    Beyond {
        /// Where it was to go.
        at: Position,
        /// How far it goes.
        end: Position,
    },
    /// A thread failed.
    #[error(transparent)]
    Gone(#[from] Gone),
}

/// gdb, for who wants to go on there.
pub trait Gdb {
    /// On this terminal, from a position on. Gives the one at which it was left.
    ///
    /// # Errors
    /// It does not start.
    fn here(&mut self, at: Position) -> Result<Position, String>;

    /// In a split of tmux. Gives the position once it is left.
    ///
    /// # Errors
    /// There is no tmux, or it does not start.
    fn beside(&mut self, at: Position) -> Result<Receiver<Result<Position, String>>, String>;
}

/// A place to begin at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Place {
    /// The begin of the recording.
    #[default]
    Begin,
    /// Its end.
    End,
    /// A position.
    At(Position),
}

/// What the front end is to know.
pub struct Options<'o> {
    /// Where disk images are that are not in the recording.
    pub disks: DiskPaths,
    /// The file of the guest's symbols.
    pub symbols: Option<PathBuf>,
    /// Where to begin.
    pub at: Place,
    /// Standard output is for somebody else: the screen is the terminal that the process belongs to.
    pub elsewhere: bool,
    /// Where this recording parts from another one, if it is compared with one: listed first.
    pub against: Option<Results>,
    /// Without colour.
    pub plain: bool,
    /// The file of what the panes were.
    pub settings: Option<PathBuf>,
    /// Is told that from now on `stop` and `suspend` are looked at, and the terminal is not what it was. Until then signals do
    /// what they always do.
    pub on_screen: &'o mut dyn FnMut() -> io::Result<()>,
    /// Becomes true when it is to end.
    pub stop: &'o AtomicBool,
    /// Becomes true when it is to be suspended, as by the shell.
    pub suspend: &'o AtomicBool,
    /// gdb.
    pub gdb: &'o mut dyn Gdb,
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("at", &self.at)
            .field("symbols", &self.symbols)
            .finish_non_exhaustive()
    }
}

/// How it was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Where the cursor was.
    pub position: Position,
    /// The other recording is wanted.
    pub swap: bool,
}

/// Shows a recording until the person at the terminal has seen enough, wants the other one, or it is to stop.
///
/// # Errors
/// There is no terminal, the recording cannot be opened, or a replay failed, if only on the way.
pub fn run(path: &Path, mut options: Options<'_>) -> Result<Left, TuiError> {
    let seen = if options.elsewhere { terminal::is_there() } else { io::stdout().is_terminal() };
    if !seen {
        return Err(TuiError::NoTerminal);
    }
    // Before the screen is taken: an error here is read on the terminal as it was.
    let mut timeline = Timeline::open_finding(path, &options.disks)?;
    let recording = timeline.opened().recording().clone();
    let at = match options.at {
        Place::Begin => timeline.begin(),
        Place::End => timeline.end(),
        Place::At(at) => at,
    };
    if at > timeline.end() {
        return Err(TuiError::Beyond { at, end: timeline.end() });
    }
    timeline.seek(at, &mut unsupervised())?;
    (options.on_screen)()?;
    let mut screen = Screen::enter()?;
    let mut app = App::new(&timeline, screen.canvas().size()?);
    let saved = options.settings.as_deref().map(settings::read);
    let (layout, theme) = match saved {
        Some(Ok(saved)) => saved,
        Some(Err(error)) => {
            app.say(Note::Error(format!("the panes are not as they were: {error}")));
            Default::default()
        }
        None => Default::default(),
    };
    app.arrange(layout, if options.plain { Theme::Plain } else { theme });
    if let Some(differences) = options.against.take() {
        app.compare(differences);
    }
    // What is shown because of the comparison is not what somebody chose.
    let layout = app.state().layout.clone();
    let worker = Worker::start(Desk::new(timeline))?;
    let library = Library::open(recording, path.to_owned(), options.symbols.clone())?;
    let settings = options.settings.clone();
    let mut main = Loop { app, worker, library, options, began: Instant::now(), dirty: true, split: None };
    let outcome = main.serve(&mut screen);
    // The terminal first: threads may take a moment.
    drop(screen);
    outcome?;
    let app = main.app;
    let position = app.state().side.machine.position;
    let state = app.state();
    let swap = state.swap;
    // Colours that somebody's environment forbids are not the ones that they chose.
    let kept = if state.theme == Theme::Plain { theme } else { state.theme };
    if let Some(path) = settings.filter(|_| (&state.layout, kept) != (&layout, theme))
        && let Err(error) = settings::write(&path, &state.layout, kept)
    {
        tracing::warn!("the panes are not remembered: {error}");
    }
    app.close()?;
    Ok(Left { position, swap })
}

struct Loop<'o> {
    app: App,
    worker: Worker,
    library: Library,
    options: Options<'o>,
    /// When what is running began, or was last told of.
    began: Instant,
    /// Something is not on the screen yet.
    dirty: bool,
    /// gdb in a split, while it runs.
    split: Option<Receiver<Result<Position, String>>>,
}

impl Loop<'_> {
    fn serve(&mut self, screen: &mut Screen) -> Result<(), TuiError> {
        loop {
            self.hand_out(screen)?;
            self.take_in()?;
            self.tell_progress();
            if self.dirty {
                self.dirty = false;
                screen.canvas().draw(|frame| view::draw(frame, self.app.state()))?;
            }
            if self.app.state().quit || self.options.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            if self.options.suspend.swap(false, Ordering::Relaxed) {
                self.suspend(screen)?;
            }
            self.wait()?;
        }
    }

    /// Gives threads, and gdb, what they are to do.
    fn hand_out(&mut self, screen: &mut Screen) -> Result<(), TuiError> {
        for request in self.app.requests() {
            match request {
                Request::Work(order) => {
                    self.worker.order(*order)?;
                    self.began = Instant::now();
                }
                Request::Read(ask) => {
                    self.library.ask(ask);
                    self.began = Instant::now();
                }
                Request::Stop => {
                    self.worker.cancel();
                    self.library.cancel();
                }
                Request::Gdb { split } => self.gdb(split, screen)?,
            }
            self.dirty = true;
        }
        Ok(())
    }

    fn gdb(&mut self, split: bool, screen: &mut Screen) -> Result<(), TuiError> {
        let at = self.app.state().side.machine.position;
        if split {
            match self.options.gdb.beside(at) {
                Ok(receiver) => self.split = Some(receiver),
                Err(error) => self.app.say(Note::Error(error)),
            }
            return Ok(());
        }
        let gdb = &mut self.options.gdb;
        let left = screen.outside(|| gdb.here(at))?;
        // Nobody has told of another size in the meantime.
        self.app.resize(screen.canvas().size()?);
        self.back_from_gdb(left);
        Ok(())
    }

    fn back_from_gdb(&mut self, left: Result<Position, String>) {
        match left {
            Ok(position) => self.app.come_to(position, "gdb was left here"),
            Err(error) => self.app.say(Note::Error(error)),
        }
        self.dirty = true;
    }

    /// Takes what threads have done.
    fn take_in(&mut self) -> Result<(), TuiError> {
        while let Some(answer) = self.library.answer()? {
            self.app.read(answer);
            self.dirty = true;
        }
        while let Some(outcome) = self.worker.outcome(Duration::ZERO)? {
            self.app.done(outcome)?;
            self.dirty = true;
        }
        if let Some(left) = self.split.as_ref().and_then(|split| split.try_recv().ok()) {
            self.split = None;
            self.back_from_gdb(left);
        }
        Ok(())
    }

    fn tell_progress(&mut self) {
        if self.began.elapsed() < LONG {
            return;
        }
        let state = self.app.state();
        let busy = match (state.side.working, state.side.selecting) {
            (Some(what), _) => Busy::Work { what, progress: self.worker.progress() },
            (None, true) => {
                Busy::Exits { seen: self.library.seen(), of: state.side.recording.statistics().exits }
            }
            (None, false) => return,
        };
        self.app.set_busy(Some(busy));
        self.began = Instant::now();
        self.dirty = true;
    }

    /// Waits for a key, a click, or a thread.
    fn wait(&mut self) -> Result<(), TuiError> {
        if self.app.has_requests() {
            return Ok(());
        }
        let state = self.app.state();
        let awaited = state.side.selecting || state.side.naming || state.side.index.is_none();
        let mut patience = if awaited || self.split.is_some() { AWAITED } else { PATIENCE };
        if self.app.is_working() {
            // What takes no time is there before the next key is looked for.
            if let Some(outcome) = self.worker.outcome(AWAITED / 2)? {
                self.app.done(outcome)?;
                self.dirty = true;
                return Ok(());
            }
            patience = AWAITED / 2;
        }
        if !event::poll(patience)? {
            return Ok(());
        }
        for _ in 0..AT_ONCE {
            self.event(event::read()?);
            if self.app.is_working() || !event::poll(Duration::ZERO)? {
                break;
            }
        }
        Ok(())
    }

    fn event(&mut self, event: Event) {
        self.dirty = true;
        match event {
            Event::Key(key) => self.key(key),
            Event::Mouse(mouse) => {
                let cell = Cell::new(mouse.column, mouse.row);
                match mouse.kind {
                    MouseEventKind::Down(MouseButton::Left) => self.app.click(cell),
                    MouseEventKind::ScrollDown => self.app.wheel(cell, true),
                    MouseEventKind::ScrollUp => self.app.wheel(cell, false),
                    _ => {}
                }
            }
            Event::Resize(width, height) => self.app.resize((width, height).into()),
            Event::Paste(text) => text.chars().for_each(|c| self.app.write(c)),
            _ => {}
        }
    }

    fn key(&mut self, key: KeyEvent) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        if ctrl && key.code == KeyCode::Char('z') {
            self.options.suspend.store(true, Ordering::Relaxed);
            return;
        }
        if self.app.state().prompt.is_none() {
            if let Some(action) = keys::action(key) {
                self.app.act(action);
            }
            return;
        }
        match key.code {
            KeyCode::Enter => self.app.answer(),
            KeyCode::Esc => self.app.forget_question(),
            KeyCode::Char('c') if ctrl => self.app.forget_question(),
            KeyCode::Char('u') if ctrl => self.app.erase_all(),
            KeyCode::Backspace => self.app.erase(),
            KeyCode::Char(c) if !ctrl => self.app.write(c),
            _ => {}
        }
    }

    /// As if the shell had stopped it: the terminal is the shell's until it goes on.
    fn suspend(&mut self, screen: &mut Screen) -> Result<(), TuiError> {
        let stopped = screen.outside(|| {
            rustix::process::kill_process(rustix::process::getpid(), Signal::STOP).map_err(io::Error::from)
        })?;
        if let Err(error) = stopped {
            self.app.say(Note::Error(chain(&error)));
        }
        self.app.resize(screen.canvas().size()?);
        self.dirty = true;
        Ok(())
    }
}
