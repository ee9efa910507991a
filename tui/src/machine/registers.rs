//! The registers at one position.

use replayvm::timeline::Timeline;

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

/// The general registers, in encoding order.
pub const GENERAL: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];

/// The registers that are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registers {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15: the encoding order.
    pub gpr: [u64; 16],
    /// RIP.
    pub rip: u64,
    /// Where the code segment begins.
    pub cs_base: u64,
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
    /// IA32_EFER.
    pub efer: u64,
    /// The selectors of ES, CS, SS, DS, FS and GS.
    pub selectors: [u16; 6],
    /// Where FS and GS begin.
    pub bases: [u64; 2],
    /// Current privilege level.
    pub cpl: u8,
    /// Bits of the code.
    pub bitness: u32,
    /// How instructions are decoded, in words.
    pub mode: &'static str,
}

impl Registers {
    /// Those under the cursor.
    #[must_use]
    pub fn take(timeline: &Timeline) -> Self {
        let cpu = timeline.cpu();
        let bitness = cpu.mode().bitness();
        let mode = match (cpu.cr0 & 1 != 0, cpu.rflags & 1 << 17 != 0, cpu.long_mode(), bitness) {
            (false, ..) => "real",
            (_, true, false, _) => "virtual-8086",
            (.., 64) => "64-bit",
            (.., true, 32) => "compat 32-bit",
            (.., true, _) => "compat 16-bit",
            (.., 32) => "32-bit",
            _ => "16-bit",
        };
        Self {
            gpr: cpu.gpr,
            rip: cpu.rip,
            cs_base: cpu.linear_rip().wrapping_sub(cpu.rip),
            rflags: cpu.rflags,
            cr0: cpu.cr0,
            cr2: cpu.cr2,
            cr3: cpu.cr3,
            cr4: cpu.cr4,
            efer: cpu.efer,
            selectors: cpu.segments.map(|segment| segment.selector),
            bases: [cpu.segments[4].base, cpu.segments[5].base],
            cpl: cpu.cpl(),
            bitness,
            mode,
        }
    }

    /// A general register or RIP by name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<u64> {
        if name == "rip" {
            return Some(self.rip);
        }
        GENERAL.iter().position(|other| *other == name).and_then(|index| self.gpr.get(index)).copied()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_bits_are_named() {
        let registers = Registers { rflags: 0x3247, cr0: 0x8000_0001, cr4: 0x20, ..Registers::default() };
        assert_eq!(registers.flag_names(), "cf pf zf if iopl3");
        assert_eq!(registers.cr0_names(), "pe pg");
        assert_eq!(registers.cr4_names(), "pae");
    }

    #[test]
    fn registers_have_names() {
        let registers = Registers { rip: 7, gpr: std::array::from_fn(|n| n as u64), ..Registers::default() };
        assert_eq!(registers.named("rip"), Some(7));
        assert_eq!(registers.named("rsp"), Some(4));
        assert_eq!(registers.named("r15"), Some(15));
        assert_eq!(registers.named("r16"), None);
    }
}
