//! The command in a real terminal, which tmux is.
#![allow(clippy::disallowed_methods, reason = "what takes too long has failed")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use replayvm::session::Settings;
use tempfile::TempDir;

use crate::support::{record, recording};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The command, built as this test is. Cargo tells a test only where the commands of its own package are.
fn replayvm() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let test = std::env::current_exe().expect("this test");
        let folder = test.parent().and_then(Path::parent).expect("the folder of the profile");
        let target = folder.parent().expect("the target folder");
        let profile = match folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(name) => name,
        };
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "replayvm-cli", "--profile", profile, "--target-dir"])
            .arg(target)
            .status()
            .expect("cargo starts");
        assert!(status.success());
        folder.join("replayvm")
    })
}

/// A tmux server of our own, gone with this value.
struct Tmux {
    socket: PathBuf,
    _folder: TempDir,
}

impl Tmux {
    /// A terminal in which the command shows a recording, and then what it ended with. Before and after, the modes of
    /// the terminal without its size; at the end a shell. `None` where there is no tmux.
    fn showing(recording: &Path) -> Option<Self> {
        Self::running(recording, "", "")
    }

    /// The same with an environment, and with more options.
    fn running(recording: &Path, environment: &str, options: &str) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            assert!(std::env::var_os("CI").is_none(), "tmux is missing");
            println!("SKIPPED: tmux not installed");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().display().to_string();
        let tmux = Self { socket: folder.path().join("tmux"), _folder: folder };
        let (command, recording) = (replayvm().display(), recording.display());
        let shell = format!(
            "export XDG_STATE_HOME='{state}' PS1='shell> '; stty -a | tail -n +2 > '{state}/before'; \
             {environment} '{command}' tui '{recording}' {options}; echo \"ended with $?\"; \
             stty -a | tail -n +2 > '{state}/after'; \
             cmp '{state}/before' '{state}/after' && echo modes as before; exec sh -i"
        );
        let started =
            tmux.run(&["new-session", "-d", "-s", "tui", "-x", "100", "-y", "30", "sh", "-c", &shell]);
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        Some(tmux)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let tmux = Command::new("tmux")
            .arg("-S")
            .arg(&self.socket)
            .args(["-f", "/dev/null"])
            .args(arguments)
            .output();
        tmux.expect("tmux starts")
    }

    fn keys(&self, keys: &[&str]) {
        assert!(self.run(&[&["send-keys", "-t", "tui"], keys].concat()).status.success());
    }

    /// Types a text as it is.
    fn types(&self, text: &str) {
        assert!(self.run(&["send-keys", "-t", "tui", "-l", text]).status.success());
    }

    /// What the process in the terminal is, by number.
    fn process(&self) -> String {
        let shell = self.run(&["display-message", "-p", "-t", "tui", "#{pane_pid}"]).stdout;
        let shell = String::from_utf8_lossy(&shell).trim().to_owned();
        let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"));
        children.expect("a process has children").trim().to_owned()
    }

    /// The shell is there, and the terminal is what it was.
    fn is_intact(&self) {
        let last = self.wait("tells the modes", |screen| screen.contains("shell>"));
        assert!(last.contains("modes as before"), "{last}");
        self.keys(&["echo", "Space", "fine", "Enter"]);
        self.wait("the shell answers", |screen| screen.lines().any(|line| line == "fine"));
        let screen = self.screen();
        assert!(!screen.contains("registers"), "the screen is what it was: {screen}");
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.run(&["capture-pane", "-p", "-t", "tui"]).stdout).into_owned()
    }

    /// Waits until the screen is as it should be.
    fn wait(&self, what: &str, fine: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let screen = self.screen();
            if fine(&screen) {
                return screen;
            }
            assert!(start.elapsed() < PATIENCE, "{what}:\n{screen}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = Command::new("tmux").arg("-S").arg(&self.socket).arg("kill-server").output();
    }
}

/// The position in the status line.
fn cursor(screen: &str) -> &str {
    let line = screen.lines().find(|line| line.ends_with(" instructions")).unwrap_or("");
    line.split(' ').next().unwrap_or("")
}

/// The failing run of the guest that loses an update, as `hunt` finds it.
fn lost_update() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let hunted = Command::new(replayvm())
        .args(["hunt", "lost-update", "--seeds", "0..1000"])
        .current_dir(folder.path())
        .output()
        .expect("the command starts");
    assert_eq!(hunted.status.code(), Some(1), "{}", String::from_utf8_lossy(&hunted.stderr));
    let file = std::fs::read_dir(folder.path()).expect("a folder").next().expect("a recording");
    let path = file.expect("a file").path();
    (folder, path)
}

#[test]
fn two_recordings_are_compared_and_gone_between() {
    let folder = tempfile::tempdir().expect("a folder");
    let [a, b] = [("one.rvm", "0"), ("other.rvm", "16")].map(|(name, seed)| {
        let path = folder.path().join(name);
        let recorded = Command::new(replayvm())
            .args(["record", "lost-update", "--seed", seed, "--output"])
            .arg(&path)
            .output()
            .expect("the command starts");
        assert!(path.exists(), "{}", String::from_utf8_lossy(&recorded.stderr));
        path
    });
    let Some(tmux) = Tmux::running(&a, "", &format!("--against '{}'", b.display())) else { return };
    let one = tmux.wait("lists differences", |screen| {
        screen.contains("differences; this is A, B is other.rvm") && screen.contains(" instructions")
    });
    assert!(one.contains("one.rvm: guest lost-update, seed 0"), "{one}");
    assert!(one.contains("first different state: rtc"), "{one}");
    tmux.keys(&["B"]);
    let other = tmux.wait("goes to the other", |screen| {
        screen.contains("differences; this is B, A is one.rvm") && screen.contains(" instructions")
    });
    assert!(other.contains("other.rvm: guest lost-update, seed 16"), "{other}");
    assert_eq!(cursor(&one), cursor(&other));
    // It stands where the CPUs are not the same any more.
    let rip = |screen: &str| screen.split("rip ").nth(1).map(|rest| rest[..16].to_owned());
    assert_ne!(rip(&one), rip(&other), "{one}{other}");
    tmux.keys(&["B"]);
    let back =
        tmux.wait("comes back", |screen| screen.contains("this is A") && screen.contains(" instructions"));
    assert_eq!((cursor(&back), rip(&back)), (cursor(&one), rip(&one)));
    tmux.keys(&["q"]);
    tmux.wait("ends", |screen| screen.contains("ended with 0"));
    tmux.is_intact();
}

#[test]
fn the_guilty_store_is_found_from_the_memory_pane() {
    let (_folder, path) = lost_update();
    let Some(tmux) = Tmux::showing(&path) else { return };
    tmux.wait("starts", |screen| screen.contains("guest lost-update") && screen.contains("_start+0x0"));
    tmux.keys(&[">"]);
    tmux.wait("goes to the end", |screen| screen.contains("the end of the recording"));
    tmux.keys(&["4", "a"]);
    tmux.wait("asks for an address", |screen| screen.contains("address (0x1234"));
    tmux.types("COUNTER");
    tmux.keys(&["Enter"]);
    tmux.wait("shows the counter", |screen| screen.contains("COUNTER+0x0"));

    tmux.keys(&["W"]);
    let last = tmux.wait("goes to the last write", |screen| screen.contains("is made by this step"));
    let next = |screen: &str| screen.lines().find(|line| line.starts_with("next ")).unwrap_or("").to_owned();
    assert!(next(&last).contains("COUNTER  lost_update::count+"), "{last}");

    // The store that overwrites somebody else's: what it stores is there already.
    tmux.keys(&["R"]);
    tmux.wait("lists all writes", |screen| screen.contains(" found: writes to"));
    tmux.keys(&["/"]);
    tmux.wait("asks what to find", |screen| screen.lines().any(|line| line == "find:"));
    tmux.types("unchanged");
    tmux.keys(&["Enter", "Enter"]);
    let guilty = tmux.wait("goes to the guilty store", |screen| {
        cursor(screen) != cursor(&last) && !screen.contains(" found: writes to")
    });
    assert!(next(&guilty).contains("COUNTER  lost_update::count+"), "{guilty}");
    let marked = guilty.lines().find(|line| line.contains("▶ ")).unwrap_or_default();
    assert!(marked.contains(cursor(&guilty)) && marked.contains("unchanged"), "{guilty}");

    let resized = tmux.run(&["resize-window", "-t", "tui", "-x", "80", "-y", "24"]);
    assert!(resized.status.success());
    tmux.wait("fits the screen", |screen| {
        screen.lines().count() == 24
            && screen.lines().any(|line| line.ends_with('┐') && line.chars().count() == 80)
    });
    tmux.keys(&["S", "s"]);
    tmux.wait("goes on", |screen| cursor(screen) == cursor(&guilty));
    assert!(tmux.run(&["resize-window", "-t", "tui", "-x", "100", "-y", "30"]).status.success());
    tmux.wait("fits again", |screen| screen.lines().any(|line| line.chars().count() == 100));
    tmux.keys(&["q"]);
    tmux.wait("ends", |screen| screen.contains("ended with 0"));
    tmux.is_intact();
}

#[test]
fn without_a_terminal_there_is_nothing_to_see() {
    let shown = Command::new(replayvm()).arg("tui").arg(recording()).output().expect("the command starts");
    assert_eq!(shown.status.code(), Some(2));
    let said = String::from_utf8_lossy(&shown.stderr);
    assert!(said.contains("there is no terminal") && said.contains(" exits "), "{said}");
    assert!(shown.stdout.is_empty());
}

#[test]
fn it_is_measured_on_a_recording() {
    let measure = |options: &[&str]| {
        let measured =
            Command::new(replayvm()).args(["bench", "--tui"]).arg(recording()).args(options).output();
        let measured = measured.expect("the command starts");
        assert!(measured.status.success(), "{}", String::from_utf8_lossy(&measured.stderr));
        String::from_utf8_lossy(&measured.stdout).into_owned()
    };
    let text = measure(&[]);
    assert!(text.contains("open, to the first frame") && text.contains("(200 samples)"), "{text}");
    let json = measure(&["--json"]);
    for name in ["open_ms", "redraw", "seek", "landmark", "index_bytes"] {
        assert!(json.contains(&format!("\"{name}\":")), "{name} in {json}");
    }
}

#[test]
fn the_panes_are_where_they_were_left() {
    let Some(tmux) = Tmux::showing(recording()) else { return };
    tmux.wait("starts", |screen| screen.contains("[exits 1 of"));
    tmux.keys(&["5", "q"]);
    tmux.wait("ends", |screen| screen.contains("shell>"));
    tmux.types(&format!("'{}' tui '{}' --at end", replayvm().display(), recording().display()));
    tmux.keys(&["Enter"]);
    let again = tmux.wait("starts again", |screen| screen.contains("[stack]"));
    assert_ne!(cursor(&again), "0+0");
}

#[test]
fn a_shell_is_told_the_position() {
    let Some(tmux) =
        Tmux::running(recording(), "", "--print-position --at 5+0 > \"$XDG_STATE_HOME/position\"")
    else {
        return;
    };
    tmux.wait("starts", |screen| cursor(screen) == "5+0");
    tmux.keys(&["s", "s"]);
    let moved = tmux.wait("steps", |screen| !["", "5+0"].contains(&cursor(screen)));
    tmux.keys(&["q"]);
    tmux.wait("ends", |screen| screen.contains("ended with 0"));
    tmux.is_intact();
    tmux.types("clear; cat $XDG_STATE_HOME/position");
    tmux.keys(&["Enter"]);
    let told = tmux
        .wait("prints", |screen| screen.lines().any(|line| line.starts_with(|c: char| c.is_ascii_digit())));
    let position: recorder::Position =
        told.lines().find_map(|line| line.trim().parse().ok()).expect("a position");
    assert!(position.to_string().as_str() >= cursor(&moved), "{position} {moved}");
}

#[test]
fn there_is_no_colour_where_nobody_wants_any() {
    let Some(tmux) = Tmux::running(recording(), "NO_COLOR=1", "") else { return };
    tmux.wait("starts", |screen| screen.contains("start+0x0") || screen.contains("0x100000"));
    tmux.keys(&["s"]);
    tmux.wait("steps", |screen| cursor(screen) != "0+0");
    let coloured = tmux.run(&["capture-pane", "-p", "-e", "-t", "tui"]);
    let text = String::from_utf8_lossy(&coloured.stdout);
    // Bold, dim or reversed it may be; numbers from 30 on are colours, but 39 and 49, which are none.
    let sequences = text.split('\u{1b}').skip(1).filter_map(|rest| rest.strip_prefix('[')?.split_once('m'));
    for (parameters, _) in sequences {
        assert!(
            parameters.split(';').all(|n| matches!(n.parse().unwrap_or(0), 0..30 | 39 | 49)),
            "{parameters:?} in {text:?}"
        );
    }
}

#[test]
fn signals_give_the_terminal_back() {
    for signal in ["TERM", "INT", "HUP"] {
        let Some(tmux) = Tmux::showing(recording()) else { return };
        tmux.wait("starts", |screen| screen.contains("[exits 1 of"));
        let killed = Command::new("kill").args(["-s", signal, &tmux.process()]).status();
        assert!(killed.expect("kill starts").success());
        tmux.wait("ends", |screen| screen.contains("ended with 0"));
        tmux.is_intact();
    }
}

#[test]
fn it_can_be_suspended_and_goes_on() {
    let Some(tmux) = Tmux::showing(recording()) else { return };
    tmux.wait("starts", |screen| screen.contains("[exits 1 of"));
    let process = tmux.process();
    tmux.keys(&["C-z"]);
    tmux.wait("gives the screen back", |screen| !screen.contains("exits"));
    let resumed = Command::new("kill").args(["-s", "CONT", &process]).status();
    assert!(resumed.expect("kill starts").success());
    tmux.wait("takes it again", |screen| screen.contains("[exits 1 of"));
    tmux.keys(&["q"]);
    tmux.wait("ends", |screen| screen.contains("ended with 0"));
    tmux.is_intact();
}

#[test]
fn gdb_goes_on_here_and_hands_the_position_back() {
    if Command::new("gdb").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "gdb is missing");
        println!("SKIPPED: gdb not installed");
        return;
    }
    let Some(tmux) = Tmux::running(recording(), "", "--at 5+0") else { return };
    tmux.wait("starts", |screen| cursor(screen) == "5+0");
    tmux.keys(&["g"]);
    tmux.wait("gdb is there", |screen| screen.contains("(gdb 5+0)"));
    tmux.types("seek 100+0");
    tmux.keys(&["Enter"]);
    tmux.wait("gdb moves", |screen| screen.contains("(gdb 100+0)"));
    tmux.types("kill");
    tmux.keys(&["Enter"]);
    tmux.wait("gdb asks", |screen| screen.contains("(y or n)"));
    tmux.types("y");
    tmux.keys(&["Enter"]);
    tmux.types("quit");
    tmux.keys(&["Enter"]);
    tmux.wait("comes back", |screen| screen.contains("gdb was left here") && cursor(screen) == "100+0");
    tmux.keys(&["q"]);
    tmux.wait("ends", |screen| screen.contains("ended with 0"));
    tmux.is_intact();
}

#[test]
fn gdb_goes_on_in_a_split_of_tmux() {
    if Command::new("gdb").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "gdb is missing");
        println!("SKIPPED: gdb not installed");
        return;
    }
    let Some(tmux) = Tmux::running(recording(), "", "--at 5+0") else { return };
    tmux.wait("starts", |screen| cursor(screen) == "5+0");
    tmux.keys(&["C-g"]);
    let other = |tmux: &Tmux| {
        let shown = tmux.run(&["capture-pane", "-p", "-t", "tui:0.1"]);
        String::from_utf8_lossy(&shown.stdout).into_owned()
    };
    tmux.wait("gdb is there", |_| other(&tmux).contains("(gdb 5+0)"));
    let types = |text: &str| {
        assert!(tmux.run(&["send-keys", "-t", "tui:0.1", "-l", text]).status.success());
        assert!(tmux.run(&["send-keys", "-t", "tui:0.1", "Enter"]).status.success());
    };
    types("seek 100+0");
    tmux.wait("gdb moves", |_| other(&tmux).contains("(gdb 100+0)"));
    // Both are there.
    assert!(tmux.run(&["send-keys", "-t", "tui:0.0", "3"]).status.success());
    let first = |tmux: &Tmux| {
        String::from_utf8_lossy(&tmux.run(&["capture-pane", "-p", "-t", "tui:0.0"]).stdout).into_owned()
    };
    tmux.wait("goes on", |_| first(&tmux).contains("[registers]"));
    types("detach");
    types("quit");
    tmux.wait("comes back", |_| {
        let screen = first(&tmux);
        screen.contains("gdb was left here") && cursor(&screen) == "100+0"
    });
    assert!(tmux.run(&["send-keys", "-t", "tui:0.0", "q"]).status.success());
    tmux.wait("ends", |screen| screen.contains("ended with 0"));
    tmux.is_intact();
}

/// A boot sector that writes to a port, counts 30,000,000 down to zero, writes again and halts for good.
fn counts_down() -> Vec<u8> {
    let mut image = vec![0xe6, 0x80]; // out %al, $0x80
    image.extend([0x66, 0xb9]); // mov $30000000, %ecx
    image.extend(30_000_000_u32.to_le_bytes());
    image.extend([0x66, 0x49]); // dec %ecx
    image.extend([0x75, 0xfc]); // jne, to the dec
    image.extend([0xe6, 0x80, 0xf4]); // out %al, $0x80; hlt
    image.resize(510, 0);
    image.extend([0x55, 0xaa]);
    image
}

#[test]
fn escape_stops_a_long_seek() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("long.rvm");
    // No checkpoint on the way: all of it has to be replayed.
    let settings = Settings { memory_bytes: 1 << 20, checkpoint_ticks: u64::MAX, ..Settings::default() };
    record(&path, "counts-down", counts_down(), &settings);
    let Some(tmux) = Tmux::showing(&path) else { return };
    tmux.wait("starts", |screen| screen.contains("exits 1 of 3"));
    tmux.keys(&["j", "Enter"]);
    tmux.wait("shows how far it is", |screen| screen.contains("going there: "));
    // The screen is not frozen.
    tmux.keys(&["3"]);
    tmux.wait("shows another pane", |screen| screen.contains("[registers]"));
    tmux.keys(&["Escape"]);
    let stopped = tmux.wait("stops", |screen| screen.contains("stopped at "));
    assert!(!cursor(&stopped).starts_with("30000000+"), "{stopped}");
    assert_ne!(cursor(&stopped), "0+0");
    tmux.keys(&["s", "q"]);
    tmux.wait("ends", |screen| screen.contains("ended with 0"));
}

#[test]
fn it_ends_with_its_terminal() {
    let Some(tmux) = Tmux::showing(recording()) else { return };
    tmux.wait("starts", |screen| screen.contains("[exits 1 of"));
    let process = tmux.process();
    let state = Path::new("/proc").join(&process).join("stat");
    assert!(tmux.run(&["kill-server"]).status.success());
    let start = Instant::now();
    // Whoever takes it in may leave its entry for a while.
    let is_there = || {
        let stat = std::fs::read_to_string(&state).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
    };
    while is_there() {
        assert!(start.elapsed() < PATIENCE, "process {process} goes on without a terminal");
        std::thread::sleep(Duration::from_millis(50));
    }
}
