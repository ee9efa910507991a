//! Disks and the entropy device over whole sessions: recorded, replayed, walked backwards, and images that are not what they were.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

/// Guests and recordings.
mod common;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use common::{digest, go_on_as_recorded, record, replay, run_to, settings};
use iced_x86::code_asm::{CodeAssembler, al, byte_ptr, dword_ptr, dx, eax, esi, word_ptr};
use recorder::{Event, Position, Recording, RecordingWriter};
use replayvm::engine::SoftEngine;
use replayvm::machine::{
    DiskError, DiskImage, DiskPaths, FIRST_HIDDEN_GFN, GuestImages, MachineError, PAGE_BYTES, Watch,
    WatchKind,
};
use replayvm::recording::{OpenError, OpenRecording, StartError};
use replayvm::session::{
    Divergence, Fork, RecordError, RecordSession, ReplayError, ReplaySession, SessionError, Settings, Start,
};
use replayvm::snapshot::{OpenSnapshot, save};
use replayvm::timeline::{Landing, Reason, Stops, Timeline, TimelineError, unsupervised};

const ENTRY: u64 = 0x10_0000;
/// Each device's rings, header, status and buffer: 64 KiB from here on.
const RINGS: u32 = 0x20_0000;
const TABLE: u32 = 0;
const AVAILABLE: u32 = 0x1000;
const USED: u32 = 0x2000;
const HEADER: u32 = 0x3000;
const STATUS: u32 = 0x3800;
const BUFFER: u32 = 0x4000;
const REGISTERS: u32 = 0xfeb0_0000;

/// Sectors that the guest changes.
const SECTORS: u32 = 24;

/// A virtio device as the guest's program uses it.
#[derive(Clone, Copy)]
struct Device {
    registers: u32,
    rings: u32,
}

impl Device {
    fn number(index: u32) -> Self {
        Self { registers: REGISTERS + index * 0x1000, rings: RINGS + index * 0x1_0000 }
    }

    fn set(self, code: &mut CodeAssembler, register: u32, value: u32) {
        code.mov(dword_ptr(u64::from(self.registers + register)), value).unwrap();
    }

    fn put(self, code: &mut CodeAssembler, at: u32, value: u32) {
        code.mov(dword_ptr(u64::from(self.rings + at)), value).unwrap();
    }

    /// Virtio 1.2, 3.1.1, with no feature but version 1.
    fn start(self, code: &mut CodeAssembler) {
        for (register, value) in [(0x70, 0), (0x70, 3), (0x24, 1), (0x20, 1), (0x70, 11), (0x38, 4)] {
            self.set(code, register, value);
        }
        for (register, ring) in [(0x80, TABLE), (0x90, AVAILABLE), (0xa0, USED)] {
            self.set(code, register, self.rings + ring);
        }
        self.set(code, 0x44, 1);
        self.set(code, 0x70, 15);
    }

    /// Offers the chain that begins with descriptor 0.
    fn notify(self, code: &mut CodeAssembler) {
        code.inc(word_ptr(u64::from(self.rings + AVAILABLE + 2))).unwrap();
        self.set(code, 0x50, 0);
    }

    fn descriptor(self, code: &mut CodeAssembler, index: u32, gpa: u32, (len, flags_next): (u32, u32)) {
        let at = TABLE + index * 16;
        self.put(code, at, gpa);
        self.put(code, at + 8, len);
        self.put(code, at + 12, flags_next);
    }

    /// A request of the disk for the sector in ESI, with this buffer.
    fn request(self, code: &mut CodeAssembler, write: bool, buffer: u32) {
        self.put(code, HEADER, u32::from(write));
        code.mov(dword_ptr(u64::from(self.rings + HEADER + 8)), esi).unwrap();
        self.descriptor(code, 0, self.rings + HEADER, (16, 1 | 1 << 16));
        let to_read_into = if write { 0 } else { 2 };
        self.descriptor(code, 1, buffer, (512, 1 | to_read_into | 2 << 16));
        self.descriptor(code, 2, self.rings + STATUS, (1, 2));
        self.notify(code);
    }
}

/// Sends a byte of memory to the serial port.
fn print(code: &mut CodeAssembler, gpa: u32) {
    code.mov(al, byte_ptr(u64::from(gpa))).unwrap();
    code.mov(dx, 0x3f8_u32).unwrap();
    code.out(dx, al).unwrap();
}

fn exit(code: &mut CodeAssembler) {
    code.mov(al, 0x10_u32).unwrap();
    code.mov(dx, 0xf4_u32).unwrap();
    code.out(dx, al).unwrap();
}

/// A guest in flat 32-bit protected mode.
fn guest(write: impl FnOnce(&mut CodeAssembler)) -> GuestImages {
    let mut code = CodeAssembler::new(32).unwrap();
    write(&mut code);
    let code = code.assemble(ENTRY).unwrap();
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    let mut elf = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0".to_vec();
    elf.extend(words(&[1, ENTRY as u32, 52, 0, 0, 52 | 32 << 16, 1, 0]));
    elf.resize(52, 0);
    let size = code.len() as u32;
    elf.extend(words(&[1, 0x1000, ENTRY as u32, ENTRY as u32, size, size, 7, 0x1000]));
    elf.resize(0x1000, 0);
    elf.extend(code);
    GuestImages { kernel: elf, ..GuestImages::default() }
}

/// Reads sectors, changes each by what the entropy device says, writes it back, and prints a byte of it.
fn changing_guest() -> GuestImages {
    guest(|code| {
        start_changing(code);
        change(code, SECTORS);
        exit(code);
    })
}

/// Starts both devices, at the first sector.
fn start_changing(code: &mut CodeAssembler) {
    let (disk, entropy) = (Device::number(0), Device::number(1));
    disk.start(code);
    entropy.start(code);
    entropy.descriptor(code, 0, entropy.rings + BUFFER, (8, 2));
    code.xor(esi, esi).unwrap();
}

/// Goes on up to a sector.
fn change(code: &mut CodeAssembler, until: u32) {
    let (disk, entropy) = (Device::number(0), Device::number(1));
    let mut again = code.create_label();
    code.set_label(&mut again).unwrap();
    disk.request(code, false, disk.rings + BUFFER);
    entropy.notify(code);
    code.mov(eax, dword_ptr(u64::from(entropy.rings + BUFFER))).unwrap();
    code.xor(dword_ptr(u64::from(disk.rings + BUFFER)), eax).unwrap();
    disk.request(code, true, disk.rings + BUFFER);
    print(code, disk.rings + BUFFER);
    print(code, disk.rings + STATUS);
    code.inc(esi).unwrap();
    code.cmp(esi, until).unwrap();
    code.jb(again).unwrap();
}

fn image_bytes() -> Vec<u8> {
    (0..64 * 512_u32).flat_map(|n| [n as u8]).collect()
}

fn disk_file(folder: &Path) -> PathBuf {
    let path = folder.join("disk.img");
    fs::write(&path, image_bytes()).unwrap();
    path
}

/// Settings with a disk, embedded or not, and the entropy device.
fn with_disk(path: &Path, embed_up_to: u64) -> Settings {
    Settings {
        disks: vec![DiskImage::open(path, false, embed_up_to).unwrap()],
        entropy_device: Some(true),
        checkpoint_ticks: 5,
        ..settings()
    }
}

/// A recording of the changing guest.
fn changing(folder: &Path, embed_up_to: u64) -> PathBuf {
    let image = disk_file(folder);
    let (path, outcome) = record(folder, &changing_guest(), &with_disk(&image, embed_up_to), None);
    assert!(outcome.passed, "{outcome:?}");
    path
}

/// The first page of the disk as the guest has made it, and what says so.
fn written(timeline: &Timeline) -> ([u8; PAGE_BYTES], u8) {
    let ram = &timeline.machine().platform.ram;
    (*ram.page(FIRST_HIDDEN_GFN + 1).unwrap(), ram.page(FIRST_HIDDEN_GFN).unwrap()[0])
}

#[test]
fn a_run_with_disk_and_entropy_replays_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let image = disk_file(folder.path());
    let mut consoles = Vec::new();
    for embed_up_to in [u64::MAX, 0] {
        let settings = with_disk(&image, embed_up_to);
        let (path, outcome) = record(folder.path(), &changing_guest(), &settings, None);
        assert!(outcome.passed && outcome.checkpoints > 3, "{outcome:?}");
        let report = replay(&path);
        assert_eq!(report.console, outcome.console);
        assert_eq!(report.digest, outcome.end.digest);
        assert_eq!(report.checkpoints, outcome.checkpoints);
        let events: Vec<_> =
            Recording::open(fs::read(&path).unwrap()).unwrap().events().map(Result::unwrap).collect();
        let asked = events
            .iter()
            .filter(|(_, event)| matches!(event, Event::DeviceEntropy { bytes } if bytes.len() == 8));
        assert_eq!(asked.count(), SECTORS as usize);
        consoles.push(outcome.console);
    }
    assert_eq!(consoles[0], consoles[1], "where the image is makes no difference");
    assert!(consoles[0].chunks(2).all(|pair| pair[1] == 0), "every request was done");
    assert_eq!(fs::read(&image).unwrap(), image_bytes(), "the image is never written");
    let other = Settings { seed: 8, ..with_disk(&image, 0) };
    let (_, outcome) = record(folder.path(), &changing_guest(), &other, None);
    assert_ne!(outcome.console, consoles[0], "another seed, other entropy");
}

#[test]
fn a_run_from_a_fork_has_the_disk_and_the_entropy_of_the_run_from_power_on() {
    let images = guest(|code| {
        start_changing(code);
        change(code, 8);
        for letter in *b"go" {
            code.mov(al, u32::from(letter)).unwrap();
            code.mov(dx, 0x3f8_u32).unwrap();
            code.out(dx, al).unwrap();
        }
        change(code, SECTORS);
        exit(code);
    });
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { vary_after: Some("go".to_owned()), ..with_disk(&disk_file(folder.path()), 0) };
    let Start::Ready(fork) = Fork::prepare("guest", &images, &settings, &AtomicBool::new(false)).unwrap()
    else {
        panic!("the guest says go")
    };
    let mut runner = Arc::new(*fork).runner().unwrap();
    let mut digests = HashSet::new();
    for seed in [3, 4, 3, 5] {
        let forked = runner.run(seed, &AtomicBool::new(false)).unwrap();
        let whole = Settings { seed, ..settings.clone() };
        let (path, outcome) = record(folder.path(), &images, &whole, None);
        assert_eq!((forked.digest, &forked.console), (outcome.end.digest, &outcome.console), "seed {seed}");
        assert_eq!(replay(&path).digest, forked.digest);
        digests.insert(forked.digest);
    }
    assert_eq!(digests.len(), 3);
}

#[test]
fn every_engine_serves_requests_at_the_same_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = changing(folder.path(), u64::MAX);
    let expected = replay(&path);
    for engine in ["plain", "step", "lockstep"] {
        match ReplaySession::open(&path, engine) {
            Ok(mut session) => {
                let report = session.run(None, &Arc::default(), |_| {}).unwrap();
                assert_eq!(report.digest, expected.digest, "{engine}");
            }
            Err(error) => eprintln!("SKIPPED engine {engine}: {error}"),
        }
    }
}

#[test]
fn going_back_over_a_write_brings_the_old_contents_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = changing(folder.path(), 0);
    let mut timeline = Timeline::open(&path).unwrap();
    assert_eq!(written(&timeline), ([0; PAGE_BYTES], 0), "nothing is written at the begin");
    timeline.seek(timeline.end(), &mut unsupervised()).unwrap();
    let last = written(&timeline);
    assert_eq!(last.1, 0b111, "24 sectors are three pages");
    // What stands there at every tick, forwards and then backwards.
    let mut seen = Vec::new();
    for tick in 0..timeline.end().tick {
        timeline.seek(Position::new(tick, 0), &mut unsupervised()).unwrap();
        seen.push(written(&timeline));
    }
    seen.dedup();
    assert!(seen.len() >= 8, "each sector of the page is another state");
    for tick in (0..timeline.end().tick).rev() {
        timeline.seek(Position::new(tick, 0), &mut unsupervised()).unwrap();
        let now = written(&timeline);
        if seen.last() != Some(&now) {
            seen.pop();
        }
        assert_eq!(seen.last(), Some(&now), "at tick {tick}");
    }
    timeline.seek(timeline.end(), &mut unsupervised()).unwrap();
    assert_eq!(written(&timeline), last);
}

#[test]
fn what_a_branch_writes_to_a_disk_is_gone_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = changing(folder.path(), 0);
    let mut timeline = Timeline::open(&path).unwrap();
    timeline.seek(timeline.end(), &mut unsupervised()).unwrap();
    let last = written(&timeline);
    let early = Position::new(timeline.end().tick / 8, 0);
    timeline.seek(early, &mut unsupervised()).unwrap();
    let (before, digest) = (written(&timeline), timeline.digest().unwrap());
    timeline.fork(3).unwrap();
    assert_eq!(timeline.run_forward(&Stops::default(), &mut unsupervised()).unwrap().reason, Reason::End);
    let branched = written(&timeline);
    assert_eq!(branched.1, last.1, "the guest has written its sectors");
    assert!(branched.0 != last.0, "with other entropy");
    timeline.return_to_recording().unwrap();
    assert!(written(&timeline) == before && timeline.digest().unwrap() == digest);
    timeline.seek(timeline.end(), &mut unsupervised()).unwrap();
    assert!(written(&timeline) == last);
}

#[test]
fn watchpoints_see_what_devices_write_at_the_step_that_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = changing(folder.path(), u64::MAX);
    let mut timeline = Timeline::open(&path).unwrap();
    let buffer = u64::from(Device::number(1).rings + BUFFER);
    let watch = Watch { gpa: buffer, len: 4, kind: WatchKind::Write };
    let stops = Stops { watches: vec![watch], ..Stops::default() };
    let Landing { position: first, reason: Reason::Watch(hit) } =
        timeline.run_forward(&stops, &mut unsupervised()).unwrap()
    else {
        panic!("the device writes there")
    };
    assert_eq!((hit.gpa, hit.len, hit.write), (buffer, 8, true));
    let events: Vec<_> = timeline.opened().inputs().events().to_vec();
    let asked: Vec<_> = events
        .iter()
        .filter(|(_, event)| matches!(event, Event::DeviceEntropy { .. }))
        .map(|(at, _)| *at)
        .collect();
    assert_eq!(hit.at, asked[0]);
    assert!(hit.at < first);
    timeline.seek(timeline.end(), &mut unsupervised()).unwrap();
    for at in asked.iter().rev().take(5) {
        let landing = timeline.run_backward(&stops, &mut unsupervised()).unwrap();
        let Reason::Watch(hit) = landing.reason else { panic!("{landing:?}") };
        assert_eq!(hit.at, *at);
    }
}

#[test]
fn every_replay_of_a_search_has_the_disks_that_the_cursor_has() {
    let buffer = u64::from(Device::number(0).rings + BUFFER);
    let watches = vec![Watch { gpa: buffer, len: 4, kind: WatchKind::Access }];
    let stops = Stops { watches, ..Stops::default() };
    let found = |timeline: &mut Timeline, processors| {
        timeline.search_on(processors);
        let (begin, end) = (timeline.begin(), timeline.end());
        timeline.collect(&stops, begin, end, usize::MAX, &mut unsupervised())
    };
    for embed_up_to in [0, u64::MAX] {
        let folder = tempfile::tempdir().unwrap();
        let path = changing(folder.path(), embed_up_to);
        let alone = found(&mut Timeline::open(&path).unwrap(), 1).unwrap();
        // Without its image the disk answers with errors, and the guest goes other ways from each checkpoint on.
        let without = found(&mut Timeline::open_to_look(&path).unwrap(), 1).unwrap();
        assert!(alone.hits.len() > 5 && alone != without, "{alone:?} {without:?}");
        for processors in [2, 4] {
            assert_eq!(found(&mut Timeline::open(&path).unwrap(), processors).unwrap(), alone);
            assert_eq!(found(&mut Timeline::open_to_look(&path).unwrap(), processors).unwrap(), without);
        }
    }
}

#[test]
fn code_that_a_disk_brings_is_the_code_that_runs() {
    // Sector 0: print 'A', return. Sector 1: print 'B', return. Both are read over the same place and called.
    let routine = |letter: u8| {
        let mut code = CodeAssembler::new(32).unwrap();
        code.mov(al, u32::from(letter)).unwrap();
        code.mov(dx, 0x3f8_u32).unwrap();
        code.out(dx, al).unwrap();
        code.ret().unwrap();
        let mut bytes = code.assemble(0x30_0000).unwrap();
        bytes.resize(512, 0x90);
        bytes
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("code.img");
    fs::write(&file, [routine(b'A'), routine(b'B')].concat()).unwrap();
    let images = guest(|code| {
        let disk = Device::number(0);
        disk.start(code);
        code.mov(iced_x86::code_asm::esp, 0x31_0000_u32).unwrap();
        code.xor(esi, esi).unwrap();
        let mut again = code.create_label();
        code.set_label(&mut again).unwrap();
        disk.request(code, false, 0x30_0000);
        code.call(0x30_0000).unwrap();
        code.xor(esi, 1).unwrap();
        code.inc(byte_ptr(0x32_0000_u64)).unwrap();
        code.cmp(byte_ptr(0x32_0000_u64), 8).unwrap();
        code.jb(again).unwrap();
        exit(code);
    });
    let settings = Settings { disks: vec![DiskImage::open(&file, true, 0).unwrap()], ..settings() };
    let (path, outcome) = record(folder.path(), &images, &settings, None);
    assert_eq!(String::from_utf8_lossy(&outcome.console), "ABABABAB");
    assert_eq!(replay(&path).console, outcome.console);
}

#[test]
fn page_tables_that_a_disk_brings_are_those_that_are_walked() {
    // Each sector is a part of a page table that maps all its pages to one: the first to one with an A, the second to one with a B.
    const TABLE_GPA: u32 = 0x80_1000;
    const DIRECTORY: u32 = 0x80_0000;
    const PAGES: [u32; 2] = [0x60_0000, 0x70_0000];
    let sector = |page: u32| (page | 3).to_le_bytes().repeat(128);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tables.img");
    fs::write(&file, PAGES.map(sector).concat()).unwrap();
    let images = guest(|code| {
        use iced_x86::code_asm::{cr0, cr3, cr4, ecx};
        let disk = Device::number(0);
        disk.start(code);
        for (page, letter) in PAGES.into_iter().zip(*b"AB") {
            code.mov(byte_ptr(u64::from(page)), u32::from(letter)).unwrap();
        }
        // Everything is mapped to itself in pages of 4 MiB, but the second 4 MiB through the table.
        let mut again = code.create_label();
        code.xor(ecx, ecx).unwrap();
        code.mov(eax, 0x83_u32).unwrap();
        code.set_label(&mut again).unwrap();
        code.mov(dword_ptr(ecx * 4 + DIRECTORY), eax).unwrap();
        code.add(eax, 0x40_0000_u32).unwrap();
        code.inc(ecx).unwrap();
        code.cmp(ecx, 1024_u32).unwrap();
        code.jb(again).unwrap();
        code.mov(dword_ptr(u64::from(DIRECTORY + 4)), TABLE_GPA | 3).unwrap();
        code.mov(eax, cr4).unwrap();
        code.or(eax, 0x10_u32).unwrap();
        code.mov(cr4, eax).unwrap();
        code.mov(eax, DIRECTORY).unwrap();
        code.mov(cr3, eax).unwrap();
        code.mov(eax, cr0).unwrap();
        code.or(eax, 0x8000_0000_u32).unwrap();
        code.mov(cr0, eax).unwrap();
        code.xor(esi, esi).unwrap();
        let mut again = code.create_label();
        code.set_label(&mut again).unwrap();
        disk.request(code, false, TABLE_GPA);
        print(code, 0x40_5000);
        code.xor(esi, 1).unwrap();
        code.inc(byte_ptr(0x32_0000_u64)).unwrap();
        code.cmp(byte_ptr(0x32_0000_u64), 8).unwrap();
        code.jb(again).unwrap();
        exit(code);
    });
    let settings = Settings { disks: vec![DiskImage::open(&file, true, 0).unwrap()], ..settings() };
    let (path, outcome) = record(folder.path(), &images, &settings, None);
    assert_eq!(String::from_utf8_lossy(&outcome.console), "ABABABAB", "{:?}", outcome.end);
    for engine in ["soft", "plain"] {
        let mut session = ReplaySession::open(&path, engine).unwrap();
        assert_eq!(
            session.run(None, &Arc::default(), |_| {}).unwrap().digest,
            outcome.end.digest,
            "{engine}"
        );
    }
}

/// Why a recording cannot be replayed.
fn refusal(path: &Path, disks: &DiskPaths) -> DiskError {
    let replayed = ReplaySession::open_finding(path, "soft", disks).err().expect("refused");
    let ReplayError::Start(StartError::Open(OpenError::Disk(error))) = replayed else { panic!("{replayed}") };
    let opened = Timeline::open_finding(path, disks).expect_err("refused");
    let TimelineError::Start(StartError::Open(OpenError::Disk(same))) = opened else { panic!("{opened}") };
    assert_eq!(error.to_string(), same.to_string());
    error
}

#[test]
fn an_image_that_is_not_in_the_recording_is_looked_for_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let path = changing(folder.path(), 0);
    let nowhere = DiskPaths::default();
    let recording = elsewhere.path().join("run.rvm");
    fs::copy(&path, &recording).unwrap();
    replay(&recording);
    let image = folder.path().join("disk.img");
    let moved = elsewhere.path().join("moved.img");
    fs::rename(&image, &moved).unwrap();
    let error = refusal(&recording, &nowhere);
    assert!(
        matches!(&error, DiskError::Missing { name, tried } if name == "disk.img" && tried.len() == 2),
        "{error}"
    );
    let told = DiskPaths(vec![("disk.img".to_owned(), moved.clone())]);
    ReplaySession::open_finding(&recording, "soft", &told)
        .unwrap()
        .run(None, &Arc::default(), |_| {})
        .unwrap();
    fs::rename(&moved, elsewhere.path().join("disk.img")).unwrap();
    replay(&recording);

    let image = elsewhere.path().join("disk.img");
    let mut changed = image_bytes();
    changed[30_000] ^= 1;
    fs::write(&image, &changed).unwrap();
    let error = refusal(&recording, &nowhere);
    assert!(matches!(&error, DiskError::OtherContent { path, .. } if *path == image), "{error}");
    fs::write(&image, &image_bytes()[..512]).unwrap();
    let error = refusal(&recording, &nowhere);
    assert!(matches!(&error, DiskError::OtherSize { found: 512, expected: 32_768, .. }), "{error}");
    // A wrong one first, the right one behind it.
    fs::write(folder.path().join("disk.img"), image_bytes()).unwrap();
    replay(&recording);
}

#[test]
fn an_embedded_image_needs_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = changing(folder.path(), 64 * 512);
    fs::remove_file(folder.path().join("disk.img")).unwrap();
    replay(&path);
}

#[test]
fn images_that_cannot_be_disks_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let open = |path: &Path| DiskImage::open(path, false, 0).expect_err("refused");
    assert!(matches!(open(&file("empty", &[])), DiskError::Size { bytes: 0, .. }));
    assert!(matches!(open(&file("odd", &[0; 513])), DiskError::Size { bytes: 513, .. }));
    assert!(matches!(open(folder.path()), DiskError::NotAFile { .. }));
    assert!(matches!(open(&folder.path().join("none")), DiskError::Open { .. }));
    let image = DiskImage::open(&file("disk", &[0; 512]), false, 0).unwrap();
    let settings = Settings { disks: vec![image; 8], ..settings() };
    let path = folder.path().join("run.rvm");
    let started = RecordSession::start(&path, "guest", &changing_guest(), &settings, None, Arc::default());
    let refused = matches!(started, Err(RecordError::Machine(MachineError::Disk(DiskError::TooMany))));
    assert!(refused, "eight disks");
}

/// Writes a recording again with other events; its checkpoints but the first are left out.
fn with_events(path: &Path, into: &Path, events: &[(Position, Event)]) {
    let recording = Recording::open(fs::read(path).unwrap()).unwrap();
    let images = recording.images().iter().enumerate();
    let images =
        images.map(|(index, image)| (image.clone(), recording.image_bytes(index).unwrap().into_owned()));
    let mut writer = RecordingWriter::create(into, recording.description(), images.collect()).unwrap();
    let first = recording.checkpoint(0).unwrap();
    let pages: Vec<_> = first.pages.iter().map(|page| (page.gfn, *recording.page(page).unwrap())).collect();
    let mut record = recorder::CheckpointRecord::new(Position::START, 0);
    record.sections = first.sections;
    record.digests = first.digests;
    for (at, event) in events.iter().filter(|(at, _)| *at == Position::START) {
        writer.event(*at, event.clone()).unwrap();
    }
    for (gfn, page) in &pages {
        writer.add_page(&mut record, *gfn, page);
    }
    writer.checkpoint(record).unwrap();
    for (at, event) in events.iter().filter(|(at, _)| *at > Position::START) {
        writer.event(*at, event.clone()).unwrap();
    }
    for exit in recording.exits() {
        let (at, exit) = exit.unwrap();
        writer.exit(at, exit).unwrap();
    }
    writer.finish(recording.end().unwrap().clone()).unwrap();
}

#[test]
fn entropy_that_is_missing_or_of_another_length_is_a_divergence() {
    let folder = tempfile::tempdir().unwrap();
    let path = changing(folder.path(), u64::MAX);
    let recording = Recording::open(fs::read(&path).unwrap()).unwrap();
    let events: Vec<_> = recording.events().map(Result::unwrap).collect();
    let asked = |event: &Event| matches!(event, Event::DeviceEntropy { .. });
    let tenth = events.iter().enumerate().filter(|(_, (_, event))| asked(event)).nth(10).unwrap().0;
    let at = events[tenth].0;
    let spoilt = folder.path().join("spoilt.rvm");
    let diverges = |events: &[(Position, Event)]| {
        with_events(&path, &spoilt, events);
        let mut session = ReplaySession::open(&spoilt, "soft").unwrap();
        let error = session.run(None, &Arc::default(), |_| {}).expect_err("diverges");
        let ReplayError::Session(SessionError::Diverged(divergence)) = error else { panic!("{error}") };
        divergence
    };
    with_events(&path, &spoilt, &events);
    replay(&spoilt);
    let mut without = events.clone();
    without.remove(tenth);
    assert_eq!(diverges(&without), Divergence::DeviceEntropy { at, asked: 8, recorded: None });
    let mut longer = events.clone();
    longer[tenth].1 = Event::DeviceEntropy { bytes: vec![0; 9] };
    assert_eq!(diverges(&longer), Divergence::DeviceEntropy { at, asked: 8, recorded: Some(9) });
    let mut other = events;
    other[tenth].1 = Event::DeviceEntropy { bytes: vec![0; 8] };
    let divergence = diverges(&other);
    assert!(
        matches!(divergence, Divergence::Exit { .. }),
        "what the guest prints is another byte: {divergence}"
    );
}

#[test]
fn a_checkpoint_without_the_section_of_a_disk_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = changing(folder.path(), u64::MAX);
    let mut machine = Timeline::open(&path).unwrap();
    machine.seek(machine.end(), &mut unsupervised()).unwrap();
    let sections = machine.machine().save();
    for name in ["virtio-blk0", "virtio-rng"] {
        let without: Vec<_> = sections.iter().filter(|section| section.name != name).cloned().collect();
        let settings = with_disk(&folder.path().join("disk.img"), 0);
        let description = settings.description("guest", recorder::BootKind::Elf32);
        let mut bare = replayvm::machine::Machine::bare(&description).unwrap();
        bare.restore(&sections).unwrap();
        let error = bare.restore(&without).expect_err("refused");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_snapshot_has_what_was_written_and_the_images_that_it_says() {
    let folder = tempfile::tempdir().unwrap();
    for embed_up_to in [u64::MAX, 0] {
        let path = changing(folder.path(), embed_up_to);
        let image = folder.path().join("disk.img");
        let (opened, _) = OpenRecording::open(&path).unwrap();
        let end = opened.recording().end().unwrap().clone();
        let middle = Position::new(end.position.tick / 2, 1);
        for keep_up_to in [u64::MAX, 0] {
            let whole = embed_up_to > 0 || keep_up_to > 0;
            let out = folder.path().join("out.rvs");
            let mut timeline = Timeline::open(&path).unwrap();
            timeline.seek(middle, &mut unsupervised()).unwrap();
            let saved = save(&mut timeline, &out, keep_up_to).unwrap();
            assert_eq!(saved.disks_left_out.is_empty(), whole, "{saved:?}");
            let mut snapshot = OpenSnapshot::open(&out).unwrap();
            let (_, on_disks) = snapshot.pages();
            assert!(on_disks >= 2, "bits, and what they tell of");
            // The image goes away, and comes back under another name.
            let elsewhere = folder.path().join("elsewhere.img");
            fs::rename(&image, &elsewhere).unwrap();
            let started = snapshot.start(|_| Ok(Box::new(SoftEngine::new())));
            assert_eq!(started.is_ok(), whole);
            if let Err(error) = started {
                let missing = matches!(&error, StartError::Open(OpenError::Disk(DiskError::Missing { .. })));
                assert!(missing, "{error}");
                assert!(error.to_string().contains("--disk-path disk.img=FILE"), "{error}");
            }
            snapshot.look_for_disks_in(&DiskPaths(vec![("disk.img".to_owned(), elsewhere.clone())]));
            let (mut driver, mut tracker, mut inputs) = go_on_as_recorded(&snapshot, &opened);
            assert_eq!(digest(&mut driver.machine, &mut tracker), saved.digest);
            run_to(&mut driver, &mut inputs, end.position);
            assert_eq!(digest(&mut driver.machine, &mut tracker), end.digest);
            assert_eq!(fs::read(&elsewhere).unwrap(), image_bytes(), "the image is never written");
            fs::rename(&elsewhere, &image).unwrap();
        }
    }
}
