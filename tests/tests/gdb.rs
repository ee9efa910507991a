//! Real gdb on recordings of corpora guests.
//!
//! Each test starts gdb with a script and reads what it prints; what a script and a text can say is in `scenarios.rs`. Where
//! gdb is not installed, they say so and pass.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "what takes too long has failed")]

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use gdb_bridge::{GdbFiles, GuestSymbols, Listen, ServeOptions, serve};
use replayvm::machine::GuestImages;
use replayvm::session::{RecordSession, Settings};
use replayvm::timeline::Timeline;
use replayvm_tests::{binary, is_installed, path_text};

/// A recording of the guest `lost-update`, from power-on to its verdict, made once.
fn recording() -> &'static Path {
    static MADE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run.rvm");
        let settings = Settings {
            limit_ticks: 3_000_000,
            checkpoint_ticks: 50_000,
            memory_bytes: 16 << 20,
            ..Settings::default()
        };
        let kernel = corpora::find("lost-update").expect("a guest").image.to_vec();
        let images = GuestImages { kernel, ..GuestImages::default() };
        RecordSession::start(&path, "lost-update", &images, &settings, None, Arc::default())
            .and_then(RecordSession::run)
            .expect("records");
        (folder, path)
    });
    path
}

/// gdb hangs only if we do: then it is stopped and the test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// All that gdb prints, complaints and the answers of `monitor` in their places.
fn output(mut command: Command) -> String {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    command.stdin(Stdio::null()).stdout(writer.try_clone().expect("a pipe")).stderr(writer);
    let mut gdb = command.spawn().expect("gdb starts");
    drop(command); // and with it our end of the pipe
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text)
    });
    let started = Instant::now();
    while gdb.try_wait().expect("gdb can be waited for").is_none() {
        if started.elapsed() > PATIENCE {
            gdb.kill().expect("gdb can be stopped");
            panic!("gdb hangs; it has said: {:?}", reader.join());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    reader.join().expect("the reader lives").expect("gdb prints text")
}

/// Runs gdb scripts one after the other, each as a client of its own of one server; gives what each has printed.
fn clients(listen: &Listen, scripts: &[&[&str]]) -> Vec<String> {
    let mut timeline = Timeline::open(recording()).expect("opens");
    let kernel = timeline.opened().images().expect("images").kernel;
    let symbols = Arc::new(GuestSymbols::new(kernel, None));
    let files = GdbFiles::new(&symbols).expect("files");
    let options = ServeOptions { symbols, ..ServeOptions::default() };
    let stop = Arc::clone(&options.stop);
    std::thread::scope(|scope| {
        let (ready, at) = std::sync::mpsc::channel();
        let server = scope.spawn(move || {
            serve(&mut timeline, listen, &options, |at| ready.send(at.clone()).expect("somebody waits"))
        });
        let at = at.recv().expect("the server listens");
        let outputs = scripts
            .iter()
            .map(|script| {
                let mut extra: Vec<OsString> = vec!["-nx".into(), "-batch".into()];
                extra.extend(script.iter().flat_map(|line| ["-ex".into(), (*line).into()]));
                output(files.command(&at, &extra))
            })
            .collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        server.join().expect("the server lives").expect("the server serves");
        outputs
    })
}

fn gdb(script: &[&str]) -> String {
    let any = Listen::Tcp(([127, 0, 0, 1], 0).into());
    clients(&any, &[script]).remove(0)
}

/// The part of `text` between two marks that the script has printed.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let rest = text.split_once(from).unwrap_or_else(|| panic!("no `{from}` in {text}")).1;
    rest.split_once(to).unwrap_or_else(|| panic!("no `{to}` in {text}")).0
}

#[test]
fn what_would_change_the_recording_is_refused_and_changes_nothing() {
    if !is_installed("gdb") {
        return;
    }
    let text = gdb(&[
        "seek 100000",
        "echo A\\n",
        "p $rax",
        "p lost_update::COUNTER",
        "echo B\\n",
        "set var $rax = 1",
        "set var lost_update::COUNTER = 1",
        "echo C\\n",
        "maintenance flush register-cache",
        "p $rax",
        "p lost_update::COUNTER",
        "echo D\\n",
    ]);
    let values = |part: &str| -> Vec<String> {
        part.lines().filter_map(|line| line.split_once(" = ")).map(|(_, value)| value.to_owned()).collect()
    };
    assert!(
        text.contains("this is a recording: its registers and its memory can be read but not changed"),
        "{text}"
    );
    assert!(between(&text, "B\n", "C\n").contains("Cannot access memory"), "{text}");
    assert_eq!(values(between(&text, "A\n", "B\n")), values(between(&text, "C\n", "D\n")), "{text}");
}

#[test]
fn ten_steps_back_and_ten_forward_lead_to_the_same_registers() {
    if !is_installed("gdb") {
        return;
    }
    let mut script = vec!["seek 100000", "echo A\\n", "info all-registers", "echo B\\n"];
    script.extend(std::iter::repeat_n("reverse-stepi", 10));
    script.extend(["echo C\\n", "info all-registers", "echo D\\n"]);
    script.extend(std::iter::repeat_n("stepi", 10));
    script.extend(["echo E\\n", "info all-registers", "echo F\\n"]);
    let text = gdb(&script);
    let start = between(&text, "A\n", "B\n");
    assert!(start.contains("instructions"), "{start}");
    assert_eq!(start, between(&text, "E\n", "F\n"));
    assert_ne!(start, between(&text, "C\n", "D\n"));
}

#[test]
fn the_last_write_is_told_without_moving_and_is_where_a_watchpoint_leads() {
    if !is_installed("gdb") {
        return;
    }
    let text = gdb(&[
        "seek 200000",
        "info registers",
        "echo LOOK\\n",
        "last-write lost_update::COUNTER",
        "monitor exits interrupt 1",
        "monitor diff begin",
        "echo LOOKED\\n",
        "maintenance flush register-cache",
        "info registers",
        "echo BACK\\n",
        "watch -location lost_update::COUNTER",
        "reverse-continue",
        "echo THERE\\n",
        "p/x $pc",
        "when",
        "echo END\\n",
    ]);
    let before = between(&text, "rax  ", "LOOK\n");
    let after = between(&text, "LOOKED\n", "BACK\n");
    assert!(after.contains(before), "{text}");
    let look = between(&text, "LOOK\n", "LOOKED\n");
    let there = between(&text, "THERE\n", "END\n");
    let position = between(there, "position ", "\n");
    let rip = between(there, "= ", "\n");
    assert!(look.contains(&format!("position {position}\n{rip}: ")), "{text}");
    assert!(look.contains("pages of RAM differ"), "{text}");
}

#[test]
fn one_client_comes_after_the_other_and_finds_the_cursor_where_it_was_left() {
    if !is_installed("gdb") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gdb socket");
    let outputs = clients(
        &Listen::Unix(path.clone()),
        &[&["seek 100000", "detach"], &["when", "kill"], &["stepi", "when", "disconnect"], &["when"]],
    );
    assert!(outputs[1].contains("position 100000+0"), "{outputs:?}");
    for output in &outputs[2..] {
        assert!(output.contains("position 10000"), "{outputs:?}");
    }
    assert!(!path.exists(), "the socket's file goes with the server");
}

#[test]
fn the_command_listens_on_loopback_only() {
    let mut server = Command::new(binary())
        .args(["gdb", path_text(recording()), "--listen", ":0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut line = String::new();
    let read = BufReader::new(server.stdout.take().expect("a pipe")).read_line(&mut line);
    // The addresses at which the port is listened at (state 0A), of this network namespace.
    let sockets =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|file| std::fs::read_to_string(file).unwrap_or_default());
    server.kill().and_then(|()| server.wait()).expect("our own child can be ended");
    read.expect("a line");
    let port = line.trim_end().trim_end_matches('\'').rsplit_once("127.0.0.1:").expect("an address").1;
    let port = format!(":{:04X}", port.parse::<u16>().expect("a port"));
    let fields =
        sockets.iter().flat_map(|text| text.lines()).map(|row| row.split_whitespace().collect::<Vec<_>>());
    let listening: Vec<String> = fields
        .filter(|fields| fields.get(3) == Some(&"0A") && fields[1].ends_with(&port))
        .map(|fields| fields[1].to_owned())
        .collect();
    assert_eq!(listening, [format!("0100007F{port}")], "{line}");
}
