//! Serves a client that sends anything, and looks at what is left of the timeline. For the fuzz target and its short form.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use gdb_bridge::stream::Stream;
use gdb_bridge::{GuestSymbols, ServeOptions, serve_client};
use recorder::Position;
use replayvm::machine::GuestImages;
use replayvm::session::{RecordSession, Settings};
use replayvm::timeline::{Reason, Timeline, unsupervised};

/// All registers in one number.
#[path = "../fingerprint/mod.rs"]
mod fingerprint;

/// A session takes milliseconds. One that takes this long hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes that all answers to one stream may have. Each packet may ask for one MiB of memory.
const ANSWER_BYTES: usize = 1 << 30;

/// A timeline over a short recording, and what is true of it.
pub struct Exercise {
    _folder: tempfile::TempDir,
    timeline: Timeline,
    symbols: Arc<GuestSymbols>,
    registers: HashMap<Position, u64>,
}

impl Exercise {
    /// Records a guest with interrupts, and walks it.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run.rvm");
        let settings = Settings {
            limit_ticks: 15_000,
            checkpoint_ticks: 1000,
            memory_bytes: 4 << 20,
            ..Settings::default()
        };
        let kernel = corpora::find("lost-update").expect("a guest").image.to_vec();
        let symbols = Arc::new(GuestSymbols::new(kernel.clone(), None));
        let images = GuestImages { kernel, ..GuestImages::default() };
        RecordSession::start(&path, "guest", &images, &settings, None, Arc::default())
            .and_then(RecordSession::run)
            .expect("records");
        let mut timeline = Timeline::open(&path).expect("opens");
        let mut registers = HashMap::new();
        loop {
            registers.insert(timeline.position(), fingerprint::of(&timeline));
            if timeline.step_forward().expect("steps").reason == Reason::End {
                break;
            }
        }
        Self { _folder: folder, timeline, symbols, registers }
    }

    /// Serves a client that sends these pieces and goes. Afterwards the cursor must stand somewhere, in the state of that
    /// place, and be able to go elsewhere.
    pub fn serve(&mut self, pieces: &[&[u8]]) {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let options = ServeOptions { symbols: Arc::clone(&self.symbols), ..ServeOptions::default() };
        let stop = Arc::clone(&options.stop);
        let timeline = &mut self.timeline;
        let answered = std::thread::scope(|scope| {
            let mut reader = theirs.try_clone().expect("a socket");
            let answers = scope.spawn(move || {
                let (mut total, mut bytes) = (0, [0; 1 << 16]);
                while let Ok(count @ 1..) = reader.read(&mut bytes) {
                    total += count;
                }
                total
            });
            scope.spawn(move || {
                let mut theirs = theirs;
                // The session may end before it has read all.
                let _ = pieces.iter().try_for_each(|piece| theirs.write_all(piece));
                let _ = theirs.shutdown(Shutdown::Write);
            });
            let done = watchdog(&stop);
            let _ = serve_client(timeline, Stream::Unix(ours), &options);
            drop(done);
            answers.join().expect("the reader lives")
        });
        assert!(!stop.load(Ordering::Relaxed), "a session that hangs");
        assert!(answered < ANSWER_BYTES, "{answered} bytes of answers");
        self.check();
        let begin = self.timeline.begin();
        self.timeline.seek(begin, &mut unsupervised()).expect("seeks");
        self.check();
    }

    fn check(&self) {
        let at = self.timeline.position();
        let expected = self.registers.get(&at).unwrap_or_else(|| panic!("{at} is no position of the run"));
        assert_eq!(fingerprint::of(&self.timeline), *expected, "registers at {at}");
    }
}

/// Sets `stop` unless what it gives is dropped in time.
fn watchdog(stop: &Arc<AtomicBool>) -> Sender<()> {
    let (done, finished) = channel::<()>();
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        if finished.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            stop.store(true, Ordering::Relaxed);
        }
    });
    done
}

/// Lines as packets with their checksums made right; a line that begins with a zero as it is, without it.
pub fn packets(lines: &[u8]) -> Vec<Vec<u8>> {
    let packet = |line: &[u8]| match line {
        [0, raw @ ..] => raw.to_vec(),
        body => {
            let sum = body.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
            [b"$", body, format!("#{sum:02x}").as_bytes()].concat()
        }
    };
    lines.split(|byte| *byte == b'\n').map(packet).collect()
}
