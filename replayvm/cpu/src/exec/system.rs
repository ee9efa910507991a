//! System instructions: halting, interrupt flag, counters, entropy, caches, base registers.

use iced_x86::{Mnemonic, OpKind};

use crate::access::canonical;
use crate::bus::{Bus, Observation};
use crate::exec::{Exec, Flow};
use crate::fault::Fault;
use crate::flags::Rflags;
use crate::segment::SegmentName;
use crate::state::{CpuState, Mode, Shadow, cr4};

impl<B: Bus> Exec<'_, B> {
    /// #GP(0) unless at CPL 0.
    pub(crate) fn demand_cpl0(&self) -> Result<(), Fault> {
        if self.cpu.state.cpl() == 0 { Ok(()) } else { Err(Fault::gp(0)) }
    }

    /// HLT.
    pub(crate) fn halt(&mut self) -> Result<Flow, Fault> {
        self.demand_cpl0()?;
        self.cpu.state.halted = true;
        self.bus.observe(self.at, Observation::Halt);
        Ok(Flow::Next)
    }

    /// CLI, STI.
    pub(crate) fn interrupt_flag(&mut self) -> Result<Flow, Fault> {
        let state = &mut self.cpu.state;
        if !state.iopl_allows() {
            return Err(Fault::gp(0));
        }
        let flag = Rflags::IF.bits();
        if self.insn.mnemonic() == Mnemonic::Cli {
            state.rflags &= !flag;
        } else {
            if state.rflags & flag == 0 {
                state.shadow = Shadow::Sti;
            }
            state.rflags |= flag;
        }
        Ok(Flow::Next)
    }

    /// CLAC, STAC.
    pub(crate) fn access_flag(&mut self) -> Result<Flow, Fault> {
        let state = &mut self.cpu.state;
        if state.cpl() != 0 {
            return Err(Fault::UD);
        }
        if self.insn.mnemonic() == Mnemonic::Clac {
            state.rflags &= !Rflags::AC.bits();
        } else {
            state.rflags |= Rflags::AC.bits();
        }
        Ok(Flow::Next)
    }

    /// CPUID.
    pub(crate) fn cpuid(&mut self) -> Result<Flow, Fault> {
        let (leaf, subleaf) = (self.cpu.state.gpr[0] as u32, self.cpu.state.gpr[1] as u32);
        let apic_base = if leaf == 1 { self.bus.msr_read(self.at, 0x1b) } else { None };
        let [eax, ebx, ecx, edx] = self.cpu.model.cpuid(leaf, subleaf, apic_base).map(u64::from);
        let gpr = &mut self.cpu.state.gpr;
        (gpr[0], gpr[3], gpr[1], gpr[2]) = (eax, ebx, ecx, edx);
        self.bus.observe(self.at, Observation::Cpuid { leaf, subleaf });
        Ok(Flow::Next)
    }

    /// RDTSC, RDTSCP.
    pub(crate) fn read_time(&mut self) -> Result<Flow, Fault> {
        if self.cpu.state.cr4 & cr4::TSD != 0 {
            self.demand_cpl0()?;
        }
        let value = self.time_stamp();
        self.set_pair(value);
        if self.insn.mnemonic() == Mnemonic::Rdtscp {
            self.cpu.state.gpr[1] = self.cpu.state.tsc_aux & 0xffff_ffff;
        }
        Ok(Flow::Next)
    }

    /// RDPMC: there is no counter to read.
    pub(crate) fn read_counter(&mut self) -> Result<Flow, Fault> {
        Err(Fault::gp(0))
    }

    /// RDRAND, RDSEED: always a value.
    pub(crate) fn entropy(&mut self) -> Result<Flow, Fault> {
        let register = self.insn.op0_register();
        let value = self.bus.entropy(self.at, register.size() as u8);
        self.set_gpr(register, value);
        let state = &mut self.cpu.state;
        state.rflags = state.rflags & !Rflags::ARITHMETIC.bits() | Rflags::CF.bits();
        Ok(Flow::Next)
    }

    /// WBINVD, INVD, INVLPG: there is no cache that the guest could see.
    pub(crate) fn invalidate(&mut self) -> Result<Flow, Fault> {
        self.demand_cpl0()?;
        Ok(Flow::Next)
    }

    /// CLFLUSH: checked as a load.
    pub(crate) fn flush_line(&mut self) -> Result<Flow, Fault> {
        let (segment, offset) = self.memory_operand();
        self.load::<1>(segment, offset)?;
        Ok(Flow::Next)
    }

    /// SWAPGS.
    pub(crate) fn swap_gs(&mut self) -> Result<Flow, Fault> {
        if self.cpu.state.mode() != Mode::Long64 {
            return Err(Fault::UD);
        }
        self.demand_cpl0()?;
        let CpuState { segments, kernel_gs_base, .. } = &mut self.cpu.state;
        std::mem::swap(&mut segments[SegmentName::Gs as usize].base, kernel_gs_base);
        Ok(Flow::Next)
    }

    /// RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE.
    pub(crate) fn base_register(&mut self) -> Result<Flow, Fault> {
        let state = &self.cpu.state;
        if state.mode() != Mode::Long64 || state.cr4 & cr4::FSGSBASE == 0 {
            return Err(Fault::UD);
        }
        let mnemonic = self.insn.mnemonic();
        let name = match mnemonic {
            Mnemonic::Rdfsbase | Mnemonic::Wrfsbase => SegmentName::Fs,
            _ => SegmentName::Gs,
        };
        let register = self.insn.op0_register();
        if matches!(mnemonic, Mnemonic::Rdfsbase | Mnemonic::Rdgsbase) {
            let base = state.segment(name).base;
            self.set_gpr(register, base);
        } else {
            let base = self.gpr(register);
            if !canonical(base) {
                return Err(Fault::gp(0));
            }
            self.cpu.state.segment_mut(name).base = base;
        }
        Ok(Flow::Next)
    }

    /// Stores a 16-bit system value: into memory 16 bits, into a register (`wide`, cut to its size).
    pub(crate) fn store_system_word(&mut self, wide: u64) -> Result<Flow, Fault> {
        if self.insn.op0_kind() == OpKind::Memory {
            let (segment, offset) = self.memory_operand();
            self.store(segment, offset, (wide as u16).to_le_bytes())?;
        } else {
            self.set_gpr(self.insn.op0_register(), wide);
        }
        Ok(Flow::Next)
    }

    /// A 16-bit operand of a system instruction, from a register of any size or from memory.
    pub(crate) fn system_word(&mut self, i: u32) -> Result<u16, Fault> {
        if self.insn.op_kind(i) == OpKind::Memory {
            let (segment, offset) = self.memory_operand();
            Ok(u16::from_le_bytes(self.load(segment, offset)?))
        } else {
            Ok(self.gpr(self.insn.op_register(i)) as u16)
        }
    }
}
