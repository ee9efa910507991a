//! Control registers, debug registers and model-specific registers (SDM vol. 3, 27.3.1.1; APM vol. 2, 15.5.1).

use replayvm_cpu::{cr0, cr4, efer};

use super::{Field, Rule, canonical};

const SDM: &str = "27.3.1.1";
const APM: &str = "15.5.1";

/// CR4 bits that this CPU does not model.
const CR4_PCIDE: u64 = 1 << 17;
const CR4_CET: u64 = 1 << 23;
/// Bits 15, 26, 29 to 31, and 33 (after FRED) up.
const CR4_RESERVED_VMX: u64 = 0xffff_fffe_e400_8000;
/// Bits 13 to 15, 19, and 24 up.
const CR4_RESERVED_SVM: u64 = 0xffff_ffff_ff08_e000;
const EFER_RESERVED_VMX: u64 = !(efer::SCE | efer::LME | efer::LMA | efer::NXE);
/// Also there: SVME, LMSLE, FFXSR, TCE, MCOMMIT, INTWB, UAIE, AIBRSE.
const EFER_RESERVED_SVM: u64 = EFER_RESERVED_VMX & !0x0036_f000;

const fn on(register: u64, bits: u64) -> bool {
    register & bits == bits
}

pub(super) const RULES: &[Rule] = &[
    Rule::state("CR0.PG needs CR0.PE", &[Field::Cr0], |s, _| on(s.cr0, cr0::PG) && !on(s.cr0, cr0::PE))
        .vmx(SDM)
        .kvm(),
    Rule::state("EFER.LME and CR0.PG need CR0.PE", &[Field::Efer, Field::Cr0], |s, _| {
        on(s.efer, efer::LME) && on(s.cr0, cr0::PG) && !on(s.cr0, cr0::PE)
    })
    .svm(APM),
    Rule::state("without unrestricted guests CR0.PE and CR0.PG are always set", &[Field::Cr0], |s, _| {
        !on(s.cr0, cr0::PE | cr0::PG)
    })
    .vmx("27.3.1.1, A.7")
    .restricted(),
    Rule::state("CR0.NW needs CR0.CD", &[Field::Cr0], |s, _| on(s.cr0, cr0::NW) && !on(s.cr0, cr0::CD))
        .svm(APM)
        .kvm(),
    Rule::state("bits 63:32 of CR0 must be 0", &[Field::Cr0], |s, _| s.cr0 >> 32 != 0)
        .vmx(SDM)
        .svm(APM)
        .kvm(),
    Rule::state("CR4 has a reserved bit set", &[Field::Cr4], |s, _| s.cr4 & CR4_RESERVED_VMX != 0)
        .vmx(SDM)
        .kvm(),
    Rule::state("CR4 has a bit set that must be zero", &[Field::Cr4], |s, _| s.cr4 & CR4_RESERVED_SVM != 0)
        .svm(APM),
    Rule::state("CR4.CET needs CR0.WP", &[Field::Cr4, Field::Cr0], |s, _| {
        on(s.cr4, CR4_CET) && !on(s.cr0, cr0::WP)
    })
    .vmx(SDM)
    .svm(APM),
    Rule::state("long mode (EFER.LMA) needs CR0.PG", &[Field::Efer, Field::Cr0], |s, _| {
        on(s.efer, efer::LMA) && !on(s.cr0, cr0::PG)
    })
    .vmx(SDM)
    .kvm(),
    Rule::state("long mode (EFER.LMA) needs CR4.PAE", &[Field::Efer, Field::Cr4], |s, _| {
        on(s.efer, efer::LMA) && !on(s.cr4, cr4::PAE)
    })
    .vmx(SDM),
    Rule::state("EFER.LME and CR0.PG need CR4.PAE", &[Field::Efer, Field::Cr0, Field::Cr4], |s, _| {
        on(s.efer, efer::LME) && on(s.cr0, cr0::PG) && !on(s.cr4, cr4::PAE)
    })
    .svm(APM)
    .kvm(),
    Rule::state("CR4.PCIDE needs long mode (EFER.LMA)", &[Field::Cr4, Field::Efer], |s, _| {
        on(s.cr4, CR4_PCIDE) && !on(s.efer, efer::LMA)
    })
    .vmx(SDM),
    Rule::state("CR3 has bits above the physical-address width", &[Field::Cr3], |s, p| {
        s.cr3.checked_shr(p.physical_bits.into()).unwrap_or(0) != 0
    })
    .vmx(SDM)
    .svm(APM),
    Rule::state("bits 63:32 of DR6 must be 0", &[Field::Dr6], |s, _| s.dr6 >> 32 != 0).svm(APM),
    Rule::state("bits 63:32 of DR7 must be 0", &[Field::Dr7], |s, _| s.dr7 >> 32 != 0).vmx(SDM).svm(APM),
    Rule::state("the address must be canonical", &[Field::SysenterEsp], |s, p| !canonical(s.sysenter_esp, p))
        .vmx(SDM),
    Rule::state("the address must be canonical", &[Field::SysenterEip], |s, p| !canonical(s.sysenter_eip, p))
        .vmx(SDM),
    Rule::state("each byte must be a memory type (0, 1, 4, 5, 6 or 7)", &[Field::Pat], |s, _| {
        s.pat.to_le_bytes().iter().any(|kind| !matches!(kind, 0 | 1 | 4..=7))
    })
    .vmx(SDM)
    .svm("15.25.4"),
    Rule::state("EFER has a reserved bit set", &[Field::Efer], |s, _| s.efer & EFER_RESERVED_VMX != 0)
        .vmx(SDM),
    Rule::state("EFER has a bit set that must be zero", &[Field::Efer], |s, _| {
        s.efer & EFER_RESERVED_SVM != 0
    })
    .svm(APM),
    Rule::state("with CR0.PG, EFER.LMA and EFER.LME must be the same", &[Field::Efer, Field::Cr0], |s, _| {
        on(s.cr0, cr0::PG) && on(s.efer, efer::LMA) != on(s.efer, efer::LME)
    })
    .vmx(SDM)
    .kvm(),
];
