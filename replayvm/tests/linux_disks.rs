//! Debian's kernel with its own modules on our disks and entropy device: found by ACPI, a file system made, written, read, recorded,
//! replayed, and walked backwards.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use corpora::linux::{BuildError, Initramfs, required};
use recorder::{EndReason, Event, Exit, Position};
use replayvm::machine::{DiskImage, GuestImages};
use replayvm::session::{RecordSession, ReplaySession, Settings};
use replayvm::timeline::{Timeline, unsupervised};

const JOB: &str = "
echo disk $(cat /sys/block/vda/size) $(cat /sys/block/vda/serial)
echo only $(cat /sys/block/vdb/ro) $(sha256sum </dev/vdb)
echo before $(sha256sum </dev/vda)
mke2fs -F /dev/vda >/dev/null && mkdir /mnt && mount -t ext2 /dev/vda /mnt || echo no file system
dd if=/dev/hwrng of=/mnt/random bs=512 count=8 2>/dev/null
echo hello disk >/mnt/hello
umount /mnt
echo halfway $(sha256sum </dev/vda)
echo 3 >/proc/sys/vm/drop_caches
mount -t ext2 /dev/vda /mnt
echo read $(cat /mnt/hello) $(wc -c </mnt/random)
rm /mnt/hello
umount /mnt
echo after $(sha256sum </dev/vda)
dd if=/dev/zero of=/dev/vdb bs=512 count=1 2>/dev/null && echo written
echo source $(cat /sys/class/misc/hw_random/rng_current)
";

fn images() -> Result<GuestImages, BuildError> {
    let path = corpora::linux::kernel()?;
    let kernel = fs::read(&path).map_err(|error| BuildError::Read { path, error })?;
    let initramfs = Initramfs::new()?.module("virtio_mmio")?.module("virtio_blk")?.module("virtio-rng")?;
    Ok(GuestImages { kernel, initrd: Some(initramfs.job(JOB).build()), ..GuestImages::default() })
}

/// The rest of the line that begins with `word`.
fn line<'c>(console: &'c str, word: &str) -> &'c str {
    let line = console.lines().find_map(|line| line.strip_prefix(word));
    line.unwrap_or_else(|| panic!("no line `{word}` in:\n{console}")).trim()
}

/// What the host's sha256sum says of these bytes, as the guest prints it.
fn sha256(folder: &Path, bytes: &[u8]) -> String {
    let file = folder.join("sum");
    fs::write(&file, bytes).unwrap();
    let output = Command::new("sha256sum").arg(&file).output().expect("sha256sum");
    let text = String::from_utf8(output.stdout).unwrap();
    format!("{} -", text.split_whitespace().next().unwrap())
}

fn disk(timeline: &Timeline, bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    assert!(timeline.machine().read_disk(0, 0, &mut content));
    content
}

#[test]
fn linux_makes_a_file_system_and_its_past_can_be_visited() {
    let Some(images) = required(images()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let noise = |len: usize, by: u32| -> Vec<u8> {
        (0..len as u32).map(|n| (n.wrapping_mul(by).wrapping_add(n >> 7) >> 5) as u8).collect()
    };
    let contents = [noise(1 << 20, 2_654_435_761), noise(100 * 512, 40_503)];
    let files = ["a.img", "b.img"].map(|name| folder.path().join(name));
    for (file, content) in files.iter().zip(&contents) {
        fs::write(file, content).unwrap();
    }
    let disks = vec![
        DiskImage::open(&files[0], false, 0).unwrap(),
        DiskImage::open(&files[1], true, u64::MAX).unwrap(),
    ];
    let command_line = "console=ttyS0 panic=-1 reboot=t nokaslr mitigations=off cryptomgr.notests \
                        random.trust_cpu=on quiet";
    let settings = Settings {
        memory_bytes: 128 << 20,
        command_line: command_line.to_owned(),
        limit_ticks: u64::MAX,
        checkpoint_ticks: 10_000_000,
        disks,
        ..Settings::default()
    };
    let path = folder.path().join("run.rvm");
    let session = RecordSession::start(&path, "linux", &images, &settings, None, Arc::default());
    let outcome = session.unwrap().run().unwrap();
    let console = String::from_utf8_lossy(&outcome.console).replace('\r', "");
    println!("{console}{:?}", outcome.end);
    assert_eq!(outcome.end.reason, EndReason::PowerOff, "{console}");

    let serial = &blake3::hash(&contents[0]).to_hex().to_string()[..20];
    assert_eq!(line(&console, "disk"), format!("2048 {serial}"));
    assert_eq!(line(&console, "only"), format!("1 {}", sha256(folder.path(), &contents[1])));
    assert_eq!(line(&console, "before"), sha256(folder.path(), &contents[0]));
    assert_eq!(line(&console, "read"), "hello disk 4096");
    assert_eq!(line(&console, "source"), "virtio_rng.0");
    assert!(!console.contains("written") && !console.contains("no file system"), "{console}");
    for (file, content) in files.iter().zip(&contents) {
        assert_eq!(fs::read(file).unwrap(), *content, "an image is never written");
    }

    let mut replay = ReplaySession::open(&path, "soft").unwrap();
    let report = replay.run(None, &Arc::default(), |_| {}).unwrap();
    assert_eq!((report.digest, &report.console), (outcome.end.digest, &outcome.console));
    assert_eq!(report.checkpoints, outcome.checkpoints);

    // Backwards from the end: at each of the moments at which the guest looked, the disk is what it saw.
    let mut timeline = Timeline::open(&path).unwrap();
    let said = serial_output(&timeline);
    for word in ["after", "halfway", "only", "halfway"] {
        timeline.seek(position_of(&said, word), &mut unsupervised()).unwrap();
        let expected = if word == "only" { "before" } else { word };
        assert_eq!(line(&console, expected), sha256(folder.path(), &disk(&timeline, 1 << 20)), "{word}");
    }
    timeline.seek(timeline.begin(), &mut unsupervised()).unwrap();
    assert_eq!(disk(&timeline, 1 << 20), contents[0]);
    let inputs = timeline.opened().inputs();
    let handed = inputs.events().iter().map(|(_, event)| match event {
        Event::DeviceEntropy { bytes } => bytes.len(),
        _ => 0,
    });
    assert!(handed.sum::<usize>() >= 4096, "what the guest read of its entropy device");
}

/// Every byte that the guest wrote to its serial port, and where.
fn serial_output(timeline: &Timeline) -> Vec<(Position, u8)> {
    let exits = timeline.opened().recording().exits().map(Result::unwrap);
    exits
        .filter_map(|(at, exit)| match exit {
            Exit::PortWrite { port: 0x3f8, value, .. } => Some((at, value as u8)),
            _ => None,
        })
        .collect()
}

/// Where the guest began the line that begins with `word`.
fn position_of(said: &[(Position, u8)], word: &str) -> Position {
    let line: Vec<u8> = [b"\n", word.as_bytes(), b" "].concat();
    let found = said
        .windows(line.len())
        .find(|window| window.iter().zip(&line).all(|((_, said), byte)| said == byte));
    found.unwrap_or_else(|| panic!("the guest did not say {word}"))[1].0
}
