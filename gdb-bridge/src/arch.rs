//! The architecture as gdbstub wants it. What is behind its registers depends on what the client is shown.

use gdbstub::arch::{Arch, Registers};

use crate::registers::RegisterId;

/// x86 with system registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum X86 {}

impl Arch for X86 {
    type Usize = u64;
    type Registers = RegisterFile;
    type RegId = RegisterId;
    type BreakpointKind = usize;
}

/// All registers as the `g` and `G` packets have them: in the order of the description, without gaps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RegisterFile {
    /// Little-endian.
    pub bytes: Vec<u8>,
    /// The instruction pointer.
    pub pc: u64,
}

impl Registers for RegisterFile {
    type ProgramCounter = u64;

    fn pc(&self) -> u64 {
        self.pc
    }

    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        self.bytes.iter().for_each(|byte| write_byte(Some(*byte)));
    }

    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        self.bytes = bytes.to_vec();
        Ok(())
    }
}
