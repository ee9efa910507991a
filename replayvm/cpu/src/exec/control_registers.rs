//! Control and debug registers: MOV, LMSW, SMSW, CLTS; entering and leaving protected, paged and long mode (SDM vol. 3,
//! 2.5, 4.1, 9.8.5, 17.2).

use iced_x86::Register;

use crate::bus::{Access, Bus};
use crate::exec::{Exec, Flow};
use crate::fault::{Fault, Vector};
use crate::paging::PHYSICAL_BITS;
use crate::segment::SegmentName;
use crate::state::{Mode, cr0, cr4, dr6, efer};

/// The bits of CR0 that are kept.
pub(crate) const CR0_KEPT: u64 =
    cr0::PE | cr0::MP | cr0::EM | cr0::TS | cr0::NE | cr0::WP | cr0::AM | cr0::NW | cr0::CD | cr0::PG;
/// The bits of CR4 that this model has.
pub(crate) const CR4_OFFERED: u64 = cr4::TSD
    | cr4::DE
    | cr4::PSE
    | cr4::PAE
    | cr4::MCE
    | cr4::PGE
    | cr4::PCE
    | cr4::OSFXSR
    | cr4::OSXMMEXCPT
    | cr4::FSGSBASE
    | cr4::SMEP
    | cr4::SMAP;
/// DR7.GD.
const GENERAL_DETECT: u64 = 1 << 13;

impl<B: Bus> Exec<'_, B> {
    /// MOV to and from control and debug registers.
    pub(crate) fn mov_control(&mut self) -> Result<Flow, Fault> {
        let (to, from) = (self.insn.op0_register(), self.insn.op1_register());
        self.demand_cpl0_or_absent(to, from)?;
        if to.is_dr() || from.is_dr() {
            return self.mov_debug(to, from);
        }
        if to.is_cr() {
            let value = self.gpr(from);
            match to {
                Register::CR0 => self.set_cr0(value)?,
                Register::CR2 => self.cpu.state.cr2 = value,
                Register::CR3 => self.set_cr3(value)?,
                Register::CR4 => self.set_cr4(value)?,
                Register::CR8 if value <= 15 => self.bus.set_task_priority(self.at, value as u8),
                _ => return Err(Fault::gp(0)),
            }
        } else {
            let value = match from {
                Register::CR0 => self.cpu.state.cr0,
                Register::CR2 => self.cpu.state.cr2,
                Register::CR3 => self.cpu.state.cr3,
                Register::CR4 => self.cpu.state.cr4,
                _ => u64::from(self.bus.task_priority(self.at) & 15),
            };
            self.set_gpr(to, value);
        }
        Ok(Flow::Next)
    }

    /// #UD for a control register that does not exist, #GP(0) outside CPL 0.
    fn demand_cpl0_or_absent(&self, to: Register, from: Register) -> Result<(), Fault> {
        for register in [to, from] {
            let exists = matches!(
                register,
                Register::CR0 | Register::CR2 | Register::CR3 | Register::CR4 | Register::CR8
            );
            if register.is_cr() && !exists || register.is_tr() {
                return Err(Fault::UD);
            }
        }
        self.demand_cpl0()
    }

    pub(crate) fn set_cr0(&mut self, value: u64) -> Result<(), Fault> {
        let state = &self.cpu.state;
        let invalid = value >> 32 != 0
            || value & cr0::PG != 0 && value & cr0::PE == 0
            || value & cr0::NW != 0 && value & cr0::CD == 0;
        if invalid {
            return Err(Fault::gp(0));
        }
        let value = value & CR0_KEPT | cr0::ET;
        let mut efer = state.efer;
        let turned_on = value & !state.cr0 & cr0::PG != 0;
        if turned_on {
            if efer & efer::LME != 0 {
                if state.cr4 & cr4::PAE == 0 || state.segment(SegmentName::Cs).attributes.long() {
                    return Err(Fault::gp(0));
                }
                efer |= efer::LMA;
            } else if state.cr4 & cr4::PAE != 0 {
                self.check_pointers(self.cpu.state.cr3)?;
            }
        } else if state.cr0 & !value & cr0::PG != 0 && state.long_mode() {
            if state.mode() == Mode::Long64 {
                return Err(Fault::gp(0));
            }
            efer &= !efer::LMA;
        }
        // What CPL 0 leaves in RFLAGS.VM for later would be no mode at all: PE cannot be set in virtual-8086 mode.
        self.cpu.state.cr0 = value;
        self.cpu.state.efer = efer;
        self.cpu.select_space();
        Ok(())
    }

    fn set_cr3(&mut self, value: u64) -> Result<(), Fault> {
        let state = &self.cpu.state;
        if value >> PHYSICAL_BITS != 0 {
            return Err(Fault::gp(0));
        }
        if state.cr0 & cr0::PG != 0 && state.cr4 & cr4::PAE != 0 && !state.long_mode() {
            self.check_pointers(value)?;
        }
        self.cpu.state.cr3 = value;
        self.cpu.select_space();
        Ok(())
    }

    fn set_cr4(&mut self, value: u64) -> Result<(), Fault> {
        let state = &self.cpu.state;
        if value & !CR4_OFFERED != 0 || state.long_mode() && value & cr4::PAE == 0 {
            return Err(Fault::gp(0));
        }
        let paging = state.cr0 & cr0::PG != 0 && !state.long_mode();
        if paging && value & cr4::PAE != 0 && state.cr4 & cr4::PAE == 0 {
            self.check_pointers(state.cr3)?;
        }
        self.cpu.state.cr4 = value;
        self.cpu.select_space();
        Ok(())
    }

    /// #GP(0) if one of the four page-directory pointers of PAE paging has a reserved bit set.
    fn check_pointers(&mut self, cr3: u64) -> Result<(), Fault> {
        for i in 0..4 {
            let slot = (cr3 & 0xffff_ffe0) + 8 * i;
            let entry = u64::from_le_bytes(self.bus.read(self.at, Access::System, slot));
            if entry & 1 != 0 && (entry >> PHYSICAL_BITS != 0 || entry & 0x1e6 != 0) {
                return Err(Fault::gp(0));
            }
        }
        Ok(())
    }

    fn mov_debug(&mut self, to: Register, from: Register) -> Result<Flow, Fault> {
        let register = if to.is_dr() { to } else { from };
        let state = &mut self.cpu.state;
        let number = match register.number() {
            // DR4 and DR5 are other names of DR6 and DR7.
            n @ (4 | 5) if state.cr4 & cr4::DE == 0 => n + 2,
            n @ (0..=3 | 6 | 7) => n,
            _ => return Err(Fault::UD),
        };
        if state.dr7 & GENERAL_DETECT != 0 {
            return Err(Fault { vector: Vector::Debug, error_code: None, detail: dr6::BD });
        }
        if to.is_dr() {
            let value = self.gpr(from);
            if number >= 6 && value >> 32 != 0 {
                return Err(Fault::gp(0));
            }
            let state = &mut self.cpu.state;
            match number {
                6 => state.dr6 = value & 0xe00f | 0xffff_0ff0,
                7 => state.dr7 = value & 0xffff_23ff | 0x400,
                _ => state.dr[number & 3] = value,
            }
        } else {
            let value = match number {
                6 => state.dr6,
                7 => state.dr7,
                _ => state.dr[number & 3],
            };
            self.set_gpr(to, value);
        }
        Ok(Flow::Next)
    }

    /// LMSW: sets PE, and sets or clears MP, EM and TS.
    pub(crate) fn load_machine_status(&mut self) -> Result<Flow, Fault> {
        self.demand_cpl0()?;
        let word = u64::from(self.system_word(0)?);
        let old = self.cpu.state.cr0;
        self.set_cr0(old & !0xe | word & 0xf)?;
        Ok(Flow::Next)
    }

    /// SMSW.
    pub(crate) fn store_machine_status(&mut self) -> Result<Flow, Fault> {
        self.store_system_word(self.cpu.state.cr0)
    }

    /// CLTS.
    pub(crate) fn clear_task_switched(&mut self) -> Result<Flow, Fault> {
        self.demand_cpl0()?;
        self.cpu.state.cr0 &= !cr0::TS;
        Ok(Flow::Next)
    }
}
