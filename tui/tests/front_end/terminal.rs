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
    /// the terminal. `None` where there is no tmux.
    fn showing(recording: &Path) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            println!("SKIPPED: tmux not installed");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let tmux = Self { socket: folder.path().join("tmux"), _folder: folder };
        let (command, recording) = (replayvm().display(), recording.display());
        let shell = format!("stty -g; '{command}' tui '{recording}'; echo \"ended with $?\"; stty -g; cat");
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

/// The first position in the status line.
fn cursor(screen: &str) -> &str {
    let line =
        screen.lines().find(|line| line.ends_with("instructions") || line.contains("  mark ")).unwrap_or("");
    line.split(' ').next().unwrap_or("")
}

#[test]
fn the_command_is_used_in_a_terminal_and_gives_it_back() {
    let Some(tmux) = Tmux::showing(recording()) else { return };
    let first = tmux
        .wait("starts", |screen| screen.contains("guest rtc-rollover, seed 7") && screen.contains("help"));
    assert!(first.contains("exits 1 of "), "{first}");
    assert_eq!(cursor(&first), "0+0");

    tmux.keys(&["j", "j", "Enter"]);
    let third =
        tmux.wait("goes to the third exit", |screen| screen.contains("│▶ ") && cursor(screen) != "0+0");
    assert!(third.contains("exits 3 of "), "{third}");
    tmux.keys(&["m"]);
    tmux.wait("marks", |screen| screen.contains("marked "));
    tmux.keys(&["G"]);
    tmux.wait("goes to the end", |screen| {
        screen.contains("the end of the recording") && screen.contains("100%")
    });
    tmux.keys(&["'", "s", "S"]);
    tmux.wait("goes back, steps and steps back", |screen| {
        cursor(screen) == cursor(&third) && screen.contains("│▶ ")
    });
    tmux.keys(&["?"]);
    tmux.wait("shows the keys", |screen| {
        screen.contains(" Keys ") && screen.contains("mark where the cursor is")
    });
    tmux.keys(&["Escape"]);
    tmux.wait("hides them", |screen| !screen.contains(" Keys "));
    tmux.keys(&["q"]);
    let last = tmux.wait("ends", |screen| screen.contains("ended with"));
    assert!(last.contains("ended with 0"), "{last}");
    let last = tmux.wait("tells the terminal's modes", |screen| {
        screen
            .lines()
            .skip_while(|line| !line.contains("ended with"))
            .nth(1)
            .is_some_and(|line| !line.is_empty())
    });
    let modes: Vec<&str> = last.lines().filter(|line| line.matches(':').count() > 10).collect();
    assert_eq!(modes.len(), 2, "{last}");
    assert_eq!(modes[0], modes[1], "the terminal's modes are what they were");
    assert!(!last.contains("CPU"), "the screen is what it was: {last}");
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
    tmux.wait("shows how far it is", |screen| screen.contains("replaying: "));
    tmux.keys(&["Escape"]);
    let stopped = tmux.wait("stops", |screen| screen.contains("stopped at "));
    assert!(!cursor(&stopped).starts_with("30000000+"), "{stopped}");
    assert_ne!(cursor(&stopped), "0+0");
    tmux.keys(&["s", "q"]);
    tmux.wait("ends", |screen| screen.contains("ended with 0"));
}
