//! Virtio devices on the memory bus: disks and an entropy device.
//!
//! A request is served at the end of the step that notified the device, in one piece: when an answer comes depends on nothing of the
//! host. Served within the step it would meet an instruction that is not done yet, with translations in its hands that the device may
//! have overwritten.
//!
//! The guest finds the devices through ACPI (`LNRO0005`); [`Virtio::slots`] is what the tables have to say.

/// virtio-blk: requests on a disk.
mod block;
/// An image, and what the guest has written over it.
mod disk;
/// virtio-rng.
mod entropy;
/// Guest memory as a device reaches it.
mod memory;
/// The registers.
mod mmio;
/// Chains of buffers from a virtqueue and back.
mod ring;

use recorder::{MachineDescription, Position, Section};
use virtio_bindings::virtio_ids::{VIRTIO_ID_BLOCK, VIRTIO_ID_RNG};
use virtio_queue::QueueT;

pub use memory::DeviceWrite;

use super::MmioSlot;
use super::saved::{self, RestoreError};
use crate::machine::{DiskImage, Entropy, GuestRam, MAX_DISKS, WrittenPages};
use disk::Disk;
use memory::DeviceMemory;
use mmio::{State, Transport};

/// Where the first device's registers are, in the window of devices below the I/O APIC.
const BASE: u64 = 0xfeb0_0000;
/// Bytes from one device to the next, all of which belong to it.
const STRIDE: u64 = 0x1000;
/// The first interrupt line: above those of ISA, on pins that only the I/O APIC has.
const FIRST_GSI: u32 = 16;

const STATE_VERSION: u32 = 1;
const ENTROPY_SECTION: &str = "virtio-rng";
const DISK_SECTIONS: [&str; MAX_DISKS] =
    ["virtio-blk0", "virtio-blk1", "virtio-blk2", "virtio-blk3", "virtio-blk4", "virtio-blk5", "virtio-blk6"];

#[derive(Debug, Clone)]
enum Kind {
    Disk(Disk),
    Entropy,
}

#[derive(Debug)]
struct Device {
    section: &'static str,
    kind: Kind,
    transport: Transport,
    /// The driver has asked for its queue to be looked at, in the step under way.
    notified: bool,
}

/// The virtio devices of a machine.
#[derive(Debug, Default)]
pub struct Virtio {
    devices: Vec<Device>,
}

impl Virtio {
    /// The devices of a description: disks first, in their order, then the entropy device. The disks have no images yet.
    #[must_use]
    pub fn new(description: &MachineDescription, written: &[Option<WrittenPages>]) -> Self {
        let disks = description.disks.iter().zip(written).zip(DISK_SECTIONS);
        let disks = disks.filter_map(|((disk, written), section)| {
            let disk = Disk::new(disk, *written);
            let transport = Transport::new(VIRTIO_ID_BLOCK, block::features(&disk))?;
            Some(Device { section, kind: Kind::Disk(disk), transport, notified: false })
        });
        let mut devices: Vec<_> = disks.collect();
        if description.entropy_device
            && let Some(transport) = Transport::new(VIRTIO_ID_RNG, 0)
        {
            devices.push(Device {
                section: ENTROPY_SECTION,
                kind: Kind::Entropy,
                transport,
                notified: false,
            });
        }
        Self { devices }
    }

    /// Puts the images into the disks, in their order.
    pub fn set_images(&mut self, images: &[DiskImage]) {
        let disks = self.devices.iter_mut().filter_map(|device| match &mut device.kind {
            Kind::Disk(disk) => Some(disk),
            Kind::Entropy => None,
        });
        for (disk, image) in disks.zip(images) {
            disk.set_image(image);
        }
    }

    /// Reads a disk as it is now, as the guest would; `false`: there is no such disk, or not that much of it.
    pub(crate) fn read_disk(&self, disk: usize, place: u64, ram: &GuestRam, into: &mut [u8]) -> bool {
        match self.devices.get(disk).map(|device| &device.kind) {
            Some(Kind::Disk(disk)) => disk.has(place, into.len() as u64) && disk.read(ram, place, into),
            _ => false,
        }
    }

    /// Where the guest finds the devices, disks first.
    #[must_use]
    pub fn slots(&self) -> Vec<MmioSlot> {
        (0..self.devices.len() as u32)
            .map(|index| MmioSlot {
                base: BASE + u64::from(index) * STRIDE,
                size: STRIDE as u32,
                gsi: FIRST_GSI + index,
            })
            .collect()
    }

    /// The device at a guest-physical address, and the place in its registers.
    fn at(&self, gpa: u64) -> Option<(usize, u64)> {
        let offset = gpa.checked_sub(BASE)?;
        let index = usize::try_from(offset / STRIDE).ok()?;
        (index < self.devices.len()).then_some((index, offset % STRIDE))
    }

    /// Whether a guest-physical address belongs to a device.
    pub(super) fn claims(&self, gpa: u64) -> bool {
        self.at(gpa).is_some()
    }

    /// Reads `size` bytes of a device's registers, zero-extended.
    pub(super) fn read(&self, gpa: u64, size: u8) -> u64 {
        let Some((index, offset)) = self.at(gpa) else { return 0 };
        let device = &self.devices[index];
        match &device.kind {
            Kind::Disk(disk) => device.transport.read(offset, size, &block::config(disk)),
            Kind::Entropy => device.transport.read(offset, size, &[]),
        }
    }

    /// Writes a register.
    pub(super) fn write(&mut self, gpa: u64, value: u32) {
        let Some((index, offset)) = self.at(gpa) else { return };
        let device = &mut self.devices[index];
        device.notified |= device.transport.write(offset, value);
    }

    /// Whether a device has been notified and was not served yet.
    pub(super) fn is_notified(&self) -> bool {
        self.devices.iter().any(|device| device.notified)
    }

    /// Serves the devices that have been notified, by the step at `at`. Returns what they have written to guest RAM, in order.
    pub(super) fn serve(
        &mut self,
        at: Position,
        ram: &mut GuestRam,
        entropy: &mut dyn Entropy,
    ) -> Vec<DeviceWrite> {
        let mut writes = Vec::new();
        let mut memory = DeviceMemory { ram, writes: &mut writes };
        for device in &mut self.devices {
            if std::mem::take(&mut device.notified) {
                device.serve(at, &mut memory, entropy);
            }
        }
        writes
    }

    /// Interrupt lines and their levels.
    pub(super) fn lines(&self) -> impl Iterator<Item = (u8, bool)> + '_ {
        (FIRST_GSI as u8..).zip(self.devices.iter().map(|device| device.transport.line()))
    }

    /// The names of the devices' sections.
    pub(super) fn sections(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.devices.iter().map(|device| device.section)
    }

    /// The devices' sections.
    pub(super) fn save(&self) -> impl Iterator<Item = Section> + '_ {
        self.devices
            .iter()
            .map(|device| saved::pack_as(device.section, STATE_VERSION, &device.transport.state()))
    }

    /// The same devices in a saved state.
    pub(super) fn in_state(&self, sections: &[Section]) -> Result<Self, RestoreError> {
        let restored = self.devices.iter().map(|device| {
            let section = device.section;
            let state: State = saved::unpack_as(section, STATE_VERSION, sections)?;
            let transport = device.transport.in_state(&state);
            let transport = transport.map_err(|what| RestoreError::Invalid { section, what })?;
            Ok(Device { section, kind: device.kind.clone(), transport, notified: false })
        });
        Ok(Self { devices: restored.collect::<Result<_, _>>()? })
    }
}

impl Device {
    fn serve(&mut self, at: Position, memory: &mut DeviceMemory<'_>, entropy: &mut dyn Entropy) {
        if !self.transport.runs() {
            return;
        }
        if !self.transport.queue.is_valid(memory.ram.memory()) {
            self.transport.needs_reset();
            return;
        }
        // A driver has at most as many chains under way. What comes beyond them was put there by the device's own writes into
        // the ring, and could go on for ever.
        for index in 0..usize::from(self.transport.queue.size()) {
            let queue = &mut self.transport.queue;
            let served = ring::pop(queue, memory).and_then(|chain| {
                let Some(chain) = chain else { return Ok(false) };
                let written = match &self.kind {
                    Kind::Disk(disk) => block::serve(disk, &chain, memory)?,
                    Kind::Entropy => entropy::serve(entropy, (at, index), &chain, memory)?,
                };
                ring::push(queue, &chain, written, memory)?;
                Ok(true)
            });
            match served {
                Ok(true) => self.transport.interrupt(),
                Ok(false) => return,
                Err(ring::Broken) => {
                    self.transport.needs_reset();
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
