//! Devices of the machine, and the one seam between them and the CPU.
//!
//! Everything here is a function of the guest's accesses, of input handed in, and of virtual time in nanoseconds since
//! power-on (`now_ns`), which never goes back. No device reads a clock of the host, has a thread, or can tell a recording from
//! its replay. Interrupt lines go to both the 8259 pair and the I/O APIC, as on a board.
//!
//! The machine calls `Devices::advance` when `Devices::next_deadline` is reached; a call at any other time changes
//! nothing. Not here: RAM, the CPU, and how positions become virtual time.

/// When a timer fires, and perturbations of it.
mod deadline;
/// How firmware asks about its machine.
mod fw_cfg;
/// I/O APIC.
mod ioapic;
/// Local APIC and its timer.
mod lapic;
/// The 8259A pair.
mod pic;
/// The 8254 and port 0x61.
mod pit;
/// Reset, exit, debug console, 8042.
mod platform;
/// ACPI's fixed registers.
mod power;
/// Clock and CMOS RAM.
mod rtc;
/// Sections of saved state, and their errors.
mod saved;
/// COM1.
mod uart;
/// Disks and the entropy device.
mod virtio;

use recorder::{Position, Section};

pub use deadline::{TimerSource, UnknownTimerSource};
pub use fw_cfg::FwCfg;
pub use ioapic::{IOAPIC_BASE, Ioapic};
pub use lapic::{APIC_DEFAULT_BASE, Lapic, PHYSICAL_ADDRESS_BITS};
pub use pic::Pic;
pub use pit::{PIT_HZ, Pit};
pub use platform::{Platform, Signal};
pub use power::{PM_TIMER_PORT, PM1_CONTROL_PORT, PM1_EVENT_PORT, Power, SCI_IRQ, SLEEP_TYPE_S5};
pub use rtc::Rtc;
pub use saved::RestoreError;
pub use uart::Uart;
pub use virtio::{DeviceWrite, Virtio};

use deadline::Deadline;
use saved::SavedState;

use crate::machine::{DiskImage, Entropy, GuestRam};

/// Address and data of PCI configuration, which there is not. The reset register at 0xcf9 is among them, but only for byte
/// accesses: a kernel that probes for PCI must not reset the machine.
const PCI_CONFIGURATION: std::ops::RangeInclusive<u16> = 0xcf8..=0xcff;

/// Where a guest finds a virtio device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MmioSlot {
    /// Guest-physical address of its registers.
    pub base: u64,
    /// Bytes of them.
    pub size: u32,
    /// Its pin of the I/O APIC: level-triggered, active high, not shared.
    pub gsi: u32,
}

const IA32_APIC_BASE: u32 = 0x1b;
const IA32_TSC_DEADLINE: u32 = 0x6e0;

/// All devices of a machine.
///
/// The fields can be looked at from outside; only the methods here change them, because these keep the interrupt pin and
/// the next deadline true.
#[derive(Debug)]
pub struct Devices {
    /// COM1.
    pub uart: Uart,
    /// The 8259A pair.
    pub pic: Pic,
    /// The 8254 and port 0x61.
    pub pit: Pit,
    /// The clock and its RAM.
    pub rtc: Rtc,
    /// The local APIC.
    pub lapic: Lapic,
    /// The I/O APIC.
    pub ioapic: Ioapic,
    /// Reset, exit, debug console, 8042.
    pub platform: Platform,
    /// Disks and the entropy device.
    pub virtio: Virtio,
    /// ACPI's fixed registers.
    pub power: Power,
    /// How firmware asks about its machine.
    pub fw_cfg: FwCfg,
    /// The CPU's INTR pin: computed after each change.
    interrupt_pending: bool,
    /// The earliest deadline: computed after each change.
    next_deadline: Option<(TimerSource, u64)>,
}

impl Default for Devices {
    fn default() -> Self {
        Self::new()
    }
}

impl Devices {
    /// The power-on state, at the Unix epoch until [`Self::set_clock`] says otherwise.
    #[must_use]
    pub fn new() -> Self {
        let pit = Pit::new();
        // The timer's line is high without ever having risen.
        let mut devices = Self {
            uart: Uart::new(),
            pic: Pic::new(u16::from(pit.line())),
            ioapic: Ioapic::new(u32::from(pit.line()) << 2),
            pit,
            rtc: Rtc::new(),
            lapic: Lapic::new(false),
            platform: Platform::new(),
            virtio: Virtio::default(),
            power: Power::default(),
            fw_cfg: FwCfg::default(),
            interrupt_pending: false,
            next_deadline: None,
        };
        devices.settle();
        devices
    }

    /// Sets the wall clock at power-on, in seconds since the Unix epoch. Meant for position `0+0`.
    pub fn set_clock(&mut self, unix_seconds: u64) {
        self.rtc.set_clock(unix_seconds);
        self.settle();
    }

    /// Tells the guest, in CMOS RAM, how much memory there is below and above 4 GiB.
    pub fn set_memory_size(&mut self, below_4g_bytes: u64, above_4g_bytes: u64) {
        self.rtc.set_memory_size(below_4g_bytes, above_4g_bytes);
    }

    /// Lets firmware ask about the machine. Meant for position `0+0`, and before a state is restored.
    pub fn enable_firmware_configuration(&mut self, memory_bytes: u64) {
        self.fw_cfg.enable(memory_bytes);
    }

    /// Puts virtio devices onto the bus, after a reset. Meant for a machine that has not run yet.
    pub fn set_virtio(&mut self, virtio: Virtio) {
        self.virtio = virtio;
        self.settle();
    }

    /// Puts images into the disks, in their order.
    pub fn set_disk_images(&mut self, images: &[DiskImage]) {
        self.virtio.set_images(images);
    }

    /// Whether a virtio device waits to be served ([`Self::serve_virtio`]).
    #[must_use]
    pub fn virtio_notified(&self) -> bool {
        self.virtio.is_notified()
    }

    /// Serves the virtio devices that the step at `at` has notified. Returns what they have written to guest RAM, in order.
    pub fn serve_virtio(
        &mut self,
        at: Position,
        ram: &mut GuestRam,
        entropy: &mut dyn Entropy,
    ) -> Vec<DeviceWrite> {
        let writes = self.virtio.serve(at, ram, entropy);
        self.settle();
        writes
    }

    /// The virtio devices, in the order in which the guest is to find them: for ACPI's tables.
    #[must_use]
    pub fn mmio_slots(&self) -> Vec<MmioSlot> {
        self.virtio.slots()
    }

    /// IN: reads `size` bytes (1, 2 or 4) at a port, zero-extended. What no device claims reads as ones. A wide access to
    /// byte-wide registers is one access a byte, low port first, as the ISA bridge makes it.
    pub fn io_read(&mut self, now_ns: u64, port: u16, size: u8) -> u32 {
        if size > 1 && PCI_CONFIGURATION.contains(&port) {
            return ones(size.min(4)) as u32;
        }
        let mut value = 0;
        for index in 0..size.min(4) {
            let byte = port.checked_add(u16::from(index)).map_or(0xff, |port| self.read_byte(now_ns, port));
            value |= u32::from(byte) << (8 * u32::from(index));
        }
        self.settle();
        value
    }

    /// OUT: writes the low `size` bytes (1, 2 or 4) of `value`.
    pub fn io_write(&mut self, now_ns: u64, port: u16, size: u8, value: u32) {
        let size = size.min(4);
        if port == 0xf4 {
            // The one register that is as wide as the access.
            self.platform.raise(Signal::DebugExit((u64::from(value) & ones(size)) as u32));
            return;
        }
        if size > 1 && PCI_CONFIGURATION.contains(&port) {
            return;
        }
        if size > 1 && port == fw_cfg::SELECTOR_PORT {
            self.fw_cfg.select(value as u16);
            return;
        }
        for (index, byte) in (0..size).zip(value.to_le_bytes()) {
            if let Some(port) = port.checked_add(u16::from(index)) {
                self.write_byte(now_ns, port, byte);
                self.settle();
            }
        }
    }

    /// Whether a guest-physical address belongs to a device.
    #[must_use]
    pub fn claims_mmio(&self, gpa: u64) -> bool {
        self.lapic_offset(gpa).is_some() || ioapic_offset(gpa).is_some() || self.virtio.claims(gpa)
    }

    /// Reads `size` bytes (1, 2, 4 or 8) of a device's page, zero-extended; ones where no device is. Registers are 32
    /// bits on 16-byte boundaries: what lies outside of one reads zero.
    pub fn mmio_read(&mut self, now_ns: u64, gpa: u64, size: u8) -> u64 {
        let size = size.min(8);
        let (register, shift) = (gpa & !3, 8 * (gpa & 3));
        let value = if let Some(offset) = self.lapic_offset(register) {
            let value = self.lapic.read_page(now_ns, offset);
            self.settle();
            value
        } else if let Some(offset) = ioapic_offset(register) {
            self.ioapic.read(offset)
        } else if self.virtio.claims(gpa) {
            return self.virtio.read(gpa, size) & ones(size);
        } else {
            return ones(size);
        };
        (u64::from(value) >> shift) & ones(size)
    }

    /// Writes a device's page. Only 32-bit writes on their boundary reach a register (SDM: all others are undefined); of a
    /// 64-bit write the low half counts.
    pub fn mmio_write(&mut self, now_ns: u64, gpa: u64, size: u8, value: u64) {
        if size < 4 || gpa & 3 != 0 {
            return;
        }
        let value = value as u32;
        if let Some(offset) = self.lapic_offset(gpa) {
            let eoi = self.lapic.write_page(now_ns, offset, value);
            self.broadcast(eoi);
        } else if let Some(offset) = ioapic_offset(gpa) {
            self.ioapic.write(offset, value, &mut self.lapic);
        } else {
            self.virtio.write(gpa, value);
        }
        self.settle();
    }

    /// RDMSR of IA32_APIC_BASE, IA32_TSC_DEADLINE or an x2APIC register (0x800 to 0x8ff). `None`: #GP.
    pub fn msr_read(&mut self, now_ns: u64, index: u32) -> Option<u64> {
        match index {
            IA32_APIC_BASE => Some(self.lapic.base_msr()),
            IA32_TSC_DEADLINE => Some(self.lapic.tsc_deadline()),
            0x800..=0x8ff => self.lapic.read_msr(now_ns, index),
            _ => None,
        }
    }

    /// WRMSR of the same; `tsc` is the time-stamp counter at `now_ns`. `None`: #GP, and nothing has changed.
    pub fn msr_write(&mut self, now_ns: u64, tsc: u64, index: u32, value: u64) -> Option<()> {
        match index {
            IA32_APIC_BASE => self.lapic.write_base_msr(value)?,
            IA32_TSC_DEADLINE => self.lapic.set_tsc_deadline(now_ns, tsc, value),
            0x800..=0x8ff => {
                let eoi = self.lapic.write_msr(now_ns, index, value)?;
                self.broadcast(eoi);
            }
            _ => return None,
        }
        self.settle();
        Some(())
    }

    /// CR8: the class of the task priority, 0 to 15.
    #[must_use]
    pub fn tpr(&self) -> u8 {
        self.lapic.cr8()
    }

    /// Writes CR8. The CPU has checked the reserved bits.
    pub fn set_tpr(&mut self, cr8: u8) {
        self.lapic.set_cr8(cr8);
        self.settle();
    }

    /// Fires every timer whose deadline, delay included, has been reached. Takes the same time however long ago that was;
    /// periods that were missed altogether are one interrupt.
    pub fn advance(&mut self, now_ns: u64) {
        if self.next_deadline.is_none_or(|(_, at)| at > now_ns) {
            return;
        }
        if self.pit.advance(now_ns) {
            self.set_line(pit::IRQ, false);
            self.set_line(pit::IRQ, true);
        }
        self.rtc.advance(now_ns);
        self.lapic.advance(now_ns);
        self.power.advance(now_ns);
        self.settle();
    }

    /// The earliest deadline, delay included: the source and nanoseconds of virtual time.
    #[must_use]
    pub fn next_deadline(&self) -> Option<(TimerSource, u64)> {
        self.next_deadline
    }

    /// The timers whose nominal deadline has been reached and for which [`Self::delay_timer`] was not called yet.
    pub fn timers_due_undecided(&self, now_ns: u64) -> impl Iterator<Item = TimerSource> + '_ {
        TimerSource::ALL.into_iter().filter(move |source| self.deadline(*source).is_undecided(now_ns))
    }

    /// A perturbation: the coming firing of this timer happens `ns` after its nominal deadline (0: on time). Later firings
    /// are not shifted. Without a deadline it changes nothing.
    pub fn delay_timer(&mut self, source: TimerSource, ns: u64) {
        match source {
            TimerSource::Pit => self.pit.deadline_mut(),
            TimerSource::LapicTimer => self.lapic.deadline_mut(),
            TimerSource::RtcPeriodic => self.rtc.periodic_mut(),
            TimerSource::RtcUpdate => self.rtc.update_mut(),
            TimerSource::PmTimer => self.power.deadline_mut(),
        }
        .decide(ns);
        self.settle();
    }

    /// The CPU's INTR pin: the local APIC has an interrupt of sufficient priority, or the 8259 has one and is wired through.
    #[inline]
    #[must_use]
    pub fn interrupt_pending(&self) -> bool {
        self.interrupt_pending
    }

    /// Whether an NMI waits.
    #[inline]
    #[must_use]
    pub fn nmi_pending(&self) -> bool {
        self.lapic.nmi_pending()
    }

    /// Takes the NMI that waits.
    pub fn take_nmi(&mut self) -> bool {
        self.lapic.take_nmi()
    }

    /// The CPU takes the interrupt: its vector. The 8259 goes before the local APIC. `None` when INTR is low: an
    /// interrupt that is not there must not be delivered.
    pub fn acknowledge(&mut self, _now_ns: u64) -> Option<u8> {
        if !self.interrupt_pending {
            return None;
        }
        let vector =
            if self.external_interrupt() { self.pic.acknowledge() } else { self.lapic.acknowledge() };
        self.settle();
        Some(vector)
    }

    /// Bytes arrive at COM1. Returns how many were taken; the others have to be offered again.
    pub fn serial_input(&mut self, bytes: &[u8]) -> usize {
        let taken = self.uart.receive(bytes);
        self.settle();
        taken
    }

    /// How many bytes COM1 takes now.
    #[must_use]
    pub fn serial_room(&self) -> usize {
        self.uart.room()
    }

    /// What the guest has sent through COM1 since the last call. At most 1 MiB waits; it is not part of the state.
    pub fn take_serial_output(&mut self) -> Vec<u8> {
        self.uart.take_output()
    }

    /// What the guest has written to the debug consoles since the last call. Not part of the state.
    pub fn take_debug_output(&mut self) -> Vec<u8> {
        self.platform.take_output()
    }

    /// Whether the guest has sent anything that the host has not taken yet.
    #[inline]
    #[must_use]
    pub fn has_output(&self) -> bool {
        self.uart.has_output() || self.platform.has_output()
    }

    /// What the guest asks of the machine: the first request that was not taken yet.
    pub fn take_signal(&mut self) -> Option<Signal> {
        self.platform.take_signal()
    }

    /// Whether address line 20 is on.
    #[must_use]
    pub fn a20_enabled(&self) -> bool {
        self.platform.a20_enabled()
    }

    /// The state of all devices, a section each, in a fixed order. Output that waits for the host is not in it.
    #[must_use]
    pub fn save(&self) -> Vec<Section> {
        let mut sections = vec![
            saved::pack(&self.uart.state()),
            saved::pack(self.pic.state()),
            saved::pack(self.pit.state()),
            saved::pack(self.rtc.state()),
            saved::pack(self.lapic.state()),
            saved::pack(self.ioapic.state()),
            saved::pack(self.platform.state()),
            saved::pack(self.power.state()),
            saved::pack(self.fw_cfg.state()),
        ];
        sections.extend(self.virtio.save());
        sections
    }

    /// Takes on a saved state. Output that waits for the host is dropped.
    ///
    /// # Errors
    /// [`RestoreError`] names the section that is missing, unknown, of another version, or no possible state. Then nothing has
    /// changed.
    pub fn restore(&mut self, sections: &[Section]) -> Result<(), RestoreError> {
        let mut names = vec![
            uart::State::NAME,
            pic::State::NAME,
            pit::State::NAME,
            rtc::State::NAME,
            lapic::State::NAME,
            ioapic::State::NAME,
            platform::State::NAME,
            power::State::NAME,
            fw_cfg::State::NAME,
        ];
        names.extend(self.virtio.sections());
        saved::check_names(sections, &names)?;
        let mut restored = Self {
            uart: Uart::from_state(saved::unpack(sections)?).ok_or(RestoreError::Invalid {
                section: uart::State::NAME,
                what: "the receive queue is too long",
            })?,
            pic: Pic::from_state(saved::unpack(sections)?),
            pit: Pit::from_state(saved::unpack(sections)?),
            rtc: Rtc::from_state(saved::unpack(sections)?),
            lapic: Lapic::from_state(saved::unpack(sections)?),
            ioapic: Ioapic::from_state(saved::unpack(sections)?),
            platform: Platform::from_state(saved::unpack(sections)?),
            virtio: self.virtio.in_state(sections)?,
            power: Power::from_state(saved::unpack(sections)?),
            fw_cfg: self.fw_cfg.with_state(saved::unpack(sections)?),
            interrupt_pending: false,
            next_deadline: None,
        };
        // A saved state has settled. If this changes it, its sections are not of one machine.
        restored.settle();
        for (before, after) in sections_in_order(sections, &names).zip(restored.save()) {
            if before.is_none_or(|before| before.bytes != after.bytes) {
                let section = names.iter().copied().find(|name| **name == *after.name).unwrap_or_default();
                return Err(RestoreError::Invalid {
                    section,
                    what: "it disagrees with another device's lines",
                });
            }
        }
        *self = restored;
        Ok(())
    }

    fn deadline(&self, source: TimerSource) -> &Deadline {
        match source {
            TimerSource::Pit => self.pit.deadline(),
            TimerSource::LapicTimer => self.lapic.deadline(),
            TimerSource::RtcPeriodic => self.rtc.periodic(),
            TimerSource::RtcUpdate => self.rtc.update(),
            TimerSource::PmTimer => self.power.deadline(),
        }
    }

    /// Carries the levels of all outputs to where they go, and computes what is polled.
    fn settle(&mut self) {
        self.set_line(pit::IRQ, self.pit.line());
        self.set_line(platform::KEYBOARD_IRQ, self.platform.keyboard_line());
        self.set_line(uart::IRQ, self.uart.line());
        self.set_line(rtc::IRQ, self.rtc.line());
        for (gsi, high) in self.virtio.lines() {
            self.ioapic.set_line(gsi, high, &mut self.lapic);
        }
        self.set_line(SCI_IRQ, self.power.line());
        let pic_output = self.pic.output();
        self.lapic.set_lint0(pic_output);
        self.ioapic.set_line(ioapic::PIC_PIN, pic_output, &mut self.lapic);
        self.ioapic.service(&mut self.lapic);
        if self.lapic.take_init() {
            self.platform.raise(Signal::Init);
        }
        self.interrupt_pending = self.external_interrupt() || self.lapic.has_interrupt();
        self.next_deadline = TimerSource::ALL
            .into_iter()
            .filter_map(|source| self.deadline(source).fires_at().map(|at| (source, at)))
            .min_by_key(|(_, at)| *at);
    }

    fn external_interrupt(&self) -> bool {
        self.pic.output()
            && (self.lapic.passes_external_interrupts()
                || self.ioapic.passes_external_interrupts(&self.lapic))
    }

    fn set_line(&mut self, irq: u8, high: bool) {
        self.pic.set_line(irq, high);
        if let Some(pin) = ioapic::pin_of_irq(irq) {
            self.ioapic.set_line(pin, high, &mut self.lapic);
        }
    }

    fn broadcast(&mut self, eoi: Option<u8>) {
        if let Some(vector) = eoi {
            self.ioapic.end_of_interrupt(vector, &mut self.lapic);
        }
    }

    fn lapic_offset(&self, gpa: u64) -> Option<u64> {
        gpa.checked_sub(self.lapic.page()?).filter(|offset| *offset < lapic::LENGTH)
    }

    fn read_byte(&mut self, now_ns: u64, port: u16) -> u8 {
        match port {
            0x20 | 0x21 => self.pic.read(false, port & 1 != 0),
            0xa0 | 0xa1 => self.pic.read(true, port & 1 != 0),
            0x4d0 | 0x4d1 => self.pic.read_elcr(port & 1 != 0),
            0x40..=0x42 => self.pit.read_channel(now_ns, usize::from(port - 0x40)),
            0x61 => self.pit.read_port61(now_ns),
            0x60 => self.platform.read_keyboard_data(),
            0x64 => self.platform.read_keyboard_status(),
            0x71 => self.rtc.read(now_ns),
            0x92 => self.platform.read_port92(),
            0xe9 | 0x402 => platform::DEBUG_CONSOLE_ID,
            0xf4 => 0,
            0xcf9 => self.platform.read_reset_control(),
            fw_cfg::DATA_PORT if self.fw_cfg.is_there() => self.fw_cfg.read(),
            power::FIRST_PORT..=power::LAST_PORT => self.power.read(now_ns, port),
            uart::BASE..=uart::LAST => self.uart.read((port - uart::BASE) as u8),
            _ => 0xff,
        }
    }

    fn write_byte(&mut self, now_ns: u64, port: u16, value: u8) {
        match port {
            0x20 | 0x21 => self.pic.write(false, port & 1 != 0, value),
            0xa0 | 0xa1 => self.pic.write(true, port & 1 != 0, value),
            0x4d0 | 0x4d1 => self.pic.write_elcr(port & 1 != 0, value),
            0x40..=0x42 => self.pit.write_channel(now_ns, usize::from(port - 0x40), value),
            0x43 => self.pit.write_control(now_ns, value),
            0x61 => self.pit.write_port61(now_ns, value),
            0x60 => self.platform.write_keyboard_data(value),
            0x64 => self.platform.write_keyboard_command(value),
            0x70 => self.rtc.write_index(value),
            0x71 => self.rtc.write(now_ns, value),
            0x92 => self.platform.write_port92(value),
            0xe9 | 0x402 => self.platform.write_console(value),
            0xcf9 => self.platform.write_reset_control(value),
            power::FIRST_PORT..=power::LAST_PORT if self.power.write(now_ns, port, value) => {
                self.platform.raise(Signal::PowerOff);
            }
            uart::BASE..=uart::LAST => self.uart.write((port - uart::BASE) as u8, value),
            // POST codes (0x80) among them: a write that only takes time.
            _ => {}
        }
    }
}

fn sections_in_order<'a>(
    sections: &'a [Section],
    names: &'a [&str],
) -> impl Iterator<Item = Option<&'a Section>> {
    names.iter().map(|name| sections.iter().find(|section| section.name == *name))
}

/// The value of `size` bytes of ones.
fn ones(size: u8) -> u64 {
    if size >= 8 { u64::MAX } else { (1 << (8 * u32::from(size))) - 1 }
}

fn ioapic_offset(gpa: u64) -> Option<u64> {
    gpa.checked_sub(IOAPIC_BASE).filter(|offset| *offset < ioapic::LENGTH)
}

#[cfg(test)]
mod tests;
