//! One case on the software CPU, and what differs from the host.

use replayvm_cpu::{Blocks, Cpu, CpuState, Limits, Moment, Observation, Step};

use crate::common::{self, CODE, CODE_LEN, FlatBus, HANDLERS, WINDOW, WINDOW_LEN};
use crate::generate::{Case, GS_BASE};
use crate::native::{Registers, Trap};

/// Where a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The instruction retired.
    Retired,
    /// It raised this exception.
    Fault { vector: u8, error_code: u32, cr2: u64 },
    /// The software CPU could not say (shutdown without an exception).
    Lost,
}

impl End {
    /// Whether two ends are the same. Of an address in the kernel's half Linux always says that it is mapped.
    pub fn agrees(self, other: Self) -> bool {
        match (self, other) {
            (
                Self::Fault { vector: 14, error_code: a, cr2: x },
                Self::Fault { vector: 14, error_code: b, cr2: y },
            ) if x >> 63 != 0 => a | 1 == b | 1 && x == y,
            _ => self == other,
        }
    }

    /// Of the address of a page fault keeps the page.
    pub fn forget_offset(&mut self) {
        if let Self::Fault { vector: 14, cr2, .. } = self {
            *cr2 &= !0xfff;
        }
    }
}

/// Registers in the form that is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub end: End,
    pub gpr: [u64; 16],
    pub rip: u64,
    pub rflags: u64,
    pub xmm: [u128; 16],
    pub mxcsr: u32,
    pub x87: [u16; 3],
    pub st: [u128; 8],
}

/// How far from the host's a transcendental function may be, in units of the last place.
const LAST_PLACES: u128 = 1;

/// The flags that are compared: arithmetic, DF.
const FLAGS: u64 = 0xcd5;

impl Outcome {
    /// From the registers of the signal frame.
    pub fn of_host(case: &Case, registers: &Registers, trap: Trap) -> Self {
        let (mut end, mut rip) = (End::Retired, registers.rip);
        match trap.vector {
            3 => rip = rip.wrapping_sub(1),
            // The fetch of the next instruction failed, somewhere else: this one retired.
            14 if rip != case.input.rip && trap.error_code & 0x10 != 0 => {}
            vector => {
                let has_cr2 = vector == 14;
                end = End::Fault {
                    vector,
                    error_code: if matches!(vector, 10..=14 | 17) { trap.error_code } else { 0 },
                    cr2: if has_cr2 { trap.cr2 } else { 0 },
                };
            }
        }
        Self {
            end,
            gpr: registers.gpr,
            rip,
            rflags: registers.rflags & FLAGS,
            xmm: std::array::from_fn(|i| registers.xmm(i)),
            mxcsr: registers.mxcsr(),
            x87: registers.x87(),
            st: std::array::from_fn(|i| registers.st(i)),
        }
    }

    fn of_software(state: &CpuState, bus: &FlatBus, step: Step) -> Self {
        let mut end = if step == Step::Done { End::Retired } else { End::Lost };
        let (mut gpr, mut rip, mut rflags) = (state.gpr, state.rip, state.rflags);
        if let Some(Observation::Exception { vector, error_code, address }) = bus.exception {
            end = End::Fault { vector, error_code: error_code.unwrap_or(0), cr2: address };
            if (HANDLERS..HANDLERS + 0x1000).contains(&rip) {
                let frame = bus.frame();
                [rip, rflags, gpr[4]] = [frame[0], frame[2], frame[3]];
            }
        }
        let top = usize::from(state.fsw >> 11 & 7);
        Self {
            end,
            gpr,
            rip,
            rflags: rflags & FLAGS,
            xmm: state.xmm,
            mxcsr: state.mxcsr,
            x87: [state.fcw, state.fsw, u16::from(state.ftw)],
            st: std::array::from_fn(|i| state.st[(top + i) & 7] & ((1 << 80) - 1)),
        }
    }

    /// Takes the values of ST(0) and ST(1), and how they were rounded, from the host if they are close to its own.
    pub fn forgive_last_places(&mut self, host: &Self, input: &Registers) {
        const C1: u16 = 1 << 9;
        const STACK_FAULT: u16 = 1 << 6;
        // Numbers in the order of their magnitudes, without the integer bit.
        let ordinal = |image: u128| (image >> 64 & 0x7fff) << 63 | image & (u128::MAX >> 65);
        for (ours, theirs) in self.st.iter_mut().zip(host.st).take(2) {
            let same_sign = (*ours ^ theirs) >> 79 & 1 == 0;
            if same_sign && ordinal(*ours).abs_diff(ordinal(theirs)) <= LAST_PLACES {
                *ours = theirs;
            }
        }
        // After a stack fault C1 says which.
        if host.x87[1] & !input.x87()[1] & STACK_FAULT == 0 {
            self.x87[1] = self.x87[1] & !C1 | host.x87[1] & C1;
        }
    }

    /// What differs, as lines; `ignored` are flags that are not compared.
    pub fn differences(&self, got: &Self, ignored: u64) -> Vec<String> {
        let mut lines = Vec::new();
        let mut line = |name: &str, expected: u128, got: u128| {
            if expected != got {
                lines.push(format!("{name:8} expected {expected:#034x}  got {got:#034x}"));
            }
        };
        const NAMES: [&str; 16] = [
            "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
            "r14", "r15",
        ];
        for (i, name) in NAMES.iter().enumerate() {
            line(name, self.gpr[i].into(), got.gpr[i].into());
            line(&format!("xmm{i}"), self.xmm[i], got.xmm[i]);
        }
        for i in 0..8 {
            line(&format!("st{i}"), self.st[i], got.st[i]);
        }
        line("rip", self.rip.into(), got.rip.into());
        line("mxcsr", self.mxcsr.into(), got.mxcsr.into());
        for (i, name) in ["fcw", "fsw", "ftw"].iter().enumerate() {
            line(name, self.x87[i].into(), got.x87[i].into());
        }
        if (self.rflags ^ got.rflags) & !ignored != 0 {
            lines.push(format!("rflags   expected {}  got {}", flags(self.rflags), flags(got.rflags)));
        }
        if !self.end.agrees(got.end) {
            lines.push(format!("end      expected {:x?}  got {:x?}", self.end, got.end));
        }
        lines
    }
}

/// Flags by name.
pub fn flags(value: u64) -> String {
    let names =
        [(0x800, "OF"), (0x400, "DF"), (0x80, "SF"), (0x40, "ZF"), (0x10, "AF"), (4, "PF"), (1, "CF")];
    let set: Vec<_> = names.iter().filter(|(bit, _)| value & bit != 0).map(|&(_, name)| name).collect();
    format!("{value:#05x} ({})", set.join(" "))
}

/// The software CPU with its memory.
pub struct Software {
    cpu: Cpu,
    pub bus: FlatBus,
    blank: CpuState,
    blocks: Blocks<FlatBus>,
    memory: Vec<u8>,
    cases: u64,
}

impl Software {
    pub fn new(fs_base: u64) -> Self {
        let mut blank = common::user_state();
        blank.segments[4].base = fs_base;
        blank.segments[5].base = GS_BASE;
        Self {
            cpu: Cpu::new(blank.clone()),
            bus: FlatBus::new(),
            blank,
            blocks: Blocks::new(),
            memory: Vec::new(),
            cases: 0,
        }
    }

    /// The data window.
    pub fn window(&mut self) -> &mut [u8] {
        let at = FlatBus::index(WINDOW);
        &mut self.bus.memory[at..at + WINDOW_LEN]
    }

    /// The code page.
    pub fn code(&mut self) -> &mut [u8] {
        let at = FlatBus::index(CODE);
        &mut self.bus.memory[at..at + CODE_LEN]
    }

    /// One step of an instruction of `len` bytes. The fast form must make of it what the plain form makes.
    pub fn run(&mut self, input: &Registers, len: usize) -> Outcome {
        let state = &mut self.cpu.state;
        state.clone_from(&self.blank);
        state.gpr = input.gpr;
        state.rip = input.rip;
        state.rflags = input.rflags;
        state.xmm = std::array::from_fn(|i| input.xmm(i));
        state.mxcsr = input.mxcsr();
        let [fcw, fsw, ftw] = input.x87();
        (state.fcw, state.fsw, state.ftw) = (fcw, fsw, ftw as u8);
        let top = usize::from(fsw >> 11 & 7);
        for i in 0..8 {
            state.st[(top + i) & 7] = input.st(i);
        }
        self.bus.exception = None;
        self.cpu.state_changed();
        let before = self.cpu.state.clone();
        self.memory.clone_from(&self.bus.memory);
        let step = self.cpu.step(&mut self.bus);
        let outcome = Outcome::of_software(&self.cpu.state, &self.bus, step);
        self.run_fast(before, len, step);
        outcome
    }

    /// The same once more by the fast form, to which the translations are known now.
    fn run_fast(&mut self, before: CpuState, len: usize, step: Step) {
        let after = std::mem::replace(&mut self.cpu.state, before);
        let memory = self.bus.memory.clone();
        self.bus.memory.clone_from(&self.memory);
        self.bus.exception = None;
        let (rip, rflags) = (self.cpu.state.rip, self.cpu.state.rflags);
        self.cases += 1;
        if self.cases.is_multiple_of(64) {
            // A change of breakpoints looks at every block.
            self.blocks = Blocks::new();
        }
        // The breakpoint ends the block.
        self.blocks.set_breakpoints(&[self.cpu.state.rip.wrapping_add(len as u64)]);
        let until = Moment { tick: 0, offset: 1 };
        let fast = self.blocks.run(
            &mut self.cpu,
            &mut self.bus,
            Limits { due_tick: u64::MAX, until, one_privilege: false },
        );
        assert_eq!(fast, step, "forms differ");
        let at = FlatBus::index(rip);
        let code: Vec<u8> = self.memory.get(at..at + len).unwrap_or(&[]).to_vec();
        assert_eq!(self.cpu.state, after, "forms differ over {code:02x?} with flags {rflags:#x}");
        let at = (0..memory.len()).find(|i| memory[*i] != self.bus.memory[*i]);
        assert_eq!(at, None, "forms differ in memory");
    }
}
