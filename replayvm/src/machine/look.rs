//! Looking at a machine's memory from outside. Nothing here changes anything: no accessed bit, no device is touched.

use replayvm_cpu::Walk;

use super::{Machine, PAGE_BYTES};

impl Machine {
    /// Where a linear address lies in physical memory, by the guest's own page tables.
    #[must_use]
    pub fn translate(&self, linear: u64) -> Option<u64> {
        self.walk_tables(linear).end.ok()
    }

    /// The same with every entry on the way, and why there is no such place.
    #[must_use]
    pub fn walk_tables(&self, linear: u64) -> Walk {
        let ram = &self.platform.ram;
        replayvm_cpu::walk_entries(&self.cpu.state, linear, |gpa| ram.load(gpa).map(u64::from_le_bytes))
    }

    /// Reads guest-physical memory; returns how many bytes from the start could be read.
    pub fn read_physical(&self, gpa: u64, bytes: &mut [u8]) -> usize {
        let ram = &self.platform.ram;
        let there = ram.bytes().saturating_sub(gpa).min(bytes.len() as u64) as usize;
        match ram.slice(gpa, there) {
            Ok(slice) if there > 0 => {
                bytes[..there].copy_from_slice(slice);
                there
            }
            _ => self.platform.rom.read(gpa, bytes),
        }
    }

    /// Reads memory by the guest's own page tables; returns how many bytes from the start could be read.
    pub fn read_linear(&self, linear: u64, bytes: &mut [u8]) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let address = linear.wrapping_add(done as u64);
            let in_page = PAGE_BYTES - (address as usize & (PAGE_BYTES - 1));
            let count = in_page.min(bytes.len() - done);
            let Some(gpa) = self.translate(address) else { break };
            let read = self.read_physical(gpa, &mut bytes[done..done + count]);
            done += read;
            if read < count {
                break;
            }
        }
        done
    }
}
