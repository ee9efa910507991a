//! What a processor demands of a guest's state before it enters it.
//!
//! A rule is a line in a table: what must hold, where it is written, and what breaks it. What a [`CpuState`] cannot hold is not
//! here: the host's state, controls, injected events, and page-directory pointers, which lie in memory.

/// Activity, interrupt shadow, pending debug exceptions.
mod activity;
/// Control and debug registers, and model-specific ones.
mod control;
/// RIP and RFLAGS.
mod flags;
/// Segment registers and descriptor tables.
mod segments;
#[cfg(test)]
mod tests;

use std::fmt;

use replayvm_cpu::{CpuState, Rflags, Segment, SegmentName};

use super::processor::{Maker, Processor};

/// A condition of entry.
#[derive(Debug)]
pub struct Rule {
    /// What must hold.
    pub says: &'static str,
    /// The section of the SDM, vol. 3, that demands it.
    pub vmx: Option<&'static str>,
    /// The section of the APM, vol. 2, that demands it.
    pub svm: Option<&'static str>,
    /// `KVM_SET_SREGS` demands it as well.
    kvm: bool,
    /// Only where the processor has no unrestricted guests.
    restricted: bool,
    check: Check,
}

#[derive(Debug)]
enum Check {
    /// Of the state as a whole, and the fields that show why.
    State(fn(&CpuState, &Processor) -> bool, &'static [Field]),
    /// Of each of these registers, in this scope.
    Segments(&'static [Register], Scope, fn(&CpuState, &Segment, &Processor) -> bool),
}

/// When a rule looks at a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Always,
    /// If it is usable; CS and TR have to be.
    Usable,
    /// The same, and not in virtual-8086 mode, which has rules of its own for the six segments.
    Rights,
}

impl Scope {
    fn covers(self, register: Register, state: &CpuState) -> bool {
        let usable =
            matches!(register, Register::Cs | Register::Tr) || register.of(state).attributes.present();
        let system = matches!(register, Register::Ldtr | Register::Tr);
        match self {
            Self::Always => true,
            Self::Usable => usable,
            Self::Rights => usable && (system || state.rflags & Rflags::VM.bits() == 0),
        }
    }
}

impl Rule {
    const fn new(says: &'static str, check: Check) -> Self {
        Self { says, vmx: None, svm: None, kvm: false, restricted: false, check }
    }

    /// A rule of the whole state: the fields, and whether they break it.
    const fn state(
        says: &'static str,
        fields: &'static [Field],
        broken: fn(&CpuState, &Processor) -> bool,
    ) -> Self {
        Self::new(says, Check::State(broken, fields))
    }

    /// A rule of each of these registers.
    const fn segments(
        says: &'static str,
        registers: &'static [Register],
        scope: Scope,
        broken: fn(&CpuState, &Segment, &Processor) -> bool,
    ) -> Self {
        Self::new(says, Check::Segments(registers, scope, broken))
    }

    const fn vmx(mut self, section: &'static str) -> Self {
        self.vmx = Some(section);
        self
    }

    const fn svm(mut self, section: &'static str) -> Self {
        self.svm = Some(section);
        self
    }

    const fn kvm(mut self) -> Self {
        self.kvm = true;
        self
    }

    const fn restricted(mut self) -> Self {
        self.restricted = true;
        self
    }

    /// Where this processor's manual has it, if it applies.
    fn section(&self, processor: &Processor) -> Option<Source> {
        let source = match processor.maker {
            Maker::Vmx => self.vmx.map(Source::Sdm),
            Maker::Svm => self.svm.map(Source::Apm),
        };
        source.filter(|_| !self.restricted || !processor.unrestricted)
    }

    fn look(
        &'static self,
        state: &CpuState,
        processor: &Processor,
        source: Source,
        found: &mut Vec<Violation>,
    ) {
        let mut add = |field| found.push(Violation { rule: self, source, field });
        match self.check {
            Check::State(broken, fields) => {
                if broken(state, processor) {
                    let fields: Vec<_> = fields.iter().map(|field| field.text(state)).collect();
                    add(fields.join(", "));
                }
            }
            Check::Segments(registers, scope, broken) => {
                for register in registers.iter().filter(|register| scope.covers(**register, state)) {
                    if broken(state, register.of(state), processor) {
                        add(register.text(state));
                    }
                }
            }
        }
    }
}

/// Where a rule is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Intel's manual, volume 3.
    Sdm(&'static str),
    /// AMD's manual, volume 2.
    Apm(&'static str),
    /// What KVM itself refuses.
    Kvm,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sdm(section) => write!(f, "SDM vol. 3, {section}"),
            Self::Apm(section) => write!(f, "APM vol. 2, {section}"),
            Self::Kvm => f.write_str("KVM_SET_SREGS"),
        }
    }
}

/// A rule that a state breaks.
#[derive(Debug)]
pub struct Violation {
    /// The rule.
    pub rule: &'static Rule,
    /// Where it is written.
    pub source: Source,
    /// The registers that break it, with their values.
    pub field: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.field, self.rule.says, self.source)
    }
}

/// All rules, in the order of the SDM.
fn rules() -> impl Iterator<Item = &'static Rule> {
    [control::RULES, segments::RULES, flags::RULES, activity::RULES].into_iter().flatten()
}

/// The conditions of entry that a state breaks on this processor.
#[must_use]
pub fn check(state: &CpuState, processor: &Processor) -> Vec<Violation> {
    let mut found = Vec::new();
    for rule in rules() {
        if let Some(source) = rule.section(processor) {
            rule.look(state, processor, source, &mut found);
        }
    }
    found
}

/// The conditions of `KVM_SET_SREGS` that a state breaks.
#[must_use]
pub fn check_system_registers(state: &CpuState, processor: &Processor) -> Vec<Violation> {
    let mut found = Vec::new();
    for rule in rules().filter(|rule| rule.kvm) {
        rule.look(state, processor, Source::Kvm, &mut found);
    }
    found
}

/// A register that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Cr0,
    Cr3,
    Cr4,
    Dr6,
    Dr7,
    Efer,
    Pat,
    SysenterEsp,
    SysenterEip,
    Rip,
    Rflags,
    Segment(Register),
    Gdtr,
    Idtr,
    Activity,
    Shadow,
    PendingDebug,
}

impl Field {
    fn text(self, state: &CpuState) -> String {
        match self {
            Self::Cr0 => format!("CR0 {:#x}", state.cr0),
            Self::Cr3 => format!("CR3 {:#x}", state.cr3),
            Self::Cr4 => format!("CR4 {:#x}", state.cr4),
            Self::Dr6 => format!("DR6 {:#x}", state.dr6),
            Self::Dr7 => format!("DR7 {:#x}", state.dr7),
            Self::Efer => format!("EFER {:#x}", state.efer),
            Self::Pat => format!("IA32_PAT {:#x}", state.pat),
            Self::SysenterEsp => format!("IA32_SYSENTER_ESP {:#x}", state.sysenter_esp),
            Self::SysenterEip => format!("IA32_SYSENTER_EIP {:#x}", state.sysenter_eip),
            Self::Rip => format!("RIP {:#x}", state.rip),
            Self::Rflags => format!("RFLAGS {:#x}", state.rflags),
            Self::Segment(register) => register.text(state),
            Self::Gdtr => format!("GDTR base {:#x}", state.gdtr.base),
            Self::Idtr => format!("IDTR base {:#x}", state.idtr.base),
            Self::Activity => match (state.halted, state.shutdown) {
                (_, true) => "activity shutdown",
                (true, false) => "activity HLT",
                (false, false) => "activity active",
            }
            .to_owned(),
            Self::Shadow => format!("blocking by {:?}", state.shadow),
            Self::PendingDebug => format!("pending debug exceptions {:#x}", state.pending_debug),
        }
    }
}

/// A register that holds a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Register {
    Es,
    Cs,
    Ss,
    Ds,
    Fs,
    Gs,
    Ldtr,
    Tr,
}

impl Register {
    fn of(self, state: &CpuState) -> &Segment {
        match self {
            Self::Es => state.segment(SegmentName::Es),
            Self::Cs => state.segment(SegmentName::Cs),
            Self::Ss => state.segment(SegmentName::Ss),
            Self::Ds => state.segment(SegmentName::Ds),
            Self::Fs => state.segment(SegmentName::Fs),
            Self::Gs => state.segment(SegmentName::Gs),
            Self::Ldtr => &state.ldtr,
            Self::Tr => &state.tr,
        }
    }

    fn name(self) -> String {
        format!("{self:?}").to_uppercase()
    }

    fn text(self, state: &CpuState) -> String {
        let Segment { selector, base, limit, attributes } = self.of(state);
        let name = self.name();
        format!("{name} {selector:#x} (base {base:#x}, limit {limit:#x}, access rights {:#x})", attributes.0)
    }
}

/// Whether an address is canonical where linear addresses have so many bits.
fn canonical(address: u64, processor: &Processor) -> bool {
    let unused = 64 - u32::from(processor.linear_bits.clamp(1, 64));
    ((address << unused) as i64 >> unused) as u64 == address
}
