//! What KVM says of an entry or an exit that should not be, in words: `KVM_EXIT_FAIL_ENTRY`, `KVM_EXIT_INTERNAL_ERROR`,
//! `KVM_EXIT_SHUTDOWN`, and the rest.

use std::fmt::Write;

use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter};
use kvm_bindings::{
    KVM_INTERNAL_ERROR_DELIVERY_EV, KVM_INTERNAL_ERROR_EMULATION,
    KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES, KVM_INTERNAL_ERROR_SIMUL_EX,
    KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON, kvm_vcpu_events,
};
use kvm_ioctls::{VcpuExit, VcpuFd};
use replayvm_cpu::CpuState;

use super::codes;
use super::processor::{Maker, Processor};
use super::rules::{Violation, check, check_system_registers};

/// Set in a VMX exit reason when the entry itself has failed.
const ENTRY_FAILURE: u64 = 1 << 31;
/// In the word on an event of VMX and SVM: it is there; it has an error code.
const EVENT_VALID: u64 = 1 << 31;
const EVENT_HAS_CODE: u64 = 1 << 11;
/// Violations that are spelled out.
const SHOWN_MAX: usize = 8;

/// A failed entry: the processor's reason, and the rules that the state breaks.
pub(crate) fn failed_entry(reason: u64, cpu: u32, state: &CpuState, processor: &Processor) -> String {
    let mut looks_at_guest = true;
    let what = if codes::svm_invalid(reason) {
        "VMRUN finds the guest state invalid (VMEXIT_INVALID)".to_owned()
    } else if reason & ENTRY_FAILURE != 0 {
        let basic = reason as u16;
        looks_at_guest = basic == 33;
        match basic {
            33 => "the processor finds the guest state invalid (exit reason 33)".to_owned(),
            34 => "the processor could not load a model-specific register (exit reason 34)".to_owned(),
            41 => "a machine check came while the processor entered the guest (exit reason 41)".to_owned(),
            _ => format!("the processor refused entry with exit reason {basic}"),
        }
    } else {
        looks_at_guest = false;
        match codes::vmx_instruction_error(reason) {
            Some(words) => format!("the processor refused entry: {words} (VM-instruction error {reason})"),
            None => format!("the processor refused entry with the unknown VM-instruction error {reason}"),
        }
    };
    let mut text = format!("{what}, KVM_EXIT_FAIL_ENTRY {reason:#x} on CPU {cpu}");
    let violations = check(state, processor);
    if !violations.is_empty() {
        let _ = write!(text, ": {}", list(&violations));
    } else if looks_at_guest {
        text.push_str(": the state breaks no rule that is known here");
    }
    text
}

/// `KVM_SET_SREGS` has failed.
pub(crate) fn refused_registers(error: kvm_ioctls::Error, state: &CpuState, processor: &Processor) -> String {
    let mut violations = check_system_registers(state, processor);
    if violations.is_empty() {
        violations = check(state, processor);
    }
    let why = match violations.is_empty() {
        true => "the state breaks no rule that is known here".to_owned(),
        false => list(&violations),
    };
    format!("KVM_SET_SREGS refuses the system registers ({error}): {why}")
}

fn list(violations: &[Violation]) -> String {
    let mut words: Vec<_> = violations.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    if violations.len() > SHOWN_MAX {
        words.push(format!("and {} more", violations.len() - SHOWN_MAX));
    }
    words.join("; ")
}

/// A `KVM_EXIT_INTERNAL_ERROR`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InternalError {
    suberror: u32,
    data: Vec<u64>,
}

impl InternalError {
    /// The one that the last run ended with.
    pub(crate) fn of(fd: &mut VcpuFd) -> Self {
        // SAFETY: the exit reason is KVM_EXIT_INTERNAL_ERROR, so this is the member of the union that KVM has filled in; each of
        // its fields is an integer, for which any bits are valid.
        let error = unsafe { fd.get_kvm_run().__bindgen_anon_1.internal };
        let count = (error.ndata as usize).min(error.data.len());
        Self { suberror: error.suberror, data: error.data[..count].to_vec() }
    }

    /// KVM's emulator does not have the instruction.
    pub(crate) fn is_emulation(&self) -> bool {
        self.suberror == KVM_INTERNAL_ERROR_EMULATION
    }

    /// In words, for a guest in this state.
    pub(crate) fn words(&self, state: &CpuState, processor: &Processor) -> String {
        let word = |at: usize| self.data.get(at).copied().unwrap_or(0);
        let (what, name) = match self.suberror {
            KVM_INTERNAL_ERROR_EMULATION => (self.emulation(state, processor), "EMULATION"),
            KVM_INTERNAL_ERROR_SIMUL_EX => (
                format!(
                    "an exception came while another was being delivered: {} after {}",
                    event(word(1)),
                    event(word(0))
                ),
                "SIMUL_EX",
            ),
            KVM_INTERNAL_ERROR_DELIVERY_EV => (
                format!(
                    "{} came while {} was being delivered",
                    exit_reason(word(1), processor),
                    event(word(0))
                ),
                "DELIVERY_EV",
            ),
            KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON => (
                format!("this kernel does not expect {}", exit_reason(word(0), processor)),
                "UNEXPECTED_EXIT_REASON",
            ),
            _ => ("KVM has failed in a way that is not known here".to_owned(), "unknown"),
        };
        format!("{what} (KVM_EXIT_INTERNAL_ERROR, suberror {} {name}, data {:x?})", self.suberror, self.data)
    }

    /// The words are flags; size and bytes of the instruction, if they say so; reason and details of the exit.
    fn emulation(&self, state: &CpuState, processor: &Processor) -> String {
        let mut words = self.data.iter().copied();
        let flags = words.next().unwrap_or(0);
        let mut text = "KVM's instruction emulator does not have the instruction".to_owned();
        if flags & u64::from(KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) != 0 {
            let bytes: Vec<u8> = words.by_ref().take(2).flat_map(u64::to_le_bytes).collect();
            if let Some((size, bytes)) = bytes.split_first() {
                let bytes = &bytes[..bytes.len().min(usize::from(*size))];
                let _ = write!(text, " {}", instruction(bytes, state));
            }
        }
        if let Some(reason) = words.next() {
            let _ = write!(text, ", after {}", exit_reason(reason, processor));
        }
        text
    }
}

/// The first instruction of what KVM has fetched, which may be more.
fn instruction(fetched: &[u8], state: &CpuState) -> String {
    let insn = Decoder::new(state.mode().bitness(), fetched, DecoderOptions::NONE).decode();
    if insn.is_invalid() {
        return format!("{fetched:02x?}");
    }
    let mut text = String::new();
    GasFormatter::new().format(&insn, &mut text);
    format!("`{text}` {:02x?}", &fetched[..insn.len().min(fetched.len())])
}

/// What led out of the guest.
fn exit_reason(reason: u64, processor: &Processor) -> String {
    let known = match processor.maker {
        Maker::Vmx => codes::vmx_exit(reason as u16),
        Maker::Svm => codes::svm_exit(reason),
    };
    match known {
        Some(words) => format!("{words} (exit reason {reason:#x})"),
        None => format!("exit reason {reason:#x}"),
    }
}

/// An event in the form that VMX and SVM share (SDM vol. 3, 25.9.3; APM vol. 2, 15.20).
fn event(word: u64) -> String {
    if word & EVENT_VALID == 0 {
        return "no event".to_owned();
    }
    let vector = word as u8;
    let mut text = match word >> 8 & 7 {
        0 => format!("external interrupt {vector:#x}"),
        2 => "an NMI".to_owned(),
        4 => format!("software interrupt {vector:#x}"),
        _ => codes::exception(vector),
    };
    if word & EVENT_HAS_CODE != 0 {
        text.push_str(" with an error code");
    }
    text
}

/// A `KVM_EXIT_SHUTDOWN`: the state and KVM's events afterwards, where KVM leaves the virtual CPU as it was.
pub(crate) fn shutdown(left: Option<(&CpuState, &kvm_vcpu_events)>) -> String {
    let Some((state, events)) = left else {
        return "an exception could not be delivered, nor what came of it (a triple fault, KVM_EXIT_SHUTDOWN); which, and where, \
                this KVM does not keep"
            .to_owned();
    };
    // PVM has taken the exception off its list by then, and left what it was.
    let exception = &events.exception;
    let what = if exception.nr != 0 || exception.injected != 0 {
        let mut text = codes::exception(exception.nr);
        if exception.has_error_code != 0 {
            let _ = write!(text, " with error code {:#x}", exception.error_code);
        }
        if exception.nr == 14 {
            let _ = write!(text, " at address {:#x}", state.cr2);
        }
        text
    } else {
        "an exception that KVM does not tell".to_owned()
    };
    format!(
        "{what} could not be delivered, nor what came of it (a triple fault, KVM_EXIT_SHUTDOWN): RIP {:#x}, \
         the interrupt table at {:#x} with limit {:#x}",
        state.rip, state.idtr.base, state.idtr.limit
    )
}

/// Any other exit.
pub(crate) fn exit(exit: &VcpuExit<'_>) -> String {
    match exit {
        VcpuExit::IoIn(port, _) => format!("an input from port {port:#x}"),
        VcpuExit::IoOut(port, _) => format!("an output to port {port:#x}"),
        VcpuExit::MmioRead(gpa, data) => {
            format!("a read of {} bytes at {gpa:#x}, which is no RAM", data.len())
        }
        VcpuExit::MmioWrite(gpa, data) => {
            format!("a write of {} bytes at {gpa:#x}, which is no RAM", data.len())
        }
        VcpuExit::Hlt => "a halt".to_owned(),
        VcpuExit::Unsupported(number) => format!("KVM exit {number}"),
        other => format!("KVM exit {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use kvm_bindings::kvm_vcpu_events;
    use replayvm_cpu::{Attributes, CpuState, SegmentName, cr0, cr4, efer};

    use super::*;

    const INTEL: Processor =
        Processor { maker: Maker::Vmx, unrestricted: true, physical_bits: 46, linear_bits: 48 };
    const AMD: Processor = Processor { maker: Maker::Svm, ..INTEL };

    fn long_mode() -> CpuState {
        let mut state = CpuState::power_on();
        state.segment_mut(SegmentName::Cs).attributes = Attributes(0x209b);
        state.cr0 |= cr0::PE | cr0::PG;
        state.cr4 = cr4::PAE;
        state.efer = efer::LME | efer::LMA;
        state
    }

    #[test]
    fn a_failed_entry_names_reason_code_and_rule() {
        let mut state = CpuState::power_on();
        state.segment_mut(SegmentName::Ss).attributes = Attributes(0x92);
        assert_eq!(
            failed_entry(0x8000_0021, 3, &state, &INTEL),
            "the processor finds the guest state invalid (exit reason 33), KVM_EXIT_FAIL_ENTRY 0x80000021 on CPU 3: \
             SS 0x0 (base 0x0, limit 0xffff, access rights 0x92): the type must be accessed, writable data (3 or 7) \
             (SDM vol. 3, 27.3.1.2)"
        );
        // The code of SVM has 32 bits in some kernels, and 64 in others; it is not VMX's reason 0xffff.
        state.cr0 = cr0::NW;
        for code in [u64::MAX, u64::from(u32::MAX)] {
            let words = failed_entry(code, 0, &state, &AMD);
            assert!(words.starts_with("VMRUN finds the guest state invalid (VMEXIT_INVALID)"), "{words}");
            assert!(words.ends_with("CR0 0x20000000: CR0.NW needs CR0.CD (APM vol. 2, 15.5.1)"), "{words}");
        }
    }

    #[test]
    fn an_entry_that_fails_for_another_reason_does_not_blame_the_state() {
        let state = CpuState::power_on();
        for (reason, words) in [
            (
                0x8000_0022,
                "the processor could not load a model-specific register (exit reason 34), \
                 KVM_EXIT_FAIL_ENTRY 0x80000022 on CPU 0",
            ),
            (
                0x8000_0029,
                "a machine check came while the processor entered the guest (exit reason 41), \
                 KVM_EXIT_FAIL_ENTRY 0x80000029 on CPU 0",
            ),
            (
                7,
                "the processor refused entry: entry with invalid control fields (VM-instruction error 7), \
                 KVM_EXIT_FAIL_ENTRY 0x7 on CPU 0",
            ),
            (
                99,
                "the processor refused entry with the unknown VM-instruction error 99, KVM_EXIT_FAIL_ENTRY 0x63 on CPU 0",
            ),
        ] {
            assert_eq!(failed_entry(reason, 0, &state, &INTEL), words);
        }
        let words = failed_entry(0x8000_0021, 0, &state, &INTEL);
        assert!(words.ends_with(": the state breaks no rule that is known here"), "{words}");
    }

    #[test]
    fn a_state_that_breaks_everything_is_told_within_bounds() {
        let mut state = CpuState::power_on();
        for segment in &mut state.segments {
            segment.attributes = Attributes(0x0f80);
            segment.limit = 0xff_ffff;
        }
        let words = failed_entry(0x8000_0021, 0, &state, &INTEL);
        assert_eq!(words.matches("SDM").count(), SHOWN_MAX, "{words}");
        assert!(words.contains("; and "), "{words}");
    }

    #[test]
    fn an_instruction_that_the_emulator_does_not_have_is_shown() {
        // CMPXCHG16B [RDI], and what was fetched behind it.
        let bytes =
            [15, 0x48, 0x0f, 0xc7, 0x0f, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90];
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let error = InternalError { suberror: 1, data: vec![1, word(0), word(8), 48, 0x184, 0, 0, 0] };
        assert!(error.is_emulation());
        assert_eq!(
            error.words(&long_mode(), &INTEL),
            "KVM's instruction emulator does not have the instruction `cmpxchg16b (%rdi)` [48, 0f, c7, 0f], after \
             an EPT violation (exit reason 0x30) (KVM_EXIT_INTERNAL_ERROR, suberror 1 EMULATION, data \
             [1, 909090900fc70f48, 9090909090909090, 30, 184, 0, 0, 0])"
                .replace("909090900fc70f48", "9090900fc70f480f")
        );
        // Without the bytes, and with nothing at all.
        let error = InternalError { suberror: 1, data: vec![0, 0x400] };
        let words = error.words(&long_mode(), &AMD);
        assert!(words.starts_with(
            "KVM's instruction emulator does not have the instruction, after a nested page fault (exit reason 0x400)"
        ), "{words}");
        let error = InternalError { suberror: 1, data: Vec::new() };
        let words = error.words(&long_mode(), &AMD);
        assert!(
            words.starts_with("KVM's instruction emulator does not have the instruction (KVM_EXIT"),
            "{words}"
        );
        // A size that is a lie.
        let error = InternalError { suberror: 1, data: vec![1, 0x90ff] };
        assert!(error.words(&long_mode(), &AMD).contains("`nop` [90]"));
    }

    #[test]
    fn other_internal_errors_name_event_and_exit() {
        let words = |suberror, data: &[u64], processor| {
            InternalError { suberror, data: data.to_vec() }.words(&long_mode(), processor)
        };
        assert_eq!(
            words(3, &[0x8000_0b0e, 49, 0, 0x1000, 2], &INTEL),
            "an EPT misconfiguration (exit reason 0x31) came while #PF with an error code was being delivered \
             (KVM_EXIT_INTERNAL_ERROR, suberror 3 DELIVERY_EV, data [80000b0e, 31, 0, 1000, 2])"
        );
        assert_eq!(
            words(3, &[0x8000_0020, 0x400], &AMD),
            "a nested page fault (exit reason 0x400) came while external interrupt 0x20 was being delivered \
             (KVM_EXIT_INTERNAL_ERROR, suberror 3 DELIVERY_EV, data [80000020, 400])"
        );
        let text = words(2, &[0x8000_030d, 0x8000_0306], &INTEL);
        assert!(
            text.starts_with("an exception came while another was being delivered: #UD after #GP ("),
            "{text}"
        );
        let text = words(4, &[11, 0], &INTEL);
        assert!(text.starts_with("this kernel does not expect GETSEC (exit reason 0xb) ("), "{text}");
        let text = words(4, &[0xffff], &INTEL);
        assert!(text.starts_with("this kernel does not expect exit reason 0xffff ("), "{text}");
        let text = words(77, &[], &INTEL);
        assert!(text.ends_with("(KVM_EXIT_INTERNAL_ERROR, suberror 77 unknown, data [])"), "{text}");
    }

    #[test]
    fn a_shutdown_names_the_exception_where_kvm_tells() {
        let mut state = long_mode();
        (state.rip, state.cr2, state.idtr.limit) = (0x1000, 0xdead_b000, 0);
        let mut events = kvm_vcpu_events::default();
        events.exception.injected = 1;
        events.exception.nr = 14;
        events.exception.has_error_code = 1;
        events.exception.error_code = 6;
        assert_eq!(
            shutdown(Some((&state, &events))),
            "#PF with error code 0x6 at address 0xdeadb000 could not be delivered, nor what came of it (a triple fault, \
             KVM_EXIT_SHUTDOWN): RIP 0x1000, the interrupt table at 0x0 with limit 0x0"
        );
        let words = shutdown(Some((&state, &kvm_vcpu_events::default())));
        assert!(words.starts_with("an exception that KVM does not tell could not be delivered"), "{words}");
        assert!(shutdown(None).ends_with("which, and where, this KVM does not keep"));
    }
}
