//! Registers that differ between two CPUs.

use std::fmt::LowerHex;

use replayvm_cpu::{CpuState, Segment};

/// A register that is not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterDifference {
    /// Its name.
    pub name: String,
    /// What each side has in it.
    pub sides: [String; 2],
}

const GENERAL: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];

/// Whatever differs of two CPUs; empty only if they are equal.
pub(super) fn differences(a: &CpuState, b: &CpuState) -> Vec<RegisterDifference> {
    let mut found = Found(Vec::new());
    found.hex("rip", a.rip, b.rip);
    for (name, (a, b)) in GENERAL.iter().zip(a.gpr.iter().zip(&b.gpr)) {
        found.hex(name, *a, *b);
    }
    found.hex("rflags", a.rflags, b.rflags);
    for (name, (a, b)) in ["es", "cs", "ss", "ds", "fs", "gs"].iter().zip(a.segments.iter().zip(&b.segments))
    {
        found.segment(name, a, b);
    }
    found.segment("ldtr", &a.ldtr, &b.ldtr);
    found.segment("tr", &a.tr, &b.tr);
    found.text("gdtr", &(a.gdtr.base, a.gdtr.limit), &(b.gdtr.base, b.gdtr.limit), table);
    found.text("idtr", &(a.idtr.base, a.idtr.limit), &(b.idtr.base, b.idtr.limit), table);
    for (name, a, b) in [
        ("cr0", a.cr0, b.cr0),
        ("cr2", a.cr2, b.cr2),
        ("cr3", a.cr3, b.cr3),
        ("cr4", a.cr4, b.cr4),
        ("dr6", a.dr6, b.dr6),
        ("dr7", a.dr7, b.dr7),
        ("efer", a.efer, b.efer),
        ("star", a.star, b.star),
        ("lstar", a.lstar, b.lstar),
        ("cstar", a.cstar, b.cstar),
        ("fmask", a.fmask, b.fmask),
        ("kernel_gs_base", a.kernel_gs_base, b.kernel_gs_base),
        ("sysenter_cs", a.sysenter_cs, b.sysenter_cs),
        ("sysenter_esp", a.sysenter_esp, b.sysenter_esp),
        ("sysenter_eip", a.sysenter_eip, b.sysenter_eip),
        ("tsc_aux", a.tsc_aux, b.tsc_aux),
        ("tsc_offset", a.tsc_offset, b.tsc_offset),
    ] {
        found.hex(name, a, b);
    }
    found.numbered("dr", &a.dr, &b.dr);
    found.numbered("xmm", &a.xmm, &b.xmm);
    found.numbered("st", &a.st, &b.st);
    found.hex("mxcsr", a.mxcsr, b.mxcsr);
    found.hex("fcw", a.fcw, b.fcw);
    found.hex("fsw", a.fsw, b.fsw);
    found.hex("ftw", a.ftw, b.ftw);
    found.text("halted", &a.halted, &b.halted, ToString::to_string);
    found.text("shutdown", &a.shutdown, &b.shutdown, ToString::to_string);
    found.text("instructions", &a.instructions, &b.instructions, ToString::to_string);
    if found.0.is_empty() && a != b {
        // What no program can read: memory types, shadows, counts of the engine.
        found.0.push(RegisterDifference {
            name: "internal".to_owned(),
            sides: [(); 2].map(|()| "other".to_owned()),
        });
    }
    found.0
}

struct Found(Vec<RegisterDifference>);

impl Found {
    fn text<T: PartialEq>(&mut self, name: &str, a: &T, b: &T, text: impl Fn(&T) -> String) {
        if a != b {
            self.0.push(RegisterDifference { name: name.to_owned(), sides: [text(a), text(b)] });
        }
    }

    fn hex<T: PartialEq + LowerHex>(&mut self, name: &str, a: T, b: T) {
        self.text(name, &a, &b, |value| format!("{value:#x}"));
    }

    fn numbered<T: PartialEq + LowerHex + Copy>(&mut self, name: &str, a: &[T], b: &[T]) {
        for (number, (a, b)) in a.iter().zip(b).enumerate() {
            self.hex(&format!("{name}{number}"), *a, *b);
        }
    }

    fn segment(&mut self, name: &str, a: &Segment, b: &Segment) {
        self.text(name, a, b, |segment| {
            let Segment { selector, base, limit, attributes } = segment;
            format!("{selector:#x} (base {base:#x}, limit {limit:#x}, attributes {:#x})", attributes.0)
        });
    }
}

fn table((base, limit): &(u64, u16)) -> String {
    format!("{base:#x} (limit {limit:#x})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_that_differ_are_named_and_no_difference_is_lost() {
        let a = CpuState::power_on();
        assert_eq!(differences(&a, &a), []);
        let mut b = a.clone();
        (b.gpr[3], b.xmm[2]) = (0x12, 0x34);
        let names: Vec<_> = differences(&a, &b).into_iter().map(|found| (found.name, found.sides)).collect();
        let text = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        assert_eq!(
            names,
            [("rbx".to_owned(), text("0x0", "0x12")), ("xmm2".to_owned(), text("0x0", "0x34"))]
        );
        let mut b = a.clone();
        b.mtrr_fixed[0] = 1;
        assert_eq!(differences(&a, &b)[0].name, "internal");
    }
}
