//! The registers that gdb sees: their names, their order, their widths, and where the values come from.
//!
//! The tables here, one for 64-bit code and one for the rest, give both the target description and the layout of the `g` and
//! `p` packets, so that they cannot disagree. gdb finds general registers by the names of its own features (gdb manual,
//! "i386 Features").

use gdbstub::arch::RegId;
use replayvm::timeline::Timeline;

use crate::architecture::Architecture;

/// A feature of the target description: a named group of registers.
#[derive(Debug)]
pub struct Feature {
    /// The name that gdb knows, or our own.
    pub name: &'static str,
    /// XML of the types that its registers use.
    pub types: &'static str,
    /// In gdb's order, in parts that features share.
    registers: &'static [&'static [Register]],
}

impl Feature {
    /// Its registers, in gdb's order.
    pub fn registers(&self) -> impl Iterator<Item = &'static Register> + use<> {
        self.registers.iter().copied().flatten()
    }
}

/// A register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register {
    /// Its name in gdb.
    pub name: &'static str,
    /// Width in bits, a multiple of 8.
    pub bits: u8,
    /// Its type in the target description.
    pub kind: &'static str,
    /// Where its value is.
    source: Source,
}

impl Register {
    const fn new(name: &'static str, bits: u8, kind: &'static str, source: Source) -> Self {
        Self { name, bits, kind, source }
    }

    /// Where its value is.
    pub(crate) const fn source(&self) -> Source {
        self.source
    }

    /// Width in bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bits as usize / 8
    }
}

/// The segment registers in the order in which the CPU keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Segment {
    Es,
    Cs,
    Ss,
    Ds,
    Fs,
    Gs,
}

/// The x87 words, in gdb's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fpu {
    Control,
    Status,
    Tags,
    /// The last instruction's and operand's addresses: the CPU does not keep them; zero, as new processors store them
    /// (SDM vol. 1, 8.1.8).
    NotKept,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// By the encoding order of the instruction set.
    Gpr(u8),
    Rip,
    Rflags,
    Selector(Segment),
    Base(Segment),
    /// By distance from the top of the stack.
    St(u8),
    Fpu(Fpu),
    Xmm(u8),
    Mxcsr,
    KernelGsBase,
    Cr0,
    Cr2,
    Cr3,
    Cr4,
    Cr8,
    Efer,
    CodeBits,
    Tr,
    GdtBase,
    GdtLimit,
    IdtBase,
    IdtLimit,
    Tick,
    Offset,
    Instructions,
}

macro_rules! numbered {
    ($prefix:literal, $bits:literal, $kind:literal, $source:ident, $($n:literal)*) => {
        [$(Register::new(concat!($prefix, $n), $bits, $kind, Source::$source($n))),*]
    };
}

const fn fpu(name: &'static str, source: Fpu) -> Register {
    Register::new(name, 32, "int", Source::Fpu(source))
}

const fn selector(name: &'static str, source: Segment) -> Register {
    Register::new(name, 32, "int32", Source::Selector(source))
}

const fn gpr(name: &'static str, number: u8) -> Register {
    Register::new(name, 64, "int64", Source::Gpr(number))
}

/// The lower half of a general register.
const fn low(name: &'static str, kind: &'static str, number: u8) -> Register {
    Register::new(name, 32, kind, Source::Gpr(number))
}

const fn number(name: &'static str, bits: u8, source: Source) -> Register {
    Register::new(name, bits, if bits == 64 { "uint64" } else { "uint32" }, source)
}

const ST: [Register; 8] = numbered!("st", 80, "i387_ext", St, 0 1 2 3 4 5 6 7);
const XMM: [Register; 16] = numbered!("xmm", 128, "vec128", Xmm, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);

const SEGMENTS: [Register; 6] = [
    selector("cs", Segment::Cs),
    selector("ss", Segment::Ss),
    selector("ds", Segment::Ds),
    selector("es", Segment::Es),
    selector("fs", Segment::Fs),
    selector("gs", Segment::Gs),
];
const X87: [Register; 8] = [
    fpu("fctrl", Fpu::Control),
    fpu("fstat", Fpu::Status),
    fpu("ftag", Fpu::Tags),
    fpu("fiseg", Fpu::NotKept),
    fpu("fioff", Fpu::NotKept),
    fpu("foseg", Fpu::NotKept),
    fpu("fooff", Fpu::NotKept),
    fpu("fop", Fpu::NotKept),
];
const EFLAGS: Register = Register::new("eflags", 32, "i386_eflags", Source::Rflags);
const MXCSR: Register = Register::new("mxcsr", 32, "i386_mxcsr", Source::Mxcsr);
const FS_BASE: Register = Register::new("fs_base", 64, "int", Source::Base(Segment::Fs));
const GS_BASE: Register = Register::new("gs_base", 64, "int", Source::Base(Segment::Gs));

/// The general registers of 64-bit code.
const CORE_64: Feature = Feature {
    name: "org.gnu.gdb.i386.core",
    types: include_str!("types/core.xml"),
    registers: &[
        &[
            gpr("rax", 0),
            gpr("rbx", 3),
            gpr("rcx", 1),
            gpr("rdx", 2),
            gpr("rsi", 6),
            gpr("rdi", 7),
            Register::new("rbp", 64, "data_ptr", Source::Gpr(5)),
            Register::new("rsp", 64, "data_ptr", Source::Gpr(4)),
            gpr("r8", 8),
            gpr("r9", 9),
            gpr("r10", 10),
            gpr("r11", 11),
            gpr("r12", 12),
            gpr("r13", 13),
            gpr("r14", 14),
            gpr("r15", 15),
            Register::new("rip", 64, "code_ptr", Source::Rip),
            EFLAGS,
        ],
        &SEGMENTS,
        &ST,
        &X87,
    ],
};

/// The general registers of 32- and 16-bit code.
const CORE_32: Feature = Feature {
    name: "org.gnu.gdb.i386.core",
    types: include_str!("types/core.xml"),
    registers: &[
        &[
            low("eax", "int32", 0),
            low("ecx", "int32", 1),
            low("edx", "int32", 2),
            low("ebx", "int32", 3),
            low("esp", "data_ptr", 4),
            low("ebp", "data_ptr", 5),
            low("esi", "int32", 6),
            low("edi", "int32", 7),
            Register::new("eip", 32, "code_ptr", Source::Rip),
            EFLAGS,
        ],
        &SEGMENTS,
        &ST,
        &X87,
    ],
};

const SSE_64: Feature = Feature {
    name: "org.gnu.gdb.i386.sse",
    types: include_str!("types/sse.xml"),
    registers: &[&XMM, &[MXCSR]],
};

const SSE_32: Feature = Feature {
    name: "org.gnu.gdb.i386.sse",
    types: include_str!("types/sse.xml"),
    registers: &[XMM.split_at(8).0, &[MXCSR]],
};

/// The bases that gdb knows in 64-bit code.
const BASES_64: Feature =
    Feature { name: "org.gnu.gdb.i386.segments", types: "", registers: &[&[FS_BASE, GS_BASE]] };

/// The same for other code, where gdb knows none.
const BASES_32: Feature =
    Feature { name: "org.replayvm.bases", types: "", registers: &[&[FS_BASE, GS_BASE]] };

const SYSTEM: Feature = Feature {
    name: "org.replayvm.system",
    types: include_str!("types/system.xml"),
    registers: &[&[
        number("k_gs_base", 64, Source::KernelGsBase),
        Register::new("cr0", 64, "replayvm_cr0", Source::Cr0),
        number("cr2", 64, Source::Cr2),
        Register::new("cr3", 64, "replayvm_cr3", Source::Cr3),
        Register::new("cr4", 64, "replayvm_cr4", Source::Cr4),
        number("cr8", 64, Source::Cr8),
        Register::new("efer", 64, "replayvm_efer", Source::Efer),
        number("code_bits", 32, Source::CodeBits),
        number("cs_base", 64, Source::Base(Segment::Cs)),
        number("ss_base", 64, Source::Base(Segment::Ss)),
        number("ds_base", 64, Source::Base(Segment::Ds)),
        number("es_base", 64, Source::Base(Segment::Es)),
        number("tr", 32, Source::Tr),
        number("gdt_base", 64, Source::GdtBase),
        number("gdt_limit", 32, Source::GdtLimit),
        number("idt_base", 64, Source::IdtBase),
        number("idt_limit", 32, Source::IdtLimit),
    ]],
};

/// Where the cursor stands, so that a breakpoint's condition can say `$tick > 1000`.
const POSITION: Feature = Feature {
    name: "org.replayvm.position",
    types: "",
    registers: &[&[
        number("tick", 64, Source::Tick),
        number("tick_offset", 32, Source::Offset),
        number("instructions", 64, Source::Instructions),
    ]],
};

static FEATURES_64: &[Feature] = &[CORE_64, SSE_64, BASES_64, SYSTEM, POSITION];
static FEATURES_32: &[Feature] = &[CORE_32, SSE_32, BASES_32, SYSTEM, POSITION];

/// Every register that an architecture has, by feature. A register's number is its place in this order.
#[must_use]
pub fn features(architecture: Architecture) -> &'static [Feature] {
    match architecture {
        Architecture::X86_64 => FEATURES_64,
        Architecture::I386 | Architecture::I8086 => FEATURES_32,
    }
}

/// Every register in the order of the `g` packet.
pub fn all(architecture: Architecture) -> impl Iterator<Item = &'static Register> {
    features(architecture).iter().flat_map(Feature::registers)
}

/// Bytes of all registers together.
#[must_use]
pub fn total_bytes(architecture: Architecture) -> usize {
    all(architecture).map(Register::bytes).sum()
}

/// A register by its number: which one that is depends on the architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisterId(usize);

impl RegisterId {
    /// The register.
    #[must_use]
    pub fn register(self, architecture: Architecture) -> Option<&'static Register> {
        all(architecture).nth(self.0)
    }

    /// By name, for the few that are sent with each stop.
    #[must_use]
    pub fn by_name(architecture: Architecture, name: &str) -> Option<Self> {
        all(architecture).position(|register| register.name == name).map(Self)
    }
}

impl RegId for RegisterId {
    fn from_raw_id(id: usize) -> Option<(Self, Option<std::num::NonZeroUsize>)> {
        // Its size is not told: it depends on the architecture.
        Some((Self(id), None))
    }

    fn to_raw_id(&self) -> Option<usize> {
        Some(self.0)
    }
}

/// What a register holds where the cursor stands, zero-extended.
#[must_use]
pub fn value(timeline: &Timeline, register: &Register) -> u128 {
    let cpu = timeline.cpu();
    let segment = |name: Segment| &cpu.segments[name as usize];
    match register.source {
        Source::Gpr(number) => cpu.gpr[usize::from(number & 15)].into(),
        // Outside 64-bit mode gdb knows nothing of segments: it is given the linear address.
        Source::Rip => cpu.linear_rip().into(),
        Source::Rflags => u128::from(cpu.rflags & 0xffff_ffff),
        Source::Selector(name) => segment(name).selector.into(),
        Source::Base(name) => segment(name).base.into(),
        Source::St(distance) => cpu.st[usize::from(distance + top(cpu.fsw)) & 7] & ((1 << 80) - 1),
        Source::Fpu(Fpu::Control) => cpu.fcw.into(),
        Source::Fpu(Fpu::Status) => cpu.fsw.into(),
        Source::Fpu(Fpu::Tags) => full_tags(cpu.ftw, &cpu.st).into(),
        Source::Fpu(Fpu::NotKept) => 0,
        Source::Xmm(number) => cpu.xmm[usize::from(number & 15)],
        Source::Mxcsr => cpu.mxcsr.into(),
        Source::KernelGsBase => cpu.kernel_gs_base.into(),
        Source::Cr0 => cpu.cr0.into(),
        Source::Cr2 => cpu.cr2.into(),
        Source::Cr3 => cpu.cr3.into(),
        Source::Cr4 => cpu.cr4.into(),
        Source::Cr8 => timeline.machine().platform.devices.tpr().into(),
        Source::Efer => cpu.efer.into(),
        Source::CodeBits => cpu.mode().bitness().into(),
        Source::Tr => cpu.tr.selector.into(),
        Source::GdtBase => cpu.gdtr.base.into(),
        Source::GdtLimit => cpu.gdtr.limit.into(),
        Source::IdtBase => cpu.idtr.base.into(),
        Source::IdtLimit => cpu.idtr.limit.into(),
        Source::Tick => timeline.position().tick.into(),
        Source::Offset => timeline.position().offset.into(),
        Source::Instructions => timeline.instructions().into(),
    }
}

/// The field TOP of the x87 status word.
pub(crate) const fn top(status: u16) -> u8 {
    ((status >> 11) & 7) as u8
}

/// The full x87 tag word (SDM vol. 1, 8.1.7) from the abridged one and the registers' contents.
fn full_tags(abridged: u8, registers: &[u128; 8]) -> u16 {
    let tag = |number: usize| {
        if abridged & (1 << number) == 0 {
            return 3;
        }
        let image = registers[number];
        let (exponent, significand) = ((image >> 64) as u16 & 0x7fff, image as u64);
        match (exponent, significand) {
            (0, 0) => 1,
            (0 | 0x7fff, _) => 2,
            (_, significand) if significand >> 63 == 0 => 2,
            _ => 0,
        }
    };
    (0..8).fold(0, |word, number| word | tag(number) << (2 * number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_numbered_as_gdb_numbers_its_own() {
        fn number(architecture: Architecture, name: &str) -> Option<usize> {
            RegisterId::by_name(architecture, name).map(|id| id.0)
        }
        let expect = |architecture, numbers: &[(&str, usize)]| {
            for (name, expected) in numbers {
                assert_eq!(number(architecture, name), Some(*expected), "{name}");
            }
        };
        expect(
            Architecture::X86_64,
            &[("rax", 0), ("rbx", 1), ("rsp", 7), ("rip", 16), ("gs", 23), ("st0", 24), ("fop", 39)],
        );
        expect(Architecture::X86_64, &[("xmm0", 40), ("mxcsr", 56), ("fs_base", 57)]);
        for architecture in [Architecture::I386, Architecture::I8086] {
            expect(architecture, &[("eax", 0), ("ebx", 3), ("esp", 4), ("eip", 8), ("gs", 15), ("st0", 16)]);
            expect(architecture, &[("fop", 31), ("xmm0", 32), ("xmm7", 39), ("mxcsr", 40)]);
            assert_eq!(number(architecture, "rax"), None);
        }
    }

    #[test]
    fn names_are_unique_and_widths_are_whole_bytes() {
        for architecture in Architecture::ALL {
            let mut names: Vec<_> = all(architecture).map(|register| register.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all(architecture).count());
            assert!(all(architecture).all(|register| register.bits % 8 == 0 && register.bytes() > 0));
        }
    }

    #[test]
    fn a_number_past_the_last_register_names_none() {
        for architecture in Architecture::ALL {
            assert!(RegisterId(all(architecture).count()).register(architecture).is_none());
            assert!(RegisterId(usize::MAX).register(architecture).is_none());
        }
    }

    #[test]
    fn tags_tell_valid_zero_special_and_empty() {
        let one = 0x3fff_8000_0000_0000_0000_u128;
        let infinity = 0x7fff_8000_0000_0000_0000_u128;
        let mut registers = [0; 8];
        registers[0] = one;
        registers[2] = infinity;
        registers[3] = 1; // a denormal
        assert_eq!(full_tags(0b0000_1111, &registers), 0b11_11_11_11_10_10_01_00);
    }
}
