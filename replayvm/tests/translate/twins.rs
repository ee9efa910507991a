//! The same program by the software CPU and by its translation, compared wherever the translation is left.

use std::collections::BTreeMap;

use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter, Instruction};
use replayvm::engine::kvm::translate::{Code, Layout, Recovered, Refused, Translator, Why};
use replayvm_cpu::{Cpu, CpuState, Shadow, Step};

use crate::machine::{CODE, CODE_LEN, CONSTANT, DATA, DATA_LEN, HEAP, HEAP_LEN, HOLE, TestBus, user_state};
use crate::native::{Native, Registers};

/// What has been seen.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub faults: u64,
    pub resolved: u64,
    pub budgets: u64,
    pub untranslated: u64,
    pub leaves: u64,
    pub stalling: u64,
    pub refused: u64,
    pub instructions: u64,
    pub soft: u64,
}

/// Both.
pub struct Twins {
    pub cpu: Cpu,
    pub bus: TestBus,
    native: Native,
    translator: Translator,
    blank: CpuState,
    /// Pages that native code does not find until it has faulted on them.
    hidden: Vec<u64>,
    /// The software CPU alone may have written memory.
    stale: bool,
    /// Bytes of the heap that are in use.
    heap: usize,
    pub tally: Tally,
    /// Which instructions were left to the software CPU.
    pub left: BTreeMap<String, u64>,
}

/// Code that lies somewhere, and what guesses are made by.
pub struct Memory<'m> {
    pub at: u64,
    pub bytes: &'m [u8],
    pub registers: [u64; 16],
    /// Data, and where it lies.
    pub data: (u64, &'m [u8]),
    /// So many questions have been answered; some of them wrongly, if this is said.
    pub asked: u32,
    pub lies: bool,
}

impl Code for Memory<'_> {
    fn bytes(&mut self, rip: u64, bytes: &mut [u8]) -> usize {
        let rest = usize::try_from(rip.wrapping_sub(self.at)).ok().and_then(|at| self.bytes.get(at..));
        let rest = rest.unwrap_or(&[]);
        let len = bytes.len().min(rest.len());
        bytes[..len].copy_from_slice(&rest[..len]);
        len
    }

    fn register(&mut self, number: usize) -> u64 {
        self.registers[number]
    }

    fn memory(&mut self, linear: u64) -> Option<u64> {
        self.asked += 1;
        if self.lies && self.asked.is_multiple_of(4) {
            return Some(self.at + u64::from(self.asked * 0x31 % 0x1000));
        }
        let (data_at, data) = self.data;
        let at = usize::try_from(linear.checked_sub(data_at)?).ok()?;
        data.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }
}

/// How a run of [`Twins::run`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The budget is used up.
    Budget,
    /// The software CPU has raised this exception.
    Exception(u8),
    /// Native code has touched memory that the software CPU does not have: nothing of it is to be trusted any more.
    Stray,
    /// The software CPU has come to something that is not user code to go on with.
    Elsewhere,
}

impl Twins {
    /// A program at [`CODE`].
    pub fn new(layout: Layout, code: &[u8], data: &[u8]) -> Result<Self, String> {
        let mut native = Native::new(layout)?;
        let mut bus = TestBus::new();
        bus.put(CODE, code);
        for at in [DATA, DATA + 0x1000, CONSTANT, CONSTANT + 0x1000] {
            bus.put(at, &data[..0x1000]);
        }
        native.write(CODE, bus.slice(CODE, CODE_LEN), false);
        native.write(CONSTANT, bus.slice(CONSTANT, 0x1000), false);
        let mut blank = user_state();
        blank.segments[4].base = native.fs_base();
        let mut translator = Translator::new(layout);
        translator.clear(&mut native.area());
        let cpu = Cpu::new(blank.clone());
        let mut twins = Self {
            cpu,
            bus,
            native,
            translator,
            blank,
            hidden: Vec::new(),
            stale: false,
            heap: 0,
            tally: Tally::default(),
            left: BTreeMap::new(),
        };
        twins.copy_memory();
        Ok(twins)
    }

    /// So much of the heap is compared too.
    pub fn use_heap(&mut self, bytes: usize) {
        assert!(bytes <= HEAP_LEN);
        self.heap = bytes;
        self.copy_memory();
    }

    /// Native memory becomes the software CPU's.
    fn copy_memory(&mut self) {
        for page in std::mem::take(&mut self.hidden) {
            self.native.protect(page, 0x1000, true, page != CONSTANT);
        }
        for page in pages().filter(|page| *page != CONSTANT) {
            self.native.copy(page, self.bus.slice(page, 0x1000));
        }
        if self.heap != 0 {
            self.native.copy(HEAP, self.bus.slice(HEAP, self.heap));
        }
    }

    /// Native code will fault at its next access to this page of data.
    pub fn hide(&mut self, page: u64) {
        if page != HOLE {
            self.native.protect(page, 0x1000, false, false);
            self.hidden.push(page);
        }
    }

    /// Begins anew after an exception, at another place.
    pub fn restart(&mut self, rip: u64, change: impl FnOnce(&mut CpuState)) {
        let (now, instructions) = (self.cpu.state.now, self.cpu.state.instructions);
        let (gpr, xmm, rflags) = (self.cpu.state.gpr, self.cpu.state.xmm, self.cpu.state.rflags);
        let state = &mut self.cpu.state;
        state.clone_from(&self.blank);
        (state.now, state.instructions, state.gpr, state.xmm, state.rip) = (now, instructions, gpr, xmm, rip);
        state.rflags = rflags & 0x8d5 | 0x202;
        change(state);
        self.cpu.state_changed();
        self.bus.exception = None;
    }

    /// A step of the software CPU alone.
    fn soft_step(&mut self) -> Option<Ended> {
        self.tally.soft += 1;
        let name = format!("{:?}", self.instruction(self.cpu.state.rip).code());
        *self.left.entry(name).or_default() += 1;
        let step = self.cpu.step(&mut self.bus);
        let ended = match self.bus.exception {
            Some(vector) => Some(Ended::Exception(vector)),
            None if step != Step::Done || !self.is_plain() => Some(Ended::Elsewhere),
            None => None,
        };
        self.stale = true;
        ended
    }

    /// Whether native code may go on from here.
    fn is_plain(&self) -> bool {
        let state = &self.cpu.state;
        state.cpl() == 3
            && state.rflags & 0x0001_4100 == 0
            && state.rflags & 1 << 18 == 0
            && state.shadow == Shadow::None
            && state.segments == self.blank.segments
            && !state.halted
            && state.pending_debug == 0
    }

    fn entry(&mut self) -> Result<u64, Refused> {
        let rip = self.cpu.state.rip;
        if let Some(entry) = self.translator.entry(rip) {
            return Ok(entry);
        }
        let mut memory = Memory {
            at: CODE,
            bytes: self.bus.slice(CODE, CODE_LEN),
            registers: self.cpu.state.gpr,
            data: (DATA, self.bus.slice(DATA, DATA_LEN)),
            asked: rip as u32 % 7,
            lies: true,
        };
        match self.translator.translate(&mut self.native.area(), rip, &mut memory) {
            Err(Refused::Full) => {
                self.translator.clear(&mut self.native.area());
                self.translator.translate(&mut self.native.area(), rip, &mut memory)
            }
            other => other,
        }
    }

    /// Both, for so many ticks.
    pub fn run(&mut self, ticks: u64) -> Ended {
        let until = self.cpu.state.now.tick + ticks;
        loop {
            let now = self.cpu.state.now;
            if now.tick >= until {
                return Ended::Budget;
            }
            let entry = if now.offset > 1 << 21 {
                None
            } else {
                match self.entry() {
                    Ok(entry) => Some(entry),
                    Err(Refused::Unknown) => None,
                    Err(Refused::Full) => panic!("an empty area is full"),
                }
            };
            let Some(entry) = entry else {
                self.tally.refused += 1;
                if let Some(ended) = self.soft_step() {
                    return ended;
                }
                continue;
            };
            let Some(recovered) = self.native_stretch(entry, until - now.tick) else { return Ended::Stray };
            match recovered.why {
                Why::Budget => {
                    self.tally.budgets += 1;
                    assert_eq!((recovered.ticks, recovered.offset), (until - now.tick, 0), "budget");
                }
                Why::Untranslated => self.tally.untranslated += 1,
                Why::Leave | Why::Stalling | Why::Fault => {
                    let stepped = self.soft_step();
                    match recovered.why {
                        Why::Fault => {
                            self.tally.faults += 1;
                            assert!(
                                matches!(stepped, Some(Ended::Exception(_))),
                                "only native code faults at {:#x}",
                                recovered.rip
                            );
                        }
                        Why::Leave => self.tally.leaves += 1,
                        _ => self.tally.stalling += 1,
                    }
                    if let Some(ended) = stepped {
                        return ended;
                    }
                }
            }
        }
    }

    /// Native code from an entry on, compared wherever it stops. `None` if it went astray.
    fn native_stretch(&mut self, entry: u64, ticks: u64) -> Option<Recovered> {
        if std::mem::take(&mut self.stale) {
            self.copy_memory();
        }
        let state = &self.cpu.state;
        let (begun, first) = (state.now, state.instructions);
        let mut registers = Registers::new();
        registers.gpr = state.gpr;
        registers.rflags = state.rflags;
        registers.rip = entry;
        registers.set_mxcsr(state.mxcsr);
        for (i, value) in state.xmm.iter().enumerate() {
            registers.set_xmm(i, *value);
        }
        let mut area = self.native.area();
        self.translator.begin(&mut area, ticks, begun.offset);
        loop {
            let (out, trap) = self.native.run(&registers);
            let (mut gpr, mut rflags) = (out.gpr, out.rflags);
            let area = self.native.area();
            let recovered = self.translator.recover(&area, out.rip, &mut gpr, &mut rflags);
            let Some(recovered) = recovered else {
                panic!(
                    "nothing known of {:#x}, {trap:x?}, in the stretch from {:#x}",
                    out.rip, self.cpu.state.rip
                );
            };
            let fault = recovered.why == Why::Fault;
            assert_eq!(trap.vector == 6, !fault, "{trap:x?} at {recovered:x?}");
            while self.cpu.state.instructions < first + recovered.instructions {
                let rip = self.cpu.state.rip;
                self.cpu.step(&mut self.bus);
                if self.bus.exception.is_some() {
                    let address = self.cpu.state.cr2;
                    let stray = self.native.is_ours(address) && self.bus.exception == Some(14);
                    assert!(stray, "only the software CPU faults, {address:#x}, at {}", self.text(rip));
                    return None;
                }
            }
            let repeats = fault && repeats(&self.instruction(recovered.rip));
            self.compare(&recovered, &out, &gpr, rflags, (begun.tick, first), repeats);
            let page = trap.cr2 & !0xfff;
            if fault && trap.vector == 14 && self.hidden.contains(&page) {
                self.hidden.retain(|other| *other != page);
                self.native.protect(page, 0x1000, true, page != CONSTANT);
                self.tally.resolved += 1;
                registers = out;
                continue;
            }
            if repeats {
                self.compare_outcome(&gpr, rflags);
            } else {
                self.compare_memory();
            }
            self.tally.instructions += recovered.instructions;
            return Some(recovered);
        }
    }

    fn compare(
        &self,
        recovered: &Recovered,
        out: &Registers,
        gpr: &[u64; 16],
        rflags: u64,
        begun: (u64, u64),
        repeats: bool,
    ) {
        let (tick, first) = begun;
        let state = &self.cpu.state;
        let mut lines = Vec::new();
        let mut line = |name: &str, expected: u128, got: u128| {
            if expected != got {
                lines.push(format!("{name}: expected {expected:#x}, got {got:#x}"));
            }
        };
        line("rip", state.rip.into(), recovered.rip.into());
        for (i, (expected, got)) in state.gpr.iter().zip(gpr).enumerate() {
            // A repeated instruction may have come some way.
            if !(repeats && [0, 1, 6, 7].contains(&i)) {
                line(&format!("r{i}"), (*expected).into(), (*got).into());
            }
        }
        for (i, expected) in state.xmm.iter().enumerate() {
            line(&format!("xmm{i}"), *expected, out.xmm(i));
        }
        // RF is set in the frame of a fault.
        line("rflags", state.rflags.into(), (rflags & !0x10000).into());
        line("mxcsr", state.mxcsr.into(), out.mxcsr().into());
        line("tick", state.now.tick.into(), (tick + recovered.ticks).into());
        line("offset", state.now.offset.into(), recovered.offset.into());
        line("instructions", state.instructions.into(), (first + recovered.instructions).into());
        if matches!(recovered.why, Why::Untranslated | Why::Budget) {
            line("idle jumps", state.idle_loop_jumps.into(), recovered.idling.jumps.into());
            if recovered.idling.jumps != 0 {
                line("idle rip", state.idle_loop_rip.into(), recovered.idling.rip.into());
            }
        }
        assert!(
            lines.is_empty(),
            "before {}\n{recovered:x?}, native {:#x}:\n{}",
            self.text(recovered.rip),
            out.rip,
            lines.join("\n")
        );
    }

    /// A repeated instruction has faulted on the way: the software CPU makes of that what it makes of all of it.
    fn compare_outcome(&mut self, gpr: &[u64; 16], rflags: u64) {
        let mut state = self.cpu.state.clone();
        (state.gpr, state.rflags) = (*gpr, rflags & !0x10000);
        let memory = self.bus.memory.clone();
        for page in pages().filter(|page| !self.hidden.contains(page)) {
            self.bus.put(page, self.native.read(page, 0x1000));
        }
        let mut other = Cpu::new(state);
        other.step(&mut self.bus);
        let after = std::mem::replace(&mut self.bus.memory, memory.clone());
        assert!(self.bus.exception.take().is_some(), "only native code faults");
        let before = self.cpu.state.clone();
        self.cpu.step(&mut self.bus);
        assert_eq!(self.cpu.state, other.state, "after a fault on the way");
        assert!(self.bus.memory == after, "memory after a fault on the way");
        self.bus.memory = memory;
        self.bus.exception = None;
        self.cpu.state = before;
        self.cpu.state_changed();
    }

    fn instruction(&self, rip: u64) -> Instruction {
        let mut bytes = [0; 15];
        let code = self.bus.slice(CODE, CODE_LEN);
        let rest = usize::try_from(rip.wrapping_sub(CODE)).ok().and_then(|at| code.get(at..)).unwrap_or(&[]);
        let len = bytes.len().min(rest.len());
        bytes[..len].copy_from_slice(&rest[..len]);
        Decoder::with_ip(64, &bytes[..len], rip, DecoderOptions::NONE).decode()
    }

    fn text(&self, rip: u64) -> String {
        let mut text = format!("{rip:#x} ");
        GasFormatter::new().format(&self.instruction(rip), &mut text);
        text
    }

    /// What native code does not find it has not written either.
    fn compare_memory(&mut self) {
        for page in pages() {
            if self.hidden.contains(&page) {
                continue;
            }
            let (expected, got) = (self.bus.slice(page, 0x1000), self.native.read(page, 0x1000));
            let at = (0..0x1000).find(|i| expected[*i] != got[*i]);
            assert_eq!(at.map(|i| page + i as u64), None, "memory differs");
        }
        if self.heap != 0 {
            let same = self.bus.slice(HEAP, self.heap) == self.native.read(HEAP, self.heap);
            assert!(same, "the heap differs");
        }
    }
}

fn repeats(insn: &Instruction) -> bool {
    insn.is_string_instruction() && (insn.has_rep_prefix() || insn.has_repne_prefix())
}

/// Pages of data that are there.
fn pages() -> impl Iterator<Item = u64> {
    (DATA..DATA + DATA_LEN as u64).step_by(0x1000).filter(|page| *page != HOLE)
}
