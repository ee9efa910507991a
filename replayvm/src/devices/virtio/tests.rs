//! A small driver builds rings in guest memory and talks to the devices as a kernel would, or as none should.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use recorder::{BootKind, Digest};

use super::*;
use crate::checkpoint::RamTracker;
use crate::devices::Devices;
use crate::machine::{FIRST_HIDDEN_GFN, PAGE_BYTES};
use crate::session::Settings;

const RAM_BYTES: u64 = 1 << 20;
const TABLE: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
const INDIRECT: u64 = 0x4000;
const HEADER: u64 = 0x5000;
const STATUS: u64 = 0x5800;
const BUFFER: u64 = 0x1_0000;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT_FLAG: u16 = 4;

const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const OK: u8 = 0;
const IO_ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;
const NEEDS_RESET: u64 = 64;

/// Counts up; notes what it was asked.
#[derive(Debug, Default)]
struct Counting {
    asked: Vec<(Position, usize, usize)>,
    next: u8,
}

impl Entropy for Counting {
    fn next(&mut self, _at: Position, _size: u8) -> u64 {
        unreachable!("no instruction runs here")
    }

    fn bytes(&mut self, at: Position, index: usize, len: usize) -> Vec<u8> {
        self.asked.push((at, index, len));
        let first = self.next;
        self.next = first.wrapping_add(len as u8);
        (0..len).map(|n| first.wrapping_add(n as u8)).collect()
    }
}

/// Devices, memory, and a driver for one of the devices.
struct Bench {
    devices: Devices,
    ram: GuestRam,
    entropy: Counting,
    base: u64,
    /// Chains made available so far.
    available: u16,
    queue_size: u16,
}

fn image(bytes: &[u8], read_only: bool) -> DiskImage {
    let disk = recorder::Disk {
        name: "disk.img".to_owned(),
        path: String::new(),
        hash: *blake3::hash(bytes).as_bytes(),
        size: bytes.len() as u64,
        embedded: true,
        read_only,
    };
    DiskImage::embedded(&disk, bytes.to_vec()).unwrap()
}

/// Every sector begins with its number.
fn numbered(sectors: u64) -> Vec<u8> {
    (0..sectors)
        .flat_map(|sector| {
            let mut bytes = vec![0xa5; 512];
            bytes[..8].copy_from_slice(&sector.to_le_bytes());
            bytes
        })
        .collect()
}

impl Bench {
    /// A machine with these disks and an entropy device; the driver is for the device of that number.
    fn new(images: &[DiskImage], device: usize) -> Self {
        let settings = Settings {
            memory_bytes: RAM_BYTES,
            disks: images.to_vec(),
            entropy_device: Some(true),
            ..Settings::default()
        };
        let description = settings.description("test", BootKind::Flat16);
        let machine = crate::machine::Machine::bare(&description);
        let mut machine = machine.unwrap();
        machine.insert_disks(&description, images).unwrap();
        let crate::machine::Platform { devices, ram, .. } = machine.platform;
        let base = devices.virtio.slots()[device].base;
        Self { devices, ram, entropy: Counting::default(), base, available: 0, queue_size: 16 }
    }

    /// A disk of 64 numbered sectors, its driver running.
    fn disk() -> Self {
        let mut bench = Self::new(&[image(&numbered(64), false)], 0);
        bench.start();
        bench
    }

    fn register(&mut self, offset: u64) -> u64 {
        self.devices.mmio_read(0, self.base + offset, 4)
    }

    fn set(&mut self, offset: u64, value: u64) {
        self.devices.mmio_write(0, self.base + offset, 4, value);
    }

    /// Virtio 1.2, 3.1.1, with all features.
    fn start(&mut self) {
        self.set(0x70, 0);
        self.set(0x70, 1);
        self.set(0x70, 3);
        for half in 0..2 {
            self.set(0x14, half);
            let features = self.register(0x10);
            self.set(0x24, half);
            self.set(0x20, features);
        }
        self.set(0x70, 11);
        assert_eq!(self.register(0x70), 11);
        self.set(0x30, 0);
        assert_eq!(self.register(0x44), 0);
        assert_eq!(self.register(0x34), 128);
        self.set(0x38, u64::from(self.queue_size));
        for (register, address) in [(0x80, TABLE), (0x90, AVAILABLE), (0xa0, USED)] {
            self.set(register, address);
            self.set(register + 4, 0);
        }
        self.set(0x44, 1);
        self.set(0x70, 15);
        self.available = 0;
        self.ram.write_slice(AVAILABLE, &[0; 0x2000]).unwrap();
    }

    fn put(&mut self, gpa: u64, bytes: &[u8]) {
        self.ram.write_slice(gpa, bytes).unwrap();
    }

    fn get(&self, gpa: u64, len: usize) -> Vec<u8> {
        self.ram.slice(gpa, len).unwrap().to_vec()
    }

    fn descriptor(&mut self, table: u64, index: u16, (gpa, len, flags, next): (u64, u32, u16, u16)) {
        let mut bytes = gpa.to_le_bytes().to_vec();
        bytes.extend(len.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(next.to_le_bytes());
        self.put(table + u64::from(index) * 16, &bytes);
    }

    /// Buffers in a row from descriptor `first` on.
    fn chain(&mut self, table: u64, first: u16, buffers: &[(u64, u32, bool)]) {
        for (n, (gpa, len, write)) in buffers.iter().enumerate() {
            let index = first + n as u16;
            let more = if n + 1 < buffers.len() { NEXT } else { 0 };
            let flags = more | if *write { WRITE } else { 0 };
            self.descriptor(table, index, (*gpa, *len, flags, index + 1));
        }
    }

    fn offer(&mut self, head: u16) {
        let slot = u64::from(self.available % self.queue_size);
        self.put(AVAILABLE + 4 + slot * 2, &head.to_le_bytes());
        self.available = self.available.wrapping_add(1);
        self.put(AVAILABLE + 2, &self.available.to_le_bytes());
    }

    fn notify(&mut self) -> Vec<DeviceWrite> {
        self.set(0x50, 0);
        self.serve()
    }

    fn serve(&mut self) -> Vec<DeviceWrite> {
        self.devices.serve_virtio(Position::new(7, 3), &mut self.ram, &mut self.entropy)
    }

    fn header(&mut self, kind: u32, sector: u64) {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.extend(sector.to_le_bytes());
        self.put(HEADER, &bytes);
        self.put(STATUS, &[0xee]);
    }

    /// A request with these data buffers; its status.
    fn request(&mut self, kind: u32, sector: u64, data: &[(u64, u32, bool)]) -> u8 {
        self.header(kind, sector);
        let mut buffers = vec![(HEADER, 16, false)];
        buffers.extend(data);
        buffers.push((STATUS, 1, true));
        self.chain(TABLE, 0, &buffers);
        self.offer(0);
        self.notify();
        self.get(STATUS, 1)[0]
    }

    fn read(&mut self, sector: u64, len: u32) -> (u8, Vec<u8>) {
        self.put(BUFFER, &vec![0xcc; len as usize]);
        let status = self.request(IN, sector, &[(BUFFER, len, true)]);
        (status, self.get(BUFFER, len as usize))
    }

    fn write(&mut self, sector: u64, bytes: &[u8]) -> u8 {
        self.put(BUFFER, bytes);
        self.request(OUT, sector, &[(BUFFER, bytes.len() as u32, false)])
    }

    fn used(&self) -> u16 {
        u16::from_le_bytes(self.get(USED + 2, 2).try_into().unwrap())
    }

    /// Head and length of a used element.
    fn used_element(&self, index: u64) -> (u32, u32) {
        let bytes = self.get(USED + 4 + index * 8, 8);
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        (word(0), word(4))
    }

    fn needs_reset(&mut self) -> bool {
        self.register(0x70) & NEEDS_RESET != 0
    }

    fn line(&self) -> bool {
        let index = (self.base - BASE) / STRIDE;
        self.devices.virtio.lines().nth(index as usize).unwrap().1
    }

    fn state(&self) -> (Vec<Section>, Digest) {
        (self.devices.save(), self.ram.digest_from_scratch())
    }
}

#[test]
fn the_guest_finds_disks_first_and_then_the_entropy_device() {
    let images = [image(&numbered(64), false), image(&numbered(7), true)];
    let mut bench = Bench::new(&images, 0);
    let slots = bench.devices.virtio.slots();
    assert_eq!(slots.iter().map(|slot| slot.gsi).collect::<Vec<_>>(), [16, 17, 18]);
    assert!(slots.iter().all(|slot| slot.base >= crate::machine::MAX_RAM_BYTES));
    assert!(slots.iter().all(|slot| slot.base + u64::from(slot.size) <= crate::devices::IOAPIC_BASE));
    for (slot, (id, sectors)) in slots.iter().zip([(2, 64), (2, 7), (4, 0)]) {
        bench.base = slot.base;
        let found = [0, 4, 8, 0xc, 0xfc, 0x100, 0x104].map(|offset| bench.register(offset));
        assert_eq!(found, [0x7472_6976, 2, id, 0x4d56_5052, 0, sectors, 0]);
    }
    bench.base = slots[0].base;
    assert_eq!([0x108, 0x10c, 0x114].map(|offset| bench.register(offset)), [32 << 10, 126, 512]);
    // The configuration takes any access, registers only whole ones.
    assert_eq!(bench.devices.mmio_read(0, bench.base + 0x115, 1), 2);
    assert_eq!(bench.devices.mmio_read(0, bench.base + 0x100, 8), 64);
    assert_eq!(bench.devices.mmio_read(0, bench.base + 0x4, 1), 0);
    // Behind the last device there is nothing.
    assert_eq!(bench.devices.mmio_read(0, BASE + 3 * STRIDE, 4), 0xffff_ffff);
    let features = |bench: &mut Bench| {
        bench.set(0x14, 0);
        bench.register(0x10)
    };
    assert_eq!(features(&mut bench), 1 << 28 | 1 << 9 | 1 << 6 | 1 << 2 | 1 << 1);
    bench.base = slots[1].base;
    assert_eq!(features(&mut bench), 1 << 28 | 1 << 6 | 1 << 5 | 1 << 2 | 1 << 1);
}

#[test]
fn features_that_are_not_offered_are_not_accepted() {
    let mut bench = Bench::new(&[image(&numbered(64), false)], 0);
    bench.set(0x70, 3);
    bench.set(0x70, 11);
    assert_eq!(bench.register(0x70), 3, "a driver without version 1");
    bench.set(0x24, 1);
    bench.set(0x20, 1);
    bench.set(0x24, 0);
    bench.set(0x20, 1 << 5);
    bench.set(0x70, 11);
    assert_eq!(bench.register(0x70), 3, "a driver that wants what is not there");
    bench.set(0x20, 0);
    bench.set(0x70, 11);
    assert_eq!(bench.register(0x70), 11);
    bench.set(0x20, 1 << 5);
    bench.set(0x70, 15);
    assert_eq!(bench.register(0x70), 15, "settled");
}

#[test]
fn what_is_written_is_read_again_and_the_image_stays() {
    let base = numbered(64);
    let disk = image(&base, false);
    let mut bench = Bench::new(std::slice::from_ref(&disk), 0);
    bench.start();
    assert_eq!(bench.read(5, 1024), (OK, base[5 * 512..7 * 512].to_vec()));
    // Across the border of two pages, neither of them whole.
    assert_eq!(bench.write(7, &[0x11; 1024]), OK);
    let mut expected = base.clone();
    expected[7 * 512..9 * 512].fill(0x11);
    assert_eq!(bench.read(0, 64 * 512), (OK, expected.clone()));
    assert_eq!(bench.write(16, &[0x22; 8192]), OK);
    expected[16 * 512..32 * 512].fill(0x22);
    assert_eq!(bench.read(0, 64 * 512), (OK, expected));
    assert_eq!(disk.bytes(), base);
    assert_eq!(bench.used_element(4), (0, 64 * 512 + 1));
    assert_eq!(bench.used(), 5);
}

#[test]
fn random_reads_and_writes_are_those_of_a_flat_disk() {
    for seed in 0..20 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut below = |limit: u64| random.next_u64() % limit;
        // Not a whole number of pages.
        let sectors = 100 + below(30);
        let mut flat = numbered(sectors);
        let mut bench = Bench::new(&[image(&flat, false), image(&numbered(9), false)], 0);
        bench.start();
        for _ in 0..100 {
            let sector = below(sectors);
            let count = 1 + below((sectors - sector).min(40));
            let place = sector as usize * 512..(sector + count) as usize * 512;
            if below(2) == 0 {
                let bytes: Vec<u8> = (0..count * 512).map(|_| below(256) as u8).collect();
                assert_eq!(bench.write(sector, &bytes), OK);
                flat[place].copy_from_slice(&bytes);
            } else {
                assert_eq!(bench.read(sector, count as u32 * 512), (OK, flat[place].to_vec()));
            }
        }
        bench.base = bench.devices.virtio.slots()[1].base;
        bench.start();
        assert_eq!(bench.read(0, 9 * 512), (OK, numbered(9)), "the other disk");
    }
}

#[test]
fn a_checkpoint_costs_what_was_written_since_the_last_one() {
    let mut bench = Bench::new(&[image(&vec![1; 64 << 20], false)], 0);
    bench.start();
    let mut tracker = RamTracker::new(&bench.ram);
    tracker.look(&mut bench.ram).unwrap();
    assert_eq!(bench.write(100_000, &[9; 4096]), OK);
    let written = tracker.look(&mut bench.ram).unwrap();
    let hidden = written.iter().filter(|page| page.gfn >= FIRST_HIDDEN_GFN).count();
    assert_eq!(hidden, 2, "one page of contents, one of bits");
    assert!(written.len() <= 8, "and the driver's own: {written:?}");
    assert_eq!(tracker.map().digest(), bench.ram.digest_from_scratch());
}

#[test]
fn requests_that_cannot_be_done_get_an_error_and_change_nothing() {
    let mut bench = Bench::disk();
    let read = |bench: &mut Bench, sector, gpa, len| bench.request(IN, sector, &[(gpa, len, true)]);
    assert_eq!(read(&mut bench, 64, BUFFER, 512), IO_ERROR, "past the end");
    assert_eq!(read(&mut bench, 63, BUFFER, 1024), IO_ERROR, "over the end");
    assert_eq!(read(&mut bench, u64::MAX / 512 + 1, BUFFER, 512), IO_ERROR, "overflow");
    assert_eq!(read(&mut bench, u64::MAX, BUFFER, 512), IO_ERROR, "overflow");
    assert_eq!(read(&mut bench, 0, BUFFER, 100), IO_ERROR, "no whole sector");
    assert_eq!(read(&mut bench, 0, RAM_BYTES - 256, 512), IO_ERROR, "past RAM");
    assert_eq!(read(&mut bench, 0, FIRST_HIDDEN_GFN << 12, 512), IO_ERROR, "pages that no address reaches");
    assert_eq!(read(&mut bench, 0, u64::MAX - 100, 512), IO_ERROR, "at the end of all addresses");
    let before = bench.get(BUFFER, 4096);
    assert_eq!(bench.request(IN, 0, &[(BUFFER, 512, true), (RAM_BYTES, 512, true)]), IO_ERROR);
    assert_eq!(bench.get(BUFFER, 4096), before, "nothing of a request is done that cannot be done whole");
    let huge = [(0, u32::MAX / 4, true); 2];
    assert_eq!(bench.request(IN, 0, &huge), IO_ERROR);
    assert_eq!(bench.request(OUT, 0, &[(0, u32::MAX / 2, false)]), IO_ERROR);
    assert_eq!(bench.request(OUT, 0, &[(RAM_BYTES, 512, false)]), IO_ERROR);
    assert_eq!(bench.request(99, 0, &[]), UNSUPPORTED);
    assert_eq!(bench.request(11, 0, &[(BUFFER, 16, false)]), UNSUPPORTED, "discard is not offered");
    assert!(!bench.needs_reset());
    assert_eq!(bench.read(0, 64 * 512).1, numbered(64));
    assert_eq!(bench.used_element(0), (0, 1), "only the status was written");
}

#[test]
fn a_disk_that_is_read_only_is_not_written() {
    let mut bench = Bench::new(&[image(&numbered(8), true)], 0);
    bench.start();
    assert_eq!(bench.write(1, &[7; 512]), IO_ERROR);
    assert_eq!(bench.request(FLUSH, 0, &[]), OK);
    assert_eq!(bench.read(0, 8 * 512), (OK, numbered(8)));
    assert_eq!(bench.ram.tracked_pages(), RAM_BYTES / PAGE_BYTES as u64, "it takes no pages");
}

#[test]
fn flush_is_done_and_the_disk_says_who_it_is() {
    let mut bench = Bench::disk();
    assert_eq!(bench.request(FLUSH, 0, &[]), OK);
    assert_eq!(bench.request(GET_ID, 0, &[(BUFFER, 20, true)]), OK);
    let hash = blake3::hash(&numbered(64)).to_hex();
    assert_eq!(bench.get(BUFFER, 20), &hash.as_bytes()[..20]);
    assert_eq!(bench.used_element(1), (0, 21));
}

#[test]
fn buffers_may_be_cut_anywhere_and_lie_in_a_table_of_their_own() {
    let mut bench = Bench::disk();
    bench.header(IN, 3);
    let buffers = [
        (HEADER, 5, false),
        (HEADER + 5, 0, false),
        (HEADER + 5, 11, false),
        (BUFFER, 1, true),
        (BUFFER + 1, 511, true),
        (0, 0, true),
        (STATUS, 1, true),
    ];
    bench.chain(TABLE, 2, &buffers);
    bench.offer(2);
    bench.notify();
    assert_eq!(bench.get(STATUS, 1), [OK]);
    assert_eq!(bench.get(BUFFER, 512), numbered(64)[3 * 512..4 * 512]);
    // Data and status in one buffer, all of it in an indirect table.
    bench.header(IN, 4);
    bench.chain(INDIRECT, 0, &[(HEADER, 16, false), (BUFFER, 513, true)]);
    bench.descriptor(TABLE, 9, (INDIRECT, 32, INDIRECT_FLAG, 0));
    bench.offer(9);
    bench.notify();
    assert_eq!(bench.get(BUFFER, 512), numbered(64)[4 * 512..5 * 512]);
    assert_eq!(bench.get(BUFFER + 512, 1), [OK]);
    assert_eq!(bench.used_element(1), (9, 513));
}

#[test]
fn several_requests_are_served_at_one_notification_in_their_order() {
    let mut bench = Bench::disk();
    bench.put(HEADER, &[0; 64]);
    for n in 0..3_u16 {
        let header = HEADER + u64::from(n) * 16;
        bench.put(header + 8, &u64::from(n).to_le_bytes());
        let data = BUFFER + u64::from(n) * 512;
        let status = STATUS + u64::from(n);
        bench.chain(TABLE, n * 3, &[(header, 16, false), (data, 512, true), (status, 1, true)]);
        bench.offer(n * 3);
    }
    let writes = bench.notify();
    assert_eq!(bench.get(BUFFER, 3 * 512), numbered(64)[..3 * 512]);
    assert_eq!([0, 1, 2].map(|n| bench.used_element(n)), [(0, 513), (3, 513), (6, 513)]);
    let expected = [(BUFFER, 512), (STATUS, 1), (USED + 4, 8), (USED + 2, 2)];
    assert_eq!(writes[..4], expected, "every write is told");
    assert_eq!(writes.len(), 12);
}

#[test]
fn the_line_is_high_from_an_answer_until_it_is_acknowledged() {
    let mut bench = Bench::disk();
    assert!(!bench.line());
    bench.set(0x50, 0);
    assert!(!bench.line(), "before the device is served");
    bench.serve();
    assert!(!bench.line(), "there was no request");
    assert_eq!(bench.read(0, 512).0, OK);
    assert!(bench.line());
    assert_eq!(bench.register(0x60), 1);
    bench.set(0x64, 1);
    assert!(!bench.line());
    // Level-triggered at pin 16 of the I/O APIC: the entry's remote IRR says that it was sent.
    bench.devices.mmio_write(0, 0xfee0_00f0, 4, 0x1ff);
    bench.devices.mmio_write(0, 0xfec0_0000, 4, 0x30);
    bench.devices.mmio_write(0, 0xfec0_0010, 4, 0x8040);
    assert!(!bench.devices.interrupt_pending());
    assert_eq!(bench.read(0, 512).0, OK);
    assert!(bench.devices.interrupt_pending());
    assert_eq!(bench.devices.acknowledge(0), Some(0x40));
}

#[test]
fn a_driver_that_breaks_the_rules_gets_a_device_that_needs_a_reset() {
    type Break = fn(&mut Bench);
    let breaks: [(&str, Break); 12] = [
        ("a loop", |bench| {
            bench.descriptor(TABLE, 0, (HEADER, 16, NEXT, 1));
            bench.descriptor(TABLE, 1, (BUFFER, 1, NEXT, 0));
            bench.offer(0);
        }),
        ("a loop in an indirect table", |bench| {
            bench.descriptor(INDIRECT, 0, (HEADER, 16, NEXT, 0));
            bench.descriptor(TABLE, 0, (INDIRECT, 16 * 60000, INDIRECT_FLAG, 0));
            bench.offer(0);
        }),
        ("a table in a table", |bench| {
            bench.descriptor(INDIRECT, 0, (INDIRECT, 16, INDIRECT_FLAG, 0));
            bench.descriptor(TABLE, 0, (INDIRECT, 16, INDIRECT_FLAG, 0));
            bench.offer(0);
        }),
        ("an empty table", |bench| {
            bench.descriptor(TABLE, 0, (INDIRECT, 0, INDIRECT_FLAG, 0));
            bench.offer(0);
        }),
        ("a table outside RAM", |bench| {
            bench.descriptor(TABLE, 0, (u64::MAX - 7, 32, INDIRECT_FLAG, 0));
            bench.offer(0);
        }),
        ("a head that is no descriptor", |bench| bench.offer(16)),
        ("a chain that leads out of the table", |bench| {
            bench.descriptor(TABLE, 0, (HEADER, 16, NEXT, 16));
            bench.offer(0);
        }),
        ("no room for a status", |bench| {
            bench.header(FLUSH, 0);
            bench.chain(TABLE, 0, &[(HEADER, 16, false)]);
            bench.offer(0);
        }),
        ("a status outside RAM", |bench| {
            bench.header(FLUSH, 0);
            bench.chain(TABLE, 0, &[(HEADER, 16, false), (RAM_BYTES, 1, true)]);
            bench.offer(0);
        }),
        ("something to read after something to write", |bench| {
            bench.chain(TABLE, 0, &[(STATUS, 1, true), (HEADER, 16, false)]);
            bench.offer(0);
        }),
        ("more chains than the queue holds", |bench| {
            bench.put(AVAILABLE + 2, &17_u16.to_le_bytes());
        }),
        ("a ring outside RAM", |bench| {
            bench.set(0x44, 0);
            bench.set(0xa0, RAM_BYTES - 16);
            bench.set(0x44, 1);
        }),
    ];
    for (what, break_rules) in breaks {
        let mut bench = Bench::disk();
        break_rules(&mut bench);
        bench.notify();
        assert!(bench.needs_reset(), "{what}");
        assert_eq!(bench.register(0x60) & 2, 2, "{what}: the driver is told");
        assert_eq!(bench.used(), 0, "{what}");
        // Nothing is served before a reset, which a status cannot undo.
        bench.set(0x70, 15);
        assert!(bench.needs_reset(), "{what}");
        bench.notify();
        assert_eq!(bench.used(), 0, "{what}");
        bench.start();
        assert_eq!(bench.read(2, 512), (OK, numbered(64)[2 * 512..3 * 512].to_vec()), "{what}");
    }
}

#[test]
fn a_device_that_writes_into_its_own_ring_does_not_go_on_for_ever() {
    let mut disk = vec![0; 512 * 64];
    // The sector that is read over the available ring offers everything again.
    disk[2..4].copy_from_slice(&0xffff_u16.to_le_bytes());
    for at in 1..64 {
        disk[at * 512 + 2..at * 512 + 4].copy_from_slice(&(at as u16 + 3).to_le_bytes());
    }
    let mut bench = Bench::new(&[image(&disk, false)], 0);
    bench.start();
    for sector in 0..64 {
        bench.header(IN, sector);
        bench.chain(TABLE, 0, &[(HEADER, 16, false), (AVAILABLE, 512, true), (STATUS, 1, true)]);
        bench.offer(0);
        bench.notify();
        bench.start();
    }
}

#[test]
fn the_entropy_device_hands_out_what_it_is_given_and_not_without_end() {
    let mut bench = Bench::new(&[], 0);
    bench.start();
    bench.chain(TABLE, 0, &[(BUFFER, 10, true), (BUFFER + 100, 54, true)]);
    bench.offer(0);
    bench.descriptor(TABLE, 4, (BUFFER + 0x1000, 4096, WRITE, 0));
    bench.offer(4);
    bench.notify();
    let at = Position::new(7, 3);
    assert_eq!(bench.entropy.asked, [(at, 0, 64), (at, 1, 1024)]);
    assert_eq!(bench.get(BUFFER + 8, 3), [8, 9, 0]);
    assert_eq!(bench.get(BUFFER + 100, 2), [10, 11]);
    assert_eq!([0, 1].map(|n| bench.used_element(n)), [(0, 64), (4, 1024)]);
    assert!(bench.line());
    for buffers in [&[(BUFFER, 0, true)][..], &[(BUFFER, 9, false)], &[(RAM_BYTES - 1, 2, true)]] {
        bench.start();
        bench.chain(TABLE, 0, buffers);
        bench.offer(0);
        bench.notify();
        assert!(bench.needs_reset(), "{buffers:?}");
    }
}

#[test]
fn a_restored_device_goes_on_as_the_saved_one() {
    let mut bench = Bench::disk();
    assert_eq!(bench.write(3, &[5; 512]), OK);
    let saved = bench.devices.save();
    assert_eq!(bench.read(3, 512), (OK, vec![5; 512]));
    let after = bench.devices.save();
    assert_ne!(saved, after);
    bench.devices.restore(&saved).unwrap();
    assert_eq!(bench.devices.save(), saved);
    bench.available = bench.available.wrapping_sub(1);
    assert_eq!(bench.read(3, 512), (OK, vec![5; 512]));
    assert_eq!(bench.devices.save(), after);
}

#[test]
fn the_sections_have_fixed_names_versions_and_lengths() {
    let bench = Bench::new(&[image(&numbered(8), false), image(&numbered(8), true)], 0);
    let sections = bench.devices.save();
    let virtio = sections.iter().filter(|section| section.name.starts_with("virtio"));
    let summary: Vec<_> = virtio.map(|s| (s.name.as_str(), s.version, s.bytes.len())).collect();
    // A change here is a change of format: raise the version of the section.
    assert_eq!(summary, [("virtio-blk0", 1, 59), ("virtio-blk1", 1, 59), ("virtio-rng", 1, 59)]);
}

#[test]
fn sections_that_lie_are_refused_by_name() {
    let mut bench = Bench::disk();
    let saved = bench.devices.save();
    let index = saved.iter().position(|section| section.name == "virtio-blk0").unwrap();
    let mut without = saved.clone();
    without.remove(index);
    let missing = bench.devices.restore(&without).unwrap_err();
    assert_eq!(missing, RestoreError::Missing { section: "virtio-blk0" });
    let mut newer = saved.clone();
    newer[index].version = 9;
    let version = RestoreError::Version { section: "virtio-blk0", found: 9, expected: 1 };
    assert_eq!(bench.devices.restore(&newer).unwrap_err(), version);
    let mut stranger = saved.clone();
    stranger[index].name = "virtio-net0".to_owned();
    let unknown = RestoreError::Unknown { section: "virtio-net0".to_owned() };
    assert_eq!(bench.devices.restore(&stranger).unwrap_err(), unknown);
    // Whatever bytes it holds: a section is refused, or it is a state that saves as itself and harms nobody.
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let (mut refused, mut accepted) = (0, 0);
    for _ in 0..2000 {
        let mut lying = saved.clone();
        for _ in 0..=random.next_u64() % 3 {
            let at = random.next_u64() as usize % lying[index].bytes.len();
            lying[index].bytes[at] = random.next_u64() as u8;
        }
        match bench.devices.restore(&lying) {
            Ok(()) => {
                assert_eq!(bench.devices.save(), lying);
                accepted += 1;
                bench.notify();
            }
            Err(error) => {
                assert!(error.to_string().contains("virtio-blk0") || error.to_string().contains("ioapic"));
                refused += 1;
            }
        }
    }
    assert!(refused > 100 && accepted > 100, "{refused} refused, {accepted} accepted");
}

/// Anything a driver can do, most of it nonsense. Returns the state it led to.
fn nonsense(seed: u64) -> (Vec<Section>, Digest) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut below = move |limit: u64| random.next_u64() % limit;
    let images = [image(&numbered(64), false), image(&numbered(9), true)];
    let mut bench = Bench::new(&images, below(3) as usize);
    bench.queue_size = 1 << below(6);
    for _ in 0..60 {
        bench.start();
        for _ in 0..below(40) {
            match below(12) {
                0 => {
                    let value = below(1 << 33);
                    bench.set(below(0x120) & !3, value);
                }
                1 => {
                    let (offset, size, value) = (below(0x200), 1 << below(4), below(u64::MAX));
                    bench.devices.mmio_write(0, bench.base + offset, size, value);
                }
                2..=6 => {
                    let gpa = match below(8) {
                        0 => below(u64::MAX),
                        1 => RAM_BYTES - below(600),
                        2 => TABLE + below(0x4000),
                        3 => FIRST_HIDDEN_GFN << 12,
                        _ => BUFFER + below(0x4000),
                    };
                    let len = match below(6) {
                        0 => below(1 << 32) as u32,
                        1 => 16,
                        2 => 1,
                        _ => below(5) as u32 * 512,
                    };
                    let table = if below(3) == 0 { INDIRECT } else { TABLE };
                    let (flags, next) = (below(8) as u16, below(20) as u16);
                    bench.descriptor(table, below(16) as u16, (gpa, len, flags, next));
                }
                7 => {
                    let (kind, sector) = (below(14) as u32, below(80));
                    bench.header(kind, sector);
                }
                8 => bench.put(AVAILABLE + 2, &(below(40) as u16).to_le_bytes()),
                9 => {
                    let bytes: Vec<u8> = (0..64).map(|_| below(256) as u8).collect();
                    bench.put(TABLE + below(0x4000), &bytes);
                }
                _ => bench.offer(below(18) as u16),
            }
            bench.notify();
            let offset = below(0x200);
            bench.devices.mmio_read(0, bench.base + offset, 1 << below(4));
        }
    }
    bench.state()
}

#[test]
fn no_driver_can_break_a_device_and_nonsense_has_one_outcome() {
    for seed in 0..60 {
        assert_eq!(nonsense(seed), nonsense(seed), "seed {seed}");
    }
}
