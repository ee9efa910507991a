//! A flat-memory machine for tests: identity page tables, 64-bit code at CPL 3, exceptions delivered to a supervisor
//! page, so that a test can tell what was raised and with which frame.
#![allow(dead_code, reason = "each test uses a part")]

use replayvm_cpu::{
    Access, Attributes, Bus, CpuState, Moment, Observation, Rflags, Segment, SegmentName, Table,
};

/// Where physical memory starts; linear and physical addresses are the same.
pub const ARENA: u64 = 0x1000_0000;
/// Bytes of physical memory.
pub const ARENA_LEN: usize = 0x2_0000;
/// The part of the arena below the supervisor's pages: window, code and the unmapped pages around them.
pub const USER_LEN: usize = 0x1_0000;
/// User data, readable and writable, with an unmapped page on each side.
pub const WINDOW: u64 = ARENA + 0x1000;
/// Bytes of user data.
pub const WINDOW_LEN: usize = 0x2000;
/// User code, one page with an unmapped page on each side.
pub const CODE: u64 = ARENA + 0x5000;
/// Bytes of user code.
pub const CODE_LEN: usize = 0x1000;

const PML4: u64 = ARENA + 0x1_0000;
const GDT: u64 = ARENA + 0x1_4000;
const IDT: u64 = ARENA + 0x1_5000;
const TSS: u64 = ARENA + 0x1_6000;
const KERNEL_STACK_TOP: u64 = ARENA + 0x1_8000;
/// Entry of the handler of vector 0; vector n is 16 n bytes further on.
pub const HANDLERS: u64 = ARENA + 0x1_8000;

/// Linux's selectors, so that PUSH and MOV from a segment register agree with a Linux host.
const USER_CS: u16 = 0x33;
const USER_SS: u16 = 0x2b;
const KERNEL_CS: u16 = 0x10;

/// Memory, and what the CPU reported last.
pub struct FlatBus {
    /// Physical memory from [`ARENA`] on.
    pub memory: Vec<u8>,
    /// The first exception observed since this was last cleared.
    pub exception: Option<Observation>,
}

impl FlatBus {
    /// Memory with page tables, GDT, IDT and TSS in it.
    pub fn new() -> Self {
        let mut bus = Self { memory: vec![0; ARENA_LEN], exception: None };
        bus.put64(PML4, (PML4 + 0x1000) | 0x27);
        bus.put64(PML4 + 0x1000, (PML4 + 0x2000) | 0x27);
        bus.put64(PML4 + 0x2000 + (ARENA >> 21) * 8, (PML4 + 0x3000) | 0x27);
        let table = PML4 + 0x3000;
        // Accessed and dirty from the start: the walks then write nothing.
        for page in (WINDOW..WINDOW + WINDOW_LEN as u64).step_by(0x1000) {
            bus.put64(table + (page - ARENA) / 0x1000 * 8, page | 0x67);
        }
        bus.put64(table + (CODE - ARENA) / 0x1000 * 8, CODE | 0x67);
        for page in (ARENA + USER_LEN as u64..ARENA + ARENA_LEN as u64).step_by(0x1000) {
            bus.put64(table + (page - ARENA) / 0x1000 * 8, page | 0x63);
        }
        bus.put64(GDT + u64::from(KERNEL_CS), 0x00af_9b00_0000_ffff);
        bus.put64(GDT + 0x18, 0x00cf_9300_0000_ffff);
        bus.put64(GDT + u64::from(USER_SS & !7), 0x00cf_f300_0000_ffff);
        bus.put64(GDT + u64::from(USER_CS & !7), 0x00af_fb00_0000_ffff);
        for vector in 0..256 {
            let handler = HANDLERS + vector * 16;
            let low = (handler & 0xffff) | u64::from(KERNEL_CS) << 16 | 0x8e << 40 | (handler >> 16) << 48;
            bus.put64(IDT + vector * 16, low);
            bus.put64(IDT + vector * 16 + 8, handler >> 32);
        }
        bus.put64(TSS + 4, KERNEL_STACK_TOP);
        // The I/O permission map lies beyond the limit: no port is allowed.
        bus.put64(TSS + 0x60, 0x68 << 48);
        bus
    }

    /// Index of a linear address in [`FlatBus::memory`].
    pub fn index(address: u64) -> usize {
        (address - ARENA) as usize
    }

    /// A quadword of memory.
    pub fn get64(&self, address: u64) -> u64 {
        let at = Self::index(address);
        u64::from_le_bytes(self.memory[at..at + 8].try_into().unwrap())
    }

    /// Sets a quadword of memory.
    pub fn put64(&mut self, address: u64, value: u64) {
        let at = Self::index(address);
        self.memory[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    /// RIP, CS, RFLAGS, RSP and SS as the last delivery pushed them.
    pub fn frame(&self) -> [u64; 5] {
        std::array::from_fn(|i| self.get64(KERNEL_STACK_TOP - 40 + 8 * i as u64))
    }
}

impl Bus for FlatBus {
    fn read<const N: usize>(&mut self, _at: Moment, _access: Access, gpa: u64) -> [u8; N] {
        let index = gpa.wrapping_sub(ARENA) as usize;
        match self.memory.get(index..index.wrapping_add(N)) {
            Some(bytes) => bytes.try_into().unwrap(),
            None => [0xff; N],
        }
    }

    fn write<const N: usize>(&mut self, _at: Moment, _access: Access, gpa: u64, bytes: [u8; N]) {
        let index = gpa.wrapping_sub(ARENA) as usize;
        if let Some(place) = self.memory.get_mut(index..index.wrapping_add(N)) {
            place.copy_from_slice(&bytes);
        }
    }

    fn fetch(&mut self, _at: Moment, gpa: u64, bytes: &mut [u8]) {
        let index = gpa.wrapping_sub(ARENA) as usize;
        match self.memory.get(index..index.wrapping_add(bytes.len())) {
            Some(from) => bytes.copy_from_slice(from),
            None => bytes.fill(0xff),
        }
    }

    fn load_plain<const N: usize>(&self, gpa: u64) -> Option<[u8; N]> {
        let index = gpa.wrapping_sub(ARENA) as usize;
        self.memory.get(index..index.wrapping_add(N))?.try_into().ok()
    }
    fn store_plain<const N: usize>(&mut self, gpa: u64, bytes: [u8; N]) -> bool {
        let index = gpa.wrapping_sub(ARENA) as usize;
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
        if matches!(what, Observation::Exception { .. }) && self.exception.is_none() {
            self.exception = Some(what);
        }
    }
}

/// 64-bit user mode on [`FlatBus`], everything as a Linux process has it.
pub fn user_state() -> CpuState {
    let data = Segment { selector: 0, base: 0, limit: 0, attributes: Attributes(0) };
    let mut state = CpuState::power_on();
    state.cr0 = 0x8005_0033;
    state.cr3 = PML4;
    state.cr4 = 0x6a0;
    state.efer = 0xd01;
    for name in [SegmentName::Es, SegmentName::Ds, SegmentName::Fs, SegmentName::Gs] {
        *state.segment_mut(name) = data;
    }
    *state.segment_mut(SegmentName::Cs) =
        Segment { selector: USER_CS, base: 0, limit: u32::MAX, attributes: Attributes(0xa0fb) };
    *state.segment_mut(SegmentName::Ss) =
        Segment { selector: USER_SS, base: 0, limit: u32::MAX, attributes: Attributes(0xc0f3) };
    state.gdtr = Table { base: GDT, limit: 0x7f };
    state.idtr = Table { base: IDT, limit: 0xfff };
    state.tr = Segment { selector: 0x40, base: TSS, limit: 0x67, attributes: Attributes(0x8b) };
    state.ldtr = data;
    state.rflags = (Rflags::FIXED | Rflags::IF).bits();
    state.gpr[4] = WINDOW + 0x1000;
    state.rip = CODE;
    state.fcw = 0x37f;
    state
}
