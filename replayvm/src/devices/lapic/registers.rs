//! The APIC's registers as the guest addresses them: 32 bits each in the page, or MSRs from 0x800.
//!
//! Source: SDM volume 3, tables 11-1 (page) and 11-6 (MSRs). Not here: what a register does once its value has come in.

use super::DeliveryMode;
use super::{
    ESR_ILLEGAL_REGISTER, ICR_DELIVERY_STATUS, ICR_WRITABLE, LVT_REMOTE_IRR, LVT_TIMER, LVT_WRITABLE, Lapic,
    SVR_WRITABLE, Vectors,
};

// Register numbers: offset in the page divided by 16, or MSR index minus 0x800 (SDM table 11-6).
pub(super) const ID: u16 = 0x02;
pub(super) const VERSION: u16 = 0x03;
pub(super) const TPR: u16 = 0x08;
pub(super) const APR: u16 = 0x09;
pub(super) const PPR: u16 = 0x0a;
pub(super) const EOI: u16 = 0x0b;
pub(super) const RRD: u16 = 0x0c;
pub(super) const LDR: u16 = 0x0d;
pub(super) const DFR: u16 = 0x0e;
pub(super) const SVR: u16 = 0x0f;
pub(super) const ISR: u16 = 0x10;
pub(super) const TMR: u16 = 0x18;
pub(super) const IRR: u16 = 0x20;
pub(super) const ESR: u16 = 0x28;
pub(super) const ICR: u16 = 0x30;
pub(super) const ICR_HIGH: u16 = 0x31;
pub(super) const LVT: u16 = 0x32;
pub(super) const LVT_LAST: u16 = 0x37;
pub(super) const INITIAL_COUNT: u16 = 0x38;
pub(super) const CURRENT_COUNT: u16 = 0x39;
pub(super) const DIVIDE: u16 = 0x3e;
pub(super) const SELF_IPI: u16 = 0x3f;

/// Version 0x14, six LVT entries.
const VERSION_VALUE: u32 = 0x0005_0014;

impl Lapic {
    /// Reads 32 bits of the page at `offset`.
    pub(in super::super) fn read_page(&mut self, now_ns: u64, offset: u64) -> u32 {
        if offset & 0xf != 0 {
            return 0;
        }
        match self.read(now_ns, (offset >> 4) as u16) {
            Some(value) => value,
            None => {
                self.error(ESR_ILLEGAL_REGISTER);
                0
            }
        }
    }

    /// Writes 32 bits of the page; returns the vector of an EOI to broadcast.
    pub(in super::super) fn write_page(&mut self, now_ns: u64, offset: u64, value: u32) -> Option<u8> {
        if offset & 0xf != 0 {
            return None;
        }
        let register = (offset >> 4) as u16;
        match register {
            EOI => return self.end_of_interrupt(),
            LDR => self.state.logical_id = (value >> 24) as u8,
            DFR => self.state.destination_model = (value >> 28) as u8,
            ICR_HIGH => self.state.icr = self.state.icr & 0xffff_ffff | u64::from(value & 0xff00_0000) << 32,
            ICR => {
                let high = self.state.icr >> 32;
                self.write_icr(value & ICR_WRITABLE, high as u32);
            }
            ESR => self.latch_errors(),
            SVR => self.write_svr(value & SVR_WRITABLE),
            LVT..=LVT_LAST => {
                let index = usize::from(register - LVT);
                self.write_lvt(now_ns, index, value & LVT_WRITABLE[index]);
            }
            TPR => self.state.tpr = value as u8,
            INITIAL_COUNT => self.state.timer.set_initial_count(now_ns, value, self.state.lvt[LVT_TIMER]),
            DIVIDE => self.state.timer.set_divide(now_ns, value & 0xb, self.state.lvt[LVT_TIMER]),
            // Read-only registers.
            ID | VERSION | APR | PPR | RRD | ISR..=0x27 | CURRENT_COUNT => {}
            _ => self.error(ESR_ILLEGAL_REGISTER),
        }
        None
    }

    /// Reads an x2APIC MSR, `index` from 0x800. `None`: #GP.
    pub(in super::super) fn read_msr(&mut self, now_ns: u64, index: u32) -> Option<u64> {
        if !self.is_x2apic() {
            return None;
        }
        match u16::try_from(index.checked_sub(0x800)?).ok()? {
            ICR => Some(self.state.icr),
            APR | EOI | RRD | DFR | ICR_HIGH | SELF_IPI => None,
            register => self.read(now_ns, register).map(u64::from),
        }
    }

    /// Writes an x2APIC MSR. The outer `None`: #GP; the inner value: the vector of an EOI to broadcast.
    pub(in super::super) fn write_msr(&mut self, now_ns: u64, index: u32, value: u64) -> Option<Option<u8>> {
        if !self.is_x2apic() {
            return None;
        }
        let register = u16::try_from(index.checked_sub(0x800)?).ok()?;
        if register == ICR {
            let low = value as u32 & !ICR_DELIVERY_STATUS;
            if low & !ICR_WRITABLE != 0 {
                return None;
            }
            self.write_icr(low, (value >> 32) as u32);
            return Some(None);
        }
        let value = u32::try_from(value).ok()?;
        let check = |writable: u32| (value & !writable == 0).then_some(());
        match register {
            EOI => {
                check(0)?;
                return Some(self.end_of_interrupt());
            }
            TPR => {
                check(0xff)?;
                self.state.tpr = value as u8;
            }
            SVR => {
                check(SVR_WRITABLE)?;
                self.write_svr(value);
            }
            ESR => {
                check(0)?;
                self.latch_errors();
            }
            LVT..=LVT_LAST => {
                let index = usize::from(register - LVT);
                let read_only = ICR_DELIVERY_STATUS | LVT_REMOTE_IRR;
                check(LVT_WRITABLE[index] | read_only)?;
                self.write_lvt(now_ns, index, value & LVT_WRITABLE[index]);
            }
            INITIAL_COUNT => self.state.timer.set_initial_count(now_ns, value, self.state.lvt[LVT_TIMER]),
            DIVIDE => {
                check(0xb)?;
                self.state.timer.set_divide(now_ns, value, self.state.lvt[LVT_TIMER]);
            }
            SELF_IPI => {
                check(0xff)?;
                self.send(value as u8, DeliveryMode::Fixed, true);
            }
            _ => return None,
        }
        Some(None)
    }

    /// The registers that read alike in both modes; `None` where there is none.
    fn read(&self, now_ns: u64, register: u16) -> Option<u32> {
        let word = |vectors: &Vectors, first: u16| vectors[usize::from((register - first) & 7)];
        Some(match register {
            ID | EOI | APR | RRD => 0,
            VERSION => VERSION_VALUE,
            TPR => u32::from(self.state.tpr),
            PPR => u32::from(self.ppr()),
            LDR if self.is_x2apic() => 1,
            LDR => u32::from(self.state.logical_id) << 24,
            DFR => u32::from(self.state.destination_model) << 28 | 0x0fff_ffff,
            SVR => self.state.svr,
            ISR..=0x17 => word(&self.state.in_service, ISR),
            TMR..=0x1f => word(&self.state.level_triggered, TMR),
            IRR..=0x27 => word(&self.state.requests, IRR),
            ESR => u32::from(self.state.error_status),
            ICR => self.state.icr as u32,
            ICR_HIGH => (self.state.icr >> 32) as u32,
            LVT..=LVT_LAST => self.state.lvt[usize::from(register - LVT)],
            INITIAL_COUNT => self.state.timer.initial_count(),
            CURRENT_COUNT => self.state.timer.current_count(now_ns, self.state.lvt[LVT_TIMER]),
            DIVIDE => self.state.timer.divide(),
            _ => return None,
        })
    }
}
