//! A dry run of one step by the software CPU: what the step reads and writes, and whether it touches anything but RAM.
//!
//! [`Trial`] is a bus over guest RAM that keeps stores to itself. Whatever has an effect that cannot be kept back (a
//! device, the clock, entropy, an accessed or dirty bit in a page table, the delivery of an event) is refused: the
//! trial's outcome is then void.

use replayvm_cpu::{Access, Bus, Moment, Observation};

use super::statistics::Reason;
use crate::machine::GuestRam;

/// Stores that a trial keeps at the most.
const MAX_STORES: usize = 256;

/// A store that the step makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Store {
    /// Guest-physical address; a store never crosses a page.
    pub(crate) gpa: u64,
    /// Bytes.
    pub(crate) len: usize,
    /// What is stored, in the first `len` bytes.
    pub(crate) bytes: [u8; 16],
}

/// A data access, in the order in which the CPU makes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DataAccess {
    pub(crate) gpa: u64,
    pub(crate) len: u64,
    pub(crate) write: bool,
}

/// What a trial has seen; kept between steps for its memory.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Stores to RAM, in order.
    pub(crate) stores: Vec<Store>,
    /// Every data access, in order.
    pub(crate) accesses: Vec<DataAccess>,
    /// Why the outcome is void.
    pub(crate) refused: Option<Reason>,
    /// The exception that was delivered.
    pub(crate) exception: Option<u8>,
    /// Instruction bytes, from the first on; there may be more than the instruction has.
    pub(crate) code: Vec<u8>,
    /// Where they lie: guest-physical address and length of each piece.
    pub(crate) code_at: Vec<(u64, u64)>,
}

impl Seen {
    fn clear(&mut self) {
        self.stores.clear();
        self.accesses.clear();
        self.refused = None;
        self.exception = None;
        self.code.clear();
        self.code_at.clear();
    }

    /// Whether a store goes where the instruction was fetched.
    pub(crate) fn writes_itself(&self) -> bool {
        let overlaps = |store: &Store| {
            let end = store.gpa + store.len as u64;
            self.code_at.iter().any(|(gpa, len)| store.gpa < gpa + len && *gpa < end)
        };
        self.stores.iter().any(overlaps)
    }

    /// The bytes that the stores leave, by address, each byte once.
    pub(crate) fn final_bytes(&self) -> std::collections::BTreeMap<u64, u8> {
        self.stores.iter().flat_map(|store| (store.gpa..).zip(store.bytes).take(store.len)).collect()
    }

    /// Performs the stores.
    pub(crate) fn commit(&self, ram: &mut GuestRam) {
        for store in &self.stores {
            for (gpa, byte) in (store.gpa..).zip(&store.bytes[..store.len]) {
                // Stores outside RAM are refused.
                let _ = ram.store(gpa, [*byte]);
            }
        }
    }
}

/// The bus of a trial.
pub(crate) struct Trial<'a> {
    ram: &'a GuestRam,
    seen: &'a mut Seen,
}

impl<'a> Trial<'a> {
    pub(crate) fn new(ram: &'a GuestRam, seen: &'a mut Seen) -> Self {
        seen.clear();
        Self { ram, seen }
    }

    fn refuse(&mut self, why: Reason) {
        self.seen.refused.get_or_insert(why);
    }
}

impl Bus for Trial<'_> {
    fn read<const N: usize>(&mut self, _at: Moment, access: Access, gpa: u64) -> [u8; N] {
        if access == Access::Data {
            self.seen.accesses.push(DataAccess { gpa, len: N as u64, write: false });
        }
        let Some(mut bytes) = self.ram.load::<N>(gpa) else {
            self.refuse(Reason::NotRam);
            return [0xff; N];
        };
        for store in &self.seen.stores {
            for (i, &byte) in store.bytes[..store.len].iter().enumerate() {
                let place = (store.gpa + i as u64).wrapping_sub(gpa);
                if place < N as u64 {
                    bytes[place as usize] = byte;
                }
            }
        }
        bytes
    }

    fn write<const N: usize>(&mut self, _at: Moment, access: Access, gpa: u64, bytes: [u8; N]) {
        if access != Access::Data {
            self.refuse(Reason::MarksTables);
        } else if !self.ram.contains(gpa, N) {
            self.refuse(Reason::NotRam);
        } else if self.seen.stores.len() >= MAX_STORES || N > 16 {
            self.refuse(Reason::TooLong);
        } else {
            let mut kept = [0; 16];
            kept[..N].copy_from_slice(&bytes);
            self.seen.accesses.push(DataAccess { gpa, len: N as u64, write: true });
            self.seen.stores.push(Store { gpa, len: N, bytes: kept });
        }
    }

    fn fetch(&mut self, _at: Moment, gpa: u64, bytes: &mut [u8]) {
        match self.ram.slice(gpa, bytes.len()) {
            Ok(code) => bytes.copy_from_slice(code),
            Err(_) => {
                self.refuse(Reason::NotRam);
                bytes.fill(0xff);
            }
        }
        self.seen.code.extend_from_slice(bytes);
        self.seen.code_at.push((gpa, bytes.len() as u64));
    }

    /// Every access is to be seen.
    fn load_plain<const N: usize>(&self, _gpa: u64) -> Option<[u8; N]> {
        None
    }

    fn store_plain<const N: usize>(&mut self, _gpa: u64, _bytes: [u8; N]) -> bool {
        false
    }

    fn memory_version(&self) -> u64 {
        self.ram.version()
    }

    fn disturbances(&self) -> u64 {
        0
    }

    fn io_read(&mut self, _at: Moment, _port: u16, _size: u8) -> u32 {
        self.refuse(Reason::NotPlain);
        0
    }

    fn io_write(&mut self, _at: Moment, _port: u16, _size: u8, _value: u32) {
        self.refuse(Reason::NotPlain);
    }

    fn tsc(&mut self, _at: Moment) -> u64 {
        self.refuse(Reason::NotPlain);
        0
    }

    fn entropy(&mut self, _at: Moment, _size: u8) -> u64 {
        self.refuse(Reason::NotPlain);
        0
    }

    fn msr_read(&mut self, _at: Moment, _index: u32) -> Option<u64> {
        self.refuse(Reason::NotPlain);
        None
    }

    fn msr_write(&mut self, _at: Moment, _index: u32, _value: u64) -> Option<()> {
        self.refuse(Reason::NotPlain);
        None
    }

    fn task_priority(&mut self, _at: Moment) -> u8 {
        self.refuse(Reason::NotPlain);
        0
    }

    fn set_task_priority(&mut self, _at: Moment, _priority: u8) {
        self.refuse(Reason::NotPlain);
    }

    /// The engine has asked before the trial.
    fn interrupt_pending(&self) -> bool {
        false
    }

    fn acknowledge(&mut self, _at: Moment) -> Option<u8> {
        self.refuse(Reason::Event);
        None
    }

    fn nmi_pending(&self) -> bool {
        false
    }

    fn take_nmi(&mut self, _at: Moment) {
        self.refuse(Reason::Event);
    }

    fn observe(&mut self, _at: Moment, what: Observation) {
        match what {
            Observation::Exception { vector, .. } => {
                // A second one is a fault on the way to the handler of the first: nothing to compare with.
                if self.seen.exception.replace(vector).is_some() {
                    self.refuse(Reason::Faults);
                }
            }
            _ => self.refuse(Reason::NotPlain),
        }
    }
}
