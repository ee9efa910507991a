//! Linear memory: segmentation, translation, page crossings, data breakpoints.
//!
//! Every access is checked in whole before its first byte moves. Three kinds: data of an instruction (through a segment,
//! on behalf of the current privilege level), the stack of an event delivery (see `exec/frame.rs`), and what the CPU
//! reads and marks for itself (descriptor tables and task states: implicit supervisor accesses, never watched).

use iced_x86::Register;

use crate::bus::{Access, Bus};
use crate::exec::Exec;
use crate::fault::Fault;
use crate::flags::Rflags;
use crate::pages;
use crate::paging::{Privilege, Purpose};
use crate::segment::{Segment, SegmentName};
use crate::state::{CpuState, Mode, cr0, cr4};

/// What a data access is going to do, for permission checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    Read,
    Write,
    /// A read that a write to the same place follows: checked, and reported, as a write.
    Modify,
}

impl Intent {
    pub(crate) const fn purpose(self) -> Purpose {
        match self {
            Self::Read => Purpose::Read,
            Self::Write | Self::Modify => Purpose::Write,
        }
    }
}

/// Whether bits 47 to 63 of an address are equal.
#[inline]
pub(crate) const fn canonical(address: u64) -> bool {
    (((address << 16) as i64) >> 16) as u64 == address
}

impl Segment {
    /// Whether `size` bytes at `offset` (32 bits) lie within the limit.
    #[inline]
    pub(crate) fn contains(&self, offset: u64, size: u64) -> bool {
        let last = offset.wrapping_add(size).wrapping_sub(1);
        let limit = u64::from(self.limit);
        // Expand-down data: everything but 0 to the limit.
        if self.attributes.0 & 0x1c == 0x14 {
            let top = if self.attributes.big() { 0xffff_ffff } else { 0xffff };
            offset > limit && last <= top && last >= offset
        } else {
            last <= limit && last >= offset
        }
    }
}

impl CpuState {
    /// On whose behalf instructions access data now.
    #[inline]
    pub(crate) fn privilege(&self) -> Privilege {
        if self.cpl() == 3 {
            Privilege::User
        } else if self.cr4 & cr4::SMAP != 0 && self.rflags & Rflags::AC.bits() == 0 {
            Privilege::Guarded
        } else {
            Privilege::Supervisor
        }
    }

    /// The segment registers' names as the decoder gives them; DS for `None`.
    #[inline]
    fn segment_of(&self, register: Register) -> (SegmentName, &Segment) {
        let name = match register {
            Register::ES => SegmentName::Es,
            Register::CS => SegmentName::Cs,
            Register::SS => SegmentName::Ss,
            Register::FS => SegmentName::Fs,
            Register::GS => SegmentName::Gs,
            _ => SegmentName::Ds,
        };
        (name, self.segment(name))
    }

    /// The linear address of `segment:offset`, after the checks that need no page tables.
    #[inline]
    pub(crate) fn linear(
        &self,
        register: Register,
        offset: u64,
        size: u64,
        intent: Intent,
    ) -> Result<u64, Fault> {
        let (name, segment) = self.segment_of(register);
        let mode = self.mode();
        if mode == Mode::Long64 {
            // Before the base is added the offset must be canonical too: Zen does it so, the manuals do not say.
            let linear = match name {
                SegmentName::Fs | SegmentName::Gs if canonical(offset) => segment.base.wrapping_add(offset),
                _ => offset,
            };
            if canonical(linear) && canonical(linear.wrapping_add(size - 1)) {
                return Ok(linear);
            }
        } else {
            let offset = offset & 0xffff_ffff;
            let rights = segment.attributes;
            let usable = mode == Mode::Real
                || mode == Mode::Virtual8086
                || rights.present()
                    && match intent {
                        // Data, or readable code.
                        Intent::Read => rights.0 & 0xa != 8,
                        // Writable data.
                        Intent::Write | Intent::Modify => rights.0 & 0xa == 2,
                    };
            if !usable {
                return Err(Fault::gp(0));
            }
            if segment.contains(offset, size) {
                return Ok(segment.base.wrapping_add(offset) & 0xffff_ffff);
            }
        }
        Err(if name == SegmentName::Ss { Fault::ss(0) } else { Fault::gp(0) })
    }
}

impl<B: Bus> Exec<'_, B> {
    /// Loads `N` bytes (1, 2, 4, 8, 16) of data at `segment:offset`, with every check that the mode asks for.
    #[inline]
    pub(crate) fn load<const N: usize>(&mut self, segment: Register, offset: u64) -> Result<[u8; N], Fault> {
        self.load_for(segment, offset, Intent::Read)
    }

    /// Loads with a stated intent.
    #[inline]
    pub(crate) fn load_for<const N: usize>(
        &mut self,
        segment: Register,
        offset: u64,
        intent: Intent,
    ) -> Result<[u8; N], Fault> {
        let linear = self.cpu.state.linear(segment, offset, N as u64, intent)?;
        self.check_alignment::<N>(linear)?;
        let privilege = self.cpu.state.privilege();
        let bytes = self.load_linear(linear, intent.purpose(), privilege, Access::Data)?;
        if self.cpu.state.dr7 & 0xff != 0 {
            self.cpu.state.watch(linear, N as u64, intent != Intent::Read);
        }
        Ok(bytes)
    }

    /// Stores `N` bytes of data at `segment:offset`. Either all bytes are written or a fault is returned and none is.
    #[inline]
    pub(crate) fn store<const N: usize>(
        &mut self,
        segment: Register,
        offset: u64,
        bytes: [u8; N],
    ) -> Result<(), Fault> {
        let linear = self.cpu.state.linear(segment, offset, N as u64, Intent::Write)?;
        self.check_alignment::<N>(linear)?;
        let privilege = self.cpu.state.privilege();
        self.store_linear(linear, bytes, privilege, Access::Data)?;
        if self.cpu.state.dr7 & 0xff != 0 {
            self.cpu.state.watch(linear, N as u64, true);
        }
        Ok(())
    }

    /// #GP(0) (or what the segment raises) unless the linear address of `segment:offset` is a multiple of `alignment`.
    pub(crate) fn check_aligned(
        &mut self,
        segment: Register,
        offset: u64,
        alignment: u64,
    ) -> Result<(), Fault> {
        let low = alignment.wrapping_sub(1);
        match self.cpu.state.linear(segment, offset, 1, Intent::Read) {
            Ok(linear) if linear & low == 0 => Ok(()),
            // Of an address outside the stack that is misaligned too, the profile's processor says #GP.
            Err(fault) if offset & low == 0 || self.cpu.state.mode() != Mode::Long64 => Err(fault),
            _ => Err(Fault::gp(0)),
        }
    }

    /// #AC at CPL 3 for an address that is not a multiple of the size, if CR0.AM and EFLAGS.AC ask for it.
    #[inline]
    fn check_alignment<const N: usize>(&self, linear: u64) -> Result<(), Fault> {
        let state = &self.cpu.state;
        if linear & (N as u64 - 1) != 0
            && state.rflags & Rflags::AC.bits() != 0
            && state.cr0 & cr0::AM != 0
            && state.cpl() == 3
        {
            return Err(Fault::AC);
        }
        Ok(())
    }

    /// Loads from a linear address.
    #[inline]
    pub(crate) fn load_linear<const N: usize>(
        &mut self,
        linear: u64,
        purpose: Purpose,
        privilege: Privilege,
        access: Access,
    ) -> Result<[u8; N], Fault> {
        let first = self.cpu.translate(self.bus, self.at, linear, purpose, privilege)?;
        if linear as usize & 0xfff <= 0x1000 - N {
            return Ok(self.bus.read(self.at, access, first));
        }
        let second = self.second_page(linear, purpose, privilege)?;
        let mut bytes = [0; N];
        for (i, byte) in bytes.iter_mut().enumerate() {
            [*byte] = self.bus.read(self.at, access, across(first, second, i));
        }
        Ok(bytes)
    }

    /// Stores to a linear address.
    #[inline]
    pub(crate) fn store_linear<const N: usize>(
        &mut self,
        linear: u64,
        bytes: [u8; N],
        privilege: Privilege,
        access: Access,
    ) -> Result<(), Fault> {
        let first = self.cpu.translate(self.bus, self.at, linear, Purpose::Write, privilege)?;
        if linear as usize & 0xfff <= 0x1000 - N {
            let flush = self.changes_tables(first, N as u64);
            self.bus.write(self.at, access, first, bytes);
            self.cpu.stored(self.bus, first, flush);
            return Ok(());
        }
        let second = self.second_page(linear, Purpose::Write, privilege)?;
        let left = 0x1000 - (first & 0xfff);
        let flush = self.changes_tables(first, left) | self.changes_tables(second, N as u64 - left);
        for (i, &byte) in bytes.iter().enumerate() {
            self.bus.write(self.at, access, across(first, second, i), [byte]);
        }
        self.cpu.stored(self.bus, first, flush);
        self.cpu.stored(self.bus, second, false);
        Ok(())
    }

    /// Whether a store of so many bytes within a page can change a translation that is remembered: whether one of the
    /// entries that it touches is present. Of an entry that is not, nothing is remembered.
    #[inline]
    fn changes_tables(&mut self, gpa: u64, size: u64) -> bool {
        self.cpu.tlb.pages.tags(gpa) & pages::TABLE != 0 && self.touches_present(gpa, size)
    }

    #[cold]
    fn touches_present(&mut self, gpa: u64, size: u64) -> bool {
        let words = (gpa & !7..gpa + size).step_by(8);
        // An entry of eight bytes, or two of four.
        words
            .map(|word| u64::from_le_bytes(self.bus.read(self.at, Access::System, word)))
            .any(|entry| entry & 0x1_0000_0001 != 0)
    }

    /// The physical address of the page after the one that `linear` lies in.
    #[cold]
    fn second_page(&mut self, linear: u64, purpose: Purpose, privilege: Privilege) -> Result<u64, Fault> {
        let next = self.cpu.state.wrap_linear((linear | 0xfff).wrapping_add(1));
        self.cpu.translate(self.bus, self.at, next, purpose, privilege)
    }

    /// Loads for the CPU itself, from a descriptor table or a task state. A faulty address gives a page fault, or #GP(0)
    /// if it is not canonical.
    pub(crate) fn system_load<const N: usize>(&mut self, linear: u64) -> Result<[u8; N], Fault> {
        let linear = self.system_address(linear)?;
        self.load_linear(linear, Purpose::Read, self.cpu.state.implicit(), Access::System)
    }

    /// Stores for the CPU itself.
    pub(crate) fn system_store<const N: usize>(&mut self, linear: u64, bytes: [u8; N]) -> Result<(), Fault> {
        let linear = self.system_address(linear)?;
        self.store_linear(linear, bytes, self.cpu.state.implicit(), Access::System)
    }

    fn system_address(&self, linear: u64) -> Result<u64, Fault> {
        let linear = self.cpu.state.wrap_linear(linear);
        if canonical(linear) { Ok(linear) } else { Err(Fault::gp(0)) }
    }
}

impl CpuState {
    /// Linear addresses have 32 bits outside long mode.
    pub(crate) fn wrap_linear(&self, linear: u64) -> u64 {
        if self.long_mode() { linear } else { linear & 0xffff_ffff }
    }

    /// The privilege of what the CPU does for itself: supervisor whatever the CPL, and SMAP is not lifted by AC.
    pub(crate) fn implicit(&self) -> Privilege {
        if self.cr4 & cr4::SMAP != 0 { Privilege::Guarded } else { Privilege::Supervisor }
    }

    /// Records the data breakpoints that an access hits, for delivery at the next boundary.
    #[cold]
    pub(crate) fn watch(&mut self, linear: u64, size: u64, write: bool) {
        for i in 0..4 {
            let enabled = self.dr7 >> (2 * i) & 3 != 0;
            let kind = self.dr7 >> (16 + 4 * i) & 3;
            if !enabled || !(kind == 3 || kind == 1 && write) {
                continue;
            }
            let mask = self.breakpoint_size(i) - 1;
            let start = self.dr[i] & !mask;
            if start.wrapping_sub(linear) < size || linear.wrapping_sub(start) <= mask {
                self.pending_debug |= 1 << i;
            }
        }
    }

    /// Records the I/O breakpoints that an access to a port hits (CR4.DE).
    pub(crate) fn watch_port(&mut self, port: u16, size: u64) {
        if self.dr7 & 0xff == 0 || self.cr4 & cr4::DE == 0 {
            return;
        }
        for i in 0..4 {
            let mask = self.breakpoint_size(i) - 1;
            let (start, port) = (self.dr[i] & !mask, u64::from(port));
            if self.dr7 >> (2 * i) & 3 != 0
                && self.dr7 >> (16 + 4 * i) & 3 == 2
                && (start.wrapping_sub(port) < size || port.wrapping_sub(start) <= mask)
            {
                self.pending_debug |= 1 << i;
            }
        }
    }

    /// The code breakpoints at a linear address, as bits of DR6.
    #[cold]
    pub(crate) fn code_breakpoints(&self, linear: u64) -> u64 {
        let hit = |i: &usize| {
            self.dr7 >> (2 * i) & 3 != 0 && self.dr7 >> (16 + 4 * i) & 3 == 0 && self.dr[*i] == linear
        };
        (0..4).filter(hit).map(|i| 1 << i).sum()
    }

    /// Bytes that breakpoint `i` covers.
    fn breakpoint_size(&self, i: usize) -> u64 {
        [1, 2, 8, 4][(self.dr7 >> (18 + 4 * i) & 3) as usize]
    }
}

/// The physical address of byte `i` of an access that begins at `first` and goes on in the page at `second`.
fn across(first: u64, second: u64, i: usize) -> u64 {
    let left = 0x1000 - (first & 0xfff);
    let i = i as u64;
    if i < left { first + i } else { second + (i - left) }
}
