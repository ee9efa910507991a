//! Whether a state given from outside is one that the CPU could be in. A restored state is untrusted: the CPU does not
//! panic whatever it holds, but what comes of an impossible one is nobody's promise.

use crate::access::canonical;
use crate::exec::control_registers::{CR0_KEPT, CR4_OFFERED};
use crate::flags::Rflags;
use crate::paging::PHYSICAL_BITS;
use crate::segment::{Segment, SegmentName};
use crate::state::{CpuState, Mode, cr0, cr4, dr6, efer};

/// All flags that exist.
pub(crate) const FLAGS: u64 = 0x003f_7fd7;

impl CpuState {
    /// Checks a state that comes from outside (a file, a peer).
    ///
    /// # Errors
    /// The first thing found that no CPU could hold, in words.
    pub fn validate(&self) -> Result<(), &'static str> {
        let checks = [
            (self.registers_fit(), "a register holds more than it has bits for"),
            (self.flags_fit(), "RFLAGS has a reserved bit set, or bit 1 clear"),
            (self.modes_agree(), "CR0, CR4, EFER and RFLAGS.VM name no mode"),
            (self.addresses_fit(), "a base or entry address is not canonical"),
            (self.segments_fit(), "a segment register holds what no descriptor gives"),
            (self.rip_fits(), "RIP does not fit the mode"),
        ];
        checks.into_iter().find(|(fine, _)| !fine).map_or(Ok(()), |(_, what)| Err(what))
    }

    fn registers_fit(&self) -> bool {
        self.cr0 & !(CR0_KEPT | cr0::ET) == 0
            && self.cr0 & cr0::ET != 0
            && self.cr4 & !CR4_OFFERED == 0
            && self.cr3 >> PHYSICAL_BITS == 0
            && self.dr6 & !0xe00f == 0xffff_0ff0
            && self.dr7 & !0xffff_23ff == 0x400
            && self.efer & !(efer::SCE | efer::LME | efer::LMA | efer::NXE) == 0
            && self.fmask >> 32 == 0
            && self.tsc_aux >> 32 == 0
            && self.sysenter_cs >> 32 == 0
            && self.mxcsr >> 16 == 0
            && self.pending_debug & !(dr6::BS | dr6::BT | 0xf) == 0
            && self.st.iter().all(|register| register >> 80 == 0)
    }

    fn flags_fit(&self) -> bool {
        self.rflags & !FLAGS == 0 && self.rflags & Rflags::FIXED.bits() != 0
    }

    fn modes_agree(&self) -> bool {
        let on = |register: u64, bit: u64| register & bit != 0;
        let paging = on(self.cr0, cr0::PG);
        let long = on(self.efer, efer::LMA);
        (!paging || on(self.cr0, cr0::PE))
            && (!on(self.cr0, cr0::NW) || on(self.cr0, cr0::CD))
            && long == (paging && on(self.efer, efer::LME))
            && (!long || on(self.cr4, cr4::PAE))
            && (!on(self.rflags, Rflags::VM.bits()) || on(self.cr0, cr0::PE) && !long)
    }

    fn addresses_fit(&self) -> bool {
        [
            self.lstar,
            self.cstar,
            self.kernel_gs_base,
            self.sysenter_esp,
            self.sysenter_eip,
            self.gdtr.base,
            self.idtr.base,
            self.ldtr.base,
            self.tr.base,
            self.segment(SegmentName::Fs).base,
            self.segment(SegmentName::Gs).base,
        ]
        .into_iter()
        .all(canonical)
    }

    fn segments_fit(&self) -> bool {
        let plain = self.segments.iter().chain([&self.ldtr, &self.tr]);
        let names = [SegmentName::Es, SegmentName::Cs, SegmentName::Ss, SegmentName::Ds];
        let flat = |name: SegmentName| self.segment(name).base >> 32 == 0;
        let shaped = |segment: &Segment| segment.attributes.0 & 0x0f00 == 0;
        let cs = self.segment(SegmentName::Cs).attributes;
        plain.clone().all(shaped)
            && names.into_iter().all(flat)
            && (self.plain_segments() || cs.is_code() && cs.present())
    }

    fn rip_fits(&self) -> bool {
        if self.mode() == Mode::Long64 { canonical(self.rip) } else { self.rip >> 32 == 0 }
    }
}
