//! Scenarios with real gdb: a test for each file of `tests/scenarios`, run as a person would, by `replayvm gdb --launch`.
//!
//! `replayvm_tests::scenario` says what a file looks like. Where gdb or a Linux guest is missing, a test says SKIPPED and
//! passes. A failing one prints what was typed, expected and printed. One alone, with all that gdb says, for whoever writes it:
//!
//! ```text
//! REPLAYVM_SHOW=1 cargo test -p replayvm-tests --test scenarios -- NAME
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

/// Guests of our own.
mod stores;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use corpora::linux::{busybox, kernel, required};
use libtest_mimic::{Arguments, Failed, Trial};
use replayvm_tests::scenario::{Exchange, Mode, Scenario};
use replayvm_tests::{Replayvm, binary, folder, is_installed, path_text};
use tempfile::TempDir;

fn main() {
    let recordings = Arc::new(Recordings { folder: folder(), made: Mutex::default() });
    let trials = scenarios().into_iter().map(|path| {
        let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        let recordings = Arc::clone(&recordings);
        Trial::test(name, move || run(&path, &recordings).map_err(Failed::from))
    });
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials.collect());
    drop(recordings);
    conclusion.exit();
}

/// The files, in order.
fn scenarios() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let entries = std::fs::read_dir(&folder).expect("the folder of the scenarios");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no scenarios in {}", folder.display());
    paths
}

fn run(path: &Path, recordings: &Recordings) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let scenario = Scenario::parse(&text)?;
    if !is_installed("gdb") {
        return Ok(());
    }
    let Some(recording) = recordings.of(&scenario.guest) else { return Ok(()) };
    let answers = match scenario.mode {
        Mode::Batch => batch(&recording, &scenario.exchanges),
        Mode::Mi => Gdb::start(&recording)?.answers(&scenario.exchanges)?,
    };
    if std::env::var_os("REPLAYVM_SHOW").is_some() {
        println!("{}", scenario.transcript(&answers, usize::MAX - 1));
    }
    scenario.compare(&answers)
}

/// One of a guest, when it is first asked for.
#[derive(Debug)]
struct Recordings {
    folder: TempDir,
    made: Mutex<BTreeMap<String, Arc<OnceLock<PathBuf>>>>,
}

impl Recordings {
    /// The recording of a guest with its options; `None` where the guest cannot be had.
    fn of(&self, guest: &str) -> Option<PathBuf> {
        if guest.starts_with("linux-") {
            required(kernel()).and_then(|_| required(busybox()))?;
        }
        let (slot, number) = {
            let mut made = self.made.lock().expect("nobody panics with it");
            let number = made.len();
            (Arc::clone(made.entry(guest.to_owned()).or_default()), number)
        };
        let path = slot.get_or_init(|| {
            let path = self.folder.path().join(format!("{number}.rvm"));
            let mut words = guest.split(' ');
            let name = words.next().expect("a guest has a name");
            let image = stores::image(name).map(|bytes| {
                let image = self.folder.path().join(format!("{number}.img"));
                std::fs::write(&image, bytes).expect("a folder of ours can be written");
                image
            });
            let mut record = Command::new(binary());
            record.args(["record", image.as_deref().map_or(name, path_text), "--output", path_text(&path)]);
            record.args(words);
            // A guest whose bug strikes ends with 1.
            let recorded = Replayvm::from_command(record).patiently().run();
            assert!(path.exists(), "nothing is recorded: {recorded}");
            path
        });
        Some(path.clone())
    }
}

/// gdb where it finds no sources: lines of them are not what is looked at.
fn gdb(recording: &Path) -> Command {
    // Answers of `monitor` and complaints in their places among the rest.
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 2>&1"]).arg(binary());
    command.current_dir(recording.parent().expect("a file lies in a folder"));
    command.args(["gdb", path_text(recording), "--launch", "--at", "begin", "--", "-nx", "-q"]);
    command
}

/// Says everything, and tells the answers apart by what the script prints after each.
fn batch(recording: &Path, exchanges: &[Exchange]) -> Vec<String> {
    let files = folder();
    let mut command = gdb(recording);
    command.args(["-batch", "-ex", "set width 0", "-ex", "set pagination off", "-ex", "echo \\n@@@@\\n"]);
    for (number, exchange) in exchanges.iter().enumerate() {
        match &exchange.typed[..] {
            [line] => command.args(["-ex", line]),
            lines => {
                let file = files.path().join(number.to_string());
                std::fs::write(&file, lines.join("\n")).expect("a folder of ours can be written");
                command.arg("-x").arg(file)
            }
        };
        command.args(["-ex", "echo \\n@@@@\\n"]);
    }
    let text = Replayvm::from_command(command).run().stdout;
    text.split("\n@@@@\n").skip(1).map(str::to_owned).collect()
}

/// gdb hangs only if we do.
const PATIENCE: Duration = Duration::from_secs(120);

/// gdb by its machine interface.
#[derive(Debug)]
struct Gdb {
    child: Child,
    keys: ChildStdin,
    lines: Receiver<String>,
}

impl Gdb {
    fn start(recording: &Path) -> Result<Self, String> {
        let mut command = gdb(recording);
        // What is typed while the machine runs is heard.
        command.args(["-i=mi", "-iex", "set mi-async on"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let (keys, screen) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let (send, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(screen).lines() {
                if line.is_err() || send.send(line.unwrap_or_default()).is_err() {
                    return;
                }
            }
        });
        let gdb = Self { child, keys, lines };
        let mut said = String::new();
        while gdb.line(&mut said)? != "(gdb)" {}
        Ok(gdb)
    }

    /// The next line, kept in `said` too.
    fn line(&self, said: &mut String) -> Result<String, String> {
        let line = self.lines.recv_timeout(PATIENCE);
        let line = line.map_err(|error| format!("gdb says nothing more ({error}) after: {said}"))?;
        said.push_str(&line);
        said.push('\n');
        Ok(line.trim_end().to_owned())
    }

    fn answers(mut self, exchanges: &[Exchange]) -> Result<Vec<String>, String> {
        exchanges.iter().map(|exchange| self.answer(exchange)).collect()
    }

    /// Types, and waits until every line has its result and the machine stands.
    fn answer(&mut self, exchange: &Exchange) -> Result<String, String> {
        let mut said = String::new();
        self.types(&exchange.typed.join("\n"))?;
        let mut results = exchange.typed.len();
        let mut runs = false;
        while results > 0 || runs {
            let line = self.line(&mut said)?;
            if line.starts_with('^') {
                results -= 1;
            }
            if line.starts_with("^running") {
                runs = true;
                if exchange.interrupted {
                    self.types("-exec-interrupt")?;
                    results += 1;
                }
            }
            if line.starts_with("*stopped") {
                runs = false;
            }
        }
        Ok(said)
    }

    fn types(&mut self, line: &str) -> Result<(), String> {
        writeln!(self.keys, "{line}").and_then(|()| self.keys.flush()).map_err(|error| error.to_string())
    }
}

impl Drop for Gdb {
    fn drop(&mut self) {
        // Whether gdb leaves by itself is not what is tested.
        let _ = self.types("-gdb-exit");
        let _ = self.child.wait();
    }
}
