//! What QEMU's emulated processor is known to do otherwise than any real one.
//!
//! On a stock KVM in `tests/stock-kvm` the processor under KVM is one that QEMU emulates. Its word on the cases below says
//! nothing of KVM or of the engines. Each was found by random instructions, under QEMU 7.2.

use replayvm::engine::EngineError;

/// Whether this host's processor is emulated by QEMU, as its name says.
pub fn by_qemu() -> bool {
    std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("QEMU TCG CPU"))
}

/// Why the emulated processor differs in this code, if that is known.
pub fn known(code: &[u8], long64: bool, error: &EngineError) -> Option<&'static str> {
    let rex = |byte: u8| long64 && matches!(byte, 0x40..=0x4f);
    let legacy = |byte: u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3);
    let prefixes = code.iter().take_while(|&&byte| rex(byte) || legacy(byte)).count();
    let (prefixes, rest) = code.split_at(prefixes);
    let late_rex = prefixes.iter().rev().skip(1).any(|&byte| rex(byte));
    let reg = rest.get(1).map(|modrm| modrm >> 3 & 7);
    match (rest, reg) {
        _ if late_rex => Some("a REX prefix before another prefix is not ignored"),
        ([0xf6 | 0xf7, ..], Some(1)) => Some("TEST by its second encoding is missing"),
        ([0xc0 | 0xc1 | 0xd0..=0xd3, modrm, ..], Some(2 | 3)) if *modrm < 0xc0 => {
            Some("RCL and RCR lose the carry where the store faults on KVM's own page tables")
        }
        ([0xc2, _, high, ..], _) if *high >= 0x80 => Some("RET takes its operand for a signed one"),
        _ => match error {
            EngineError::Differ(difference) => match &difference.components[..] {
                [(name, expected, got)]
                    if name == "exception" && expected == "exception 0xd" && got == "none" =>
                {
                    match rest {
                        [0x0f, ..] => Some("the alignment of a vector in memory is not checked"),
                        [0xc2 | 0xc3 | 0xff, ..] => {
                            Some("a branch to a non-canonical address faults there, not here")
                        }
                        _ => None,
                    }
                }
                _ => None,
            },
            _ => None,
        },
    }
}
