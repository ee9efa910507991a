//! Building the command and running it.
#![allow(clippy::disallowed_methods, reason = "what takes too long has failed")]

use std::ffi::OsStr;
use std::fmt;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::cargo::executable;

/// A command that takes longer hangs. Far more than any run needs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// The command, built from the sources as they are now, in the profile of the test that asks; once for each test process.
pub fn binary() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build)
}

fn build() -> PathBuf {
    executable("replayvm", &["build", "--package=replayvm-cli", "--bin=replayvm"])
}

/// The command with these arguments.
pub fn replayvm<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Replayvm {
    let mut command = Command::new(binary());
    command.args(arguments);
    Replayvm::from_command(command)
}

/// The command, about to be run.
#[derive(Debug)]
pub struct Replayvm {
    command: Command,
    patience: Duration,
}

impl Replayvm {
    /// Any command, run with the same care. What the surroundings set for us stays away from it.
    pub fn from_command(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env_remove("REPLAYVM_LOG").env_remove("CARGO").env_remove("RUST_BACKTRACE");
        Self { command, patience: PATIENCE }
    }

    /// It may take long: many runs, or a long one.
    pub fn patiently(mut self) -> Self {
        self.patience *= 20;
        self
    }

    /// It must have ended after so long.
    pub fn within(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// In this folder.
    pub fn inside(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// With this as its standard output.
    pub fn stdout(mut self, to: impl Into<Stdio>) -> Self {
        self.command.stdout(to);
        self
    }

    /// With this as its standard input.
    pub fn stdin(mut self, from: impl Into<Stdio>) -> Self {
        self.command.stdin(from);
        self
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        let mut child = self.command.spawn().expect("the command starts");
        let pid = Pid::from_child(&child);
        let exited = pidfd_open(pid, PidfdFlags::empty()).expect("Linux 5.3 or later");
        let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
        Running {
            said: format!("{:?}", self.command),
            child,
            pid,
            exited,
            deadline: Instant::now() + self.patience,
            stdout,
            stderr,
        }
    }

    /// Runs it to its end.
    pub fn run(self) -> Finished {
        self.start().finish()
    }
}

/// Reads a pipe to its end, so that the other side never waits for us.
fn collect(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut bytes).expect("a pipe can be read");
        }
        bytes
    })
}

/// The command while it runs; it does not outlive this.
#[derive(Debug)]
pub struct Running {
    said: String,
    child: Child,
    pid: Pid,
    exited: rustix::fd::OwnedFd,
    deadline: Instant,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
}

impl Running {
    /// Waits for its end, so long at most; says whether it has come.
    pub fn ended_within(&self, time: Duration) -> bool {
        let timeout = Timespec::try_from(time).expect("a time that fits");
        let mut exited = [PollFd::new(&self.exited, PollFlags::IN)];
        poll(&mut exited, Some(&timeout)).expect("a process can be waited for") > 0
    }

    /// Waits until a file that it writes has so many bytes. False if it ended before.
    pub fn has_written(&self, file: &Path, bytes: u64) -> bool {
        loop {
            if std::fs::metadata(file).is_ok_and(|metadata| metadata.len() >= bytes) {
                return true;
            }
            if self.ended_within(Duration::from_millis(1)) {
                return false;
            }
            assert!(Instant::now() < self.deadline, "hangs before {bytes} bytes are written: {}", self.said);
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        // It may have ended by itself, which is as good: it is not reaped yet, so that the number is still its own.
        kill_process(self.pid, signal).expect("our own child can be signalled");
    }

    /// Waits for its end and looks at it.
    pub fn finish(mut self) -> Finished {
        if !self.ended_within(self.deadline.saturating_duration_since(Instant::now())) {
            self.signal(Signal::KILL);
            let status = self.child.wait().expect("a child can be waited for");
            panic!("hangs: {}", Finished::new(self, status));
        }
        let status = self.child.wait().expect("a child can be waited for");
        let finished = Finished::new(self, status);
        assert!(
            !finished.stderr.contains("panicked at") && finished.status.code() != Some(101),
            "panic: {finished}"
        );
        finished
    }
}

/// How it went.
#[derive(Debug)]
pub struct Finished {
    said: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { said, status, stdout, stderr } = self;
        write!(f, "{said}: {status}\n--- stdout\n{stdout}--- stderr\n{stderr}---")
    }
}

impl Finished {
    fn new(running: Running, status: ExitStatus) -> Self {
        let text = |bytes: JoinHandle<Vec<u8>>| {
            String::from_utf8(bytes.join().expect("the reader lives")).expect("the command prints text")
        };
        Self { said: running.said, status, stdout: text(running.stdout), stderr: text(running.stderr) }
    }

    /// It must have ended by itself with this status.
    #[track_caller]
    pub fn exits(self, status: i32) -> Self {
        assert!(self.status.code() == Some(status), "not status {status}: {self}");
        self
    }

    /// The signal that ended it.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// It must have been refused with status 2 and one complaint that has all these words in it. A complaint is one line that
    /// starts with the command's name, its causes, and what to do.
    #[track_caller]
    pub fn refused(self, words: &[&str]) -> Self {
        self.complains(2, words)
    }

    /// As [`Self::refused`], with another status.
    #[track_caller]
    pub fn complains(self, status: i32, words: &[&str]) -> Self {
        let finished = self.exits(status);
        let mut complaints = 0;
        for line in finished.stderr.lines() {
            complaints += usize::from(line.starts_with("replayvm: "));
            let known = ["replayvm: ", "  because: ", "  try: "].iter().any(|start| line.starts_with(start));
            assert!(known, "`{line}` is no part of a complaint: {finished}");
        }
        assert_eq!(complaints, 1, "one complaint expected: {finished}");
        for word in words {
            assert!(finished.stderr.contains(word), "does not say `{word}`: {finished}");
        }
        finished
    }

    /// What it printed, as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}): {self}"))
    }

    /// The last line that it printed.
    #[track_caller]
    pub fn last_line(&self) -> &str {
        self.stdout.lines().next_back().unwrap_or_else(|| panic!("prints nothing: {self}"))
    }
}
