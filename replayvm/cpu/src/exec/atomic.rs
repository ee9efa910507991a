//! Compare-and-exchange and exchange-and-add. One CPU, and nothing else writes between the halves of a step: LOCK
//! needs nothing here, and whether it may stand where it stands the decoder knows.

use iced_x86::Register;

use crate::access::Intent;
use crate::bus::Bus;
use crate::exec::operand::{Place, number};
use crate::exec::{Exec, Flow};
use crate::fault::Fault;
use crate::flags::{self, Width, ZF};

impl<B: Bus> Exec<'_, B> {
    /// CMPXCHG. Memory is written in either case, a register destination only on success.
    pub(crate) fn cmpxchg(&mut self) -> Result<Flow, Fault> {
        let width = self.width(0);
        let place = self.place(0);
        let old = self.read_place(place, width, Intent::Modify)?;
        let new = self.gpr(self.insn.op1_register());
        let expected = self.numbered(number::RAX, width);
        let (_, flags) = flags::sub(width, expected, old, 0);
        if flags & ZF != 0 {
            self.write_place(place, width, new)?;
        } else {
            if matches!(place, Place::Memory(..)) {
                self.write_place(place, width, old)?;
            }
            self.set_numbered(number::RAX, width, old);
        }
        self.set_arithmetic(flags);
        Ok(Flow::Next)
    }

    /// CMPXCHG8B.
    pub(crate) fn cmpxchg8b(&mut self) -> Result<Flow, Fault> {
        let (segment, offset) = self.memory_operand();
        let old = self.load_sized(segment, offset, Width::Qword, Intent::Modify)?;
        let pair = |high, low| self.gpr(high) << 32 | self.gpr(low);
        let equal = old == pair(Register::EDX, Register::EAX);
        let new = if equal { pair(Register::ECX, Register::EBX) } else { old };
        self.store_sized(segment, offset, Width::Qword, new)?;
        if !equal {
            self.set_gpr(Register::EAX, old);
            self.set_gpr(Register::EDX, old >> 32);
        }
        self.set_flags(ZF, if equal { ZF } else { 0 });
        Ok(Flow::Next)
    }

    /// CMPXCHG16B: #GP(0) unless the operand is aligned.
    pub(crate) fn cmpxchg16b(&mut self) -> Result<Flow, Fault> {
        let (segment, offset) = self.memory_operand();
        self.check_aligned(segment, offset, 16)?;
        let old = u128::from_le_bytes(self.load_for(segment, offset, Intent::Modify)?);
        let pair = |high, low| u128::from(self.gpr(high)) << 64 | u128::from(self.gpr(low));
        let equal = old == pair(Register::RDX, Register::RAX);
        let new = if equal { pair(Register::RCX, Register::RBX) } else { old };
        self.store(segment, offset, new.to_le_bytes())?;
        if !equal {
            self.set_gpr(Register::RAX, old as u64);
            self.set_gpr(Register::RDX, (old >> 64) as u64);
        }
        self.set_flags(ZF, if equal { ZF } else { 0 });
        Ok(Flow::Next)
    }

    /// XADD. With the same register twice the sum stays.
    pub(crate) fn xadd(&mut self) -> Result<Flow, Fault> {
        let width = self.width(0);
        let place = self.place(0);
        let source = self.insn.op1_register();
        let old = self.read_place(place, width, Intent::Modify)?;
        let (sum, flags) = flags::add(width, old, self.gpr(source), 0);
        if matches!(place, Place::Memory(..)) {
            self.write_place(place, width, sum)?;
            self.set_gpr(source, old);
        } else {
            self.set_gpr(source, old);
            self.write_place(place, width, sum)?;
        }
        self.set_arithmetic(flags);
        Ok(Flow::Next)
    }
}
