//! Port input and output, and who may do it (SDM vol. 1, chapter 19).

use crate::bus::Bus;
use crate::exec::operand::number::RAX;
use crate::exec::{Exec, Flow};
use crate::fault::Fault;
use crate::flags::Width;
use crate::state::Mode;

impl<B: Bus> Exec<'_, B> {
    /// Whether the code may access `size` ports from `port` on: IOPL, else the map in the TSS.
    pub(crate) fn check_io(&mut self, port: u16, size: u8) -> Result<(), Fault> {
        let state = &self.cpu.state;
        if state.mode() != Mode::Virtual8086 && state.iopl_allows() {
            return Ok(());
        }
        let tr = state.tr;
        if !tr.attributes.present() || tr.attributes.0 & 0x19 != 9 || tr.limit < 103 {
            return Err(Fault::gp(0));
        }
        let map = u16::from_le_bytes(self.system_load(tr.base.wrapping_add(102))?);
        let offset = u32::from(map) + u32::from(port / 8);
        if offset + 1 > tr.limit {
            return Err(Fault::gp(0));
        }
        let bits = u16::from_le_bytes(self.system_load(tr.base.wrapping_add(u64::from(offset)))?);
        let wanted = ((1u16 << size) - 1) << (port % 8);
        if bits & wanted == 0 { Ok(()) } else { Err(Fault::gp(0)) }
    }

    /// The port of operand `i`.
    fn port(&mut self, i: u32) -> Result<u16, Fault> {
        Ok(self.read_operand(i)? as u16)
    }

    /// IN.
    pub(crate) fn input(&mut self) -> Result<Flow, Fault> {
        let port = self.port(1)?;
        let size = self.insn.op0_register().size();
        self.check_io(port, size as u8)?;
        let value = self.bus.io_read(self.at, port, size as u8);
        self.cpu.state.watch_port(port, size as u64);
        self.set_numbered(RAX, Width::of_bytes(size), u64::from(value));
        Ok(Flow::Next)
    }

    /// OUT.
    pub(crate) fn output(&mut self) -> Result<Flow, Fault> {
        let port = self.port(0)?;
        let size = self.insn.op1_register().size();
        self.check_io(port, size as u8)?;
        let value = self.numbered(RAX, Width::of_bytes(size)) as u32;
        self.bus.io_write(self.at, port, size as u8, value);
        self.cpu.state.watch_port(port, size as u64);
        Ok(Flow::Next)
    }
}
