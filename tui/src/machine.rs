//! What is shown of the machine under the cursor: a copy, so that it can be drawn while the machine moves on.

use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter};
use recorder::Position;
use replayvm::timeline::Timeline;

/// The longest instruction, in bytes.
const MAX_INSTRUCTION: usize = 15;

/// RFLAGS by bit (SDM vol. 1, 3.4.3).
const FLAGS: [(u32, &str); 16] = [
    (0, "cf"),
    (2, "pf"),
    (4, "af"),
    (6, "zf"),
    (7, "sf"),
    (8, "tf"),
    (9, "if"),
    (10, "df"),
    (11, "of"),
    (14, "nt"),
    (16, "rf"),
    (17, "vm"),
    (18, "ac"),
    (19, "vif"),
    (20, "vip"),
    (21, "id"),
];
/// CR0 by bit (SDM vol. 3, 2.5).
const CR0: [(u32, &str); 11] = [
    (0, "pe"),
    (1, "mp"),
    (2, "em"),
    (3, "ts"),
    (4, "et"),
    (5, "ne"),
    (16, "wp"),
    (18, "am"),
    (29, "nw"),
    (30, "cd"),
    (31, "pg"),
];
/// CR4 by bit (SDM vol. 3, 2.5).
const CR4: [(u32, &str); 18] = [
    (0, "vme"),
    (1, "pvi"),
    (2, "tsd"),
    (3, "de"),
    (4, "pse"),
    (5, "pae"),
    (6, "mce"),
    (7, "pge"),
    (8, "pce"),
    (9, "osfxsr"),
    (10, "osxmm"),
    (11, "umip"),
    (12, "la57"),
    (16, "fsgsbase"),
    (17, "pcide"),
    (18, "osxsave"),
    (20, "smep"),
    (21, "smap"),
];

/// The machine at one position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Where.
    pub position: Position,
    /// Instructions retired since power-on.
    pub instructions: u64,
    /// Virtual time since power-on, in nanoseconds.
    pub virtual_ns: u64,
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15: the encoding order.
    pub gpr: [u64; 16],
    /// RIP.
    pub rip: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// CR0.
    pub cr0: u64,
    /// CR2.
    pub cr2: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// The selector in CS.
    pub cs: u16,
    /// The selector in SS.
    pub ss: u16,
    /// Current privilege level.
    pub cpl: u8,
    /// How instructions are decoded, in words.
    pub mode: &'static str,
    /// What the next step does.
    pub next: String,
}

impl Snapshot {
    /// The machine under the cursor.
    #[must_use]
    pub fn take(timeline: &Timeline) -> Self {
        let cpu = timeline.cpu();
        let bitness = cpu.mode().bitness();
        let mode = match (cpu.cr0 & 1 != 0, cpu.rflags & 1 << 17 != 0, cpu.long_mode(), bitness) {
            (false, ..) => "real",
            (_, true, false, _) => "virtual-8086",
            (.., 64) => "64-bit",
            (.., true, 32) => "compatibility, 32-bit",
            (.., true, _) => "compatibility, 16-bit",
            (.., 32) => "protected, 32-bit",
            _ => "protected, 16-bit",
        };
        let next = if cpu.shutdown {
            "shut down after a triple fault".to_owned()
        } else {
            let machine = timeline.machine();
            let delivers = machine.cpu.delivers_next(&machine.platform);
            match (cpu.halted, delivers) {
                (_, true) => format!("delivers an interrupt before {}", instruction(timeline)),
                (true, false) => format!("halted, to go on with {}", instruction(timeline)),
                (false, false) => instruction(timeline),
            }
        };
        Self {
            position: timeline.position(),
            instructions: timeline.instructions(),
            virtual_ns: timeline.virtual_ns(),
            gpr: cpu.gpr,
            rip: cpu.rip,
            rflags: cpu.rflags,
            cr0: cpu.cr0,
            cr2: cpu.cr2,
            cr3: cpu.cr3,
            cr4: cpu.cr4,
            cs: cpu.segments[1].selector,
            ss: cpu.segments[2].selector,
            cpl: cpu.cpl(),
            mode,
            next,
        }
    }

    /// The flags that are set, by name.
    #[must_use]
    pub fn flag_names(&self) -> String {
        let iopl = self.rflags >> 12 & 3;
        let mut text = names(self.rflags, &FLAGS);
        if iopl != 0 {
            text.push_str(&format!(" iopl{iopl}"));
        }
        text
    }

    /// The bits of CR0 that are set, by name.
    #[must_use]
    pub fn cr0_names(&self) -> String {
        names(self.cr0, &CR0)
    }

    /// The bits of CR4 that are set, by name.
    #[must_use]
    pub fn cr4_names(&self) -> String {
        names(self.cr4, &CR4)
    }
}

fn names(value: u64, table: &[(u32, &str)]) -> String {
    let set: Vec<&str> =
        table.iter().filter(|(bit, _)| value >> bit & 1 != 0).map(|(_, name)| *name).collect();
    set.join(" ")
}

/// The instruction at CS:RIP, with its address and bytes, in GNU syntax.
fn instruction(timeline: &Timeline) -> String {
    let cpu = timeline.cpu();
    let mut bytes = [0; MAX_INSTRUCTION];
    let there = timeline.read_linear(cpu.linear_rip(), &mut bytes);
    let bytes = bytes.get(..there).unwrap_or_default();
    disassemble(cpu.mode().bitness(), cpu.rip, bytes)
}

/// The first instruction of `bytes`, which lies at `rip`.
#[must_use]
pub fn disassemble(bitness: u32, rip: u64, bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return format!("{rip:#x}: not mapped");
    }
    let mut decoder = Decoder::with_ip(bitness, bytes, rip, DecoderOptions::NONE);
    let instruction = decoder.decode();
    let shown = bytes.get(..instruction.len()).unwrap_or(bytes);
    let hex: Vec<String> = shown.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut text = String::new();
    if instruction.is_invalid() {
        text.push_str("(bad)");
    } else {
        let mut formatter = GasFormatter::new();
        formatter.options_mut().set_uppercase_hex(false);
        formatter.options_mut().set_space_after_operand_separator(true);
        formatter.format(&instruction, &mut text);
    }
    format!("{rip:#x}: {}  {text}", hex.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_is_written_in_gnu_syntax() {
        assert_eq!(disassemble(64, 0x1000, &[0x48, 0x89, 0xd8, 0x90]), "0x1000: 48 89 d8  mov %rbx, %rax");
        assert_eq!(disassemble(32, 0x10, &[0xee]), "0x10: ee  out %al, %dx");
        assert_eq!(disassemble(64, 0, &[0x06]), "0x0: 06  (bad)");
        assert_eq!(disassemble(64, 0x2000, &[]), "0x2000: not mapped");
    }

    #[test]
    fn set_bits_are_named() {
        let machine = Snapshot { rflags: 0x3247, cr0: 0x8000_0001, cr4: 0x20, ..Snapshot::default() };
        assert_eq!(machine.flag_names(), "cf pf zf if iopl3");
        assert_eq!(machine.cr0_names(), "pe pg");
        assert_eq!(machine.cr4_names(), "pae");
    }
}
