//! KVM's exits in words.

use kvm_ioctls::{VcpuExit, VcpuFd};
use replayvm_cpu::{CpuState, SegmentName, cr0, cr4, efer};

/// A `KVM_EXIT_INTERNAL_ERROR`.
pub(crate) struct InternalError {
    /// KVM's emulator does not have the instruction.
    pub(crate) emulation: bool,
    pub(crate) words: String,
}

/// Decodes the internal error that the last run ended with.
pub(crate) fn internal_error(fd: &mut VcpuFd) -> InternalError {
    // SAFETY: the exit reason is KVM_EXIT_INTERNAL_ERROR, so this is the member of the union that KVM has filled in; each of
    // its fields is an integer, for which any bits are valid.
    let error = unsafe { fd.get_kvm_run().__bindgen_anon_1.internal };
    let count = (error.ndata as usize).min(error.data.len());
    let what = match error.suberror {
        1 => "KVM's emulator does not have the instruction",
        2 => "exits while an event was being delivered",
        3 => "an exit while an event was being delivered",
        4 => "an exit that this kernel does not know",
        _ => "an internal error",
    };
    InternalError {
        emulation: error.suberror == 1,
        words: format!(
            "{what} (KVM_INTERNAL_ERROR suberror {}, data {:x?})",
            error.suberror,
            &error.data[..count]
        ),
    }
}

/// Decodes a failed entry.
pub(crate) fn failed_entry(reason: u64, cpu: u32, state: &CpuState) -> String {
    let what = if reason == u64::MAX {
        "the processor finds the guest state invalid (VMRUN)".to_owned()
    } else if reason & 0x8000_0000 != 0 {
        match reason & 0xffff {
            33 => "the processor finds the guest state invalid".to_owned(),
            34 => "the processor could not load a model-specific register".to_owned(),
            other => format!("the processor refused entry with exit reason {other}"),
        }
    } else {
        format!("the processor refused entry with VM-instruction error {reason}")
    };
    let broken = broken_checks(state);
    let checks =
        if broken.is_empty() { "no check that is known here fails".to_owned() } else { broken.join("; ") };
    format!("{what} (KVM_EXIT_FAIL_ENTRY {reason:#x} on CPU {cpu}): {checks}")
}

/// The entry checks (SDM vol. 3, 27.3.1; APM vol. 2, 15.5.1) that a state breaks, as far as a guest can break them.
fn broken_checks(state: &CpuState) -> Vec<String> {
    let mut broken = Vec::new();
    let mut check = |holds: bool, words: &str| {
        if !holds {
            broken.push(words.to_owned());
        }
    };
    let protected = state.cr0 & cr0::PE != 0;
    let paging = state.cr0 & cr0::PG != 0;
    check(!paging || protected, "CR0.PG without CR0.PE");
    check(state.cr0 & cr0::NW == 0 || state.cr0 & cr0::CD != 0, "CR0.NW without CR0.CD");
    check(state.cr0 >> 32 == 0, "CR0 has bits above 31");
    let long = state.efer & efer::LMA != 0;
    check(long == (paging && state.efer & efer::LME != 0), "EFER.LMA is not CR0.PG and EFER.LME");
    check(!long || state.cr4 & cr4::PAE != 0, "long mode without CR4.PAE");
    let code = state.segment(SegmentName::Cs).attributes;
    check(!(code.long() && code.big() && long), "CS has both L and D");
    check(!protected || code.is_code(), "CS is no code segment");
    for (name, words) in [
        (SegmentName::Es, "ES"),
        (SegmentName::Cs, "CS"),
        (SegmentName::Ss, "SS"),
        (SegmentName::Ds, "DS"),
        (SegmentName::Fs, "FS"),
        (SegmentName::Gs, "GS"),
    ] {
        let segment = state.segment(name);
        let fits = if segment.attributes.granular() {
            segment.limit & 0xfff == 0xfff
        } else {
            segment.limit >> 20 == 0
        };
        check(
            fits || !segment.attributes.present(),
            &format!("{words} has granularity and limit that do not go together"),
        );
        check(
            !protected || segment.attributes.0 & 0x0f00 == 0,
            &format!("{words} has reserved attribute bits"),
        );
    }
    broken
}

/// An exit that no plain instruction should make.
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
