//! The architecture as gdbstub wants it: always x86-64, whatever mode the guest is in.

use gdbstub::arch::{Arch, Registers};

use crate::description::TARGET_XML;
use crate::registers::{self, RegisterId};

/// x86-64 with system registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum X86_64 {}

impl Arch for X86_64 {
    type Usize = u64;
    type Registers = RegisterFile;
    type RegId = RegisterId;
    type BreakpointKind = usize;

    fn target_description_xml() -> Option<&'static str> {
        Some(TARGET_XML.as_str())
    }
}

/// All registers, in the order of the `g` packet, zero-extended. Those that are missing at the end are unknown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RegisterFile {
    /// One a register.
    pub values: Vec<u128>,
}

impl Registers for RegisterFile {
    type ProgramCounter = u64;

    fn pc(&self) -> u64 {
        let value = RegisterId::by_name("rip")
            .and_then(|id| gdbstub::arch::RegId::to_raw_id(&id))
            .and_then(|number| self.values.get(number).copied());
        value.unwrap_or_default() as u64
    }

    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        for (index, register) in registers::all().enumerate() {
            match self.values.get(index).copied() {
                Some(value) => {
                    value
                        .to_le_bytes()
                        .iter()
                        .take(register.bytes())
                        .for_each(|byte| write_byte(Some(*byte)));
                }
                None => (0..register.bytes()).for_each(|_| write_byte(None)),
            }
        }
    }

    fn gdb_deserialize(&mut self, mut bytes: &[u8]) -> Result<(), ()> {
        self.values.clear();
        for register in registers::all() {
            let (value, rest) = bytes.split_at_checked(register.bytes()).ok_or(())?;
            let mut wide = [0; 16];
            wide[..value.len()].copy_from_slice(value);
            self.values.push(u128::from_le_bytes(wide));
            bytes = rest;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_serialized_has_the_layout_of_the_description() {
        let values: Vec<_> = (0..registers::all().count()).map(|index| index as u128 + 1).collect();
        let file = RegisterFile { values };
        let mut bytes = Vec::new();
        file.gdb_serialize(|byte| bytes.push(byte.unwrap()));
        assert_eq!(bytes.len(), registers::total_bytes());
        assert_eq!(bytes[..9], [1, 0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(file.pc(), 17);
        let mut back = RegisterFile::default();
        back.gdb_deserialize(&bytes).unwrap();
        assert_eq!(back, file);
        assert_eq!(back.gdb_deserialize(&bytes[1..]), Err(()));
    }

    #[test]
    fn an_empty_file_has_no_values_and_does_not_panic() {
        let mut unknown = 0;
        RegisterFile::default().gdb_serialize(|byte| unknown += usize::from(byte.is_none()));
        assert_eq!(unknown, registers::total_bytes());
        assert_eq!(RegisterFile::default().pc(), 0);
    }
}
