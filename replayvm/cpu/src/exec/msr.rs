//! RDMSR and WRMSR. What is not here belongs to the machine (APIC), or does not exist: #GP(0).

use crate::access::canonical;
use crate::bus::{Bus, Observation};
use crate::exec::{Exec, Flow};
use crate::fault::Fault;
use crate::segment::SegmentName;
use crate::state::{CpuState, cr0, efer};

const TSC: u32 = 0x10;
const APIC_BASE: u32 = 0x1b;
const TSC_ADJUST: u32 = 0x3b;
const MICROCODE: u32 = 0x8b;
const MTRR_CAP: u32 = 0xfe;
const MCG_CAP: u32 = 0x179;
const MCG_STATUS: u32 = 0x17a;
const DEBUG_CTL: u32 = 0x1d9;
const EFER: u32 = 0xc000_0080;
const FS_BASE: u32 = 0xc000_0100;
const GS_BASE: u32 = 0xc000_0101;

/// Eight variable ranges, the fixed ranges, write combining.
const MTRR_CAP_VALUE: u64 = 0x508;

/// Whether an MSR is the machine's.
const fn of_machine(index: u32) -> bool {
    matches!(index, APIC_BASE | 0x6e0 | 0x800..=0x8ff)
}

/// Where a fixed-range MTRR is kept.
const fn fixed_range(index: u32) -> Option<usize> {
    match index {
        0x250 => Some(0),
        0x258 | 0x259 => Some(index as usize - 0x257),
        0x268..=0x26f => Some(index as usize - 0x265),
        _ => None,
    }
}

/// Whether all eight bytes are memory types; `uncached_minus` is one for the PAT only.
fn memory_types(value: u64, uncached_minus: bool) -> bool {
    value.to_le_bytes().iter().all(|&kind| matches!(kind, 0 | 1 | 4 | 5 | 6) || uncached_minus && kind == 7)
}

impl CpuState {
    /// An MSR of the CPU's own that is plainly kept.
    fn plain_msr(&self, index: u32) -> Option<u64> {
        Some(match index {
            0x174 => self.sysenter_cs,
            0x175 => self.sysenter_esp,
            0x176 => self.sysenter_eip,
            0x1a0 => self.misc_enable,
            0x200..=0x20f => self.mtrr_variable[(index & 0xf) as usize],
            0x277 => self.pat,
            0x2ff => self.mtrr_def_type,
            EFER => self.efer,
            0xc000_0081 => self.star,
            0xc000_0082 => self.lstar,
            0xc000_0083 => self.cstar,
            0xc000_0084 => self.fmask,
            FS_BASE => self.segment(SegmentName::Fs).base,
            GS_BASE => self.segment(SegmentName::Gs).base,
            0xc000_0102 => self.kernel_gs_base,
            0xc000_0103 => self.tsc_aux,
            MICROCODE | MCG_CAP | MCG_STATUS | DEBUG_CTL => 0,
            MTRR_CAP => MTRR_CAP_VALUE,
            TSC_ADJUST => self.tsc_offset,
            _ => return self.mtrr_fixed.get(fixed_range(index)?).copied(),
        })
    }

    /// Sets such an MSR; `None` if it cannot hold the value.
    fn set_plain_msr(&mut self, index: u32, value: u64) -> Option<()> {
        let demand = |fine: bool| if fine { Some(()) } else { None };
        match index {
            0x174 => self.sysenter_cs = value & 0xffff_ffff,
            0x175 | 0x176 | 0xc000_0082 | 0xc000_0083 | FS_BASE | GS_BASE | 0xc000_0102 => {
                demand(canonical(value))?;
                match index {
                    0x175 => self.sysenter_esp = value,
                    0x176 => self.sysenter_eip = value,
                    0xc000_0082 => self.lstar = value,
                    0xc000_0083 => self.cstar = value,
                    FS_BASE => self.segment_mut(SegmentName::Fs).base = value,
                    GS_BASE => self.segment_mut(SegmentName::Gs).base = value,
                    _ => self.kernel_gs_base = value,
                }
            }
            0x1a0 => self.misc_enable = value,
            0x200..=0x20f => self.mtrr_variable[(index & 0xf) as usize] = value,
            0x277 => {
                demand(memory_types(value, true))?;
                self.pat = value;
            }
            0x2ff => {
                demand(value & !0xcff == 0 && memory_types(value & 0xff, false))?;
                self.mtrr_def_type = value;
            }
            EFER => {
                let offered = efer::SCE | efer::LME | efer::LMA | efer::NXE;
                let paging = self.cr0 & cr0::PG != 0;
                demand(value & !offered == 0)?;
                demand(!paging || (value ^ self.efer) & efer::LME == 0)?;
                self.efer = value & !efer::LMA | self.efer & efer::LMA;
            }
            0xc000_0081 => self.star = value,
            0xc000_0084 => {
                demand(value >> 32 == 0)?;
                self.fmask = value;
            }
            0xc000_0103 => {
                demand(value >> 32 == 0)?;
                self.tsc_aux = value;
            }
            TSC_ADJUST => self.tsc_offset = value,
            MICROCODE => {}
            MCG_STATUS | DEBUG_CTL => demand(value == 0)?,
            _ => {
                demand(memory_types(value, false))?;
                *self.mtrr_fixed.get_mut(fixed_range(index)?)? = value;
            }
        }
        Some(())
    }
}

impl<B: Bus> Exec<'_, B> {
    /// The time-stamp counter as the guest reads it.
    pub(crate) fn time_stamp(&mut self) -> u64 {
        self.bus.tsc(self.at).wrapping_add(self.cpu.state.tsc_offset)
    }

    /// Sets EDX:EAX.
    pub(crate) fn set_pair(&mut self, value: u64) {
        self.cpu.state.gpr[0] = value & 0xffff_ffff;
        self.cpu.state.gpr[2] = value >> 32;
    }

    /// RDMSR.
    pub(crate) fn read_msr(&mut self) -> Result<Flow, Fault> {
        self.demand_cpl0()?;
        let index = self.cpu.state.gpr[1] as u32;
        let value = match index {
            TSC => Some(self.time_stamp()),
            _ if of_machine(index) => self.bus.msr_read(self.at, index),
            _ => self.cpu.state.plain_msr(index),
        };
        let value = value.ok_or(Fault::gp(0))?;
        self.set_pair(value);
        self.bus.observe(self.at, Observation::MsrRead { index, value });
        Ok(Flow::Next)
    }

    /// WRMSR.
    pub(crate) fn write_msr(&mut self) -> Result<Flow, Fault> {
        self.demand_cpl0()?;
        let index = self.cpu.state.gpr[1] as u32;
        let value = self.cpu.state.gpr[2] << 32 | self.cpu.state.gpr[0] & 0xffff_ffff;
        let accepted = match index {
            // What the counter is moved by shows in TSC_ADJUST, which is the same number here.
            TSC => {
                let now = self.time_stamp();
                let state = &mut self.cpu.state;
                state.tsc_offset = state.tsc_offset.wrapping_add(value.wrapping_sub(now));
                Some(())
            }
            _ if of_machine(index) => self.bus.msr_write(self.at, index, value),
            _ => self.cpu.state.set_plain_msr(index, value),
        };
        accepted.ok_or(Fault::gp(0))?;
        if index == EFER {
            self.cpu.select_space();
        }
        self.bus.observe(self.at, Observation::MsrWrite { index, value });
        Ok(Flow::Next)
    }
}
