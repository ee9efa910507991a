//! A small recording that has one of everything, for the tests over whole files.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

/// Reading everything out of bytes that may be anything.
pub mod exercise;

use std::fs;

use recorder::{
    BootKind, CheckpointRecord, Digest, Disk, End, EndReason, Event, Exit, Image, ImageRole,
    MachineDescription, Page, PageHash, Position, RULES_VERSION, RecordingWriter, Section,
};

pub const KERNEL: &[u8] = b"\x7fELF and then some, some, some, some, some, some, some, some, some, some";
pub const MODULE: &[u8] = b"an initial ramdisk";

pub fn machine() -> MachineDescription {
    MachineDescription {
        memory_bytes: 64 << 20,
        ns_per_tick: 10,
        rules_version: RULES_VERSION,
        cpu_model: "baseline".to_owned(),
        flags_profile: "intel".to_owned(),
        boot: BootKind::Multiboot,
        command_line: "console=ttyS0".to_owned(),
        guest_name: "sample".to_owned(),
        seed: 42,
        engine: "soft".to_owned(),
        pass_code: 0x10,
        disks: vec![Disk {
            name: "root.img".to_owned(),
            path: "/images/root.img".to_owned(),
            hash: [7; 32],
            size: 1 << 20,
            embedded: false,
            read_only: true,
        }],
        entropy_device: true,
        cpu_features: vec!["-sse4_2".to_owned()],
    }
}

pub fn images() -> Vec<(Image, Vec<u8>)> {
    let image = |role, name: &str, bytes: &[u8]| (Image::describe(role, name, "arg", bytes), bytes.to_vec());
    vec![
        image(ImageRole::Kernel, "kernel.elf", KERNEL),
        image(ImageRole::Module, "initrd", MODULE),
        image(ImageRole::Module, "kernel-again", KERNEL),
        image(ImageRole::Module, "empty", b""),
    ]
}

/// One event of each kind, in order.
pub fn events() -> Vec<(Position, Event)> {
    vec![
        (Position::START, Event::Clock { unix_seconds: 1_700_000_000 }),
        (Position::new(10, 7), Event::Entropy { value: 0x0123_4567_89ab_cdef }),
        (Position::new(12, 1), Event::DeviceEntropy { bytes: vec![1, 2, 3] }),
        (Position::new(20, 0), Event::Serial { bytes: b"ls\n".to_vec() }),
        (Position::new(20, 0), Event::TimerDelay { source: 3, ns: 1500 }),
        (Position::new(30, 0), Event::Idle { ns: 1_000_000 }),
        (Position::new(40, 0), Event::InterruptHold { ticks: 64 }),
    ]
}

/// One exit of each kind, in order, from `tick` on.
pub fn exits(tick: u64) -> Vec<(Position, Exit)> {
    let exits = [
        Exit::PortRead { port: 0x3fd, size: 1, value: 0x60 },
        Exit::PortWrite { port: 0x3f8, size: 1, value: 0x41 },
        Exit::MmioRead { gpa: 0xfee0_0020, size: 4, value: 0 },
        Exit::MmioWrite { gpa: 0xfee0_00b0, size: 8, value: u64::MAX },
        Exit::MsrRead { index: 0xc000_0080, value: 0xd01 },
        Exit::MsrWrite { index: 0x6e0, value: 77 },
        Exit::Cpuid { leaf: 0x8000_0001, subleaf: 9 },
        Exit::Tsc { value: 12_345 },
        Exit::Entropy { value: 0x0123_4567_89ab_cdef },
        Exit::Halt,
        Exit::Interrupt { vector: 0x20 },
        Exit::Nmi,
        Exit::Exception { vector: 14, error_code: Some(6), address: 0xffff_8000_0000_1000 },
        Exit::Exception { vector: 6, error_code: None, address: 0 },
        Exit::SoftwareInterrupt { vector: 0x80 },
        Exit::Shutdown,
    ];
    exits
        .into_iter()
        .zip(0_u32..)
        .map(|(exit, n)| (Position::new(tick + u64::from(n / 3), n % 3), exit))
        .collect()
}

pub fn page(seed: u8) -> Page {
    std::array::from_fn(|index| if index % 16 == 0 { seed } else { (index / 64) as u8 })
}

pub fn sections(version: u32) -> Vec<Section> {
    let section = |name: &str, bytes: Vec<u8>| Section { name: name.to_owned(), version, bytes };
    vec![section("cpu", (0..=255).collect()), section("pic", vec![version as u8; 9])]
}

/// A checkpoint with these pages; seed 0 is the page of zeros.
pub fn checkpoint(writer: &RecordingWriter, at: Position, pages: &[(u64, u8)]) -> CheckpointRecord {
    let mut record = CheckpointRecord::new(at, at.tick * 5);
    record.sections = sections(at.tick as u32);
    record.digests = record.sections.iter().map(|s| (s.name.clone(), s.digest())).collect();
    record.digests.push(("ram".to_owned(), Digest(u128::from(at.tick) << 64)));
    for &(gfn, seed) in pages {
        let page = if seed == 0 { recorder::ZERO_PAGE } else { page(seed) };
        assert_eq!(writer.add_page(&mut record, gfn, &page), PageHash::of(&page));
    }
    record
}

pub fn end() -> End {
    End {
        position: Position::new(250, 1),
        instructions: 1234,
        digest: Digest(99),
        reason: EndReason::DebugExit { code: 0x10 },
    }
}

/// Positions and pages of the checkpoints of the sample.
pub const CHECKPOINTS: [(u64, &[(u64, u8)]); 3] =
    [(0, &[(1, 1), (2, 2)]), (50, &[(9, 1), (2, 3), (16_000, 1)]), (200, &[(2, 0), (5, 2)])];

/// Records the sample up to the end; the writer is dropped there if it is not to be closed.
pub fn record(path: &std::path::Path, close: bool) {
    let mut writer = RecordingWriter::create(path, &machine(), images()).unwrap();
    let mut events = events().into_iter().peekable();
    for (tick, pages) in CHECKPOINTS {
        let at = Position::new(tick, 0);
        while let Some((position, event)) = events.next_if(|event| event.0 <= at) {
            writer.event(position, event).unwrap();
        }
        let record = checkpoint(&writer, at, pages);
        writer.checkpoint(record).unwrap();
        for (position, exit) in exits(tick) {
            writer.exit(position, exit).unwrap();
        }
    }
    if close {
        let bytes = writer.finish(end()).unwrap();
        assert_eq!(bytes, fs::metadata(path).unwrap().len());
    }
}

/// The bytes of the sample.
pub fn sample(close: bool) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sample.rvm");
    record(&path, close);
    fs::read(path).unwrap()
}

/// Checks that a recording is the whole sample.
pub fn check_sample(recording: &recorder::Recording) {
    assert_eq!(recording.description(), &machine());
    for (index, (image, bytes)) in images().into_iter().enumerate() {
        assert_eq!(recording.images()[index], image);
        assert_eq!(recording.image_bytes(index).unwrap(), bytes);
    }
    assert_eq!(recording.events().collect::<Result<Vec<_>, _>>().unwrap(), events());
    let all: Vec<_> = CHECKPOINTS.iter().flat_map(|(tick, _)| exits(*tick)).collect();
    assert_eq!(recording.exits().collect::<Result<Vec<_>, _>>().unwrap(), all);
    assert_eq!(recording.checkpoints().len(), CHECKPOINTS.len());
    for (index, (tick, pages)) in CHECKPOINTS.into_iter().enumerate() {
        let checkpoint = recording.checkpoint(index).unwrap();
        assert_eq!(checkpoint.info.position, Position::new(tick, 0));
        assert_eq!(checkpoint.info.instructions, tick * 5);
        assert_eq!(checkpoint.sections, sections(tick as u32));
        assert_eq!(checkpoint.digests[0], ("cpu".to_owned(), checkpoint.sections[0].digest()));
        assert_eq!(checkpoint.digests.len(), 3);
        let mut expected = pages.to_vec();
        expected.sort_unstable();
        assert_eq!(checkpoint.pages.len(), expected.len());
        for (found, (gfn, seed)) in checkpoint.pages.iter().zip(expected) {
            let content = if seed == 0 { recorder::ZERO_PAGE } else { page(seed) };
            assert_eq!(found.gfn, gfn);
            assert_eq!(recording.page(found).unwrap(), &content);
        }
    }
    // Each content once, whatever the pages that have it.
    assert_eq!(recording.statistics().stored_pages, 3);
}
