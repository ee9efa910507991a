//! A small machine for tests of single instructions: 1 MiB of RAM, ports that remember, flat 32-bit protected mode or
//! real mode without paging, exceptions caught by INT-less handlers.

use iced_x86::code_asm::CodeAssembler;
use replayvm_cpu::{Access, Attributes, Bus, Cpu, CpuState, Moment, Observation, Segment, SegmentName, Step};

/// Where the code under test lies.
pub const CODE: u64 = 0x8000;
/// The first stack pointer.
pub const STACK: u64 = 0x7000;

/// RAM, and what was said to the ports.
pub struct Board {
    pub memory: Vec<u8>,
    pub port_writes: Vec<(u16, u8, u32)>,
    pub port_reads: u32,
    pub exceptions: Vec<u8>,
}

impl Board {
    pub fn bytes(&self, at: usize, count: usize) -> &[u8] {
        &self.memory[at..at + count]
    }

    pub fn word(&self, at: u64) -> u16 {
        u16::from_le_bytes(self.bytes(at as usize, 2).try_into().unwrap())
    }

    pub fn dword(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.bytes(at as usize, 4).try_into().unwrap())
    }
}

impl Bus for Board {
    fn read<const N: usize>(&mut self, _at: Moment, _access: Access, gpa: u64) -> [u8; N] {
        self.memory.get(gpa as usize..gpa as usize + N).map_or([0xff; N], |b| b.try_into().unwrap())
    }
    fn write<const N: usize>(&mut self, _at: Moment, _access: Access, gpa: u64, bytes: [u8; N]) {
        if let Some(place) = self.memory.get_mut(gpa as usize..gpa as usize + N) {
            place.copy_from_slice(&bytes);
        }
    }
    fn fetch(&mut self, _at: Moment, gpa: u64, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.memory[gpa as usize..gpa as usize + bytes.len()]);
    }
    fn load_plain<const N: usize>(&self, gpa: u64) -> Option<[u8; N]> {
        self.memory.get(gpa as usize..gpa as usize + N)?.try_into().ok()
    }
    fn store_plain<const N: usize>(&mut self, gpa: u64, bytes: [u8; N]) -> bool {
        let place = self.memory.get_mut(gpa as usize..gpa as usize + N);
        place.map(|place| place.copy_from_slice(&bytes)).is_some()
    }
    fn memory_version(&self) -> u64 {
        0
    }
    fn disturbances(&self) -> u64 {
        0
    }
    /// The number of the read, from 1.
    fn io_read(&mut self, _at: Moment, _port: u16, _size: u8) -> u32 {
        self.port_reads += 1;
        self.port_reads
    }
    fn io_write(&mut self, _at: Moment, port: u16, size: u8, value: u32) {
        self.port_writes.push((port, size, value));
    }
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
            self.exceptions.push(vector);
        }
    }
}

/// A CPU on a board.
pub struct Machine {
    pub cpu: Cpu,
    pub board: Board,
}

impl Machine {
    /// Flat 32-bit protected mode at CPL 0.
    pub fn protected(assemble: impl FnOnce(&mut CodeAssembler)) -> Self {
        let flat = |attributes| Segment {
            selector: 8,
            base: 0,
            limit: u32::MAX,
            attributes: Attributes(attributes),
        };
        let mut state = CpuState::power_on();
        state.cr0 |= 1;
        state.segments = [flat(0xc093); 6];
        *state.segment_mut(SegmentName::Cs) = flat(0xc09b);
        Self::new(state, 32, assemble)
    }

    /// Real mode, all segments at 0.
    pub fn real(assemble: impl FnOnce(&mut CodeAssembler)) -> Self {
        let mut state = CpuState::power_on();
        *state.segment_mut(SegmentName::Cs) =
            Segment { selector: 0, base: 0, limit: 0xffff, attributes: Attributes(0x9b) };
        Self::new(state, 16, assemble)
    }

    fn new(mut state: CpuState, bitness: u32, assemble: impl FnOnce(&mut CodeAssembler)) -> Self {
        let mut assembler = CodeAssembler::new(bitness).unwrap();
        assemble(&mut assembler);
        let code = assembler.assemble(CODE).unwrap();
        let mut memory = vec![0; 1 << 20];
        memory[CODE as usize..CODE as usize + code.len()].copy_from_slice(&code);
        state.rip = CODE;
        state.gpr[4] = STACK;
        let board = Board { memory, port_writes: Vec::new(), port_reads: 0, exceptions: Vec::new() };
        Self { cpu: Cpu::new(state), board }
    }

    /// Sets registers, RAX first, in encoding order.
    pub fn with(mut self, number: usize, value: u64) -> Self {
        self.cpu.state.gpr[number] = value;
        self
    }

    /// Sets arithmetic flags.
    pub fn with_flags(mut self, flags: u64) -> Self {
        self.cpu.state.rflags |= flags;
        self
    }

    /// Sets memory.
    pub fn with_memory(mut self, at: u64, bytes: &[u8]) -> Self {
        self.board.memory[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// So many steps.
    pub fn steps(mut self, count: usize) -> Self {
        for _ in 0..count {
            assert_eq!(self.cpu.step(&mut self.board), Step::Done);
        }
        self
    }

    /// One step.
    pub fn step(self) -> Self {
        self.steps(1)
    }

    pub fn gpr(&self, number: usize) -> u64 {
        self.cpu.state.gpr[number]
    }

    /// The arithmetic flags.
    pub fn flags(&self) -> u64 {
        self.cpu.state.rflags & 0x8d5
    }
}
