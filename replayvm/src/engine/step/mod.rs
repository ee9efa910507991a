//! KVM executes each instruction under single-stepping: the hardware's word against ours.
//!
//! The software CPU's state is the truth between steps. For each step it is asked first, on a bus that keeps stores back
//! ([`trial`]): what would this instruction touch, and would it fault? Only an instruction that is plain ([`plain`]), that
//! touches nothing but RAM, sets no accessed or dirty bit and raises nothing goes to KVM ([`vcpu`]), and what KVM says of
//! registers, flags and memory is what counts. The clock (ticks, offset, stalls) is the software CPU's, so that its rules live
//! in one place. Everything else the software CPU executes.

/// Which instructions KVM may execute.
mod plain;
/// Who executed how many steps, and why.
mod statistics;
/// A dry run by the software CPU.
mod trial;
/// One KVM virtual CPU.
mod vcpu;

use std::collections::HashSet;

use iced_x86::{Code, Instruction, RflagsBits};
use recorder::Position;
use replayvm_cpu::{CpuState, Mode, Rflags, Shadow, Step};

pub use statistics::{Reason, SteppingStatistics};

use super::hypervisor::Unusable;
use super::{Breakpoints, Difference, Engine, EngineError, Statistics, Stop, ordinary, stop_after};
use crate::machine::{Machine, Platform, position};
use plain::Plain;
use trial::{Seen, Trial};
use vcpu::{Outcome, Retired, Vcpu};

/// Engine `step`.
#[derive(Debug)]
pub struct StepEngine {
    stepper: Stepper,
}

impl StepEngine {
    /// The engine for this machine.
    ///
    /// # Errors
    /// This host's KVM is missing, not permitted, busy, or does not single-step.
    pub fn new(machine: &Machine) -> Result<Self, EngineError> {
        Ok(Self { stepper: Stepper::new(machine, "step", Word::Kvm)? })
    }
}

impl Engine for StepEngine {
    fn name(&self) -> &'static str {
        "step"
    }

    fn run(
        &mut self,
        machine: &mut Machine,
        until: Position,
        breakpoints: &Breakpoints,
    ) -> Result<Stop, EngineError> {
        self.stepper.run(machine, until, breakpoints)
    }

    fn statistics(&self) -> Statistics {
        Statistics::Stepping(self.stepper.statistics)
    }
}

/// Whose word counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// KVM's.
    Kvm,
    /// The software CPU's; KVM's must be the same.
    Both,
}

/// Executes a machine's instructions one by one in KVM where it can.
#[derive(Debug)]
pub(super) struct Stepper {
    vcpu: Vcpu,
    word: Word,
    pub(super) statistics: SteppingStatistics,
    seen: Seen,
    /// Instructions that KVM has been found not to have, by whether they ran natively.
    unknown: HashSet<(Code, bool)>,
    /// The host leaves in undefined flags what the profile does.
    same_flags: bool,
}

/// What goes to KVM.
struct Plan {
    insn: Instruction,
    plain: Plain,
    before: CpuState,
    /// The number of the translations that were valid before the step.
    translations: u64,
    /// What the software CPU's step came to.
    step: Step,
}

impl Stepper {
    pub(super) fn new(machine: &Machine, engine: &'static str, word: Word) -> Result<Self, EngineError> {
        let unavailable = |Unusable(why)| EngineError::Unavailable { engine, why };
        super::doctor::check_stepping().map_err(unavailable)?;
        Self::unchecked(machine, word).map_err(unavailable)
    }

    /// Without the check that this host steps at all.
    pub(super) fn unchecked(machine: &Machine, word: Word) -> Result<Self, Unusable> {
        Ok(Self {
            vcpu: Vcpu::new(&machine.platform.ram)?,
            word,
            statistics: SteppingStatistics::default(),
            seen: Seen::default(),
            unknown: HashSet::new(),
            same_flags: super::doctor::host_has_the_flags_profile(),
        })
    }

    pub(super) fn run(
        &mut self,
        machine: &mut Machine,
        until: Position,
        breakpoints: &Breakpoints,
    ) -> Result<Stop, EngineError> {
        let at = machine.position();
        self.vcpu
            .attach(&machine.platform.ram)
            .map_err(|Unusable(what)| EngineError::Hypervisor { at, what })?;
        loop {
            let step = self.one(machine)?;
            if let Some(stop) = stop_after(machine, step, until, breakpoints) {
                return Ok(stop);
            }
        }
    }

    /// One step, by whoever may.
    fn one(&mut self, machine: &mut Machine) -> Result<Step, EngineError> {
        // After an error nothing is known of what KVM holds.
        self.try_one(machine).inspect_err(|_| self.vcpu.lost())
    }

    fn try_one(&mut self, machine: &mut Machine) -> Result<Step, EngineError> {
        let plan = match self.plan(machine) {
            Ok(plan) => plan,
            Err(why) => {
                self.statistics.count(why);
                return Ok(machine.cpu.step(&mut machine.platform));
            }
        };
        let outcome = self.vcpu.step(&plan.before, plan.plain, plan.translations);
        if let Some(vector) = self.seen.exception {
            // The software CPU says that it faults; so must KVM. Then it is delivered.
            self.agree_on_fault(&plan, vector, &outcome)?;
            self.statistics.count(Reason::Faults);
            machine.cpu.state = plan.before;
            machine.cpu.state_changed();
            return Ok(machine.cpu.step(&mut machine.platform));
        }
        match outcome {
            Outcome::Retired(retired) => {
                self.check_rip(&plan, &retired, &machine.cpu.state)?;
                match self.word {
                    Word::Kvm => take(&retired, &mut machine.cpu.state),
                    Word::Both => self.compare(&plan, &retired, machine)?,
                }
                self.statistics.by_kvm += 1;
                self.statistics.native += u64::from(self.vcpu.native(&plan.before));
                for store in &self.seen.stores {
                    machine.platform.ram.mark_dirty(store.gpa >> 12);
                }
            }
            Outcome::Unknown => {
                self.unknown.insert((plan.insn.code(), self.vcpu.native(&plan.before)));
                self.statistics.count(Reason::NotInKvm);
                self.seen.commit(&mut machine.platform.ram);
            }
            Outcome::RefusedState => {
                self.statistics.count(Reason::RefusedState);
                self.seen.commit(&mut machine.platform.ram);
            }
            Outcome::Faulted(vector) => {
                let what = format!("KVM raises {} where the software CPU does not", exception(vector));
                return Err(self.strange(&plan, what));
            }
            Outcome::Strange(what) => return Err(self.strange(&plan, what)),
        }
        self.report_accesses(&mut machine.platform, position(plan.before.now));
        Ok(plan.step)
    }

    /// What KVM is to execute, after the software CPU has tried it: the CPU's state is then the trial's. Otherwise it is
    /// as before.
    fn plan(&mut self, machine: &mut Machine) -> Result<Plan, Reason> {
        let Machine { cpu, platform } = machine;
        let state = &cpu.state;
        if state.halted || state.shutdown || cpu.delivers_next(platform) {
            return Err(Reason::Event);
        }
        let flags = Rflags::TF | Rflags::RF;
        if state.shadow != Shadow::None
            || state.rflags & flags.bits() != 0
            || state.dr7 & 0xff != 0
            || state.pending_debug != 0
        {
            return Err(Reason::Debugging);
        }
        let translations = cpu.translations();
        let insn = cpu.next_instruction(&mut Trial::new(&platform.ram, &mut self.seen));
        if let Some(why) = self.seen.refused {
            // The translation remembered now is one whose accessed bit has not been set.
            cpu.state_changed();
            return Err(why);
        }
        let insn = insn.ok_or(Reason::Faults)?;
        let exclude_undefined = self.word == Word::Kvm && !self.same_flags;
        let plain = plain::plain(&insn, &self.seen.code, &cpu.state, !exclude_undefined)?;
        if !self.same_flags && plain::processors_differ(&insn, &cpu.state) {
            return Err(Reason::Undefined);
        }
        if self.unknown.contains(&(insn.code(), self.vcpu.native(&cpu.state)))
            || (self.vcpu.emulated(&cpu.state) && plain::emulated_otherwise(&insn))
        {
            return Err(Reason::NotInKvm);
        }
        let before = cpu.state.clone();
        let step = cpu.step(&mut Trial::new(&platform.ram, &mut self.seen));
        let why = match (self.seen.refused, self.seen.exception) {
            (Some(why), _) => Some(why),
            // In real mode KVM delivers faults whatever the limit of the interrupt table.
            (None, Some(_)) if self.word == Word::Kvm || before.mode() == Mode::Real => Some(Reason::Faults),
            // Each iteration is fetched anew.
            _ if plain.repeats && self.seen.writes_itself() => Some(Reason::TooLong),
            _ => None,
        };
        if let Some(why) = why {
            cpu.state = before;
            cpu.state_changed();
            return Err(why);
        }
        Ok(Plan { insn, plain, before, translations, step })
    }

    /// Watchpoints see what the trial has seen.
    fn report_accesses(&self, platform: &mut Platform, at: Position) {
        if !platform.watches.is_empty() {
            for access in &self.seen.accesses {
                platform.watches.access(at, access.gpa, access.len, access.write);
            }
        }
    }

    /// A single step ends where the instruction can lead, or it was no single step.
    fn check_rip(&self, plan: &Plan, retired: &Retired, after: &CpuState) -> Result<(), EngineError> {
        let next = plan.before.rip.wrapping_add(plan.insn.len() as u64);
        if self.word == Word::Both || plain::reachable(&plan.insn, retired.rip, next, after.rip) {
            return Ok(());
        }
        let what = format!("RIP is {:#x} afterwards, where this instruction cannot lead", retired.rip);
        Err(self.strange(plan, what))
    }

    fn strange(&self, plan: &Plan, what: String) -> EngineError {
        let at = position(plan.before.now);
        EngineError::Hypervisor {
            at,
            what: format!("stepping `{}` at {:#x}: {what}", text(&plan.insn), plan.before.linear_rip()),
        }
    }

    fn agree_on_fault(&mut self, plan: &Plan, vector: u8, outcome: &Outcome) -> Result<(), EngineError> {
        let got = match outcome {
            // Its emulator and the processor say #UD for what they do not have.
            Outcome::Unknown | Outcome::RefusedState => return Ok(()),
            Outcome::Faulted(u8::MAX) => None,
            Outcome::Faulted(got) if *got == vector => None,
            // It checks segments in another order.
            Outcome::Faulted(_) if self.vcpu.emulated(&plan.before) => None,
            // Of a non-canonical address, processors say now the one, now the other.
            Outcome::Faulted(12 | 13)
                if matches!(vector, 12 | 13)
                    && (plan.plain.xmm || ordinary::has_ignored_segment(&self.seen.code)) =>
            {
                None
            }
            Outcome::Faulted(got) => Some(exception(*got)),
            Outcome::Retired(_) => Some("none".to_owned()),
            Outcome::Strange(what) => return Err(self.strange(plan, what.clone())),
        };
        let Some(got) = got else {
            self.statistics.faults_compared += 1;
            return Ok(());
        };
        Err(self.differ(plan, vec![("exception".to_owned(), exception(vector), got)]))
    }

    /// Holds what KVM left against what the software CPU has come to.
    fn compare(&self, plan: &Plan, retired: &Retired, machine: &Machine) -> Result<(), EngineError> {
        const NAMES: [&str; 16] = [
            "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
            "r14", "r15",
        ];
        let ours = &machine.cpu.state;
        let mut components = Vec::new();
        let mut check = |name: &str, expected: u128, got: u128| {
            if expected != got {
                components.push((name.to_owned(), format!("{expected:#x}"), format!("{got:#x}")));
            }
        };
        let width = if plan.before.mode() == Mode::Long64 { u64::MAX } else { 0xffff_ffff };
        for (name, (expected, got)) in NAMES.iter().zip(ours.gpr.iter().zip(&retired.gpr)) {
            check(name, u128::from(expected & width), u128::from(got & width));
        }
        check("rip", u128::from(ours.rip), u128::from(retired.rip));
        let counted = if self.same_flags { u64::MAX } else { !undefined_flags(&plan.insn) };
        check("rflags", u128::from(ours.rflags & counted), u128::from(retired.rflags & counted));
        if let Some((xmm, mxcsr)) = &retired.xmm {
            for (i, (expected, got)) in ours.xmm.iter().zip(xmm).enumerate() {
                check(&format!("xmm{i}"), *expected, *got);
            }
            check("mxcsr", u128::from(ours.mxcsr), u128::from(*mxcsr));
        }
        for (gpa, byte) in self.seen.final_bytes() {
            let got = machine.platform.ram.load::<1>(gpa).map_or(0, |[byte]| byte);
            check(&format!("ram at {gpa:#x}"), u128::from(byte), u128::from(got));
        }
        if components.is_empty() { Ok(()) } else { Err(self.differ(plan, components)) }
    }

    fn differ(&self, plan: &Plan, components: Vec<(String, String, String)>) -> EngineError {
        let at = position(plan.before.now);
        EngineError::Differ(Box::new(Difference { at, instruction: text(&plan.insn), components }))
    }
}

/// The CPU takes what KVM left; its place in the run is the trial's, and so are, outside 64-bit mode, the upper halves of
/// registers, which are no more than a convention there.
fn take(retired: &Retired, state: &mut CpuState) {
    if state.mode() == Mode::Long64 {
        state.gpr = retired.gpr;
    } else {
        for (value, got) in state.gpr.iter_mut().zip(retired.gpr) {
            *value = (*value & !0xffff_ffff) | (got & 0xffff_ffff);
        }
    }
    state.rip = retired.rip;
    state.rflags = retired.rflags;
    if let Some((xmm, mxcsr)) = retired.xmm {
        state.xmm = xmm;
        state.mxcsr = mxcsr;
    }
}

fn text(insn: &Instruction) -> String {
    use iced_x86::Formatter;
    let mut text = String::new();
    iced_x86::GasFormatter::new().format(insn, &mut text);
    text
}

fn exception(vector: u8) -> String {
    match vector {
        u8::MAX => "an exception".to_owned(),
        _ => format!("exception {vector:#x}"),
    }
}

/// The flags that the manual leaves undefined after an instruction.
fn undefined_flags(insn: &Instruction) -> u64 {
    let undefined = insn.rflags_undefined();
    [
        (RflagsBits::CF, Rflags::CF),
        (RflagsBits::PF, Rflags::PF),
        (RflagsBits::AF, Rflags::AF),
        (RflagsBits::ZF, Rflags::ZF),
        (RflagsBits::SF, Rflags::SF),
        (RflagsBits::OF, Rflags::OF),
    ]
    .into_iter()
    .filter(|(bit, _)| undefined & bit != 0)
    .map(|(_, flag)| flag.bits())
    .sum()
}
