//! The person's terminal during an interactive recording: raw while the guest has it, and as it was at all other times.

use std::io::{self, IsTerminal, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;

use crate::failure::Failure;

/// Whether a person sits at both ends: what they type comes in, and what is printed they see.
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// The attributes to go back to, while the terminal is raw.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

fn before() -> MutexGuard<'static, Option<Termios>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The terminal is raw while this lives: every key goes to us as it is, Ctrl-C too.
#[derive(Debug)]
pub struct RawTerminal(());

impl RawTerminal {
    /// Makes the terminal at standard input raw. It is restored when this is dropped, by [`restore`], and on a panic.
    ///
    /// # Errors
    /// Standard input is no terminal.
    pub fn enter() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let report = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                report(panic);
            }));
        });
        let attributes = tcgetattr(io::stdin())?;
        *before() = Some(attributes.clone());
        make_raw(&attributes)?;
        Ok(Self(()))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore();
    }
}

fn make_raw(attributes: &Termios) -> io::Result<()> {
    let mut raw = attributes.clone();
    raw.make_raw();
    // Output stays as it was: a guest that ends its lines with a line feed alone is to be read, too.
    raw.output_modes = attributes.output_modes;
    Ok(tcsetattr(io::stdin(), OptionalActions::Now, &raw)?)
}

/// Puts the terminal back as it was before it became raw, if it is raw.
pub fn restore() {
    if let Some(attributes) = before().take() {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &attributes);
    }
}

/// Becomes true on the first SIGINT, SIGTERM or SIGHUP; the second ends the process. The terminal is restored in any case,
/// and also while the process is stopped.
pub fn interrupt_flag() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGTSTP]).map_err(|e| Failure::internal(&e))?;
    let flag = Arc::clone(&stop);
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if signal == SIGTSTP {
                let raw = before().clone();
                restore();
                // Stops here, and goes on from here.
                let _ = signal_hook::low_level::emulate_default_handler(SIGTSTP);
                if let Some(attributes) = raw {
                    *before() = Some(attributes.clone());
                    let _ = make_raw(&attributes);
                }
            } else if flag.swap(true, Ordering::Relaxed) {
                restore();
                std::process::exit(130);
            }
        }
    });
    Ok(stop)
}

/// Ctrl-A.
const ESCAPE: u8 = 0x01;

/// What Ctrl-A H says.
pub const HELP: &str = "Ctrl-A X  end the recording and leave\n\
                        Ctrl-A H  this help\n\
                        Ctrl-A Ctrl-A  send Ctrl-A to the guest\n\
                        Every other key goes to the guest, Ctrl-C too.\n";

/// What the keys after an escape ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Leave,
    Help,
}

/// Tells the guest's keys from ours.
#[derive(Debug, Default)]
struct Keys {
    escaped: bool,
}

impl Keys {
    /// The guest's bytes among these, and what else is asked for. What follows a leave is nobody's.
    fn read(&mut self, typed: &[u8]) -> (Vec<u8>, Vec<Request>) {
        let (mut guest, mut requests) = (Vec::new(), Vec::new());
        for byte in typed {
            if !std::mem::take(&mut self.escaped) {
                match *byte {
                    ESCAPE => self.escaped = true,
                    byte => guest.push(byte),
                }
                continue;
            }
            match byte {
                b'x' | b'X' => {
                    requests.push(Request::Leave);
                    break;
                }
                b'h' | b'H' | b'?' => requests.push(Request::Help),
                &ESCAPE => guest.push(ESCAPE),
                _ => {}
            }
        }
        (guest, requests)
    }
}

/// What the person types, read on a thread of its own. Ctrl-A X sets `stop`, and so does the end of the terminal: nobody is
/// there any more who could.
pub fn keyboard(stop: Arc<AtomicBool>) -> Receiver<Vec<u8>> {
    // Without a bound: whoever pastes more than the guest takes must still be able to leave.
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        let mut keys = Keys::default();
        let mut input = io::stdin().lock();
        loop {
            let count = match input.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            let (guest, requests) = keys.read(&buffer[..count]);
            if !guest.is_empty() && sender.send(guest).is_err() {
                return;
            }
            for request in requests {
                match request {
                    Request::Leave => stop.store(true, Ordering::Relaxed),
                    Request::Help => {
                        let mut out = io::stdout().lock();
                        let _ = write!(out, "\n{HELP}").and_then(|()| out.flush());
                    }
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_to_the_guest_but_for_the_escape() {
        let mut keys = Keys::default();
        assert_eq!(keys.read(b"ls\r\x03"), (b"ls\r\x03".to_vec(), vec![]));
        assert_eq!(keys.read(b"a\x01\x01b"), (b"a\x01b".to_vec(), vec![]));
        assert_eq!(keys.read(b"a\x01"), (b"a".to_vec(), vec![]));
        assert_eq!(keys.read(b"hb"), (b"b".to_vec(), vec![Request::Help]));
        assert_eq!(keys.read(b"\x01qx"), (b"x".to_vec(), vec![]));
        assert_eq!(keys.read(b"a\x01xb"), (b"a".to_vec(), vec![Request::Leave]));
    }
}
