//! The command on a terminal of its own: what a person types, and what they see.
#![allow(clippy::disallowed_methods, reason = "what takes too long has failed")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, tcgetattr};

use crate::{Finished, Replayvm, Running, binary};

/// A person at a terminal at which the command runs.
#[derive(Debug)]
pub struct Person {
    command: Running,
    /// Our end of the terminal.
    ours: OwnedFd,
    /// The command's end, kept open so that its attributes can be looked at.
    theirs: OwnedFd,
    before: Attributes,
    seen: String,
    /// Up to where `seen` has been looked at.
    read: usize,
    patience: Duration,
}

/// What a terminal is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    modes: (u32, u32, u32, u32),
    /// Whether lines are edited and echoed by the terminal: not so while it is raw.
    pub cooked: bool,
}

impl Attributes {
    fn of(terminal: &OwnedFd) -> Self {
        let termios: Termios = tcgetattr(terminal).expect("a terminal has attributes");
        let cooked = termios.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO);
        let modes = (
            termios.input_modes.bits(),
            termios.output_modes.bits(),
            termios.control_modes.bits(),
            termios.local_modes.bits(),
        );
        Self { modes, cooked }
    }
}

impl Person {
    /// Starts the command at a new terminal.
    pub fn at(arguments: &[&str]) -> Self {
        let ours =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("a terminal of ours");
        let name = ptsname(&ours, Vec::new()).expect("a terminal has a name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs = rustix::fs::open(name.as_c_str(), flags, Mode::empty()).expect("the other end");
        let end = || Stdio::from(theirs.try_clone().expect("a descriptor"));
        let before = Attributes::of(&theirs);
        let mut command = Command::new(binary());
        command.args(arguments);
        let command = Replayvm::from_command(command).stdin(end()).stdout(end()).start();
        let patience = Duration::from_secs(120);
        Self { command, ours, theirs, before, seen: String::new(), read: 0, patience }
    }

    /// What the terminal was set to before.
    pub fn before(&self) -> &Attributes {
        &self.before
    }

    /// What it is set to now.
    pub fn attributes(&self) -> Attributes {
        Attributes::of(&self.theirs)
    }

    /// Everything seen so far.
    pub fn seen(&self) -> &str {
        &self.seen
    }

    /// Types.
    pub fn types(&self, keys: &str) {
        let mut left = keys.as_bytes();
        while !left.is_empty() {
            let count = rustix::io::write(&self.ours, left).expect("a terminal takes keys");
            left = &left[count..];
        }
    }

    /// Sends the command a signal.
    pub fn signal(&self, signal: Signal) {
        self.command.signal(signal);
    }

    /// Reads on until this is seen; gives what came before it.
    #[track_caller]
    pub fn sees(&mut self, text: &str) -> String {
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(at) = self.seen[self.read..].find(text) {
                let before = self.seen[self.read..self.read + at].to_owned();
                self.read += at + text.len();
                return before;
            }
            let waited = self.look(deadline.saturating_duration_since(Instant::now()));
            assert!(waited, "`{text}` is not seen; what is: {}", self.seen);
        }
    }

    /// Takes in what the terminal shows; waits for it so long at most. Says whether something came.
    fn look(&mut self, wait: Duration) -> bool {
        let timeout = Timespec::try_from(wait).expect("a time that fits");
        let mut ready = [PollFd::new(&self.ours, PollFlags::IN)];
        if poll(&mut ready, Some(&timeout)).expect("a terminal can be waited for") == 0 {
            return false;
        }
        let mut bytes = [0; 4096];
        match rustix::io::read(&self.ours, &mut bytes) {
            Ok(count) => {
                self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
                count > 0
            }
            Err(_) => false,
        }
    }

    /// Gives things so much time, instead of two minutes.
    pub fn waits(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Takes the terminal away, without a signal, and waits for the command's end.
    pub fn takes_the_terminal_away(self) -> Finished {
        let Self { command, ours, theirs, .. } = self;
        drop((ours, theirs));
        command.finish()
    }

    /// Waits for the command's end. Gives what it complained of and how it ended, what was seen until then, and what the
    /// terminal is set to after it.
    pub fn leaves(mut self) -> (Finished, String, Attributes) {
        let deadline = Instant::now() + self.patience;
        while !self.command.ended_within(Duration::ZERO) {
            self.look(Duration::from_millis(20));
            assert!(Instant::now() < deadline, "does not end; what is seen: {}", self.seen);
        }
        while self.look(Duration::ZERO) {}
        let after = self.attributes();
        (self.command.finish(), self.seen, after)
    }
}
