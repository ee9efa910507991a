//! Operands: registers, memory, immediates, the stack. How they are found and how wide they are; not what is done
//! with them, and not how a linear address is checked (that is [`crate::access`]).

use iced_x86::{CodeSize, OpKind, Register};

use crate::access::Intent;
use crate::bus::Bus;
use crate::exec::Exec;
use crate::fault::Fault;
use crate::flags::{ARITHMETIC, CF, Width};
use crate::segment::SegmentName;
use crate::state::Mode;

/// Where in the register file a general register lies.
#[derive(Clone, Copy)]
struct Slot {
    /// The bits of the value.
    mask: u64,
    /// The bits of the whole register that a write leaves alone.
    keep: u64,
    /// Index of the whole register.
    index: u8,
    /// Where the value begins: 8 for AH, CH, DH and BH.
    shift: u8,
    /// Bytes; 0 if this is not a general register.
    size: u8,
}

/// Every general register by its number in the decoder; all others read as zero and swallow writes.
static SLOTS: [Slot; 256] = slots();

const fn slots() -> [Slot; 256] {
    let mut table = [Slot { mask: 0, keep: !0, index: 0, shift: 0, size: 0 }; 256];
    let mut i = 0;
    while i < 16 {
        let index = i as u8;
        // AL to BL, then (from SPL) the low bytes of the other twelve; the four high bytes stand between them.
        let low = if i < 4 { Register::AL as usize + i } else { Register::SPL as usize + i - 4 };
        table[low] = Slot { mask: 0xff, keep: !0xff, index, shift: 0, size: 1 };
        table[Register::AX as usize + i] = Slot { mask: 0xffff, keep: !0xffff, index, shift: 0, size: 2 };
        table[Register::EAX as usize + i] = Slot { mask: 0xffff_ffff, keep: 0, index, shift: 0, size: 4 };
        table[Register::RAX as usize + i] = Slot { mask: !0, keep: 0, index, shift: 0, size: 8 };
        if i < 4 {
            table[Register::AH as usize + i] = Slot { mask: 0xff, keep: !0xff00, index, shift: 8, size: 1 };
        }
        i += 1;
    }
    table
}

/// An operand that can be both read and written, its address already computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Register(Register),
    Memory(Register, u64),
}

/// Number of the general registers with a role of their own.
pub(crate) mod number {
    pub(crate) const RAX: usize = 0;
    pub(crate) const RCX: usize = 1;
    pub(crate) const RDX: usize = 2;
    pub(crate) const RSP: usize = 4;
    pub(crate) const RBP: usize = 5;
    pub(crate) const RSI: usize = 6;
    pub(crate) const RDI: usize = 7;
}

/// The segment register of that name in the decoder; DS for anything that is not one.
#[inline]
pub(crate) fn segment_name(register: Register) -> SegmentName {
    match register {
        Register::ES => SegmentName::Es,
        Register::CS => SegmentName::Cs,
        Register::SS => SegmentName::Ss,
        Register::FS => SegmentName::Fs,
        Register::GS => SegmentName::Gs,
        _ => SegmentName::Ds,
    }
}

impl<B: Bus> Exec<'_, B> {
    /// A general register, zero-extended.
    #[inline]
    pub(crate) fn gpr(&self, register: Register) -> u64 {
        let slot = &SLOTS[register as usize & 0xff];
        (self.cpu.state.gpr[usize::from(slot.index & 15)] >> (slot.shift & 63)) & slot.mask
    }

    /// Writes a general register: 8 and 16 bits merge, 32 bits zero-extend.
    #[inline]
    pub(crate) fn set_gpr(&mut self, register: Register, value: u64) {
        let slot = &SLOTS[register as usize & 0xff];
        let whole = &mut self.cpu.state.gpr[usize::from(slot.index & 15)];
        *whole = (*whole & slot.keep) | ((value & slot.mask) << (slot.shift & 63));
    }

    /// A general register by number, cut to a width.
    #[inline]
    pub(crate) fn numbered(&self, number: usize, width: Width) -> u64 {
        self.cpu.state.gpr[number & 15] & width.mask()
    }

    /// Writes a general register by number: 8 and 16 bits merge into the low end, 32 bits zero-extend.
    #[inline]
    pub(crate) fn set_numbered(&mut self, number: usize, width: Width, value: u64) {
        let whole = &mut self.cpu.state.gpr[number & 15];
        let keep = if width.bits() < 32 { !width.mask() } else { 0 };
        *whole = (*whole & keep) | (value & width.mask());
    }

    /// The flags that arithmetic sets, and none other, become those given.
    #[inline]
    pub(crate) fn set_arithmetic(&mut self, flags: u64) {
        self.set_flags(ARITHMETIC, flags);
    }

    /// The flags in `which` become those given.
    #[inline]
    pub(crate) fn set_flags(&mut self, which: u64, flags: u64) {
        let rflags = &mut self.cpu.state.rflags;
        *rflags = (*rflags & !which) | (flags & which);
    }

    /// CF, 0 or 1.
    #[inline]
    pub(crate) fn carry(&self) -> u64 {
        self.cpu.state.rflags & CF
    }

    /// An XMM register; zero for any other.
    #[inline]
    pub(crate) fn xmm(&self, register: Register) -> u128 {
        let number = (register as usize).wrapping_sub(Register::XMM0 as usize);
        self.cpu.state.xmm.get(number).copied().unwrap_or(0)
    }

    /// Writes an XMM register.
    #[inline]
    pub(crate) fn set_xmm(&mut self, register: Register, value: u128) {
        let number = (register as usize).wrapping_sub(Register::XMM0 as usize);
        if let Some(whole) = self.cpu.state.xmm.get_mut(number) {
            *whole = value;
        }
    }

    /// Bytes of operand `i`: of the register, of the memory access, or of the first operand for an immediate.
    #[inline]
    pub(crate) fn operand_size(&self, i: u32) -> usize {
        match self.insn.op_kind(i) {
            OpKind::Register => {
                let register = self.insn.op_register(i);
                match SLOTS[register as usize & 0xff].size {
                    0 => register.size(),
                    size => usize::from(size),
                }
            }
            OpKind::Memory
            | OpKind::MemorySegSI
            | OpKind::MemorySegESI
            | OpKind::MemorySegRSI
            | OpKind::MemorySegDI
            | OpKind::MemorySegEDI
            | OpKind::MemorySegRDI
            | OpKind::MemoryESDI
            | OpKind::MemoryESEDI
            | OpKind::MemoryESRDI => self.insn.memory_size().size(),
            _ if i != 0 => self.operand_size(0),
            OpKind::Immediate8 => 1,
            OpKind::Immediate16 | OpKind::Immediate8to16 => 2,
            OpKind::Immediate64 | OpKind::Immediate8to64 | OpKind::Immediate32to64 => 8,
            _ => 4,
        }
    }

    /// The width of operand `i`, for the integer instructions.
    #[inline]
    pub(crate) fn width(&self, i: u32) -> Width {
        Width::of_bytes(self.operand_size(i))
    }

    /// Segment and offset of the memory operand (op kind `Memory`), wrapped to the address size.
    #[inline]
    pub(crate) fn memory_operand(&self) -> (Register, u64) {
        self.memory_operand_plus(0)
    }

    /// Segment and offset of the place so many bytes from the memory operand, wrapped to the address size.
    #[inline]
    pub(crate) fn memory_operand_plus(&self, distance: u64) -> (Register, u64) {
        let insn = self.insn;
        let base = insn.memory_base();
        let index = insn.memory_index();
        let displacement = insn.memory_displacement64().wrapping_add(distance);
        let base_slot = &SLOTS[base as usize & 0xff];
        let index_slot = &SLOTS[index as usize & 0xff];
        let offset = if base_slot.size | index_slot.size != 0 {
            // A register that is not there has a mask of zero.
            let mask = base_slot.mask | index_slot.mask;
            displacement
                .wrapping_add(self.gpr(base))
                .wrapping_add(self.gpr(index).wrapping_mul(u64::from(insn.memory_index_scale())))
                & mask
        } else {
            // RIP-relative (the decoder has added RIP already), or a displacement alone.
            match (base, insn.memory_displ_size()) {
                (Register::RIP, _) => displacement,
                (Register::EIP, _) | (_, 4) => displacement & 0xffff_ffff,
                (_, 2) => displacement & 0xffff,
                _ => displacement,
            }
        };
        (self.operand_segment(base), offset)
    }

    /// The segment of a memory operand. In 64-bit mode prefixes other than those for FS and GS change nothing, not even
    /// which exception an address raises that is not canonical.
    #[inline]
    fn operand_segment(&self, base: Register) -> Register {
        match self.insn.segment_prefix() {
            Register::None => self.insn.memory_segment(),
            prefix @ (Register::FS | Register::GS) => prefix,
            prefix if self.insn.code_size() != CodeSize::Code64 => prefix,
            _ => match base {
                Register::RSP | Register::RBP | Register::ESP | Register::EBP => Register::SS,
                _ => Register::DS,
            },
        }
    }

    /// The segment that a string instruction reads through RSI.
    #[inline]
    pub(crate) fn source_segment(&self) -> Register {
        self.operand_segment(Register::None)
    }

    /// Segment and offset of memory operand `i`, wrapped to the address size; string operands included.
    #[inline]
    pub(crate) fn effective_address(&self, i: u32) -> (Register, u64) {
        let kind = self.insn.op_kind(i);
        if kind == OpKind::Memory {
            return self.memory_operand();
        }
        match kind {
            OpKind::MemorySegSI => (self.source_segment(), self.gpr(Register::SI)),
            OpKind::MemorySegESI => (self.source_segment(), self.gpr(Register::ESI)),
            OpKind::MemorySegRSI => (self.source_segment(), self.gpr(Register::RSI)),
            OpKind::MemorySegDI => (self.source_segment(), self.gpr(Register::DI)),
            OpKind::MemorySegEDI => (self.source_segment(), self.gpr(Register::EDI)),
            OpKind::MemorySegRDI => (self.source_segment(), self.gpr(Register::RDI)),
            OpKind::MemoryESDI => (Register::ES, self.gpr(Register::DI)),
            OpKind::MemoryESEDI => (Register::ES, self.gpr(Register::EDI)),
            _ => (Register::ES, self.gpr(Register::RDI)),
        }
    }

    /// Operand `i` as something to read and write, its address computed once.
    #[inline]
    pub(crate) fn place(&self, i: u32) -> Place {
        if self.insn.op_kind(i) == OpKind::Register {
            Place::Register(self.insn.op_register(i))
        } else {
            let (segment, offset) = self.effective_address(i);
            Place::Memory(segment, offset)
        }
    }

    /// Reads a place, zero-extended.
    #[inline]
    pub(crate) fn read_place(&mut self, place: Place, width: Width, intent: Intent) -> Result<u64, Fault> {
        match place {
            Place::Register(register) => Ok(self.gpr(register)),
            Place::Memory(segment, offset) => self.load_sized(segment, offset, width, intent),
        }
    }

    /// Writes a place.
    #[inline]
    pub(crate) fn write_place(&mut self, place: Place, width: Width, value: u64) -> Result<(), Fault> {
        match place {
            Place::Register(register) => {
                self.set_gpr(register, value);
                Ok(())
            }
            Place::Memory(segment, offset) => self.store_sized(segment, offset, width, value),
        }
    }

    /// Operand `i`, zero-extended from its size; an immediate as the decoder extends it. A segment register gives its
    /// selector.
    #[inline]
    pub(crate) fn read_operand(&mut self, i: u32) -> Result<u64, Fault> {
        match self.insn.op_kind(i) {
            OpKind::Register => {
                let register = self.insn.op_register(i);
                if register.is_segment_register() {
                    return Ok(u64::from(self.cpu.state.segment(segment_name(register)).selector));
                }
                Ok(self.gpr(register))
            }
            OpKind::Memory => {
                let (segment, offset) = self.memory_operand();
                let width = Width::of_bytes(self.insn.memory_size().size());
                self.load_sized(segment, offset, width, Intent::Read)
            }
            OpKind::Immediate8
            | OpKind::Immediate8_2nd
            | OpKind::Immediate16
            | OpKind::Immediate32
            | OpKind::Immediate64
            | OpKind::Immediate8to16
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32to64 => Ok(self.insn.immediate(i)),
            _ => {
                let (segment, offset) = self.effective_address(i);
                let width = Width::of_bytes(self.insn.memory_size().size());
                self.load_sized(segment, offset, width, Intent::Read)
            }
        }
    }

    /// Operand `i`, sign-extended from its size.
    #[inline]
    pub(crate) fn read_operand_signed(&mut self, i: u32) -> Result<i64, Fault> {
        let width = self.width(i);
        Ok(width.sign_extend(self.read_operand(i)?))
    }

    /// Writes operand `i`, a general register or memory.
    #[inline]
    pub(crate) fn write_operand(&mut self, i: u32, value: u64) -> Result<(), Fault> {
        let place = self.place(i);
        self.write_place(place, self.width(i), value)
    }

    /// Loads 1, 2, 4 or 8 bytes, zero-extended.
    #[inline]
    pub(crate) fn load_sized(
        &mut self,
        segment: Register,
        offset: u64,
        width: Width,
        intent: Intent,
    ) -> Result<u64, Fault> {
        Ok(match width {
            Width::Byte => u64::from(u8::from_le_bytes(self.load_for(segment, offset, intent)?)),
            Width::Word => u64::from(u16::from_le_bytes(self.load_for(segment, offset, intent)?)),
            Width::Dword => u64::from(u32::from_le_bytes(self.load_for(segment, offset, intent)?)),
            Width::Qword => u64::from_le_bytes(self.load_for(segment, offset, intent)?),
        })
    }

    /// Stores the low 1, 2, 4 or 8 bytes of a value.
    #[inline]
    pub(crate) fn store_sized(
        &mut self,
        segment: Register,
        offset: u64,
        width: Width,
        value: u64,
    ) -> Result<(), Fault> {
        match width {
            Width::Byte => self.store(segment, offset, (value as u8).to_le_bytes()),
            Width::Word => self.store(segment, offset, (value as u16).to_le_bytes()),
            Width::Dword => self.store(segment, offset, (value as u32).to_le_bytes()),
            Width::Qword => self.store(segment, offset, value.to_le_bytes()),
        }
    }

    /// The width of the stack pointer: 64 bits in 64-bit mode, else by the B bit of SS.
    #[inline]
    pub(crate) fn stack_width(&self) -> Width {
        if self.cpu.state.mode() == Mode::Long64 {
            Width::Qword
        } else if self.cpu.state.segment(SegmentName::Ss).attributes.big() {
            Width::Dword
        } else {
            Width::Word
        }
    }

    /// SP, ESP or RSP.
    #[inline]
    pub(crate) fn stack_pointer(&self) -> u64 {
        self.numbered(number::RSP, self.stack_width())
    }

    /// Writes SP, ESP or RSP, wrapped to the width of the stack.
    #[inline]
    pub(crate) fn set_stack_pointer(&mut self, value: u64) {
        self.set_numbered(number::RSP, self.stack_width(), value);
    }

    /// Pushes the low `size` bytes (2, 4 or 8) of a value. On a fault the stack pointer is as before.
    #[inline]
    pub(crate) fn push(&mut self, value: u64, size: usize) -> Result<(), Fault> {
        let stack = self.stack_width();
        let top = self.numbered(number::RSP, stack).wrapping_sub(size as u64) & stack.mask();
        self.store_sized(Register::SS, top, Width::of_bytes(size), value)?;
        self.set_numbered(number::RSP, stack, top);
        Ok(())
    }

    /// Pops `size` bytes (2, 4 or 8). On a fault the stack pointer is as before.
    #[inline]
    pub(crate) fn pop(&mut self, size: usize) -> Result<u64, Fault> {
        let value = self.peek(0, size)?;
        let top = self.stack_pointer();
        self.set_stack_pointer(top.wrapping_add(size as u64));
        Ok(value)
    }

    /// Reads `size` bytes at `offset` above the stack pointer, which stays where it is.
    #[inline]
    pub(crate) fn peek(&mut self, offset: u64, size: usize) -> Result<u64, Fault> {
        let at = self.stack_pointer().wrapping_add(offset) & self.stack_width().mask();
        self.load_sized(Register::SS, at, Width::of_bytes(size), Intent::Read)
    }
}
