//! Every rule by itself: a good state, one field broken, and that rule named, in that register, with its section.

use std::collections::BTreeSet;

use replayvm_cpu::{Attributes, CpuState, Rflags, Segment, SegmentName, Shadow, cr0, cr4, dr6, efer};

use super::{Check, Maker, Processor, Register, Source, check, check_system_registers, rules};

const INTEL: Processor =
    Processor { maker: Maker::Vmx, unrestricted: true, physical_bits: 46, linear_bits: 48 };
const OLD_INTEL: Processor = Processor { unrestricted: false, ..INTEL };
const AMD: Processor = Processor { maker: Maker::Svm, ..INTEL };

fn segments(state: &mut CpuState, code: Segment, data: Segment) {
    state.segments = [data; 6];
    *state.segment_mut(SegmentName::Cs) = code;
}

fn flat(selector: u16, attributes: u16) -> Segment {
    Segment { selector, base: 0, limit: u32::MAX, attributes: Attributes(attributes) }
}

fn real() -> CpuState {
    CpuState::power_on()
}

fn protected() -> CpuState {
    let mut state = real();
    segments(&mut state, flat(0x8, 0xc09b), flat(0x10, 0xc093));
    state.cr0 = cr0::PE | cr0::ET;
    state
}

fn paged() -> CpuState {
    CpuState { cr0: cr0::PE | cr0::PG | cr0::ET, ..protected() }
}

fn virtual_8086() -> CpuState {
    let mut state = paged();
    let segment = |selector: u16| Segment {
        selector,
        base: u64::from(selector) << 4,
        limit: 0xffff,
        attributes: Attributes(0xf3),
    };
    segments(&mut state, segment(0x1000), segment(0x2000));
    state.rflags |= Rflags::VM.bits();
    state
}

fn kernel() -> CpuState {
    let mut state = paged();
    segments(&mut state, flat(0x8, 0xa09b), flat(0x10, 0xc093));
    state.cr4 = cr4::PAE;
    state.efer = efer::LME | efer::LMA;
    state.rip = 0xffff_8000_0000_1000;
    state
}

fn user() -> CpuState {
    let mut state = kernel();
    segments(&mut state, flat(0x33, 0xa0fb), flat(0x2b, 0xc0f3));
    // Null, with a base of its own.
    *state.segment_mut(SegmentName::Fs) = Segment { base: 0x7fff_0000_0000, ..Segment::default() };
    state.rip = 0x40_1000;
    state
}

fn compatibility() -> CpuState {
    let mut state = user();
    segments(&mut state, flat(0x23, 0xc0fb), flat(0x2b, 0xc0f3));
    state
}

fn conforming() -> CpuState {
    let mut state = kernel();
    segments(&mut state, flat(0x8, 0xa09f), flat(0x10, 0xc093));
    state
}

fn halted() -> CpuState {
    CpuState { halted: true, ..kernel() }
}

fn shielded() -> CpuState {
    let mut state = kernel();
    state.rflags |= Rflags::IF.bits();
    state.shadow = Shadow::Sti;
    state
}

fn stepping() -> CpuState {
    let mut state = shielded();
    state.rflags |= Rflags::TF.bits();
    state.pending_debug = dr6::BS;
    state
}

#[test]
fn good_states_break_nothing() {
    for state in [
        real(),
        protected(),
        paged(),
        virtual_8086(),
        kernel(),
        user(),
        compatibility(),
        conforming(),
        halted(),
        shielded(),
        stepping(),
    ] {
        for processor in [INTEL, AMD, OLD_INTEL] {
            // Real mode and protected mode without paging want unrestricted guests.
            if processor.unrestricted || state.cr0 & cr0::PG != 0 {
                let found = check(&state, &processor);
                assert!(found.is_empty(), "{processor:?}: {found:?}");
            }
        }
        let found = check_system_registers(&state, &INTEL);
        assert!(found.is_empty(), "{found:?}");
    }
}

/// What is broken: a good state, and one field of it.
struct Case {
    processor: Processor,
    /// A register, or part of the field's name.
    field: String,
    section: &'static str,
    says: &'static str,
    state: CpuState,
}

/// Cases of one manual.
struct Cases {
    processor: Processor,
    section: &'static str,
    all: Vec<Case>,
}

impl Cases {
    fn new() -> Self {
        Self { processor: INTEL, section: "", all: Vec::new() }
    }

    fn of(&mut self, processor: Processor, section: &'static str) {
        self.processor = processor;
        self.section = section;
    }

    fn add(
        &mut self,
        field: &str,
        says: &'static str,
        mut state: CpuState,
        change: impl FnOnce(&mut CpuState),
    ) {
        change(&mut state);
        let Self { processor, section, .. } = *self;
        self.all.push(Case { processor, field: field.to_owned(), section, says, state });
    }

    /// The same in each of these registers.
    fn each(
        &mut self,
        names: &[&str],
        says: &'static str,
        state: impl Fn() -> CpuState,
        change: impl Fn(&mut Segment),
    ) {
        for name in names {
            self.add(&format!("{name} 0x"), says, state(), |state| change(segment_of(state, name)));
        }
    }
}

fn segment_of<'a>(state: &'a mut CpuState, name: &str) -> &'a mut Segment {
    let name = match name {
        "ES" => SegmentName::Es,
        "CS" => SegmentName::Cs,
        "SS" => SegmentName::Ss,
        "DS" => SegmentName::Ds,
        "FS" => SegmentName::Fs,
        "GS" => SegmentName::Gs,
        "LDTR" => return &mut state.ldtr,
        "TR" => return &mut state.tr,
        other => panic!("no register {other}"),
    };
    state.segment_mut(name)
}

fn rights(clear: u16, set: u16) -> impl Fn(&mut Segment) {
    move |segment| segment.attributes = Attributes(segment.attributes.0 & !clear | set)
}

const SIX: &[&str] = &["CS", "SS", "DS", "ES", "FS", "GS"];
const DATA: &[&str] = &["DS", "ES", "FS", "GS"];
const EIGHT: &[&str] = &["CS", "SS", "DS", "ES", "FS", "GS", "LDTR", "TR"];
/// Not canonical with 48 bits.
const NOWHERE: u64 = 0x8000_0000_0000;

fn control_cases(cases: &mut Cases) {
    cases.of(INTEL, "27.3.1.1");
    cases.add("CR0", "CR0.PG needs CR0.PE", paged(), |s| s.cr0 &= !cr0::PE);
    cases.add("CR0", "bits 63:32 of CR0 must be 0", kernel(), |s| s.cr0 |= 1 << 40);
    for bit in [15, 26, 29, 33, 63] {
        cases.add("CR4", "CR4 has a reserved bit set", kernel(), |s| s.cr4 |= 1 << bit);
    }
    cases.add("CR4", "CR4.CET needs CR0.WP", kernel(), |s| s.cr4 |= 1 << 23);
    cases.add("EFER", "long mode (EFER.LMA) needs CR0.PG", kernel(), |s| s.cr0 &= !cr0::PG);
    cases.add("CR4", "long mode (EFER.LMA) needs CR4.PAE", kernel(), |s| s.cr4 &= !cr4::PAE);
    cases.add("CR4", "CR4.PCIDE needs long mode (EFER.LMA)", paged(), |s| s.cr4 |= 1 << 17);
    for bit in [46, 52, 63] {
        let says = "CR3 has bits above the physical-address width";
        cases.add("CR3", says, kernel(), |s| s.cr3 |= 1 << bit);
    }
    cases.add("DR7", "bits 63:32 of DR7 must be 0", kernel(), |s| s.dr7 |= 1 << 32);
    cases.add("IA32_SYSENTER_ESP", "the address must be canonical", kernel(), |s| s.sysenter_esp = NOWHERE);
    cases.add("IA32_SYSENTER_EIP", "the address must be canonical", kernel(), |s| s.sysenter_eip = NOWHERE);
    for kind in [2, 3, 8, 0xff] {
        let says = "each byte must be a memory type (0, 1, 4, 5, 6 or 7)";
        cases.add("IA32_PAT", says, kernel(), |s| s.pat = s.pat & !0xff00 | kind << 8);
    }
    for bit in [1, 9, 12, 63] {
        cases.add("EFER", "EFER has a reserved bit set", kernel(), |s| s.efer |= 1 << bit);
    }
    let same = "with CR0.PG, EFER.LMA and EFER.LME must be the same";
    cases.add("EFER", same, kernel(), |s| s.efer &= !efer::LME);
    cases.add("EFER", same, paged(), |s| s.efer |= efer::LME);
    cases.of(OLD_INTEL, "27.3.1.1, A.7");
    let says = "without unrestricted guests CR0.PE and CR0.PG are always set";
    cases.add("CR0", says, paged(), |s| s.cr0 &= !cr0::PG);

    cases.of(AMD, "15.5.1");
    cases.add("CR0", "EFER.LME and CR0.PG need CR0.PE", kernel(), |s| s.cr0 &= !cr0::PE);
    cases.add("CR0", "CR0.NW needs CR0.CD", kernel(), |s| s.cr0 |= cr0::NW);
    cases.add("CR0", "bits 63:32 of CR0 must be 0", kernel(), |s| s.cr0 |= 1 << 32);
    for bit in [13, 15, 19, 24, 63] {
        cases.add("CR4", "CR4 has a bit set that must be zero", kernel(), |s| s.cr4 |= 1 << bit);
    }
    cases.add("CR4", "CR4.CET needs CR0.WP", kernel(), |s| s.cr4 |= 1 << 23);
    cases.add("CR4", "EFER.LME and CR0.PG need CR4.PAE", kernel(), |s| s.cr4 &= !cr4::PAE);
    cases.add("CR3", "CR3 has bits above the physical-address width", kernel(), |s| s.cr3 |= 1 << 46);
    cases.add("DR6", "bits 63:32 of DR6 must be 0", kernel(), |s| s.dr6 |= 1 << 32);
    cases.add("DR7", "bits 63:32 of DR7 must be 0", kernel(), |s| s.dr7 |= 1 << 63);
    for bit in [1, 9, 16, 22, 63] {
        cases.add("EFER", "EFER has a bit set that must be zero", kernel(), |s| s.efer |= 1 << bit);
    }
    let says = "with EFER.LME, CR0.PG and CR4.PAE, L and D of CS do not go together";
    cases.add("CS 0x", says, kernel(), |s| rights(0, 0x4000)(segment_of(s, "CS")));
    cases.of(AMD, "15.25.4");
    let says = "each byte must be a memory type (0, 1, 4, 5, 6 or 7)";
    cases.add("IA32_PAT", says, kernel(), |s| s.pat = 2);
}

fn segment_cases(cases: &mut Cases) {
    cases.of(INTEL, "27.3.1.2");
    cases.each(&["TR", "LDTR"], "the selector must be one of the GDT (TI 0)", kernel, |it| it.selector |= 4);
    let says = "in virtual-8086 mode the base must be the selector times 16";
    cases.each(SIX, says, virtual_8086, |it| it.base += 1);
    let canonical = "the base must be canonical";
    cases.each(&["TR", "FS", "GS", "LDTR"], canonical, kernel, |it| it.base = NOWHERE);
    let says = "bits 63:32 of the base must be 0";
    cases.each(&["CS", "SS", "DS", "ES"], says, kernel, |it| it.base = 1 << 32);
    cases.each(SIX, "in virtual-8086 mode the limit must be 0xffff", virtual_8086, |it| it.limit = 0xf_ffff);
    let says = "in virtual-8086 mode the access rights must be 0xf3";
    cases.each(SIX, says, virtual_8086, rights(0x60, 0));

    let says = "the type must be accessed code (9, 11, 13 or 15), or 3";
    for kind in [0, 1, 2, 5, 7, 8, 10, 12, 14] {
        cases.each(&["CS"], says, kernel, rights(0xf, kind));
    }
    let says = "the type must be accessed, writable data (3 or 7)";
    for kind in [0, 1, 2, 5, 9, 11] {
        cases.each(&["SS"], says, kernel, rights(0xf, kind));
    }
    cases.each(DATA, "the type must be an accessed one (bit 0)", kernel, rights(1, 0));
    cases.each(DATA, "code must be readable (bit 1 of the type)", kernel, rights(0xf, 9));
    cases.each(SIX, "S must be 1 (code or data)", kernel, rights(0x10, 0));
    cases.add("CS 0x", "of type 3 it must have DPL 0", real(), |s| rights(0xf, 0x63)(segment_of(s, "CS")));
    let says = "non-conforming code must have the DPL of SS";
    cases.each(&["CS"], says, kernel, rights(0, 0x60));
    cases.each(&["CS"], says, user, rights(0x60, 0x20));
    let says = "conforming code may not have a DPL above that of SS";
    cases.each(&["CS"], says, conforming, rights(0, 0x20));
    let says = "without CR0.PE, or with a CS of type 3, its DPL must be 0";
    let data_as_code = |mut state: CpuState| {
        rights(0xf, 3)(segment_of(&mut state, "CS"));
        state
    };
    for state in [real(), protected()] {
        let state = data_as_code(state);
        cases.add("SS 0x", says, state, |s| rights(0, 0x60)(segment_of(s, "SS")));
    }
    cases.each(&["CS"], "in long mode L and D do not go together", kernel, rights(0, 0x4000));
    let says = "outside long mode the type must be a busy task state (3 or 11)";
    for kind in [1, 2, 9] {
        cases.each(&["TR"], says, paged, rights(0xf, kind));
    }
    let says = "in long mode the type must be a busy 64-bit task state (11)";
    for kind in [2, 3, 9] {
        cases.each(&["TR"], says, kernel, rights(0xf, kind));
    }
    let says = "the type must be a local descriptor table (2)";
    cases.each(&["LDTR"], says, kernel, rights(0xf, 3));
    cases.each(&["TR", "LDTR"], "S must be 0 (a system segment)", kernel, rights(0, 0x10));
    cases.each(&["CS", "TR"], "it must be usable and present (P)", kernel, rights(0x80, 0));
    for bits in [0x100, 0x800] {
        cases.each(EIGHT, "bits 11:8 of the access rights must be 0", kernel, rights(0, bits));
    }
    let says = "with G set, bits 11:0 of the limit must all be 1";
    cases.each(EIGHT, says, kernel, |it| {
        rights(0, 0x8000)(it);
        it.limit = 0xffff_fffe;
    });
    let says = "with G clear, bits 31:20 of the limit must all be 0";
    cases.each(EIGHT, says, kernel, |it| {
        rights(0x8000, 0)(it);
        it.limit = 0x10_0000;
    });

    cases.of(OLD_INTEL, "27.3.1.2");
    cases.add("SS 0x", "without unrestricted guests its RPL must be that of CS", kernel(), |s| {
        segment_of(s, "CS").selector |= 1;
    });
    let says = "without unrestricted guests the type may not be 3";
    cases.each(&["CS"], says, paged, rights(0xf, 3));
    let says = "without unrestricted guests its DPL must be its RPL";
    // The DPL of code goes with that of the stack.
    cases.add("SS 0x", says, conforming(), |s| rights(0, 0x60)(segment_of(s, "SS")));
    let says = "without unrestricted guests its DPL may not be below its RPL";
    cases.each(DATA, says, kernel, |it| it.selector |= 3);

    cases.of(INTEL, "27.3.1.3");
    cases.add("GDTR", canonical, kernel(), |s| s.gdtr.base = NOWHERE);
    cases.add("IDTR", canonical, kernel(), |s| s.idtr.base = NOWHERE);
}

fn other_cases(cases: &mut Cases) {
    cases.of(INTEL, "27.3.1.4");
    let says = "outside 64-bit mode bits 63:32 of RIP must be 0";
    for state in [real(), paged(), compatibility()] {
        cases.add("RIP", says, state, |s| s.rip |= 1 << 32);
    }
    cases.add("RIP", "in 64-bit mode RIP must be canonical", kernel(), |s| s.rip = NOWHERE);
    for bit in [3, 5, 15, 22, 63] {
        cases.add("RFLAGS", "a reserved bit of RFLAGS is set", kernel(), |s| s.rflags |= 1 << bit);
    }
    cases.add("RFLAGS", "bit 1 of RFLAGS must be 1", kernel(), |s| s.rflags &= !2);
    // With segments that both modes take.
    let state = CpuState { efer: efer::LME | efer::LMA, cr4: cr4::PAE, ..virtual_8086() };
    cases.add("RFLAGS", "RFLAGS.VM must be 0 in long mode", state, |_| {});
    let state = CpuState { cr0: cr0::ET, ..virtual_8086() };
    cases.add("RFLAGS", "RFLAGS.VM needs CR0.PE", state, |_| {});

    cases.of(INTEL, "27.3.1.5");
    cases.add("activity HLT", "HLT needs CPL 0 (DPL of SS)", user(), |s| s.halted = true);
    let says = "a CPU that STI or MOV SS shields from interrupts must be active";
    cases.add("activity HLT", says, shielded(), |s| s.halted = true);
    cases.add("activity shutdown", says, shielded(), |s| s.shutdown = true);
    cases.add("blocking by Sti", "blocking by STI needs RFLAGS.IF", shielded(), |s| {
        s.rflags &= !Rflags::IF.bits();
    });
    let says = "a reserved bit of the pending debug exceptions is set";
    for bit in [4, 11, 13, 15, 17, 63] {
        cases.add("pending debug exceptions", says, kernel(), |s| s.pending_debug |= 1 << bit);
    }
    let says = "with RFLAGS.TF, a shadow or HLT needs a pending single step (BS)";
    cases.add("pending debug exceptions", says, stepping(), |s| s.pending_debug = 0);
    cases.add("pending debug exceptions", says, halted(), |s| s.rflags |= Rflags::TF.bits());
    let says = "without RFLAGS.TF, a shadow or HLT allows no pending single step (BS)";
    cases.add("pending debug exceptions", says, shielded(), |s| s.pending_debug = dr6::BS);
}

fn cases() -> Vec<Case> {
    let mut cases = Cases::new();
    control_cases(&mut cases);
    segment_cases(&mut cases);
    other_cases(&mut cases);
    cases.all
}

#[test]
fn a_broken_field_is_named_by_the_one_rule_it_breaks() {
    for Case { processor, field, section, says, state } in cases() {
        let found = check(&state, &processor);
        let [violation] = &found[..] else { panic!("{says}, in {field}: {found:#?}") };
        assert_eq!(violation.rule.says, says, "{field}");
        let source = match processor.maker {
            Maker::Vmx => Source::Sdm(section),
            Maker::Svm => Source::Apm(section),
        };
        assert_eq!(violation.source, source, "{says}");
        assert!(violation.field.contains(&field), "{field}: {violation}");
    }
}

/// Which rule, in which manual, of which register.
type Covered = BTreeSet<(&'static str, bool, String)>;

#[test]
fn every_rule_is_broken_by_a_case_in_every_register_it_is_about() {
    let mut demanded = Covered::new();
    for rule in rules() {
        let fields: Vec<String> = match rule.check {
            Check::State(..) => vec![String::new()],
            Check::Segments(registers, ..) => registers.iter().map(|register| register.name()).collect(),
        };
        for (there, svm) in [(rule.vmx.is_some(), false), (rule.svm.is_some(), true)] {
            if there {
                demanded.extend(fields.iter().map(|field| (rule.says, svm, field.clone())));
            }
        }
    }
    let mut broken = Covered::new();
    for Case { processor, state, .. } in cases() {
        for violation in check(&state, &processor) {
            let field = match violation.rule.check {
                Check::State(..) => String::new(),
                Check::Segments(..) => violation.field.split(' ').next().unwrap().to_owned(),
            };
            broken.insert((violation.rule.says, processor.maker == Maker::Svm, field));
        }
    }
    assert_eq!(broken, demanded);
    // Rules that say the same are told apart by their fields, which the cases above name.
    assert!(demanded.len() > 100, "{}", demanded.len());
}

#[test]
fn what_kvm_itself_refuses_is_named() {
    let refused = |mut state: CpuState, change: &dyn Fn(&mut CpuState)| {
        change(&mut state);
        let found = check_system_registers(&state, &INTEL);
        assert!(found.iter().all(|violation| violation.source == Source::Kvm));
        found.iter().map(|violation| violation.rule.says).collect::<Vec<_>>()
    };
    assert_eq!(refused(paged(), &|s| s.cr0 &= !cr0::PE), ["CR0.PG needs CR0.PE"]);
    assert_eq!(refused(paged(), &|s| s.cr0 |= cr0::NW), ["CR0.NW needs CR0.CD"]);
    assert_eq!(refused(paged(), &|s| s.cr0 |= 1 << 32), ["bits 63:32 of CR0 must be 0"]);
    assert_eq!(refused(paged(), &|s| s.cr4 |= 1 << 15), ["CR4 has a reserved bit set"]);
    assert_eq!(refused(kernel(), &|s| s.cr0 &= !cr0::PG), ["long mode (EFER.LMA) needs CR0.PG"]);
    assert_eq!(refused(kernel(), &|s| s.cr4 &= !cr4::PAE), ["EFER.LME and CR0.PG need CR4.PAE"]);
    let same = "with CR0.PG, EFER.LMA and EFER.LME must be the same";
    assert_eq!(refused(kernel(), &|s| s.efer &= !efer::LME), [same]);
    let says = "a CS with L needs long mode (EFER.LMA)";
    assert_eq!(refused(paged(), &|s| rights(0, 0x2000)(segment_of(s, "CS"))), [says]);
    let marked: Vec<_> = rules().filter(|rule| rule.kvm).map(|rule| rule.says).collect();
    assert_eq!(marked.len(), 8, "{marked:?}");
}

#[test]
fn the_words_name_register_value_and_section() {
    let mut state = user();
    rights(1, 0)(segment_of(&mut state, "DS"));
    let found = check(&state, &INTEL);
    assert_eq!(
        found[0].to_string(),
        "DS 0x2b (base 0x0, limit 0xffffffff, access rights 0xc0f2): the type must be an accessed one (bit 0) \
         (SDM vol. 3, 27.3.1.2)"
    );
    let state = CpuState { cr0: 0x6000_0011 | cr0::PG, efer: efer::LME, cr4: 0, ..paged() };
    let found: Vec<_> = check(&state, &AMD).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        ["EFER 0x100, CR0 0xe0000011, CR4 0x0: EFER.LME and CR0.PG need CR4.PAE (APM vol. 2, 15.5.1)"]
    );
    assert_eq!(Register::Ldtr.name(), "LDTR");
}
