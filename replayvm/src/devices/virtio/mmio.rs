//! The registers of a virtio device on the memory bus (Virtio 1.2, 4.2 "Virtio Over MMIO", version 2), with one queue.

use rkyv::{Archive, Deserialize, Serialize};
use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FAILED,
    VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_mmio::{
    VIRTIO_MMIO_CONFIG, VIRTIO_MMIO_CONFIG_GENERATION, VIRTIO_MMIO_DEVICE_FEATURES,
    VIRTIO_MMIO_DEVICE_FEATURES_SEL, VIRTIO_MMIO_DEVICE_ID, VIRTIO_MMIO_DRIVER_FEATURES,
    VIRTIO_MMIO_DRIVER_FEATURES_SEL, VIRTIO_MMIO_INT_CONFIG, VIRTIO_MMIO_INT_VRING,
    VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INTERRUPT_STATUS, VIRTIO_MMIO_MAGIC_VALUE,
    VIRTIO_MMIO_QUEUE_AVAIL_HIGH, VIRTIO_MMIO_QUEUE_AVAIL_LOW, VIRTIO_MMIO_QUEUE_DESC_HIGH,
    VIRTIO_MMIO_QUEUE_DESC_LOW, VIRTIO_MMIO_QUEUE_NOTIFY, VIRTIO_MMIO_QUEUE_NUM, VIRTIO_MMIO_QUEUE_NUM_MAX,
    VIRTIO_MMIO_QUEUE_READY, VIRTIO_MMIO_QUEUE_SEL, VIRTIO_MMIO_QUEUE_USED_HIGH, VIRTIO_MMIO_QUEUE_USED_LOW,
    VIRTIO_MMIO_SHM_BASE_HIGH, VIRTIO_MMIO_SHM_BASE_LOW, VIRTIO_MMIO_SHM_LEN_HIGH, VIRTIO_MMIO_SHM_LEN_LOW,
    VIRTIO_MMIO_STATUS, VIRTIO_MMIO_VENDOR_ID, VIRTIO_MMIO_VERSION,
};
use virtio_bindings::virtio_ring::VIRTIO_RING_F_INDIRECT_DESC;
use virtio_queue::{Queue, QueueState, QueueT};

/// "virt".
const MAGIC: u32 = 0x7472_6976;
const VERSION: u32 = 2;
/// "RPVM".
const VENDOR: u32 = 0x4d56_5052;
/// Chains that the driver may have under way at the most.
const QUEUE_SIZE: u16 = 128;
/// What every device of ours offers.
const COMMON_FEATURES: u64 = 1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_INDIRECT_DESC;

const STATUS_BITS: u32 = VIRTIO_CONFIG_S_ACKNOWLEDGE
    | VIRTIO_CONFIG_S_DRIVER
    | VIRTIO_CONFIG_S_DRIVER_OK
    | VIRTIO_CONFIG_S_FEATURES_OK
    | VIRTIO_CONFIG_S_NEEDS_RESET
    | VIRTIO_CONFIG_S_FAILED;

/// The saved state. Features offered and the queue's largest size follow from the device.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub(super) struct State {
    status: u32,
    interrupt_status: u32,
    device_features_select: u32,
    driver_features_select: u32,
    driver_features: u64,
    queue_select: u32,
    queue_size: u16,
    queue_ready: bool,
    next_available: u16,
    next_used: u16,
    descriptor_table: u64,
    available_ring: u64,
    used_ring: u64,
}

/// The registers.
#[derive(Debug)]
pub(super) struct Transport {
    device_id: u32,
    /// Offered.
    features: u64,
    status: u32,
    interrupt_status: u32,
    device_features_select: u32,
    driver_features_select: u32,
    driver_features: u64,
    queue_select: u32,
    pub(super) queue: Queue,
}

impl Transport {
    /// After a reset. `None` never: the queue's size is a good one.
    pub(super) fn new(device_id: u32, features: u64) -> Option<Self> {
        Some(Self {
            device_id,
            features: features | COMMON_FEATURES,
            status: 0,
            interrupt_status: 0,
            device_features_select: 0,
            driver_features_select: 0,
            driver_features: 0,
            queue_select: 0,
            queue: Queue::new(QUEUE_SIZE).ok()?,
        })
    }

    /// The level of the interrupt line.
    pub(super) fn line(&self) -> bool {
        self.interrupt_status != 0
    }

    /// Whether the driver may expect its requests to be served.
    pub(super) fn runs(&self) -> bool {
        let wanted = VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FEATURES_OK;
        let unwanted = VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED;
        self.status & (wanted | unwanted) == wanted && self.queue.ready()
    }

    /// Chains have been given back.
    pub(super) fn interrupt(&mut self) {
        self.interrupt_status |= VIRTIO_MMIO_INT_VRING;
    }

    /// The driver has broken the rules (2.1.2): nothing goes on before a reset.
    pub(super) fn needs_reset(&mut self) {
        self.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
        self.interrupt_status |= VIRTIO_MMIO_INT_CONFIG;
    }

    /// Reads `size` bytes, zero-extended. Registers are 32 bits wide and are read whole; the configuration takes any access.
    pub(super) fn read(&self, offset: u64, size: u8, config: &[u8]) -> u64 {
        if let Some(offset) = offset.checked_sub(u64::from(VIRTIO_MMIO_CONFIG)) {
            let byte = |index: u8| config.get((offset + u64::from(index)) as usize).copied().unwrap_or(0);
            return (0..size.min(8)).rev().fold(0, |value, index| value << 8 | u64::from(byte(index)));
        }
        if size != 4 || !offset.is_multiple_of(4) {
            return 0;
        }
        u64::from(self.read_register(offset as u32))
    }

    fn read_register(&self, offset: u32) -> u32 {
        let first_queue = self.queue_select == 0;
        match offset {
            VIRTIO_MMIO_MAGIC_VALUE => MAGIC,
            VIRTIO_MMIO_VERSION => VERSION,
            VIRTIO_MMIO_DEVICE_ID => self.device_id,
            VIRTIO_MMIO_VENDOR_ID => VENDOR,
            VIRTIO_MMIO_DEVICE_FEATURES => match self.device_features_select {
                0 => self.features as u32,
                1 => (self.features >> 32) as u32,
                _ => 0,
            },
            VIRTIO_MMIO_QUEUE_NUM_MAX if first_queue => u32::from(QUEUE_SIZE),
            VIRTIO_MMIO_QUEUE_READY if first_queue => u32::from(self.queue.ready()),
            VIRTIO_MMIO_INTERRUPT_STATUS => self.interrupt_status,
            VIRTIO_MMIO_STATUS => self.status,
            // There is no shared memory: length -1.
            VIRTIO_MMIO_SHM_LEN_LOW
            | VIRTIO_MMIO_SHM_LEN_HIGH
            | VIRTIO_MMIO_SHM_BASE_LOW
            | VIRTIO_MMIO_SHM_BASE_HIGH => u32::MAX,
            // The configuration never changes.
            VIRTIO_MMIO_CONFIG_GENERATION => 0,
            _ => 0,
        }
    }

    /// Writes a register. Says whether the driver asks for its queue to be looked at.
    pub(super) fn write(&mut self, offset: u64, value: u32) -> bool {
        let Ok(offset) = u32::try_from(offset) else { return false };
        match offset {
            VIRTIO_MMIO_DEVICE_FEATURES_SEL => self.device_features_select = value,
            VIRTIO_MMIO_DRIVER_FEATURES_SEL => self.driver_features_select = value,
            VIRTIO_MMIO_DRIVER_FEATURES => self.write_features(value),
            VIRTIO_MMIO_QUEUE_SEL => self.queue_select = value,
            VIRTIO_MMIO_QUEUE_NOTIFY => return value == 0 && self.runs(),
            VIRTIO_MMIO_INTERRUPT_ACK => self.interrupt_status &= !value,
            VIRTIO_MMIO_STATUS => self.write_status(value),
            _ if self.queue_select == 0 => self.write_queue(offset, value),
            _ => {}
        }
        false
    }

    fn write_features(&mut self, value: u32) {
        if self.status & VIRTIO_CONFIG_S_FEATURES_OK != 0 {
            return;
        }
        let low = u64::from(value);
        match self.driver_features_select {
            0 => self.driver_features = self.driver_features & !u64::from(u32::MAX) | low,
            1 => self.driver_features = self.driver_features & u64::from(u32::MAX) | low << 32,
            _ => {}
        }
    }

    fn write_status(&mut self, value: u32) {
        if value == 0 {
            self.status = 0;
            self.interrupt_status = 0;
            self.device_features_select = 0;
            self.driver_features_select = 0;
            self.driver_features = 0;
            self.queue_select = 0;
            self.queue.reset();
            return;
        }
        let mut status =
            value & STATUS_BITS & !VIRTIO_CONFIG_S_NEEDS_RESET | self.status & VIRTIO_CONFIG_S_NEEDS_RESET;
        if !self.features_are_good() {
            status &= !VIRTIO_CONFIG_S_FEATURES_OK;
        }
        self.status = status;
    }

    fn features_are_good(&self) -> bool {
        self.driver_features & !self.features == 0 && self.driver_features & 1 << VIRTIO_F_VERSION_1 != 0
    }

    /// A register of the queue. Where it lies is settled once it is ready.
    fn write_queue(&mut self, offset: u32, value: u32) {
        if offset == VIRTIO_MMIO_QUEUE_READY {
            self.queue.set_ready(value & 1 != 0);
            return;
        }
        if self.queue.ready() {
            return;
        }
        let queue = &mut self.queue;
        match offset {
            // A size that is none, or too large, leaves what was there.
            VIRTIO_MMIO_QUEUE_NUM => queue.set_size(u16::try_from(value).unwrap_or(0)),
            VIRTIO_MMIO_QUEUE_DESC_LOW => queue.set_desc_table_address(Some(value), None),
            VIRTIO_MMIO_QUEUE_DESC_HIGH => queue.set_desc_table_address(None, Some(value)),
            VIRTIO_MMIO_QUEUE_AVAIL_LOW => queue.set_avail_ring_address(Some(value), None),
            VIRTIO_MMIO_QUEUE_AVAIL_HIGH => queue.set_avail_ring_address(None, Some(value)),
            VIRTIO_MMIO_QUEUE_USED_LOW => queue.set_used_ring_address(Some(value), None),
            VIRTIO_MMIO_QUEUE_USED_HIGH => queue.set_used_ring_address(None, Some(value)),
            _ => {}
        }
    }

    /// The saved state.
    pub(super) fn state(&self) -> State {
        let queue = self.queue.state();
        State {
            status: self.status,
            interrupt_status: self.interrupt_status,
            device_features_select: self.device_features_select,
            driver_features_select: self.driver_features_select,
            driver_features: self.driver_features,
            queue_select: self.queue_select,
            queue_size: queue.size,
            queue_ready: queue.ready,
            next_available: queue.next_avail,
            next_used: queue.next_used,
            descriptor_table: queue.desc_table,
            available_ring: queue.avail_ring,
            used_ring: queue.used_ring,
        }
    }

    /// The device in a saved state, which may come from anywhere; or why it can never be in it.
    pub(super) fn in_state(&self, state: &State) -> Result<Self, &'static str> {
        let queue = Queue::try_from(QueueState {
            max_size: QUEUE_SIZE,
            next_avail: state.next_available,
            next_used: state.next_used,
            event_idx_enabled: false,
            size: state.queue_size,
            ready: state.queue_ready,
            desc_table: state.descriptor_table,
            avail_ring: state.available_ring,
            used_ring: state.used_ring,
        })
        .map_err(|_| "its queue has a size or an address that no queue has")?;
        let restored = Self {
            device_id: self.device_id,
            features: self.features,
            status: state.status,
            interrupt_status: state.interrupt_status,
            device_features_select: state.device_features_select,
            driver_features_select: state.driver_features_select,
            driver_features: state.driver_features,
            queue_select: state.queue_select,
            queue,
        };
        let interrupts = VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG;
        if state.status & !STATUS_BITS != 0 || state.interrupt_status & !interrupts != 0 {
            return Err("bits that do not exist are set");
        }
        if state.status & VIRTIO_CONFIG_S_FEATURES_OK != 0 && !restored.features_are_good() {
            return Err("it accepted features that it does not have");
        }
        Ok(restored)
    }
}
