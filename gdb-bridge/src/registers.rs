//! The registers that gdb sees: their names, their order, their widths, and where the values come from.
//!
//! The one table here gives both the target description and the layout of the `g` and `p` packets, so that they cannot
//! disagree. gdb finds general registers by the names of its own features (gdb manual, "i386 Features").

use gdbstub::arch::RegId;
use replayvm::timeline::Timeline;

/// A feature of the target description: a named group of registers.
#[derive(Debug)]
pub struct Feature {
    /// The name that gdb knows, or our own.
    pub name: &'static str,
    /// XML of the types that its registers use.
    pub types: &'static str,
    /// In gdb's order.
    pub registers: &'static [Register],
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

const fn number(name: &'static str, bits: u8, source: Source) -> Register {
    Register::new(name, bits, if bits == 64 { "uint64" } else { "uint32" }, source)
}

const ST: [Register; 8] = numbered!("st", 80, "i387_ext", St, 0 1 2 3 4 5 6 7);
const XMM: [Register; 16] = numbered!("xmm", 128, "vec128", Xmm, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);

/// Every register, by feature. A register's number is its place in this order.
pub static FEATURES: &[Feature] = &[
    Feature {
        name: "org.gnu.gdb.i386.core",
        types: include_str!("types/core.xml"),
        registers: &[
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
            Register::new("eflags", 32, "i386_eflags", Source::Rflags),
            selector("cs", Segment::Cs),
            selector("ss", Segment::Ss),
            selector("ds", Segment::Ds),
            selector("es", Segment::Es),
            selector("fs", Segment::Fs),
            selector("gs", Segment::Gs),
            ST[0],
            ST[1],
            ST[2],
            ST[3],
            ST[4],
            ST[5],
            ST[6],
            ST[7],
            fpu("fctrl", Fpu::Control),
            fpu("fstat", Fpu::Status),
            fpu("ftag", Fpu::Tags),
            fpu("fiseg", Fpu::NotKept),
            fpu("fioff", Fpu::NotKept),
            fpu("foseg", Fpu::NotKept),
            fpu("fooff", Fpu::NotKept),
            fpu("fop", Fpu::NotKept),
        ],
    },
    Feature {
        name: "org.gnu.gdb.i386.sse",
        types: include_str!("types/sse.xml"),
        registers: &[
            XMM[0],
            XMM[1],
            XMM[2],
            XMM[3],
            XMM[4],
            XMM[5],
            XMM[6],
            XMM[7],
            XMM[8],
            XMM[9],
            XMM[10],
            XMM[11],
            XMM[12],
            XMM[13],
            XMM[14],
            XMM[15],
            Register::new("mxcsr", 32, "i386_mxcsr", Source::Mxcsr),
        ],
    },
    Feature {
        name: "org.gnu.gdb.i386.segments",
        types: "",
        registers: &[
            Register::new("fs_base", 64, "int", Source::Base(Segment::Fs)),
            Register::new("gs_base", 64, "int", Source::Base(Segment::Gs)),
        ],
    },
    Feature {
        name: "org.replayvm.system",
        types: include_str!("types/system.xml"),
        registers: &[
            number("k_gs_base", 64, Source::KernelGsBase),
            Register::new("cr0", 64, "replayvm_cr0", Source::Cr0),
            number("cr2", 64, Source::Cr2),
            Register::new("cr3", 64, "replayvm_cr3", Source::Cr3),
            Register::new("cr4", 64, "replayvm_cr4", Source::Cr4),
            number("cr8", 64, Source::Cr8),
            Register::new("efer", 64, "replayvm_efer", Source::Efer),
            number("tr", 32, Source::Tr),
            number("gdt_base", 64, Source::GdtBase),
            number("gdt_limit", 32, Source::GdtLimit),
            number("idt_base", 64, Source::IdtBase),
            number("idt_limit", 32, Source::IdtLimit),
        ],
    },
    // Where the cursor stands, so that a breakpoint's condition can say `$tick > 1000`.
    Feature {
        name: "org.replayvm.position",
        types: "",
        registers: &[
            number("tick", 64, Source::Tick),
            number("tick_offset", 32, Source::Offset),
            number("instructions", 64, Source::Instructions),
        ],
    },
];

/// Every register in the order of the `g` packet.
pub fn all() -> impl Iterator<Item = &'static Register> {
    FEATURES.iter().flat_map(|feature| feature.registers)
}

/// Bytes of all registers together.
#[must_use]
pub fn total_bytes() -> usize {
    all().map(Register::bytes).sum()
}

/// A register by its number in the target description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisterId {
    number: usize,
    register: &'static Register,
}

impl RegisterId {
    /// The register.
    #[must_use]
    pub const fn register(self) -> &'static Register {
        self.register
    }

    /// By name, for the few that are sent with each stop.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        all()
            .enumerate()
            .find(|(_, register)| register.name == name)
            .map(|(number, register)| Self { number, register })
    }
}

impl RegId for RegisterId {
    fn from_raw_id(id: usize) -> Option<(Self, Option<std::num::NonZeroUsize>)> {
        let register = all().nth(id)?;
        Some((Self { number: id, register }, std::num::NonZeroUsize::new(register.bytes())))
    }

    fn to_raw_id(&self) -> Option<usize> {
        Some(self.number)
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
        let number = |name| RegisterId::by_name(name).and_then(|id| id.to_raw_id());
        for (name, expected) in
            [("rax", 0), ("rbx", 1), ("rsp", 7), ("rip", 16), ("gs", 23), ("st0", 24), ("fop", 39)]
        {
            assert_eq!(number(name), Some(expected), "{name}");
        }
        assert_eq!(number("xmm0"), Some(40));
        assert_eq!(number("mxcsr"), Some(56));
        assert_eq!(number("fs_base"), Some(57));
        assert_eq!(number("nothing"), None);
    }

    #[test]
    fn names_are_unique_and_widths_are_whole_bytes() {
        let mut names: Vec<_> = all().map(|register| register.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().count());
        assert!(all().all(|register| register.bits % 8 == 0 && register.bytes() > 0));
    }

    #[test]
    fn a_number_past_the_last_register_names_none() {
        assert!(RegisterId::from_raw_id(all().count()).is_none());
        assert!(RegisterId::from_raw_id(usize::MAX).is_none());
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
