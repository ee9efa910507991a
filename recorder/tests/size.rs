//! How much of a file events and exits take. The streams are made up after what guests do; `--nocapture` shows the numbers.
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;

use recorder::{Event, Exit, Position, Recording, RecordingWriter};

/// Deterministic numbers without a pattern.
struct Noise(blake3::OutputReader);

impl Noise {
    fn new() -> Self {
        Self(blake3::Hasher::new().finalize_xof())
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

fn record(events: &[(Position, Event)], exits: &[(Position, Exit)]) -> Recording {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("size.rvm");
    let mut writer = RecordingWriter::create(&path, &common::machine(), Vec::new()).unwrap();
    events.iter().for_each(|(at, event)| writer.event(*at, event.clone()).unwrap());
    exits.iter().for_each(|(at, exit)| writer.exit(*at, *exit).unwrap());
    let position = writer.reached();
    writer.finish(recorder::End { position, ..common::end() }).unwrap();
    let recording = Recording::open(std::fs::read(path).unwrap()).unwrap();
    assert!(recording.exits().map(Result::unwrap).eq(exits.iter().copied()));
    assert!(recording.events().map(Result::unwrap).eq(events.iter().cloned()));
    recording
}

/// Bytes per exit, and per thousand instructions where a tick is six of them.
fn measure(name: &str, exits: &[(Position, Exit)]) -> (f64, f64) {
    let statistics = record(&[], exits).statistics().clone();
    let bytes = statistics.exit_bytes as f64;
    let instructions = exits.last().unwrap().0.tick as f64 * 6.0;
    let result = (bytes / exits.len() as f64, bytes * 1000.0 / instructions);
    println!(
        "{name}: {} exits, {:.3} bytes an exit, {:.4} bytes per thousand instructions",
        exits.len(),
        result.0,
        result.1
    );
    result
}

/// A kernel at work: a timer interrupt each millisecond of virtual time with its EOI and rearming, system calls that read
/// the time stamp, now and then a page fault.
fn busy_kernel() -> Vec<(Position, Exit)> {
    let mut noise = Noise::new();
    let mut exits = Vec::new();
    let (mut tick, mut reads, mut deadline) = (0, 0, 100_000);
    while exits.len() < 200_000 {
        tick += 500 + noise.below(3000);
        let mut offset = noise.below(9) as u32;
        let mut push = |exit| {
            exits.push((Position::new(tick, offset), exit));
            offset += 7;
        };
        if tick >= deadline {
            deadline += 100_000;
            push(Exit::Interrupt { vector: 0x20 });
            reads += 1;
            push(Exit::Tsc { value: tick * 10 + reads });
            push(Exit::MmioWrite { gpa: 0xfee0_0380, size: 4, value: 1_000_000 });
            push(Exit::MmioWrite { gpa: 0xfee0_00b0, size: 4, value: 0 });
        } else if noise.below(3) == 0 {
            let address = 0x7fff_0000_0000 + noise.below(1 << 10) * 4096;
            push(Exit::Exception { vector: 14, error_code: Some(6), address });
        } else {
            reads += 1;
            push(Exit::Tsc { value: tick * 10 + reads });
        }
    }
    exits
}

/// A console driver that polls the line status before each byte of a text: the files of these tests, none twice.
fn console() -> Vec<(Position, Exit)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    files.sort();
    let mut exits = Vec::new();
    let mut tick = 0;
    for byte in files.iter().flat_map(|path| std::fs::read(path).unwrap()) {
        tick += 4;
        exits.push((Position::new(tick, 2), Exit::PortRead { port: 0x3fd, size: 1, value: 0x60 }));
        tick += 1;
        exits
            .push((Position::new(tick, 3), Exit::PortWrite { port: 0x3f8, size: 1, value: u32::from(byte) }));
    }
    exits
}

/// A driver that spins on a status register.
fn polling() -> Vec<(Position, Exit)> {
    let exit = |n: u64| {
        (
            Position::new(n * 2, 5),
            Exit::MmioRead { gpa: 0xfebf_1014, size: 4, value: u64::from(n.is_multiple_of(1000)) },
        )
    };
    (1..300_000).map(exit).collect()
}

#[test]
fn exits_take_little() {
    let (exit, thousand) = measure("a busy kernel", &busy_kernel());
    assert!(exit < 4.0 && thousand < 0.5, "{exit} {thousand}");
    let (exit, _) = measure("a console", &console());
    assert!(exit < 0.4, "{exit}");
    let (exit, thousand) = measure("polling", &polling());
    assert!(exit < 0.02 && thousand < 1.0, "{exit} {thousand}");
}

#[test]
fn events_take_little_more_than_what_cannot_be_known() {
    let mut noise = Noise::new();
    let events: Vec<_> = (1..20_000_u64)
        .map(|n| {
            let at = Position::new(n * 10_000 + noise.below(5000), 0);
            let event = match n % 4 {
                0 => Event::Entropy { value: noise.number() },
                1 => Event::Serial { bytes: vec![b'a' + noise.below(26) as u8] },
                2 => Event::TimerDelay { source: 1, ns: noise.below(50_000) },
                _ => Event::InterruptHold { ticks: noise.below(256) as u32 },
            };
            (at, event)
        })
        .collect();
    let recording = record(&events, &[]);
    let bytes = recording.statistics().event_bytes as f64 / events.len() as f64;
    println!("{} events, {bytes:.3} bytes an event", events.len());
    assert!(bytes < 7.0, "{bytes}");
}
