//! Everything the CPU remembers.

use rkyv::{Archive, Deserialize, Serialize};

use crate::bus::Moment;
use crate::flags::Rflags;
use crate::segment::{Attributes, Segment, SegmentName, Table};

/// The architectural state of the CPU, and its place in the run. Canonical: equal machines have equal states.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
#[allow(missing_docs, reason = "registers by the manual's own names")]
pub struct CpuState {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15: the encoding order.
    pub gpr: [u64; 16],
    pub rip: u64,
    /// RFLAGS, always materialised, bit 1 set.
    pub rflags: u64,
    /// Indexed by [`SegmentName`].
    pub segments: [Segment; 6],
    pub ldtr: Segment,
    pub tr: Segment,
    pub gdtr: Table,
    pub idtr: Table,
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    /// DR0 to DR3.
    pub dr: [u64; 4],
    pub dr6: u64,
    pub dr7: u64,
    pub efer: u64,
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub fmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub pat: u64,
    pub tsc_aux: u64,
    /// What the guest has added to the time-stamp counter.
    pub tsc_offset: u64,
    pub misc_enable: u64,
    /// MTRRs: default type, then fixed and variable ranges; kept, without effect.
    pub mtrr_def_type: u64,
    pub mtrr_fixed: [u64; 11],
    pub mtrr_variable: [u64; 16],
    pub xmm: [u128; 16],
    pub mxcsr: u32,
    /// x87 control, status and (abridged) tag words, and the registers as 80-bit images in physical order.
    pub fcw: u16,
    pub fsw: u16,
    pub ftw: u8,
    pub st: [u128; 8],
    /// What the next boundary may not deliver.
    pub shadow: Shadow,
    /// Between delivery of an NMI and the next IRET.
    pub nmi_blocked: bool,
    /// In HLT, until an interrupt is taken.
    pub halted: bool,
    /// After a triple fault; only a reset leaves it.
    pub shutdown: bool,
    /// #DB bits for DR6 raised by the last instruction (single step, data breakpoints), delivered at the boundary.
    pub pending_debug: u64,
    /// Where we are.
    pub now: Moment,
    /// Instructions retired since power-on; for display, never an address.
    pub instructions: u64,
    /// Where a run of nothing but NOP, PAUSE and JMP has been seen to pass, and how many jumps ago (0: no such run).
    pub idle_loop_rip: u64,
    pub idle_loop_jumps: u32,
}

/// Bits of CR0.
#[allow(missing_docs, reason = "the manual's own names")]
pub mod cr0 {
    pub const PE: u64 = 1;
    pub const MP: u64 = 1 << 1;
    pub const EM: u64 = 1 << 2;
    pub const TS: u64 = 1 << 3;
    pub const ET: u64 = 1 << 4;
    pub const NE: u64 = 1 << 5;
    pub const WP: u64 = 1 << 16;
    pub const AM: u64 = 1 << 18;
    pub const NW: u64 = 1 << 29;
    pub const CD: u64 = 1 << 30;
    pub const PG: u64 = 1 << 31;
}

/// Bits of CR4.
#[allow(missing_docs, reason = "the manual's own names")]
pub mod cr4 {
    pub const TSD: u64 = 1 << 2;
    pub const DE: u64 = 1 << 3;
    pub const PSE: u64 = 1 << 4;
    pub const PAE: u64 = 1 << 5;
    pub const MCE: u64 = 1 << 6;
    pub const PGE: u64 = 1 << 7;
    pub const PCE: u64 = 1 << 8;
    pub const OSFXSR: u64 = 1 << 9;
    pub const OSXMMEXCPT: u64 = 1 << 10;
    pub const UMIP: u64 = 1 << 11;
    pub const FSGSBASE: u64 = 1 << 16;
    pub const SMEP: u64 = 1 << 20;
    pub const SMAP: u64 = 1 << 21;
}

/// Bits of DR6.
#[allow(missing_docs, reason = "the manual's own names")]
pub mod dr6 {
    pub const BD: u64 = 1 << 13;
    pub const BS: u64 = 1 << 14;
    pub const BT: u64 = 1 << 15;
}

/// Bits of EFER.
#[allow(missing_docs, reason = "the manual's own names")]
pub mod efer {
    pub const SCE: u64 = 1;
    pub const LME: u64 = 1 << 8;
    pub const LMA: u64 = 1 << 10;
    pub const NXE: u64 = 1 << 11;
}

/// The interrupt shadow after STI, MOV SS and POP SS (SDM vol. 3, 6.8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub enum Shadow {
    /// None.
    #[default]
    None,
    /// After STI that set IF: no maskable interrupt at the next boundary.
    Sti,
    /// After a load of SS: no interrupt and no #DB at the next boundary.
    MovSs,
}

/// How instructions are decoded and addresses formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Real mode.
    Real,
    /// Virtual-8086 mode.
    Virtual8086,
    /// Protected mode or compatibility mode, 16-bit code segment.
    Protected16,
    /// Protected mode or compatibility mode, 32-bit code segment.
    Protected32,
    /// 64-bit mode.
    Long64,
}

impl Mode {
    /// What the decoder is told: 16, 32 or 64.
    #[must_use]
    pub const fn bitness(self) -> u32 {
        match self {
            Self::Real | Self::Virtual8086 | Self::Protected16 => 16,
            Self::Protected32 => 32,
            Self::Long64 => 64,
        }
    }
}

impl CpuState {
    /// The state after power-on (SDM vol. 3, 9.1.1): real mode at f000:fff0 with the base of CS at 0xffff0000.
    #[must_use]
    pub fn power_on() -> Self {
        let data = Segment { selector: 0, base: 0, limit: 0xffff, attributes: Attributes(0x93) };
        let mut segments = [data; 6];
        segments[SegmentName::Cs as usize] =
            Segment { selector: 0xf000, base: 0xffff_0000, limit: 0xffff, attributes: Attributes(0x9b) };
        Self {
            gpr: [0; 16],
            rip: 0xfff0,
            rflags: Rflags::FIXED.bits(),
            segments,
            ldtr: Segment { selector: 0, base: 0, limit: 0xffff, attributes: Attributes(0x82) },
            tr: Segment { selector: 0, base: 0, limit: 0xffff, attributes: Attributes(0x8b) },
            gdtr: Table { base: 0, limit: 0xffff },
            idtr: Table { base: 0, limit: 0xffff },
            cr0: 0x6000_0010,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            dr: [0; 4],
            dr6: 0xffff_0ff0,
            dr7: 0x400,
            efer: 0,
            star: 0,
            lstar: 0,
            cstar: 0,
            fmask: 0,
            kernel_gs_base: 0,
            sysenter_cs: 0,
            sysenter_esp: 0,
            sysenter_eip: 0,
            pat: 0x0007_0406_0007_0406,
            tsc_aux: 0,
            tsc_offset: 0,
            misc_enable: 1,
            mtrr_def_type: 0,
            mtrr_fixed: [0; 11],
            mtrr_variable: [0; 16],
            xmm: [0; 16],
            mxcsr: 0x1f80,
            fcw: 0x0040,
            fsw: 0,
            ftw: 0xff,
            st: [0; 8],
            shadow: Shadow::None,
            nmi_blocked: false,
            halted: false,
            shutdown: false,
            pending_debug: 0,
            now: Moment::default(),
            instructions: 0,
            idle_loop_rip: 0,
            idle_loop_jumps: 0,
        }
    }

    /// A segment register.
    #[must_use]
    pub fn segment(&self, name: SegmentName) -> &Segment {
        &self.segments[name as usize]
    }

    /// A segment register, to change.
    pub fn segment_mut(&mut self, name: SegmentName) -> &mut Segment {
        &mut self.segments[name as usize]
    }

    /// The current privilege level: DPL of SS, 0 in real mode, 3 in virtual-8086 mode.
    #[must_use]
    pub fn cpl(&self) -> u8 {
        if self.cr0 & 1 == 0 {
            0
        } else if self.rflags & Rflags::VM.bits() != 0 {
            3
        } else {
            self.segment(SegmentName::Ss).attributes.dpl()
        }
    }

    /// Whether EFER.LMA is set.
    #[must_use]
    pub fn long_mode(&self) -> bool {
        self.efer & 0x400 != 0
    }

    /// How the next instruction is decoded.
    #[must_use]
    pub fn mode(&self) -> Mode {
        let code = self.segment(SegmentName::Cs).attributes;
        if self.cr0 & 1 == 0 {
            Mode::Real
        } else if self.rflags & Rflags::VM.bits() != 0 {
            Mode::Virtual8086
        } else if self.long_mode() && code.long() {
            Mode::Long64
        } else if code.big() {
            Mode::Protected32
        } else {
            Mode::Protected16
        }
    }

    /// The linear address of the top of the stack.
    #[must_use]
    pub fn linear_rsp(&self) -> u64 {
        let (stack, rsp) = (self.segment(SegmentName::Ss), self.gpr[4]);
        match self.mode() {
            Mode::Long64 => rsp,
            _ if stack.attributes.big() => stack.base.wrapping_add(rsp & 0xffff_ffff) & 0xffff_ffff,
            _ => stack.base.wrapping_add(rsp & 0xffff) & 0xffff_ffff,
        }
    }

    /// The linear address of the next instruction.
    #[must_use]
    pub fn linear_rip(&self) -> u64 {
        match self.mode() {
            Mode::Long64 => self.rip,
            _ => self.segment(SegmentName::Cs).base.wrapping_add(self.rip) & 0xffff_ffff,
        }
    }
}
