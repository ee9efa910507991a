//! The local APIC of the one CPU: xAPIC registers in memory, x2APIC registers as MSRs, and IA32_APIC_BASE.
//!
//! Source: Intel SDM volume 3, chapter 11 (in older editions 10), "Advanced Programmable Interrupt Controller". The timer
//! is in `lapic/timer.rs`. Interrupts reach the CPU by three ways: fixed ones through IRR, priority and ISR; NMIs; and the
//! 8259's through LINT0 in ExtINT mode, or directly while the APIC is disabled ("virtual wire").
//!
//! Power-on differs from a bare CPU in one thing: LINT0 is ExtINT and LINT1 NMI, both unmasked, as firmware leaves them
//! (MultiProcessor Specification 3.6.2.2) and as QEMU and KVM start. Not here: SMI and start-up IPIs (ignored), lowest priority
//! arbitration (there is one CPU), thermal and performance interrupts (their LVT entries are registers only), CMCI, the
//! suppression of EOI broadcasts. The APIC ID is 0 and read-only.

use rkyv::{Archive, Deserialize, Serialize};

use super::deadline::Deadline;
use super::saved::SavedState;

/// What a person sees.
mod inspect;
/// How interrupts are addressed: delivery modes, destinations, messages.
mod message;
/// The register file: in memory and as MSRs.
mod registers;
/// One-shot, periodic and TSC-deadline timing.
mod timer;

pub(super) use message::{DeliveryMode, Destination, Message};

/// Guest-physical address of the register page at power-on.
pub const APIC_DEFAULT_BASE: u64 = 0xfee0_0000;
/// Length of the page.
pub(super) const LENGTH: u64 = 0x1000;
/// Physical address bits, as IA32_APIC_BASE checks them; CPUID 0x80000008 has to say the same.
pub const PHYSICAL_ADDRESS_BITS: u32 = 40;

const BASE_BOOTSTRAP: u64 = 1 << 8;
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ENABLED: u64 = 1 << 11;
const BASE_ADDRESS: u64 = ((1 << PHYSICAL_ADDRESS_BITS) - 1) & !0xfff;

// Indices into the LVT, from register 0x32.
const LVT_TIMER: usize = 0;
const LVT_LINT0: usize = 3;
const LVT_LINT1: usize = 4;
const LVT_ERROR: usize = 5;
/// The bits of each LVT entry that can be written (SDM figure 11-8).
const LVT_WRITABLE: [u32; 6] = [0x0007_00ff, 0x0001_07ff, 0x0001_07ff, 0x0001_a7ff, 0x0001_a7ff, 0x0001_00ff];
const LVT_MASKED: u32 = 1 << 16;
const LVT_LEVEL: u32 = 1 << 15;
const LVT_REMOTE_IRR: u32 = 1 << 14;

const SVR_ENABLED: u32 = 1 << 8;
const SVR_WRITABLE: u32 = 0x3ff;

const ICR_LOGICAL: u32 = 1 << 11;
const ICR_ASSERT: u32 = 1 << 14;
const ICR_LEVEL: u32 = 1 << 15;
/// Vector, delivery mode, destination mode, level, trigger mode, shorthand.
const ICR_WRITABLE: u32 = 0x000c_cfff;
/// Delivery status: always idle; software writes back what it read.
const ICR_DELIVERY_STATUS: u32 = 1 << 12;

// Error status (SDM figure 11-9).
const ESR_SEND_ILLEGAL_VECTOR: u8 = 1 << 5;
const ESR_RECEIVED_ILLEGAL_VECTOR: u8 = 1 << 6;
const ESR_ILLEGAL_REGISTER: u8 = 1 << 7;

/// Vectors below this one belong to exceptions.
const FIRST_LEGAL_VECTOR: u8 = 16;

/// A 256-bit register: one bit a vector.
type Vectors = [u32; 8];

fn set_bit(vectors: &mut Vectors, vector: u8, value: bool) {
    let bit = 1 << (vector & 31);
    let word = &mut vectors[usize::from(vector >> 5)];
    if value {
        *word |= bit;
    } else {
        *word &= !bit;
    }
}

fn has_bit(vectors: &Vectors, vector: u8) -> bool {
    vectors[usize::from(vector >> 5)] & 1 << (vector & 31) != 0
}

fn highest(vectors: &Vectors) -> Option<u8> {
    let (index, word) = vectors.iter().enumerate().rev().find(|(_, word)| **word != 0)?;
    u8::try_from(index as u32 * 32 + (31 - word.leading_zeros())).ok()
}

/// The saved state.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub(super) struct State {
    /// IA32_APIC_BASE.
    base: u64,
    tpr: u8,
    logical_id: u8,
    /// The model in DFR's top four bits: 15 flat, 0 cluster.
    destination_model: u8,
    svr: u32,
    in_service: Vectors,
    level_triggered: Vectors,
    requests: Vectors,
    error_status: u8,
    /// Errors since ESR was last written.
    errors: u8,
    icr: u64,
    lvt: [u32; 6],
    timer: timer::State,
    nmi_pending: bool,
    init_pending: bool,
    /// The level of LINT0: the output of the 8259 pair.
    lint0: bool,
}

impl SavedState for State {
    const NAME: &'static str = "lapic";
    const VERSION: u32 = 1;

    fn validate(&self) -> Result<(), &'static str> {
        if self.base & !(BASE_ADDRESS | BASE_BOOTSTRAP | BASE_X2APIC | BASE_ENABLED) != 0 {
            return Err("IA32_APIC_BASE has reserved bits set");
        }
        if self.base & BASE_X2APIC != 0 && self.base & BASE_ENABLED == 0 {
            return Err("x2APIC mode without the APIC enabled");
        }
        if self.svr & !SVR_WRITABLE != 0 || self.destination_model > 15 || self.init_pending {
            return Err("a register has reserved bits set");
        }
        for (entry, writable) in self.lvt.iter().zip(LVT_WRITABLE) {
            if entry & !(writable | LVT_REMOTE_IRR) != 0 {
                return Err("an LVT entry has reserved bits set");
            }
        }
        self.timer.validate()
    }
}

/// The local APIC.
#[derive(Debug, Clone)]
pub struct Lapic {
    state: State,
}

impl Lapic {
    pub(super) fn new(lint0: bool) -> Self {
        let mut lapic =
            Self { state: Self::reset_state(APIC_DEFAULT_BASE | BASE_BOOTSTRAP | BASE_ENABLED, lint0) };
        lapic.state.lvt[LVT_LINT0] = 7 << 8;
        lapic.state.lvt[LVT_LINT1] = 4 << 8;
        lapic
    }

    /// After reset or re-enabling (SDM "Local APIC state after power-up or reset").
    fn reset_state(base: u64, lint0: bool) -> State {
        State {
            base,
            tpr: 0,
            logical_id: 0,
            destination_model: 15,
            svr: 0xff,
            in_service: [0; 8],
            level_triggered: [0; 8],
            requests: [0; 8],
            error_status: 0,
            errors: 0,
            icr: 0,
            lvt: [LVT_MASKED; 6],
            timer: timer::State::default(),
            nmi_pending: false,
            init_pending: false,
            lint0,
        }
    }

    pub(super) fn from_state(state: State) -> Self {
        Self { state }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn deadline(&self) -> &Deadline {
        &self.state.timer.deadline
    }

    pub(super) fn deadline_mut(&mut self) -> &mut Deadline {
        &mut self.state.timer.deadline
    }

    /// Whether IA32_APIC_BASE enables the APIC.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.state.base & BASE_ENABLED != 0
    }

    /// Whether the registers are MSRs.
    #[must_use]
    pub fn is_x2apic(&self) -> bool {
        self.state.base & BASE_X2APIC != 0
    }

    /// Where the register page is; `None` in x2APIC mode and while disabled.
    #[must_use]
    pub fn page(&self) -> Option<u64> {
        (self.is_enabled() && !self.is_x2apic()).then_some(self.state.base & BASE_ADDRESS)
    }

    fn is_software_enabled(&self) -> bool {
        self.is_enabled() && self.state.svr & SVR_ENABLED != 0
    }

    /// IA32_APIC_BASE.
    pub(super) fn base_msr(&self) -> u64 {
        self.state.base
    }

    /// Writes IA32_APIC_BASE. `None`: #GP, for reserved bits and for the transitions that SDM figure 11-27 forbids.
    pub(super) fn write_base_msr(&mut self, value: u64) -> Option<()> {
        if value & !(BASE_ADDRESS | BASE_BOOTSTRAP | BASE_X2APIC | BASE_ENABLED) != 0 {
            return None;
        }
        let x2apic = value & BASE_X2APIC != 0;
        let enabled = value & BASE_ENABLED != 0;
        let allowed = match (self.is_enabled(), self.is_x2apic()) {
            (false, _) => !x2apic,
            (true, false) => enabled || !x2apic,
            (true, true) => x2apic == enabled,
        };
        if !allowed {
            return None;
        }
        if self.is_enabled() && !enabled {
            let nmi_pending = self.state.nmi_pending;
            self.state = State { nmi_pending, ..Self::reset_state(value, self.state.lint0) };
        }
        if x2apic && !self.is_x2apic() {
            // The upper half of ICR is not preserved.
            self.state.icr &= 0xffff_ffff;
        }
        self.state.base = value;
        Some(())
    }

    /// CR8: the class of the task priority.
    pub(super) fn cr8(&self) -> u8 {
        self.state.tpr >> 4
    }

    pub(super) fn set_cr8(&mut self, value: u8) {
        self.state.tpr = (value & 0xf) << 4;
    }

    /// IA32_TSC_DEADLINE: zero unless armed.
    pub(super) fn tsc_deadline(&self) -> u64 {
        self.state.timer.tsc_deadline()
    }

    /// Writes IA32_TSC_DEADLINE, `tsc` being the time-stamp counter at `now_ns`.
    pub(super) fn set_tsc_deadline(&mut self, now_ns: u64, tsc: u64, value: u64) {
        self.state.timer.set_tsc_deadline(now_ns, tsc, value, self.state.lvt[LVT_TIMER]);
    }

    /// Fires the timer when it is due.
    pub(super) fn advance(&mut self, now_ns: u64) {
        let entry = self.state.lvt[LVT_TIMER];
        if self.state.timer.advance(now_ns, entry) && entry & LVT_MASKED == 0 {
            self.accept(entry as u8, false);
        }
    }

    /// Takes the level of LINT0, the output of the 8259 pair. In ExtINT mode the level is looked at, not the edge.
    pub(super) fn set_lint0(&mut self, high: bool) {
        let rises = high && !self.state.lint0;
        self.state.lint0 = high;
        if high {
            self.sense_lint0(rises);
        }
    }

    fn sense_lint0(&mut self, rises: bool) {
        let entry = self.state.lvt[LVT_LINT0];
        if !self.is_enabled() || entry & LVT_MASKED != 0 {
            return;
        }
        match DeliveryMode::from_bits(entry >> 8) {
            DeliveryMode::Fixed if entry & LVT_LEVEL != 0 => {
                let accepted = entry & LVT_REMOTE_IRR == 0 && self.accept(entry as u8, true);
                self.state.lvt[LVT_LINT0] |= if accepted { LVT_REMOTE_IRR } else { 0 };
            }
            DeliveryMode::Fixed if rises => {
                self.accept(entry as u8, false);
            }
            DeliveryMode::Nmi if rises => self.state.nmi_pending = true,
            DeliveryMode::Init if rises => self.state.init_pending = true,
            _ => {}
        }
    }

    /// Whether the 8259's output is the CPU's INTR pin.
    pub(super) fn passes_external_interrupts(&self) -> bool {
        let entry = self.state.lvt[LVT_LINT0];
        !self.is_enabled()
            || entry & LVT_MASKED == 0 && DeliveryMode::from_bits(entry >> 8) == DeliveryMode::External
    }

    /// Whether a message for `destination` is for this CPU.
    pub(super) fn is_destination(&self, destination: Destination) -> bool {
        match destination {
            Destination::All => true,
            Destination::None => false,
            Destination::Physical(id) => id == 0,
            Destination::Logical(mask) if self.is_x2apic() => {
                // Derived from the ID: cluster 0, bit 0.
                mask >> 16 == 0 && mask & 1 != 0
            }
            Destination::Logical(mask) => {
                let own = self.state.logical_id;
                let mask = mask as u8;
                if self.state.destination_model == 15 {
                    own & mask != 0
                } else {
                    own >> 4 == mask >> 4 && own & mask & 0xf != 0
                }
            }
        }
    }

    /// Takes a message from the I/O APIC. `false`: nobody accepted it.
    pub(super) fn deliver(&mut self, message: Message) -> bool {
        if !self.is_enabled() || !self.is_destination(message.destination) {
            return false;
        }
        match message.mode {
            DeliveryMode::Fixed | DeliveryMode::LowestPriority => self.accept(message.vector, message.level),
            DeliveryMode::Nmi => {
                self.state.nmi_pending = true;
                true
            }
            DeliveryMode::Init => {
                self.state.init_pending = true;
                true
            }
            DeliveryMode::Smi | DeliveryMode::StartUp | DeliveryMode::External | DeliveryMode::Reserved => {
                false
            }
        }
    }

    /// Whether a fixed interrupt has the priority to interrupt the CPU now.
    pub(super) fn has_interrupt(&self) -> bool {
        self.deliverable().is_some()
    }

    fn deliverable(&self) -> Option<u8> {
        if !self.is_enabled() {
            return None;
        }
        highest(&self.state.requests).filter(|vector| vector & 0xf0 > self.ppr() & 0xf0)
    }

    /// The CPU takes the interrupt: the vector moves from IRR to ISR. Without one that may interrupt: the spurious vector.
    pub(super) fn acknowledge(&mut self) -> u8 {
        let Some(vector) = self.deliverable() else { return self.state.svr as u8 };
        set_bit(&mut self.state.requests, vector, false);
        set_bit(&mut self.state.in_service, vector, true);
        vector
    }

    /// Whether an NMI waits for the CPU.
    #[must_use]
    pub fn nmi_pending(&self) -> bool {
        self.state.nmi_pending
    }

    pub(super) fn take_nmi(&mut self) -> bool {
        std::mem::take(&mut self.state.nmi_pending)
    }

    pub(super) fn take_init(&mut self) -> bool {
        std::mem::take(&mut self.state.init_pending)
    }

    /// Processor priority (SDM "Task and processor priorities").
    fn ppr(&self) -> u8 {
        let in_service = highest(&self.state.in_service).unwrap_or(0) & 0xf0;
        if self.state.tpr & 0xf0 >= in_service { self.state.tpr } else { in_service }
    }

    fn write_svr(&mut self, value: u32) {
        self.state.svr = value;
        if value & SVR_ENABLED == 0 {
            for entry in &mut self.state.lvt {
                *entry |= LVT_MASKED;
            }
        }
    }

    fn write_lvt(&mut self, now_ns: u64, index: usize, value: u32) {
        // "While the APIC is software disabled, attempts to reset the mask bits are ignored."
        let forced = if self.state.svr & SVR_ENABLED == 0 { LVT_MASKED } else { 0 };
        let before = self.state.lvt[index];
        let mut entry = value | forced;
        if index == LVT_LINT0 && entry & LVT_LEVEL != 0 {
            entry |= before & LVT_REMOTE_IRR;
        }
        self.state.lvt[index] = entry;
        match index {
            LVT_TIMER => self.state.timer.change_mode(now_ns, before, entry),
            LVT_LINT0 if self.state.lint0 => self.sense_lint0(false),
            _ => {}
        }
    }

    fn write_icr(&mut self, low: u32, high: u32) {
        self.state.icr = u64::from(high) << 32 | u64::from(low);
        let logical = low & ICR_LOGICAL != 0;
        let destination = match (low >> 18) & 3 {
            0 if self.is_x2apic() => Destination::from_x2apic(high, logical),
            0 => Destination::from_xapic((high >> 24) as u8, logical),
            1 | 2 => Destination::All,
            _ => Destination::None,
        };
        let mode = DeliveryMode::from_bits(low >> 8);
        if mode == DeliveryMode::Init && low & ICR_LEVEL != 0 && low & ICR_ASSERT == 0 {
            // INIT level de-assert: not for processors that have an xAPIC.
            return;
        }
        let is_for_me = self.is_destination(destination);
        self.send(low as u8, mode, is_for_me);
    }

    /// Sends an interprocessor interrupt, to the only processor or to nobody.
    fn send(&mut self, vector: u8, mode: DeliveryMode, is_for_me: bool) {
        match mode {
            DeliveryMode::Fixed | DeliveryMode::LowestPriority if vector < FIRST_LEGAL_VECTOR => {
                self.error(ESR_SEND_ILLEGAL_VECTOR);
            }
            DeliveryMode::Fixed | DeliveryMode::LowestPriority if is_for_me => {
                self.accept(vector, false);
            }
            DeliveryMode::Nmi if is_for_me => self.state.nmi_pending = true,
            DeliveryMode::Init if is_for_me => self.state.init_pending = true,
            _ => {}
        }
    }

    /// Accepts a fixed interrupt into IRR. A software-disabled APIC does not.
    fn accept(&mut self, vector: u8, level: bool) -> bool {
        if !self.is_software_enabled() {
            return false;
        }
        if vector < FIRST_LEGAL_VECTOR {
            self.error(ESR_RECEIVED_ILLEGAL_VECTOR);
            return false;
        }
        set_bit(&mut self.state.requests, vector, true);
        set_bit(&mut self.state.level_triggered, vector, level);
        true
    }

    fn end_of_interrupt(&mut self) -> Option<u8> {
        let vector = highest(&self.state.in_service)?;
        set_bit(&mut self.state.in_service, vector, false);
        let entry = self.state.lvt[LVT_LINT0];
        if entry & LVT_REMOTE_IRR != 0 && entry as u8 == vector {
            self.state.lvt[LVT_LINT0] &= !LVT_REMOTE_IRR;
            if self.state.lint0 {
                self.sense_lint0(false);
            }
        }
        has_bit(&self.state.level_triggered, vector).then_some(vector)
    }

    /// A write to ESR makes the errors since the last write readable.
    fn latch_errors(&mut self) {
        self.state.error_status = std::mem::take(&mut self.state.errors);
    }

    fn error(&mut self, error: u8) {
        self.state.errors |= error;
        let entry = self.state.lvt[LVT_ERROR];
        if entry & LVT_MASKED != 0 || !self.is_software_enabled() {
            return;
        }
        if entry as u8 >= FIRST_LEGAL_VECTOR {
            set_bit(&mut self.state.requests, entry as u8, true);
            set_bit(&mut self.state.level_triggered, entry as u8, false);
        } else {
            self.state.errors |= ESR_RECEIVED_ILLEGAL_VECTOR;
        }
    }
}

#[cfg(test)]
mod tests;
