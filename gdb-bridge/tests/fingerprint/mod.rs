//! All registers in one number, as a client and as a timeline have them.

use std::hash::{DefaultHasher, Hash, Hasher};

use gdb_bridge::architecture::Architecture;
use gdb_bridge::registers;
use replayvm::timeline::Timeline;

/// All that `g` says, in short, to a client that has read no description: it is shown 64-bit code.
pub fn of_bytes(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// The same of where a timeline stands.
pub fn of(timeline: &Timeline) -> u64 {
    let mut bytes = Vec::new();
    for register in registers::all(Architecture::X86_64) {
        let value = registers::value(timeline, register).to_le_bytes();
        bytes.extend_from_slice(&value[..register.bytes()]);
    }
    of_bytes(&bytes)
}
