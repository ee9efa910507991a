//! The CPU's state in KVM's structures, there and back.

use kvm_bindings::{
    KVM_VCPUEVENT_VALID_SHADOW, Msrs, kvm_dtable, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs,
    kvm_vcpu_events, kvm_xsave,
};
use kvm_ioctls::VcpuFd;
use replayvm_cpu::{Attributes, CpuState, Segment, SegmentName, Shadow, Table};

/// Model-specific registers that rules look at.
const SYSENTER_ESP: u32 = 0x175;
const SYSENTER_EIP: u32 = 0x176;
const PAT: u32 = 0x277;
/// `KVM_X86_SHADOW_INT_MOV_SS`
const SHADOW_MOV_SS: u8 = 1;
/// `KVM_X86_SHADOW_INT_STI`
const SHADOW_STI: u8 = 2;

/// The state that KVM itself holds, as far as rules of entry look at it; the rest is as after power-on. It is what a processor
/// refuses, and need not be the guest's: the VMM may have given KVM another.
pub(crate) fn held_by(fd: &VcpuFd) -> Result<CpuState, kvm_ioctls::Error> {
    let mut state = CpuState::power_on();
    take_registers(&mut state, &fd.get_regs()?);
    take_system(&mut state, &fd.get_sregs()?);
    take_events(&mut state, &fd.get_vcpu_events()?);
    let debug = fd.get_debug_regs()?;
    (state.dr, state.dr6, state.dr7) = (debug.db, debug.dr6, debug.dr7);
    // A register that this KVM does not have ends the list; what is behind it stays as after power-on.
    let wanted = [PAT, SYSENTER_ESP, SYSENTER_EIP].map(|index| kvm_msr_entry { index, ..Default::default() });
    if let Ok(mut msrs) = Msrs::from_entries(&wanted) {
        let count = fd.get_msrs(&mut msrs)?;
        for entry in msrs.as_slice().iter().take(count) {
            match entry.index {
                PAT => state.pat = entry.data,
                SYSENTER_ESP => state.sysenter_esp = entry.data,
                _ => state.sysenter_eip = entry.data,
            }
        }
    }
    Ok(state)
}

/// The general registers, as KVM takes them.
pub(crate) fn regs_of(state: &CpuState) -> kvm_regs {
    let [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15] = state.gpr;
    let (rip, rflags) = (state.rip, state.rflags);
    kvm_regs { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags }
}

/// The general registers, in the encoding order.
pub(crate) fn gpr_of(regs: &kvm_regs) -> [u64; 16] {
    let kvm_regs { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15, .. } = *regs;
    [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15]
}

/// The system registers in `sregs` become those of the state, but for the descriptor tables and system segments.
pub(crate) fn give_system(sregs: &mut kvm_sregs, state: &CpuState) {
    let segment = |name| segment_of(state.segment(name));
    sregs.cs = segment(SegmentName::Cs);
    sregs.ds = segment(SegmentName::Ds);
    sregs.es = segment(SegmentName::Es);
    sregs.fs = segment(SegmentName::Fs);
    sregs.gs = segment(SegmentName::Gs);
    sregs.ss = segment(SegmentName::Ss);
    (sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer) = (state.cr0, state.cr3, state.cr4, state.efer);
}

/// A segment register, as KVM takes it. What is not present is unusable.
pub(crate) fn segment_of(segment: &Segment) -> kvm_segment {
    let Segment { selector, base, limit, attributes } = *segment;
    kvm_segment {
        base,
        limit,
        selector,
        type_: attributes.kind(),
        present: u8::from(attributes.present()),
        dpl: attributes.dpl(),
        db: u8::from(attributes.big()),
        s: u8::from(attributes.is_code_or_data()),
        l: u8::from(attributes.long()),
        g: u8::from(attributes.granular()),
        avl: (attributes.0 >> 12) as u8 & 1,
        unusable: u8::from(!attributes.present()),
        padding: 0,
    }
}

/// A descriptor table, as KVM takes it.
pub(crate) fn table_of(table: &Table) -> kvm_dtable {
    kvm_dtable { base: table.base, limit: table.limit, padding: [0; 3] }
}

/// The interrupt shadow, as KVM takes it.
pub(crate) fn shadow_of(shadow: Shadow) -> u8 {
    match shadow {
        Shadow::None => 0,
        Shadow::MovSs => SHADOW_MOV_SS,
        Shadow::Sti => SHADOW_STI,
    }
}

fn take_registers(state: &mut CpuState, regs: &kvm_regs) {
    state.gpr = gpr_of(regs);
    (state.rip, state.rflags) = (regs.rip, regs.rflags);
}

fn take_system(state: &mut CpuState, sregs: &kvm_sregs) {
    state.segments = [&sregs.es, &sregs.cs, &sregs.ss, &sregs.ds, &sregs.fs, &sregs.gs].map(segment);
    (state.ldtr, state.tr) = (segment(&sregs.ldt), segment(&sregs.tr));
    (state.gdtr, state.idtr) = (table(&sregs.gdt), table(&sregs.idt));
    (state.cr0, state.cr2, state.cr3, state.cr4) = (sregs.cr0, sregs.cr2, sregs.cr3, sregs.cr4);
    state.efer = sregs.efer;
}

fn segment(segment: &kvm_segment) -> Segment {
    let kvm_segment { selector, base, limit, type_, s, dpl, avl, l, db, g, .. } = *segment;
    let present = segment.present != 0 && segment.unusable == 0;
    let bits = [(type_, 0), (s, 4), (dpl, 5), (u8::from(present), 7), (avl, 12), (l, 13), (db, 14), (g, 15)];
    let attributes = bits.into_iter().fold(0, |rights, (value, at)| rights | u16::from(value) << at);
    Segment { selector, base, limit, attributes: Attributes(attributes) }
}

fn table(table: &kvm_dtable) -> Table {
    Table { base: table.base, limit: table.limit }
}

fn take_events(state: &mut CpuState, events: &kvm_vcpu_events) {
    state.nmi_blocked = events.nmi.masked != 0;
    state.shadow = match events.interrupt.shadow {
        _ if events.flags & KVM_VCPUEVENT_VALID_SHADOW == 0 => Shadow::None,
        0 => Shadow::None,
        shadow if shadow & SHADOW_MOV_SS != 0 => Shadow::MovSs,
        _ => Shadow::Sti,
    };
}

/// Words of the XSAVE area (SDM vol. 1, 13.4): MXCSR, XMM registers, XSTATE_BV. (`KVM_SET_FPU` leaves MXCSR out.)
const FCW: usize = 0;
const MXCSR: usize = 24 / 4;
const XMM: usize = 160 / 4;
const XSTATE_BV: usize = 512 / 4;

/// The registers of SSE, as KVM takes them; those of x87 as after FNINIT.
pub(crate) fn xsave_of(xmm: &[u128; 16], mxcsr: u32) -> kvm_xsave {
    let mut xsave = kvm_xsave::default();
    xsave.region[FCW] = 0x037f;
    xsave.region[MXCSR] = mxcsr;
    for (i, value) in xmm.iter().enumerate() {
        for word in 0..4 {
            xsave.region[XMM + i * 4 + word] = (value >> (32 * word)) as u32;
        }
    }
    // x87 and SSE.
    xsave.region[XSTATE_BV] = 3;
    xsave
}

/// The registers of SSE.
pub(crate) fn xmm_of(xsave: &kvm_xsave) -> ([u128; 16], u32) {
    let mut xmm = [0; 16];
    for (i, value) in xmm.iter_mut().enumerate() {
        for word in (0..4).rev() {
            *value = *value << 32 | u128::from(xsave.region[XMM + i * 4 + word]);
        }
    }
    (xmm, xsave.region[MXCSR])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_comes_back_from_kvms_structures_as_it_was() {
        let mut state = CpuState::power_on();
        for (i, register) in state.gpr.iter_mut().enumerate() {
            *register = 0x1111_0000_0000 + i as u64;
        }
        // All of the access rights that there are.
        for (i, segment) in state.segments.iter_mut().chain([&mut state.ldtr, &mut state.tr]).enumerate() {
            let attributes = Attributes(0x80 | [0x1b, 0x12, 0x6f, 0x1013, 0x2000, 0x4000, 0x8000, 0x0f][i]);
            *segment = Segment { selector: i as u16, base: 1 << i, limit: i as u32, attributes };
        }
        state.gdtr = Table { base: 0x1000, limit: 0x27 };
        (state.cr0, state.cr3, state.cr4, state.efer) = (1, 2, 3, 4);
        let mut sregs = kvm_sregs::default();
        give_system(&mut sregs, &state);
        (sregs.ldt, sregs.tr) = (segment_of(&state.ldtr), segment_of(&state.tr));
        (sregs.gdt, sregs.idt) = (table_of(&state.gdtr), table_of(&state.idtr));
        let mut back = CpuState::power_on();
        take_registers(&mut back, &regs_of(&state));
        take_system(&mut back, &sregs);
        assert_eq!(back, state);
    }

    #[test]
    fn what_is_unusable_to_kvm_is_not_present() {
        let kvm = kvm_segment { present: 1, unusable: 1, ..kvm_segment::default() };
        assert!(!segment(&kvm).attributes.present());
    }

    #[test]
    fn the_shadow_is_kvms_where_kvm_tells_it() {
        let mut events = kvm_vcpu_events::default();
        let mut shadow = |flags, bits| {
            (events.flags, events.interrupt.shadow) = (flags, bits);
            let mut state = CpuState::power_on();
            take_events(&mut state, &events);
            state.shadow
        };
        assert_eq!(shadow(0, 3), Shadow::None);
        for known in [Shadow::None, Shadow::MovSs, Shadow::Sti] {
            assert_eq!(shadow(KVM_VCPUEVENT_VALID_SHADOW, shadow_of(known)), known);
        }
    }
}
