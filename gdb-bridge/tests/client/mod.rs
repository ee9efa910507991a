//! Recordings, and a client of gdb's remote protocol to talk about them.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use gdb_bridge::stream::Stream;
use gdb_bridge::{Goodbye, GuestSymbols, ServeOptions, SessionError, serve_client};
use replayvm::machine::GuestImages;
use replayvm::session::{RecordSession, Settings};
use replayvm::symbols::{Origin, Symbols};
use replayvm::timeline::Timeline;

pub type Made = (tempfile::TempDir, PathBuf);

pub fn record(kernel: Vec<u8>, limit_ticks: u64) -> Made {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.rvm");
    let settings = Settings { limit_ticks, memory_bytes: 16 << 20, ..Settings::default() };
    let images = GuestImages { kernel, ..GuestImages::default() };
    let session = RecordSession::start(&path, "guest", &images, &settings, None, Arc::default()).unwrap();
    session.run().unwrap();
    (folder, path)
}

/// A recording of a corpora guest, made once: `lost-update`, with a timer interrupt every 10,000 ticks.
pub fn recording() -> PathBuf {
    static MADE: OnceLock<Made> = OnceLock::new();
    let made = MADE.get_or_init(|| record(corpora::find("lost-update").unwrap().image.to_vec(), 400_000));
    made.1.clone()
}

fn checksum(body: &[u8]) -> u8 {
    body.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

pub fn packet(body: &[u8]) -> Vec<u8> {
    [b"$", body, format!("#{:02x}", checksum(body)).as_bytes()].concat()
}

/// A client that acknowledges nothing, as gdb after QStartNoAckMode.
pub struct Client(pub UnixStream);

impl Client {
    pub fn send(&mut self, body: &str) {
        self.0.write_all(&packet(body.as_bytes())).unwrap();
    }

    /// The next reply that is no console output, decoded.
    pub fn reply(&mut self) -> String {
        self.reply_and_output().0
    }

    /// The same with what came to the console before it.
    pub fn reply_and_output(&mut self) -> (String, String) {
        let mut output = Vec::new();
        loop {
            let mut byte = [0];
            let mut raw = Vec::new();
            while byte != *b"$" {
                self.0.read_exact(&mut byte).unwrap();
            }
            loop {
                self.0.read_exact(&mut byte).unwrap();
                if byte == *b"#" {
                    break;
                }
                raw.push(byte[0]);
            }
            let mut sum = [0; 2];
            self.0.read_exact(&mut sum).unwrap();
            assert_eq!(u8::from_str_radix(std::str::from_utf8(&sum).unwrap(), 16).unwrap(), checksum(&raw));
            let text = unfold(&raw);
            match text.strip_prefix('O') {
                Some(hex) if text != "OK" => output.extend(unhex(hex)),
                _ => return (text, String::from_utf8(output).unwrap()),
            }
        }
    }

    pub fn ask(&mut self, body: &str) -> String {
        self.send(body);
        self.reply()
    }

    pub fn monitor(&mut self, command: &str) -> String {
        let hex: String = command.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.ask(&format!("qRcmd,{hex}"))
    }

    /// What a command of `monitor` prints.
    pub fn said(&mut self, command: &str) -> String {
        let hex: String = command.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.send(&format!("qRcmd,{hex}"));
        let (reply, output) = self.reply_and_output();
        assert_eq!(reply, "OK");
        output
    }

    /// All registers.
    pub fn registers(&mut self) -> Vec<u8> {
        unhex(&self.ask("g"))
    }

    /// Ctrl-C.
    pub fn interrupt(&mut self) {
        self.0.write_all(b"\x03").unwrap();
    }

    pub fn register(&mut self, number: usize) -> u64 {
        let hex = self.ask(&format!("p{number:x}"));
        unhex(&hex).iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }
}

pub fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// Undoes run lengths and escapes.
fn unfold(raw: &[u8]) -> String {
    let mut bytes: Vec<u8> = Vec::new();
    let mut rest = raw.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'*' => {
                let count = rest.next().unwrap() - 29;
                let last = *bytes.last().unwrap();
                bytes.extend(std::iter::repeat_n(last, usize::from(count)));
            }
            b'}' => bytes.push(rest.next().unwrap() ^ 0x20),
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A client's talk with a session on a recording, and how the session ended.
pub fn talk_about(recording: &Path, talk: impl FnOnce(&mut Client)) -> Result<Goodbye, SessionError> {
    converse(recording, &ServeOptions::default(), talk)
}

/// A talk under options, that the client ends by going.
pub fn talk_with(recording: &Path, options: ServeOptions, talk: impl FnOnce(&mut Client)) {
    assert_eq!(converse(recording, &options, talk).unwrap(), Goodbye::Gone);
}

fn converse(
    recording: &Path,
    options: &ServeOptions,
    talk: impl FnOnce(&mut Client),
) -> Result<Goodbye, SessionError> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    std::thread::scope(|scope| {
        let session = scope.spawn(|| {
            let mut timeline = Timeline::open(recording).unwrap();
            serve_client(&mut timeline, Stream::Unix(ours), options)
        });
        let mut client = Client(theirs);
        talk(&mut client);
        client.0.shutdown(Shutdown::Both).unwrap();
        session.join().unwrap()
    })
}

/// The same about a guest whose image has symbols.
pub fn talk_named(recording: &Path, image: Vec<u8>, talk: impl FnOnce(&mut Client)) {
    let table = Symbols::parse(&image, Origin::Image("guest".to_owned()));
    let symbols = Arc::new(GuestSymbols::new(image, table));
    talk_with(recording, ServeOptions { symbols, ..ServeOptions::default() }, talk);
}

/// A talk that the client ends by going.
pub fn talk(talk: impl FnOnce(&mut Client)) {
    assert_eq!(talk_about(&recording(), talk).unwrap(), Goodbye::Gone);
}
