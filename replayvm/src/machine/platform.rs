//! Everything around the CPU: RAM, devices, virtual time, and what is written down about them.
//!
//! This is the one place where the CPU meets the machine ([`Bus`]). Live and replayed inputs look the same from here.

use recorder::{Exit, ExitKind, Position};
use replayvm_cpu::{Access, Bus, Moment, Observation};

use super::clock::VirtualClock;
use super::ram::GuestRam;
use super::rom::Rom;
use super::watch::WatchSet;
use crate::console::{Printed, Source};
use crate::devices::{Devices, Signal};

/// Where RDRAND, RDSEED and the entropy device take their values from.
pub trait Entropy: Send {
    /// The value that an instruction at `at` reads, of `size` bytes.
    fn next(&mut self, at: Position, size: u8) -> u64;

    /// The `len` bytes that the entropy device hands out for the `index`th request of the step at `at`.
    fn bytes(&mut self, at: Position, index: usize, len: usize) -> Vec<u8>;
}

/// Entropy of a machine that nobody feeds: zero.
#[derive(Debug)]
pub(crate) struct NoEntropy;

impl Entropy for NoEntropy {
    fn next(&mut self, _at: Position, _size: u8) -> u64 {
        0
    }

    fn bytes(&mut self, _at: Position, _index: usize, len: usize) -> Vec<u8> {
        vec![0; len]
    }
}

/// Which exits stop a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExitFilter(u32);

impl ExitFilter {
    /// No exit stops.
    pub const NONE: Self = Self(0);
    /// Every exit stops.
    pub const ALL: Self = Self(u32::MAX);

    /// Also this kind.
    #[must_use]
    pub const fn with(self, kind: ExitKind) -> Self {
        Self(self.0 | 1 << kind as u32)
    }

    /// Whether this kind stops.
    #[must_use]
    pub const fn has(self, kind: ExitKind) -> bool {
        self.0 & (1 << kind as u32) != 0
    }
}

/// Exits kept before the run comes to rest so that somebody takes them: a guest that polls a port in a loop without a
/// branch makes tens of thousands a tick.
const MAX_EXITS: usize = 1 << 16;

/// The machine around the CPU.
pub struct Platform {
    /// Guest RAM.
    pub ram: GuestRam,
    /// Read-only memory, for the most part of machines none.
    pub rom: Rom,
    /// Devices.
    pub devices: Devices,
    /// Virtual time.
    pub clock: VirtualClock,
    /// Where entropy comes from.
    pub entropy: Box<dyn Entropy>,
    /// What the debugger watches.
    pub watches: WatchSet,
    /// Exits since they were last taken; only kept while `log_exits` is set.
    pub exits: Vec<(Position, Exit)>,
    /// Exits that this machine has made since it was built, whatever it was restored to: a measure of work.
    pub exits_made: u64,
    /// Instructions that the processor itself has executed since this machine was built: work that takes next to no time.
    pub light_instructions: u64,
    /// Counts what the engine has to look at: exits, changes of devices, watched accesses.
    disturbances: u64,
    /// Whether exits are kept.
    pub log_exits: bool,
    /// Exits that stop the engine.
    pub stop_on: ExitFilter,
    /// The first exit that matched `stop_on` since it was last taken.
    pub stopped_on: Option<(Position, Exit)>,
    /// What the guest has said on its serial port and debug port since it was last taken, while `keep_console` is set.
    pub console: Vec<u8>,
    /// Whether console output is kept.
    pub keep_console: bool,
    /// The same bytes, each with its position, while `keep_printed` is set.
    pub printed: Vec<Printed>,
    /// Whether console output is kept with positions.
    pub keep_printed: bool,
    /// The guest asked for the end of the run.
    pub signal: Option<Signal>,
    /// No interrupt is taken before this tick (a perturbation).
    pub hold_until: u64,
    held: bool,
    pending: bool,
    /// The step under way has asked something of a device that is served after the step: its moment. Never at a position.
    requested: Option<Moment>,
    /// The tick at which the machine next needs its inputs: a device deadline, the end of a hold, a logged event.
    pub due_tick: u64,
    /// The next event or poll that the session waits for.
    pub input_tick: u64,
}

impl std::fmt::Debug for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Platform")
            .field("clock", &self.clock)
            .field("due_tick", &self.due_tick)
            .finish_non_exhaustive()
    }
}

impl Platform {
    pub(crate) fn new(ram: GuestRam, ns_per_tick: u32) -> Self {
        Self {
            ram,
            rom: Rom::default(),
            devices: Devices::new(),
            clock: VirtualClock::new(ns_per_tick),
            entropy: Box::new(NoEntropy),
            watches: WatchSet::default(),
            exits: Vec::new(),
            exits_made: 0,
            light_instructions: 0,
            disturbances: 0,
            log_exits: false,
            stop_on: ExitFilter::NONE,
            stopped_on: None,
            console: Vec::new(),
            keep_console: false,
            printed: Vec::new(),
            keep_printed: false,
            signal: None,
            hold_until: 0,
            held: false,
            pending: false,
            requested: None,
            due_tick: 0,
            input_tick: u64::MAX,
        }
    }

    /// Recomputes what follows from the devices' state: the interrupt pin and the next due tick. Call after any change
    /// to a device that did not come through the bus.
    pub fn devices_changed(&mut self, tick: u64) {
        self.disturbances += 1;
        self.held = tick < self.hold_until;
        self.pending = !self.held && self.devices.interrupt_pending();
        let mut due = self.input_tick;
        if let Some((_, ns)) = self.devices.next_deadline() {
            due = due.min(self.clock.tick_reaching(ns, tick.saturating_add(1)));
        }
        if self.held {
            due = due.min(self.hold_until);
        }
        self.due_tick = due;
    }

    /// Whether the step has asked something of a device that is to be served before the next one.
    #[inline(always)]
    #[must_use]
    pub fn has_requests(&self) -> bool {
        self.requested.is_some()
    }

    /// The machine has been put into another state.
    pub(super) fn forget_requests(&mut self) {
        self.requested = None;
    }

    /// Serves what the step has asked of devices. Says whether they have written to RAM: then whoever remembers anything of
    /// memory has to forget it.
    pub(super) fn serve_requests(&mut self) -> bool {
        let Some(moment) = self.requested.take() else { return false };
        let at = position(moment);
        let writes = self.devices.serve_virtio(at, &mut self.ram, self.entropy.as_mut());
        if !self.watches.is_empty() {
            for (gpa, len) in &writes {
                self.watched_access(moment, *gpa, *len, true);
            }
        }
        self.after_device_access(moment);
        !writes.is_empty()
    }

    /// Whether the run has something for its session to look at before the next step.
    #[inline(always)]
    #[must_use]
    pub fn wants_attention(&self) -> bool {
        self.signal.is_some()
            || self.requested.is_some()
            || self.watches.is_hit()
            || self.stopped_on.is_some()
            || self.exits.len() >= MAX_EXITS
    }

    fn log(&mut self, at: Moment, exit: Exit) {
        self.disturbances += 1;
        self.exits_made += 1;
        if self.log_exits {
            self.exits.push((position(at), exit));
        }
        if self.stop_on.has(exit.kind()) && self.stopped_on.is_none() {
            self.stopped_on = Some((position(at), exit));
        }
    }

    fn watched_access(&mut self, at: Moment, gpa: u64, bytes: u64, write: bool) {
        self.watches.access(position(at), gpa, bytes, write);
        if self.watches.is_hit() {
            self.disturbances += 1;
        }
    }

    fn after_device_access(&mut self, at: Moment) {
        if self.requested.is_none() && self.devices.virtio_notified() {
            self.requested = Some(at);
        }
        if self.signal.is_none() {
            self.signal = self.devices.take_signal();
        }
        if self.devices.has_output() {
            let serial = self.devices.take_serial_output();
            let debug = self.devices.take_debug_output();
            if self.keep_console {
                self.console.extend_from_slice(&serial);
                self.console.extend_from_slice(&debug);
            }
            if self.keep_printed {
                for (source, bytes) in [(Source::Serial, &serial), (Source::Debug, &debug)] {
                    let printed = bytes.iter().map(|byte| Printed { at: position(at), source, byte: *byte });
                    self.printed.extend(printed);
                }
            }
        }
        self.devices_changed(at.tick);
    }
}

/// The CPU's moment as a position of the recording.
#[must_use]
pub const fn position(at: Moment) -> Position {
    Position { tick: at.tick, offset: at.offset }
}

impl Platform {
    #[cold]
    fn mmio_read<const N: usize>(&mut self, at: Moment, access: Access, gpa: u64) -> [u8; N] {
        if let Some(bytes) = self.rom.load(gpa) {
            return bytes;
        }
        let now = self.clock.ns_at(at.tick);
        let mut bytes = [0xff; N];
        // Page tables and descriptors in device memory read as an empty bus.
        if access == Access::Data {
            for (index, part) in bytes.chunks_mut(8).enumerate() {
                let gpa = gpa + index as u64 * 8;
                let size = part.len() as u8;
                let value = self.devices.mmio_read(now, gpa, size);
                part.copy_from_slice(&value.to_le_bytes()[..part.len()]);
                self.log(at, Exit::MmioRead { gpa, size, value: value & mask(size) });
            }
            self.after_device_access(at);
        }
        bytes
    }

    #[cold]
    fn mmio_write<const N: usize>(&mut self, at: Moment, access: Access, gpa: u64, bytes: [u8; N]) {
        if access != Access::Data || self.rom.contains(gpa, N) {
            return;
        }
        let now = self.clock.ns_at(at.tick);
        for (index, part) in bytes.chunks(8).enumerate() {
            let gpa = gpa + index as u64 * 8;
            let mut value = [0; 8];
            value[..part.len()].copy_from_slice(part);
            let (size, value) = (part.len() as u8, u64::from_le_bytes(value));
            self.devices.mmio_write(now, gpa, size, value);
            self.log(at, Exit::MmioWrite { gpa, size, value });
        }
        self.after_device_access(at);
    }
}

const fn mask(size: u8) -> u64 {
    if size >= 8 { u64::MAX } else { (1 << (size as u32 * 8)) - 1 }
}

impl Bus for Platform {
    #[inline(always)]
    fn read<const N: usize>(&mut self, at: Moment, access: Access, gpa: u64) -> [u8; N] {
        if access == Access::Data && !self.watches.is_empty() {
            self.watched_access(at, gpa, N as u64, false);
        }
        match self.ram.load(gpa) {
            Some(bytes) => bytes,
            None => self.mmio_read(at, access, gpa),
        }
    }

    #[inline(always)]
    fn write<const N: usize>(&mut self, at: Moment, access: Access, gpa: u64, bytes: [u8; N]) {
        if access == Access::Data && !self.watches.is_empty() {
            self.watched_access(at, gpa, N as u64, true);
        }
        if !self.ram.store(gpa, bytes) {
            self.mmio_write(at, access, gpa, bytes);
        }
    }

    #[inline(always)]
    fn fetch(&mut self, _at: Moment, gpa: u64, bytes: &mut [u8]) {
        match self.ram.slice(gpa, bytes.len()) {
            Ok(code) => bytes.copy_from_slice(code),
            Err(_) => {
                let there = self.rom.read(gpa, bytes);
                bytes[there..].fill(0xff);
            }
        }
    }

    #[inline(always)]
    fn load_plain<const N: usize>(&self, gpa: u64) -> Option<[u8; N]> {
        if self.watches.may_see(gpa) { None } else { self.ram.load(gpa) }
    }

    #[inline(always)]
    fn store_plain<const N: usize>(&mut self, gpa: u64, bytes: [u8; N]) -> bool {
        !self.watches.may_see(gpa) && self.ram.store(gpa, bytes)
    }

    #[inline(always)]
    fn memory_version(&self) -> u64 {
        self.ram.version()
    }

    #[inline(always)]
    fn disturbances(&self) -> u64 {
        self.disturbances
    }

    fn io_read(&mut self, at: Moment, port: u16, size: u8) -> u32 {
        let value = self.devices.io_read(self.clock.ns_at(at.tick), port, size) & mask(size) as u32;
        self.log(at, Exit::PortRead { port, size, value });
        self.after_device_access(at);
        value
    }

    fn io_write(&mut self, at: Moment, port: u16, size: u8, value: u32) {
        let value = value & mask(size) as u32;
        self.devices.io_write(self.clock.ns_at(at.tick), port, size, value);
        self.log(at, Exit::PortWrite { port, size, value });
        self.after_device_access(at);
    }

    fn tsc(&mut self, at: Moment) -> u64 {
        let value = self.clock.read_tsc(at.tick);
        self.log(at, Exit::Tsc { value });
        value
    }

    fn entropy(&mut self, at: Moment, size: u8) -> u64 {
        let value = self.entropy.next(position(at), size) & mask(size);
        self.log(at, Exit::Entropy { value });
        value
    }

    fn msr_read(&mut self, at: Moment, index: u32) -> Option<u64> {
        let now = self.clock.ns_at(at.tick);
        let value = self.devices.msr_read(now, index);
        self.after_device_access(at);
        value
    }

    fn msr_write(&mut self, at: Moment, index: u32, value: u64) -> Option<()> {
        let now = self.clock.ns_at(at.tick);
        let done = self.devices.msr_write(now, self.clock.peek_tsc(at.tick), index, value);
        self.after_device_access(at);
        done
    }

    fn task_priority(&mut self, _at: Moment) -> u8 {
        self.devices.tpr()
    }

    fn set_task_priority(&mut self, at: Moment, priority: u8) {
        self.devices.set_tpr(priority);
        self.devices_changed(at.tick);
    }

    #[inline(always)]
    fn interrupt_pending(&self) -> bool {
        self.pending
    }

    fn acknowledge(&mut self, at: Moment) -> Option<u8> {
        let vector = self.devices.acknowledge(self.clock.ns_at(at.tick));
        self.devices_changed(at.tick);
        vector
    }

    #[inline(always)]
    fn nmi_pending(&self) -> bool {
        self.devices.nmi_pending()
    }

    fn take_nmi(&mut self, at: Moment) {
        self.devices.take_nmi();
        self.devices_changed(at.tick);
    }

    fn observe(&mut self, at: Moment, what: Observation) {
        let exit = match what {
            Observation::Cpuid { leaf, subleaf } => Exit::Cpuid { leaf, subleaf },
            Observation::MsrRead { index, value } => Exit::MsrRead { index, value },
            Observation::MsrWrite { index, value } => Exit::MsrWrite { index, value },
            Observation::Halt => Exit::Halt,
            Observation::Interrupt { vector } => Exit::Interrupt { vector },
            Observation::Nmi => Exit::Nmi,
            Observation::Exception { vector, error_code, address } => {
                Exit::Exception { vector, error_code, address }
            }
            Observation::SoftwareInterrupt { vector } => Exit::SoftwareInterrupt { vector },
            Observation::Shutdown => Exit::Shutdown,
        };
        self.log(at, exit);
    }
}
