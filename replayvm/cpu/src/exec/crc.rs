//! CRC32 (SSE4.2): the Castagnoli polynomial, bit by bit from the low end.

use crate::bus::Bus;
use crate::exec::{Exec, Flow};
use crate::fault::Fault;

/// x^32 + x^28 + ... + 1 without its highest term, bits in reverse.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The remainder after each byte.
static TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let (mut crc, mut bit) = (i as u32, 0);
        while bit < 8 {
            crc = crc >> 1 ^ if crc & 1 != 0 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

impl<B: Bus> Exec<'_, B> {
    /// CRC32: accumulates 1, 2, 4 or 8 bytes; no flags, no XMM registers.
    pub(crate) fn crc32(&mut self) -> Result<Flow, Fault> {
        let bytes = self.operand_size(1).min(8);
        let data = self.read_operand(1)?.to_le_bytes();
        let destination = self.insn.op0_register();
        let crc = data
            .iter()
            .take(bytes)
            .fold(self.gpr(destination) as u32, |crc, byte| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)]);
        self.set_gpr(destination, u64::from(crc));
        Ok(Flow::Next)
    }
}
