//! The terminal while it is ours. It is given back as it was at the end, on an error, and in a panic of whichever thread.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{
    DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture,
};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

/// Whether the terminal is ours now.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// A terminal to draw on.
pub type Canvas = Terminal<CrosstermBackend<Box<dyn Write>>>;

/// Whether there is a terminal, wherever standard output goes.
pub fn is_there() -> bool {
    output().is_ok()
}

/// Where the terminal is: standard output, or, where that goes elsewhere, the one that the process belongs to.
fn output() -> io::Result<Box<dyn Write>> {
    if io::stdout().is_terminal() {
        return Ok(Box::new(io::stdout()));
    }
    Ok(Box::new(File::options().write(true).open("/dev/tty")?))
}

/// The terminal, taken.
pub struct Screen {
    canvas: Canvas,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen").finish_non_exhaustive()
    }
}

impl Screen {
    /// Takes the terminal; a panic gives it back before it prints.
    ///
    /// # Errors
    /// There is none, or it cannot be taken.
    pub fn enter() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                before(panic);
            }));
        });
        let canvas = Terminal::new(CrosstermBackend::new(output()?))?;
        let screen = Self { canvas };
        take()?;
        Ok(screen)
    }

    /// What is drawn on.
    pub const fn canvas(&mut self) -> &mut Canvas {
        &mut self.canvas
    }

    /// Does something for which the terminal has to be as it was.
    ///
    /// # Errors
    /// It cannot be taken again.
    pub fn outside<T>(&mut self, act: impl FnOnce() -> T) -> io::Result<T> {
        give_back();
        let result = act();
        take()?;
        self.canvas.clear()?;
        Ok(result)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn take() -> io::Result<()> {
    TAKEN.store(true, Ordering::SeqCst);
    // Half of it may have been done when the other half fails: it is given back whole.
    let taken = enable_raw_mode()
        .and_then(|()| execute!(output()?, EnterAlternateScreen, EnableMouseCapture, EnableBracketedPaste));
    taken.inspect_err(|_| give_back())
}

/// Gives the terminal back, if it is ours.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // Nobody is left who could be told.
        let _ = output().and_then(|mut to| {
            execute!(to, DisableBracketedPaste, DisableMouseCapture, LeaveAlternateScreen, Show)
        });
        let _ = disable_raw_mode();
    }
}
