//! The event loop, and a terminal that is always given back as it was: at the end, on an error, in a panic.
#![allow(clippy::disallowed_methods, reason = "a person looks on: frames and looks are taken by the clock")]

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEvent};
use replayvm::machine::DiskPaths;
use replayvm::timeline::TimelineError;

use crate::app::{App, State, Watch};
use crate::{keys, view};

/// How long the wish to stop from outside may go unheard.
const PATIENCE: Duration = Duration::from_millis(200);
/// A long operation is drawn this often, and not at all if it is shorter.
const REDRAW: Duration = Duration::from_millis(100);
/// Keys that are kept while a long operation runs.
const TYPED_AHEAD: usize = 64;

/// Why the front end ended.
#[derive(Debug, thiserror::Error)]
pub enum TuiError {
    /// Nobody would see it.
    #[error("standard output is not a terminal")]
    NoTerminal,
    /// The terminal failed.
    #[error("the terminal cannot be used")]
    Terminal(#[from] io::Error),
    /// The recording, or its replay.
    #[error(transparent)]
    Timeline(#[from] TimelineError),
}

/// Shows a recording, whose disk images may be elsewhere now, until the person at the terminal has seen enough, or `stop` becomes true.
///
/// # Errors
/// There is no terminal, the recording cannot be opened, or a replay failed, if only on the way.
pub fn run(path: &Path, disks: &DiskPaths, stop: &AtomicBool) -> Result<(), TuiError> {
    if !io::stdout().is_terminal() {
        return Err(TuiError::NoTerminal);
    }
    // Before the screen is taken: an error here is read on the terminal as it was.
    let mut app = App::open_finding(path, disks)?;
    let mut screen = Screen::enter(stop)?;
    let outcome = screen.serve(&mut app);
    drop(screen);
    outcome?;
    Ok(app.close()?)
}

/// The terminal while it is ours.
struct Screen<'a> {
    terminal: DefaultTerminal,
    stop: &'a AtomicBool,
    typed: VecDeque<KeyEvent>,
    drawn: Instant,
    /// What failed while an operation was looked on.
    failure: Option<io::Error>,
}

impl<'a> Screen<'a> {
    /// Takes the terminal; a panic gives it back before it prints.
    fn enter(stop: &'a AtomicBool) -> io::Result<Self> {
        let terminal = ratatui::try_init().inspect_err(|_| {
            // Half of it may have been done.
            let _ = ratatui::try_restore();
        })?;
        Ok(Self { terminal, stop, typed: VecDeque::new(), drawn: Instant::now(), failure: None })
    }

    fn serve(&mut self, app: &mut App) -> Result<(), TuiError> {
        loop {
            app.set_list_height(view::list_height(self.terminal.size()?));
            self.draw(app.state())?;
            if app.state().quit || self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let Some(key) = self.next_key()? else { continue };
            if let Some(action) = keys::action(key) {
                self.drawn = Instant::now();
                app.act(action, self)?;
                if let Some(error) = self.failure.take() {
                    return Err(error.into());
                }
            }
        }
    }

    fn draw(&mut self, state: &State) -> io::Result<()> {
        self.terminal.draw(|frame| view::draw(frame, state))?;
        self.drawn = Instant::now();
        Ok(())
    }

    /// The next key; `None` where something else wants the loop's attention.
    fn next_key(&mut self) -> io::Result<Option<KeyEvent>> {
        if let Some(key) = self.typed.pop_front() {
            return Ok(Some(key));
        }
        if !event::poll(PATIENCE)? {
            return Ok(None);
        }
        Ok(event::read()?.as_key_event())
    }

    /// Takes in what has been typed; returns whether it asks to stop.
    fn asked_to_stop(&mut self) -> io::Result<bool> {
        while event::poll(Duration::ZERO)? {
            match event::read()? {
                Event::Key(key) if keys::interrupts(key) => {
                    self.typed.clear();
                    return Ok(true);
                }
                Event::Key(key) if self.typed.len() < TYPED_AHEAD => self.typed.push_back(key),
                _ => {}
            }
        }
        Ok(self.stop.load(Ordering::Relaxed))
    }

    fn look_on(&mut self, state: &State) -> io::Result<bool> {
        if self.drawn.elapsed() >= REDRAW {
            self.draw(state)?;
        }
        Ok(!self.asked_to_stop()?)
    }
}

impl Watch for Screen<'_> {
    fn go_on(&mut self, state: &State) -> bool {
        self.look_on(state).unwrap_or_else(|error| {
            self.failure = Some(error);
            false
        })
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        // Nobody is left who could be told.
        let _ = ratatui::try_restore();
    }
}
