//! The terminal while it is ours. It is given back as it was at the end, on an error, and in a panic of whichever thread.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
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
use rustix::event::{PollFd, PollFlags, poll};

/// Whether the terminal is ours now.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// What a shell reports of a process that SIGHUP has ended.
const HUNG_UP: i32 = 128 + 1;

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
        static WATCH: Once = Once::new();
        WATCH.call_once(end_with_the_terminal);
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

/// Ends the process as SIGHUP would once the terminal is hung up. Whoever waits for keys then is told of one for ever, and does not
/// come back.
fn end_with_the_terminal() {
    let watch = || -> io::Result<()> {
        let terminal = if io::stdin().is_terminal() {
            io::stdin().as_fd().try_clone_to_owned()?
        } else {
            File::open("/dev/tty")?.into()
        };
        loop {
            // Nothing is asked for: a hang-up is told of all the same.
            let mut polled = [PollFd::new(&terminal, PollFlags::empty())];
            match poll(&mut polled, None) {
                Ok(_) if !polled[0].revents().is_empty() => std::process::exit(HUNG_UP),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    };
    let thread = std::thread::Builder::new().name("terminal".to_owned()).spawn(move || {
        if let Err(error) = watch() {
            tracing::warn!("whether the terminal is there is not watched: {error}");
        }
    });
    if let Err(error) = thread {
        tracing::warn!("whether the terminal is there is not watched: {error}");
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
