//! Memory for the software CPU, and page tables.

use replayvm_cpu::{
    Access, Attributes, Bus, CpuState, Moment, Observation, Rflags, Segment, SegmentName, Table,
};

pub use crate::place::ARENA;

/// Where physical memory starts. Linear memory lies in the same order from [`ARENA`] on.
const PHYSICAL: u64 = 0x2000_0000;
/// Code. Eight pages, which cannot be written.
pub const CODE: u64 = ARENA;
/// Bytes of it.
pub const CODE_LEN: usize = 0x8000;
/// Data. Two pages, then one that is not there, one that cannot be written, and the stack.
pub const DATA: u64 = ARENA + 0x8000;
/// Where the third page of data would be.
pub const HOLE: u64 = DATA + 0x2000;
/// A page that cannot be written.
pub const CONSTANT: u64 = DATA + 0x3000;
/// A page of stack, with the next one not there.
pub const STACK: u64 = DATA + 0x4000;
/// Bytes from `DATA` on that are compared.
pub const DATA_LEN: usize = 0x5000;
/// Memory of programs: large, all writable.
pub const HEAP: u64 = ARENA + 0x10_0000;
/// Bytes of it.
pub const HEAP_LEN: usize = 0x10_0000;
/// User memory ends here.
pub const USER_LEN: usize = 0x20_0000;
/// Names for the generator that is shared with the CPU's tests: it writes to no page tables here.
pub const PT: u64 = DATA;

const SYSTEM: u64 = ARENA + USER_LEN as u64;
const PML4: u64 = SYSTEM;
const GDT: u64 = SYSTEM + 0x4000;
const IDT: u64 = SYSTEM + 0x5000;
const TSS: u64 = SYSTEM + 0x6000;
const KERNEL_STACK_TOP: u64 = SYSTEM + 0x8000;
/// Entry of all handlers.
pub const HANDLERS: u64 = SYSTEM + 0x8000;
const LEN: usize = USER_LEN + 0xb000;

/// The base of GS.
pub const GS_BASE: u64 = 0x100;

/// Where a linear address lies.
fn physical(linear: u64) -> u64 {
    linear - ARENA + PHYSICAL
}

/// Memory, and the exception delivered last.
pub struct TestBus {
    pub memory: Vec<u8>,
    pub exception: Option<u8>,
}

impl TestBus {
    pub fn new() -> Self {
        let mut bus = Self { memory: vec![0; LEN], exception: None };
        let index = |shift: u32| (ARENA >> shift & 511) * 8;
        bus.put64(PML4 + index(39), physical(PML4 + 0x1000) | 0x27);
        bus.put64(PML4 + 0x1000 + index(30), physical(PML4 + 0x2000) | 0x27);
        for i in 0..2 {
            let table = SYSTEM + 0x9000 + 0x1000 * i;
            bus.put64(PML4 + 0x2000 + index(21) + i * 8, physical(table) | 0x27);
        }
        for page in (ARENA..ARENA + USER_LEN as u64).step_by(0x1000) {
            let present = match page - ARENA {
                0..0x8000 => 0x65,
                _ if page == CONSTANT => 0x65,
                0x8000..0xa000 | 0xc000 => 0x67,
                0x10_0000.. => 0x67,
                _ => 0,
            };
            let entry = if present == 0 { 0 } else { physical(page) | present };
            bus.put64(SYSTEM + 0x9000 + (page - ARENA) / 0x1000 * 8, entry);
        }
        for page in (SYSTEM..SYSTEM + 0x9000).step_by(0x1000) {
            // Beyond the user's two MiB: the second table.
            bus.put64(SYSTEM + 0xa000 + (page - SYSTEM) / 0x1000 * 8, physical(page) | 0x63);
        }
        bus.put64(GDT + 0x10, 0x00af_9b00_0000_ffff);
        bus.put64(GDT + 0x18, 0x00cf_9300_0000_ffff);
        bus.put64(GDT + 0x28, 0x00cf_f300_0000_ffff);
        bus.put64(GDT + 0x30, 0x00af_fb00_0000_ffff);
        for vector in 0..256 {
            let low = (HANDLERS & 0xffff) | 0x10 << 16 | 0x8e << 40 | (HANDLERS >> 16 & 0xffff) << 48;
            bus.put64(IDT + vector * 16, low);
            bus.put64(IDT + vector * 16 + 8, HANDLERS >> 32);
        }
        bus.put64(TSS + 4, KERNEL_STACK_TOP);
        bus.put64(TSS + 0x60, 0x68 << 48);
        bus
    }

    fn index(address: u64) -> usize {
        (address - ARENA) as usize
    }

    pub fn put64(&mut self, address: u64, value: u64) {
        let at = Self::index(address);
        self.memory[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    pub fn put(&mut self, address: u64, bytes: &[u8]) {
        let at = Self::index(address);
        self.memory[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub fn slice(&self, address: u64, len: usize) -> &[u8] {
        &self.memory[Self::index(address)..][..len]
    }
}

impl Bus for TestBus {
    fn read<const N: usize>(&mut self, _at: Moment, _access: Access, gpa: u64) -> [u8; N] {
        self.load_plain(gpa).unwrap_or([0xff; N])
    }

    fn write<const N: usize>(&mut self, _at: Moment, _access: Access, gpa: u64, bytes: [u8; N]) {
        self.store_plain(gpa, bytes);
    }

    fn fetch(&mut self, _at: Moment, gpa: u64, bytes: &mut [u8]) {
        let index = gpa.wrapping_sub(PHYSICAL) as usize;
        bytes.copy_from_slice(&self.memory[index..index + bytes.len()]);
    }

    fn load_plain<const N: usize>(&self, gpa: u64) -> Option<[u8; N]> {
        let index = gpa.wrapping_sub(PHYSICAL) as usize;
        self.memory.get(index..index.wrapping_add(N))?.try_into().ok()
    }

    fn store_plain<const N: usize>(&mut self, gpa: u64, bytes: [u8; N]) -> bool {
        let index = gpa.wrapping_sub(PHYSICAL) as usize;
        let place = self.memory.get_mut(index..index.wrapping_add(N));
        place.map(|place| place.copy_from_slice(&bytes)).is_some()
    }

    fn memory_version(&self) -> u64 {
        0
    }

    fn disturbances(&self) -> u64 {
        u64::from(self.exception.is_some())
    }

    fn io_read(&mut self, _at: Moment, _port: u16, _size: u8) -> u32 {
        u32::MAX
    }

    fn io_write(&mut self, _at: Moment, _port: u16, _size: u8, _value: u32) {}

    fn tsc(&mut self, at: Moment) -> u64 {
        at.tick
    }

    fn entropy(&mut self, _at: Moment, _size: u8) -> u64 {
        0
    }

    fn msr_read(&mut self, _at: Moment, _index: u32) -> Option<u64> {
        None
    }

    fn msr_write(&mut self, _at: Moment, _index: u32, _value: u64) -> Option<()> {
        None
    }

    fn task_priority(&mut self, _at: Moment) -> u8 {
        0
    }

    fn set_task_priority(&mut self, _at: Moment, _priority: u8) {}

    fn interrupt_pending(&self) -> bool {
        false
    }

    fn acknowledge(&mut self, _at: Moment) -> Option<u8> {
        None
    }

    fn nmi_pending(&self) -> bool {
        false
    }

    fn take_nmi(&mut self, _at: Moment) {}

    fn observe(&mut self, _at: Moment, what: Observation) {
        if let Observation::Exception { vector, .. } = what {
            self.exception = Some(vector);
        }
    }
}

/// 64-bit user mode, everything as a Linux process has it.
pub fn user_state() -> CpuState {
    let data = Segment { selector: 0, base: 0, limit: 0, attributes: Attributes(0) };
    let mut state = CpuState::power_on();
    state.cr0 = 0x8005_0033;
    state.cr3 = physical(PML4);
    state.cr4 = 0x6a0;
    state.efer = 0xd01;
    for name in [SegmentName::Es, SegmentName::Ds, SegmentName::Fs, SegmentName::Gs] {
        *state.segment_mut(name) = data;
    }
    state.segment_mut(SegmentName::Gs).base = GS_BASE;
    *state.segment_mut(SegmentName::Cs) =
        Segment { selector: 0x33, base: 0, limit: u32::MAX, attributes: Attributes(0xa0fb) };
    *state.segment_mut(SegmentName::Ss) =
        Segment { selector: 0x2b, base: 0, limit: u32::MAX, attributes: Attributes(0xc0f3) };
    state.gdtr = Table { base: GDT, limit: 0x7f };
    state.idtr = Table { base: IDT, limit: 0xfff };
    state.tr = Segment { selector: 0x40, base: TSS, limit: 0x67, attributes: Attributes(0x8b) };
    state.ldtr = data;
    state.rflags = (Rflags::FIXED | Rflags::IF).bits();
    state.gpr[4] = STACK + 0x800;
    state.rip = CODE;
    state.fcw = 0x37f;
    state
}
