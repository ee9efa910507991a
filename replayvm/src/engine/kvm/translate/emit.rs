//! Machine code by the byte, into the code area.
//!
//! The area has two sections: what is executed often, and what is executed seldom, so that blocks that follow each other
//! can lie one after the other.

use super::layout::Layout;

/// General registers in encoding order.
pub(super) const RAX: u8 = 0;
pub(super) const RCX: u8 = 1;
pub(super) const RDX: u8 = 2;

/// A section of the code area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// What is executed often.
    Hot,
    /// What is executed seldom.
    Cold,
}

/// Where the next byte goes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ends {
    pub(super) hot: u32,
    pub(super) cold: u32,
}

/// What is written to.
pub(super) struct Buffer<'a> {
    bytes: &'a mut [u8],
    layout: Layout,
    pub(super) ends: Ends,
    section: Section,
    /// Something did not fit.
    pub(super) overflow: bool,
}

impl<'a> Buffer<'a> {
    pub(super) fn new(bytes: &'a mut [u8], layout: Layout, ends: Ends) -> Self {
        Self { bytes, layout, ends, section: Section::Hot, overflow: false }
    }

    /// Where the cold section begins.
    pub(super) fn middle(bytes: usize) -> u32 {
        (bytes / 2) as u32
    }

    /// Bytes left in the fuller section.
    pub(super) fn room(&self) -> usize {
        let hot = Self::middle(self.bytes.len()).saturating_sub(self.ends.hot) as usize;
        hot.min(self.bytes.len().saturating_sub(self.ends.cold as usize))
    }

    /// Goes on in this section; the one before is returned.
    pub(super) fn select(&mut self, section: Section) -> Section {
        std::mem::replace(&mut self.section, section)
    }

    pub(super) fn section(&self) -> Section {
        self.section
    }

    /// Where the next byte goes, from the beginning of the area.
    pub(super) fn here(&self) -> u32 {
        match self.section {
            Section::Hot => self.ends.hot,
            Section::Cold => self.ends.cold,
        }
    }

    /// The linear address of a place.
    pub(super) fn address(&self, at: u32) -> u64 {
        self.layout.code.wrapping_add(u64::from(at))
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        let at = self.here() as usize;
        let end = match self.section {
            Section::Hot => Self::middle(self.bytes.len()) as usize,
            Section::Cold => self.bytes.len(),
        };
        let fits = at + bytes.len() <= end;
        match self.bytes.get_mut(at..at + bytes.len()) {
            Some(place) if fits => place.copy_from_slice(bytes),
            _ => {
                self.overflow = true;
                return;
            }
        }
        let moved = match self.section {
            Section::Hot => &mut self.ends.hot,
            Section::Cold => &mut self.ends.cold,
        };
        *moved += bytes.len() as u32;
    }

    /// Writes over four bytes.
    pub(super) fn patch(&mut self, at: u32, value: u32) {
        match self.bytes.get_mut(at as usize..at as usize + 4) {
            Some(place) => place.copy_from_slice(&value.to_le_bytes()),
            None => self.overflow = true,
        }
    }

    /// Makes the relative address at `at` lead to `target`.
    pub(super) fn link(&mut self, at: u32, target: u32) {
        self.patch(at, target.wrapping_sub(at.wrapping_add(4)));
    }

    /// Makes the relative byte at `at` lead to here.
    pub(super) fn link_short(&mut self, at: u32) {
        let distance = self.here().wrapping_sub(at.wrapping_add(1));
        match self.bytes.get_mut(at as usize) {
            Some(place) if distance < 128 => *place = distance as u8,
            _ => self.overflow = true,
        }
    }

    /// An instruction with a RIP-relative operand at a linear address: opcode with prefixes, ModRM.reg, immediate.
    pub(super) fn relative(&mut self, opcode: &[u8], reg: u8, target: u64, immediate: &[u8]) {
        self.put(opcode);
        self.put(&[(reg & 7) << 3 | 5]);
        let next = self.address(self.here()).wrapping_add(4 + immediate.len() as u64);
        self.put(&(target.wrapping_sub(next) as u32).to_le_bytes());
        self.put(immediate);
    }

    /// The same with a slot as its operand.
    pub(super) fn slot(&mut self, opcode: &[u8], reg: u8, slot: usize, immediate: &[u8]) {
        self.relative(opcode, reg, self.layout.slots.wrapping_add(slot as u64), immediate);
    }

    fn rex_w(reg: u8) -> u8 {
        0x48 | (reg >> 3) << 2
    }

    /// `mov [slot], reg`
    pub(super) fn store(&mut self, slot: usize, reg: u8) {
        self.slot(&[Self::rex_w(reg), 0x89], reg, slot, &[]);
    }

    /// `mov reg, [slot]`
    pub(super) fn load(&mut self, reg: u8, slot: usize) {
        self.slot(&[Self::rex_w(reg), 0x8b], reg, slot, &[]);
    }

    /// `mov reg32, [slot]`, for one of the first eight registers.
    pub(super) fn load_dword(&mut self, reg: u8, slot: usize) {
        self.slot(&[0x8b], reg, slot, &[]);
    }

    /// `mov qword [slot], imm32`
    pub(super) fn store_constant(&mut self, slot: usize, value: u32) {
        self.slot(&[0x48, 0xc7], 0, slot, &value.to_le_bytes());
    }

    /// `mov reg, value` in its shortest form that leaves the flags.
    pub(super) fn constant(&mut self, reg: u8, value: u64) {
        let low = 0xb8 | (reg & 7);
        if let Ok(short) = u32::try_from(value) {
            if reg >= 8 {
                self.put(&[0x41]);
            }
            self.put(&[low]);
            self.put(&short.to_le_bytes());
        } else if value as i64 == i64::from(value as u32 as i32) {
            self.put(&[0x48 | reg >> 3, 0xc7, 0xc0 | (reg & 7)]);
            self.put(&(value as u32).to_le_bytes());
        } else {
            self.put(&[0x48 | reg >> 3, low]);
            self.put(&value.to_le_bytes());
        }
    }

    /// `jmp rel32` to a place; returns where the relative address lies.
    pub(super) fn jump(&mut self, target: u32) -> u32 {
        self.put(&[0xe9]);
        self.rel32(target)
    }

    /// `jcc rel32`, by the low four bits of its opcode.
    pub(super) fn jump_if(&mut self, condition: u8, target: u32) -> u32 {
        self.put(&[0x0f, 0x80 | condition]);
        self.rel32(target)
    }

    fn rel32(&mut self, target: u32) -> u32 {
        let at = self.here();
        self.put(&target.wrapping_sub(at.wrapping_add(4)).to_le_bytes());
        at
    }

    /// A branch with a relative byte, not linked yet; returns where that lies.
    pub(super) fn short(&mut self, opcode: u8) -> u32 {
        self.put(&[opcode, 0]);
        self.here().wrapping_sub(1)
    }

    /// `jrcxz` over a `jmp rel32` to a place: goes there unless RCX is 0.
    pub(super) fn jump_if_rcx(&mut self, target: u32) {
        let over = self.short(0xe3);
        self.jump(target);
        self.link_short(over);
    }
}
