//! A small machine for guests assembled in tests: flat RAM, page tables, descriptor tables, a handler that halts for
//! each vector, scripted ports and interrupts.

use iced_x86::code_asm::CodeAssembler;
use replayvm_cpu::{
    Access, Attributes, Bus, Cpu, CpuState, Moment, Observation, Segment, SegmentName, Step, Table,
};

pub const RAM: usize = 0x40_0000;
pub const IDT: u64 = 0x1000;
pub const GDT: u64 = 0x2000;
pub const TSS: u64 = 0x3000;
pub const HANDLERS: u64 = 0x4000;
pub const CODE: u64 = 0x8000;
pub const USER_CODE: u64 = 0xa000;
pub const USER_DATA: u64 = 0xd000;
pub const USER_STACK: u64 = 0xf000;
pub const TABLES: u64 = 0x1_0000;
pub const PT: u64 = TABLES + 0x3000;
pub const STACK: u64 = 0x2_0000;
pub const RING0_STACK: u64 = 0x2_8000;
pub const DATA: u64 = 0x3_0000;

pub const CODE64: u16 = 0x08;
pub const DATA0: u16 = 0x10;
pub const USER32: u16 = 0x1b;
pub const USER_SS: u16 = 0x23;
pub const USER64: u16 = 0x2b;
pub const TSS_SELECTOR: u16 = 0x30;
pub const CODE32: u16 = 0x40;
pub const GATE: u16 = 0x50;

#[derive(Default)]
pub struct TestBus {
    pub ram: Vec<u8>,
    pub interrupt: Option<u8>,
    pub nmi: bool,
    pub log: Vec<Observation>,
    pub out: Vec<(u16, u32)>,
    pub priority: u8,
}

impl TestBus {
    pub fn get<const N: usize>(&self, at: u64) -> [u8; N] {
        let at = at as usize;
        match self.ram.get(at..at.wrapping_add(N)) {
            Some(bytes) => bytes.try_into().unwrap(),
            None => [0xff; N],
        }
    }

    pub fn put(&mut self, at: u64, bytes: &[u8]) {
        let at = at as usize;
        if let Some(place) = self.ram.get_mut(at..at.wrapping_add(bytes.len())) {
            place.copy_from_slice(bytes);
        }
    }

    pub fn get64(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.get(at))
    }

    pub fn get32(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.get(at))
    }

    pub fn put64(&mut self, at: u64, value: u64) {
        self.put(at, &value.to_le_bytes());
    }
}

impl Bus for TestBus {
    fn read<const N: usize>(&mut self, _: Moment, _: Access, gpa: u64) -> [u8; N] {
        self.get(gpa)
    }
    fn write<const N: usize>(&mut self, _: Moment, _: Access, gpa: u64, bytes: [u8; N]) {
        self.put(gpa, &bytes);
    }
    fn fetch(&mut self, _: Moment, gpa: u64, bytes: &mut [u8]) {
        let at = gpa as usize;
        match self.ram.get(at..at.wrapping_add(bytes.len())) {
            Some(from) => bytes.copy_from_slice(from),
            None => bytes.fill(0xff),
        }
    }
    fn load_plain<const N: usize>(&self, gpa: u64) -> Option<[u8; N]> {
        let at = gpa as usize;
        self.ram.get(at..at.wrapping_add(N))?.try_into().ok()
    }
    fn store_plain<const N: usize>(&mut self, gpa: u64, bytes: [u8; N]) -> bool {
        let at = gpa as usize;
        let place = self.ram.get_mut(at..at.wrapping_add(N));
        place.map(|place| place.copy_from_slice(&bytes)).is_some()
    }
    fn memory_version(&self) -> u64 {
        0
    }
    fn disturbances(&self) -> u64 {
        (self.log.len() + self.out.len()) as u64
    }
    fn io_read(&mut self, _: Moment, port: u16, size: u8) -> u32 {
        u32::from(port) | u32::from(size) << 24
    }
    fn io_write(&mut self, _: Moment, port: u16, _: u8, value: u32) {
        self.out.push((port, value));
    }
    fn tsc(&mut self, at: Moment) -> u64 {
        1_000_000 + at.tick
    }
    fn entropy(&mut self, _: Moment, _: u8) -> u64 {
        0x1234_5678_9abc_def0
    }
    fn msr_read(&mut self, _: Moment, index: u32) -> Option<u64> {
        (index == 0x1b).then_some(0xfee0_0900)
    }
    fn msr_write(&mut self, _: Moment, _: u32, _: u64) -> Option<()> {
        None
    }
    fn task_priority(&mut self, _: Moment) -> u8 {
        self.priority
    }
    fn set_task_priority(&mut self, _: Moment, priority: u8) {
        self.priority = priority;
    }
    fn interrupt_pending(&self) -> bool {
        self.interrupt.is_some()
    }
    fn acknowledge(&mut self, _: Moment) -> Option<u8> {
        self.interrupt.take()
    }
    fn nmi_pending(&self) -> bool {
        self.nmi
    }
    fn take_nmi(&mut self, _: Moment) {
        self.nmi = false;
    }
    fn observe(&mut self, _: Moment, what: Observation) {
        self.log.push(what);
    }
}

pub struct Machine {
    pub cpu: Cpu,
    pub bus: TestBus,
}

pub fn gate(target: u64, selector: u16, kind: u64) -> u64 {
    target & 0xffff | u64::from(selector) << 16 | kind << 40 | (target >> 16 & 0xffff) << 48
}

pub fn segment(selector: u16, attributes: u16) -> Segment {
    Segment { selector, base: 0, limit: u32::MAX, attributes: Attributes(attributes) }
}

impl Machine {
    fn bare() -> Self {
        let mut bus = TestBus { ram: vec![0; RAM], ..TestBus::default() };
        for (i, raw) in [
            0,
            0x00af_9b00_0000_ffff,
            0x00cf_9300_0000_ffff,
            0x00cf_fb00_0000_ffff,
            0x00cf_f300_0000_ffff,
            0x00af_fb00_0000_ffff,
            0x0000_8b00_0000_0067 | TSS << 16,
            0,
            0x00cf_9b00_0000_ffff,
            0x0000_9b00_0000_ffff,
        ]
        .into_iter()
        .enumerate()
        {
            bus.put64(GDT + 8 * i as u64, raw);
        }
        for vector in 0..256 {
            bus.put(HANDLERS + 16 * vector, &[0xf4]);
        }
        let mut state = CpuState::power_on();
        state.gdtr = Table { base: GDT, limit: 0xff };
        state.idtr = Table { base: IDT, limit: 0xfff };
        state.tr = Segment { selector: TSS_SELECTOR, base: TSS, limit: 0x67, attributes: Attributes(0x8b) };
        state.ldtr = Segment::default();
        state.gpr[4] = STACK;
        state.rip = CODE;
        Self { cpu: Cpu::new(state), bus }
    }

    /// 64-bit mode at CPL 0, the first 2 MiB mapped page by page, `0xa000..0x10000` for users too.
    pub fn long() -> Self {
        let mut machine = Self::bare();
        let bus = &mut machine.bus;
        bus.put64(TABLES, (TABLES + 0x1000) | 7);
        bus.put64(TABLES + 0x1000, (TABLES + 0x2000) | 7);
        bus.put64(TABLES + 0x2000, PT | 7);
        for page in 0..512 {
            let user = (0xa..0x10).contains(&page);
            bus.put64(PT + 8 * page, page << 12 | if user { 7 } else { 3 });
        }
        for vector in 0..256 {
            bus.put64(IDT + 16 * vector, gate(HANDLERS + 16 * vector, CODE64, 0x8e));
        }
        bus.put64(TSS + 4, RING0_STACK);
        bus.put64(TSS + 0x60, 0x68 << 48);
        let state = &mut machine.cpu.state;
        state.cr0 = 0x8001_0033;
        state.cr3 = TABLES;
        state.cr4 = 0x620;
        state.efer = 0xd01;
        state.star = 0x0018_0008 << 32;
        state.segments = [segment(DATA0, 0xc093); 6];
        *state.segment_mut(SegmentName::Cs) = segment(CODE64, 0xa09b);
        machine
    }

    /// 32-bit protected mode at CPL 0 without paging.
    pub fn protected() -> Self {
        let mut machine = Self::bare();
        for vector in 0..256 {
            machine.bus.put64(IDT + 8 * vector, gate(HANDLERS + 16 * vector, CODE32, 0x8e));
        }
        machine.bus.put(TSS + 4, &(RING0_STACK as u32).to_le_bytes());
        machine.bus.put(TSS + 8, &u32::from(DATA0).to_le_bytes());
        machine.bus.put64(TSS + 0x60, 0x68 << 48);
        let state = &mut machine.cpu.state;
        state.cr0 = 0x11;
        state.segments = [segment(DATA0, 0xc093); 6];
        *state.segment_mut(SegmentName::Cs) = segment(CODE32, 0xc09b);
        machine
    }

    /// Real mode at 0000:8000.
    pub fn real() -> Self {
        let mut machine = Self::bare();
        let state = &mut machine.cpu.state;
        state.idtr = Table { base: 0, limit: 0x3ff };
        let cs = state.segment_mut(SegmentName::Cs);
        (cs.selector, cs.base) = (0, 0);
        state.gpr[4] = 0x7000;
        for vector in 0..256 {
            machine.bus.put(4 * vector, &((HANDLERS + 16 * vector) as u32).to_le_bytes());
        }
        machine
    }

    /// Turns to user mode: in long mode 64-bit code, else 32-bit.
    pub fn user(mut self) -> Self {
        let state = &mut self.cpu.state;
        let long = state.long_mode();
        state.segments = [segment(USER_SS, 0xc0f3); 6];
        *state.segment_mut(SegmentName::Cs) =
            if long { segment(USER64, 0xa0fb) } else { segment(USER32, 0xc0fb) };
        state.rip = USER_CODE;
        state.gpr[4] = USER_STACK;
        self
    }

    /// Puts code at an address, in the width of the mode.
    pub fn code(mut self, at: u64, f: impl FnOnce(&mut CodeAssembler)) -> Self {
        let bits = self.cpu.state.mode().bitness();
        self.assemble(bits, at, f);
        self
    }

    pub fn assemble(&mut self, bits: u32, at: u64, f: impl FnOnce(&mut CodeAssembler)) {
        let mut a = CodeAssembler::new(bits).unwrap();
        f(&mut a);
        let bytes = a.assemble(at).unwrap();
        self.bus.put(at, &bytes);
    }

    pub fn set(mut self, f: impl FnOnce(&mut CpuState)) -> Self {
        f(&mut self.cpu.state);
        self
    }

    pub fn step(&mut self) -> Step {
        self.cpu.step(&mut self.bus)
    }

    pub fn steps(&mut self, n: usize) {
        for _ in 0..n {
            self.step();
        }
    }

    /// Runs to HLT or shutdown.
    pub fn run(&mut self) -> &mut Self {
        for _ in 0..100_000 {
            if self.cpu.state.halted || self.step() == Step::Shutdown {
                return self;
            }
        }
        panic!("neither halted nor shut down: {:x?}", self.cpu.state);
    }

    /// The vector whose handler has halted.
    pub fn caught(&self) -> u64 {
        let rip = self.cpu.state.rip.wrapping_sub(1);
        assert!(rip & 15 == 0 && (HANDLERS..HANDLERS + 0x1000).contains(&rip), "halted at {rip:#x}");
        (rip - HANDLERS) / 16
    }

    /// A word of the stack, in the width of the mode.
    pub fn stack(&self, i: u64) -> u64 {
        let (ss, sp) = (self.cpu.state.segment(SegmentName::Ss).base, self.cpu.state.gpr[4]);
        match self.cpu.state.mode().bitness() {
            64 => self.bus.get64(sp + 8 * i),
            32 => u64::from(self.bus.get32(ss + sp + 4 * i)),
            _ => u64::from(u16::from_le_bytes(self.bus.get(ss + (sp & 0xffff) + 2 * i))),
        }
    }

    pub fn now(&self) -> (u64, u32) {
        (self.cpu.state.now.tick, self.cpu.state.now.offset)
    }

    /// A page-table entry of the first 2 MiB.
    pub fn pte(&mut self, page: u64, change: impl FnOnce(u64) -> u64) {
        let at = PT + 8 * (page >> 12);
        let entry = self.bus.get64(at);
        self.bus.put64(at, change(entry));
        self.cpu.state_changed();
    }
}
