//! The writer against sinks that wait and sinks that fail.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::*;
use crate::{BootKind, Digest, EndReason, Recording};

fn machine() -> MachineDescription {
    MachineDescription {
        memory_bytes: 1 << 20,
        ns_per_tick: 10,
        rules_version: 1,
        cpu_model: "model".to_owned(),
        flags_profile: "profile".to_owned(),
        boot: BootKind::Elf64,
        command_line: String::new(),
        guest_name: "guest".to_owned(),
        seed: 0,
        engine: "soft".to_owned(),
        pass_code: 0,
        disks: Vec::new(),
        entropy_device: false,
        cpu_features: Vec::new(),
    }
}

fn end(position: Position) -> End {
    End { position, instructions: 0, digest: Digest(1), reason: EndReason::Hung }
}

/// A file in memory that takes a token for each write once it is closed off, and has room for so many bytes.
#[derive(Clone)]
struct Memory {
    bytes: Arc<Mutex<Vec<u8>>>,
    room: u64,
    gate: Option<Receiver<()>>,
    writes: Arc<AtomicU64>,
}

impl Memory {
    fn new(room: u64) -> Self {
        Self { bytes: Arc::default(), room, gate: None, writes: Arc::default() }
    }

    fn gated() -> (Sender<()>, Self) {
        let (open, gate) = unbounded();
        (open, Self { gate: Some(gate), ..Self::new(u64::MAX) })
    }

    fn open(&self) -> Recording {
        Recording::open(self.bytes.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Memory {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if let Some(gate) = &self.gate {
            // Whoever dropped the other side lets everything through.
            let _ = gate.recv();
        }
        self.writes.fetch_add(1, Ordering::SeqCst);
        let mut bytes = self.bytes.lock().unwrap();
        let room = self.room.saturating_sub(bytes.len() as u64) as usize;
        if room == 0 && !buffer.is_empty() {
            return Err(io::Error::from_raw_os_error(28));
        }
        let count = buffer.len().min(room);
        bytes.extend_from_slice(&buffer[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Memory {
    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.bytes.lock().unwrap().truncate(bytes as usize);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn writer(memory: &Memory) -> Result<RecordingWriter, WriteError> {
    RecordingWriter::to_sink(Box::new(memory.clone()), PathBuf::from("run.rvm"), &machine(), &[])
}

#[test]
fn a_slow_disk_slows_the_caller_down_instead_of_filling_memory() {
    let (open, memory) = Memory::gated();
    // Header and description, two writes each (the second may be of nothing and then does not come).
    (0..2).for_each(|_| open.send(()).unwrap());
    let mut writer = writer(&memory).unwrap();
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let caller = thread::spawn(move || {
        for tick in 0..20 {
            writer.checkpoint(CheckpointRecord::new(Position::new(tick, 0), tick)).unwrap();
            counter.store(tick + 1, Ordering::SeqCst);
        }
        writer.finish(end(Position::new(20, 0))).unwrap()
    });
    let mut before = u64::MAX;
    loop {
        thread::sleep(Duration::from_millis(100));
        let now = sent.load(Ordering::SeqCst);
        if now == before {
            break;
        }
        before = now;
    }
    // Two messages a checkpoint (its log frame, itself): what is in the channel and in the thread's hand.
    assert!(before <= CHANNEL_MESSAGES as u64 + 1, "{before} checkpoints wait for the disk");
    drop(open);
    let bytes = caller.join().unwrap();
    assert_eq!(bytes, memory.bytes.lock().unwrap().len() as u64);
    assert_eq!(memory.open().checkpoints().len(), 20);
}

#[test]
fn a_full_disk_is_an_error_with_path_and_cause_and_leaves_a_valid_prefix() {
    let mut opened = 0;
    for room in 32..3000 {
        let memory = Memory::new(room);
        let Ok(mut writer) = writer(&memory) else { continue };
        opened += 1;
        let failed = (0..1000).find_map(|tick| {
            let record = CheckpointRecord::new(Position::new(tick, 0), tick);
            writer.checkpoint(record).err()
        });
        let error = failed.unwrap();
        assert!(error.to_string().contains("run.rvm"), "{error}");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("os error 28"), "{source}");
        // Every later call says the same, the last one too.
        assert_eq!(writer.exit(Position::MAX, Exit::Halt).unwrap_err().to_string(), error.to_string());
        assert!(writer.flush(Position::MAX).is_err());
        assert_eq!(writer.finish(end(Position::MAX)).unwrap_err().to_string(), error.to_string());
        let recovery = memory.open().recovery().cloned().unwrap();
        assert_eq!(recovery.lost_bytes, 0, "the torn frame is cut off");
    }
    assert!(opened > 2000, "{opened}");
}

#[test]
fn a_recording_that_is_dropped_keeps_what_it_was_given() {
    let memory = Memory::new(u64::MAX);
    let mut writer = writer(&memory).unwrap();
    writer.exit(Position::new(5, 1), Exit::Halt).unwrap();
    writer.event(Position::new(6, 0), Event::Idle { ns: 3 }).unwrap();
    drop(writer);
    let recording = memory.open();
    assert_eq!(recording.end(), None);
    assert_eq!(recording.last_position(), Position::new(6, 0));
    assert_eq!(recording.exits().count() + recording.events().count(), 2);
}

#[test]
fn a_flush_returns_when_everything_is_written() {
    let memory = Memory::new(u64::MAX);
    let mut writer = writer(&memory).unwrap();
    writer.exit(Position::new(5, 1), Exit::Halt).unwrap();
    writer.flush(Position::new(9, 4)).unwrap();
    let recording = memory.open();
    assert_eq!(recording.exits().count(), 1);
    assert_eq!(recording.last_position(), Position::new(9, 4));
    drop(writer);
}

#[test]
fn what_goes_back_in_time_is_refused_and_harms_nothing() {
    let memory = Memory::new(u64::MAX);
    let mut writer = writer(&memory).unwrap();
    let at = |tick| Position::new(tick, 0);
    writer.event(at(5), Event::Idle { ns: 1 }).unwrap();
    writer.exit(at(4), Exit::Halt).unwrap();
    let early =
        |result: Result<(), WriteError>| assert!(matches!(result, Err(WriteError::OutOfOrder { .. })));
    early(writer.event(at(4), Event::Idle { ns: 1 }));
    early(writer.exit(at(3), Exit::Halt));
    early(writer.checkpoint(CheckpointRecord::new(at(4), 0)));
    early(writer.flush(at(4)));
    writer.checkpoint(CheckpointRecord::new(at(5), 0)).unwrap();
    early(writer.exit(at(4), Exit::Halt));
    writer.exit(at(5), Exit::Halt).unwrap();
    writer.finish(end(at(5))).unwrap();
    assert_eq!(memory.open().verify(), Ok(()));
}

#[test]
fn a_checkpoint_must_bring_the_pages_that_the_recording_does_not_know() {
    let memory = Memory::new(u64::MAX);
    let mut writer = writer(&memory).unwrap();
    let at = Position::START;
    let page = [7; 4096];
    let hash = PageHash::of(&page);
    let record = CheckpointRecord { pages: vec![(3, hash)], ..CheckpointRecord::new(at, 0) };
    assert!(matches!(writer.checkpoint(record.clone()), Err(WriteError::MissingPage { gfn: 3, .. })));
    let mut with = record.clone();
    with.contents.insert(hash, &page);
    assert!(!writer.knows(hash));
    writer.checkpoint(with.clone()).unwrap();
    assert!(writer.knows(hash));
    // Known now, with or without its content; stored once.
    writer.checkpoint(record.clone()).unwrap();
    writer.checkpoint(with.clone()).unwrap();
    with.pages = vec![(3, hash), (3, PageHash::ZERO)];
    assert!(matches!(writer.checkpoint(with), Err(WriteError::BadPage { gfn: 3, .. })));
    let beyond = CheckpointRecord { pages: vec![(GFN_LIMIT, hash)], ..record };
    assert!(matches!(writer.checkpoint(beyond), Err(WriteError::BadPage { gfn: GFN_LIMIT, .. })));
    writer.finish(end(at)).unwrap();
    assert_eq!(memory.open().statistics().stored_pages, 1);
}

#[test]
fn a_page_under_a_wrong_hash_is_never_stored() {
    let memory = Memory::new(u64::MAX);
    let mut writer = writer(&memory).unwrap();
    let mut record = CheckpointRecord::new(Position::START, 0);
    record.contents.insert(PageHash(5), &[7; 4096]);
    writer.checkpoint(record).unwrap();
    assert!(matches!(writer.flush(Position::START), Err(WriteError::WrongHash { .. })));
    drop(writer);
    assert_eq!(memory.open().statistics().stored_pages, 0);
}

#[test]
fn an_image_must_be_the_one_described() {
    let image = Image::describe(crate::ImageRole::Kernel, "kernel", "", b"bytes");
    let memory = Memory::new(u64::MAX);
    let images = [(image, b"other".to_vec())];
    let error = RecordingWriter::to_sink(Box::new(memory), PathBuf::new(), &machine(), &images).unwrap_err();
    assert!(matches!(error, WriteError::WrongImage { index: 0, .. }), "{error}");
}
