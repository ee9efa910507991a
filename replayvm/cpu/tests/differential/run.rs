//! The loop over cases, and the report.

use std::arch::x86_64::{__cpuid, CpuidResult};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use iced_x86::{Code, Formatter, Mnemonic, NasmFormatter};

use crate::catalogue;
use crate::common::{CODE, WINDOW};
use crate::compare::{End, Outcome, Software, flags};
use crate::generate::{Case, GS_BASE, Generator};
use crate::native::{Native, Registers};
use crate::processors;
use crate::values::Dice;

/// The seed of the ordinary suite.
const SEED: u64 = 0x5265_706c_6179_766d;
/// Cases of the ordinary suite.
const CASES: u64 = 1_000_000;
/// How many failing codes are shown with an example.
const EXAMPLES: usize = 12;

fn number_from(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    Some(parsed.unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

/// What became of one code.
#[derive(Debug, Default, Clone)]
struct Tally {
    cases: u64,
    faults: u64,
    failures: u64,
    /// The software CPU raised #UD where the host did not.
    undefined: u64,
    /// Cases not tried since their result is undefined on this host.
    forgone: u64,
    /// Attempts that gave no valid case.
    ungenerated: u64,
    example: Option<String>,
}

/// The host's vendor and family, and whether it is the one whose undefined flags are the profile.
fn profile() -> (String, bool) {
    // SAFETY: CPUID is in the baseline of x86-64.
    #[allow(unused_unsafe, reason = "a safe function in newer compilers")]
    let (CpuidResult { ebx, ecx, edx, .. }, CpuidResult { eax, .. }) = unsafe { (__cpuid(0), __cpuid(1)) };
    let vendor: Vec<u8> = [ebx, edx, ecx].iter().flat_map(|r| r.to_le_bytes()).collect();
    let family = (eax >> 8 & 0xf) + if eax >> 8 & 0xf == 0xf { eax >> 20 & 0xff } else { 0 };
    let name = String::from_utf8_lossy(&vendor).into_owned();
    let is_profile = name == "AuthenticAMD" && family >= 0x17;
    (format!("{name} family {family:#x}"), is_profile)
}

/// Both executions and what they share.
struct Bench {
    native: Native,
    software: Software,
    background: Vec<u8>,
    is_profile: bool,
}

enum Verdict {
    Agree { fault: bool },
    Undefined,
    Differ(Vec<String>),
}

impl Bench {
    fn new(seed: u64, is_profile: bool) -> Result<Self, String> {
        let mut native = Native::new(GS_BASE)?;
        let mut software = Software::new(native.fs_base());
        let mut dice = Dice::new(seed, u64::MAX);
        let background: Vec<u8> = (0..native.window().len()).map(|_| dice.bits() as u8).collect();
        native.window().copy_from_slice(&background);
        software.window().copy_from_slice(&background);
        native.code().fill(0xcc);
        software.code().fill(0xcc);
        Ok(Self { native, software, background, is_profile })
    }

    fn try_case(&mut self, case: &Case) -> Verdict {
        for (address, bytes) in &case.patches {
            let at = (address - WINDOW) as usize;
            self.native.window()[at..at + bytes.len()].copy_from_slice(bytes);
            self.software.window()[at..at + bytes.len()].copy_from_slice(bytes);
        }
        let at = (case.input.rip - CODE) as usize;
        let place = at..(at + case.bytes.len()).min(self.native.code().len());
        let fitting = &case.bytes[..place.len()];
        self.native.code()[place.clone()].copy_from_slice(fitting);
        self.software.code()[place.clone()].copy_from_slice(fitting);

        let (registers, trap) = self.native.run(&case.input);
        let mut expected = Outcome::of_host(case, &registers, trap);
        let mut got = self.software.run(&case.input, case.bytes.len());
        let fault = expected.end != End::Retired;
        let other_address = !self.is_profile && processors::differ_in_fault_address(case);
        if is_save_or_restore(case) || is_environment(case) || other_address {
            // Which part of the area is touched first is the processor's affair.
            expected.end.forget_offset();
            got.end.forget_offset();
        }
        if !self.is_profile
            && fault
            && got.end != End::Retired
            && processors::differ_in_which_operand_faults(case)
        {
            got.end = expected.end;
        }
        if !self.is_profile && fault && processors::differ_in_what_a_fault_leaves(case) {
            // That there is a fault, and which, is all that they have in common.
            let end = expected.end;
            (expected, got) = (Outcome { end, ..got.clone() }, got);
            let host = self.native.window().to_vec();
            self.software.window().copy_from_slice(&host);
        }

        if catalogue::is_approximate(case.insn.code()) {
            got.forgive_last_places(&expected, &case.input);
        }

        self.native.code()[place.clone()].fill(0xcc);
        self.software.code()[place].fill(0xcc);
        self.forgive(case, fault);
        let ignored = if self.is_profile { 0 } else { u64::from(processors::undefined_flags(case)) };
        let mut lines = Vec::new();
        if expected != got {
            lines = expected.differences(&got, ignored);
        }
        if self.native.window() != self.software.window() {
            lines.extend(self.memory_differences());
        }
        self.native.window().copy_from_slice(&self.background);
        self.software.window().copy_from_slice(&self.background);
        let is_ud = |end| matches!(end, End::Fault { vector: 6, .. });
        if is_ud(got.end) && !is_ud(expected.end) {
            Verdict::Undefined
        } else if lines.is_empty() {
            Verdict::Agree { fault: expected.end != End::Retired }
        } else {
            Verdict::Differ(lines)
        }
    }

    /// Makes equal what may differ in memory.
    fn forgive(&mut self, case: &Case, fault: bool) {
        // FOP, FIP and FDP are canonical in ours; the mask of MXCSR is the processor's.
        let stores = matches!(case.insn.mnemonic(), Mnemonic::Fnstenv | Mnemonic::Fnsave);
        let ranges = match case.insn.memory_size().size() {
            _ if is_save_or_restore(case) => &[(6, 24), (28, 32)][..],
            14 | 94 if stores => &[(6, 14)],
            28 | 108 if stores => &[(12, 26)],
            _ => &[],
        };
        let bytes = self.native.window().to_vec();
        if fault && case.insn.mnemonic() == Mnemonic::Enter {
            // A processor leaves behind what it has pushed before the fault; ours leaves nothing.
            self.software.window().copy_from_slice(&bytes);
        }
        let Some(address) = case.memory_address.filter(|_| !ranges.is_empty()) else { return };
        for &(from, to) in ranges {
            for i in from..to {
                let index = address.wrapping_add(i as u64).wrapping_sub(WINDOW) as usize;
                if let Some(&byte) = bytes.get(index) {
                    self.software.window()[index] = byte;
                }
            }
        }
    }

    fn memory_differences(&mut self) -> Vec<String> {
        let (host, software) = (self.native.window().to_vec(), self.software.window().to_vec());
        let differing = (0..host.len()).filter(|&i| host[i] != software[i]);
        differing
            .take(16)
            .map(|i| {
                let address = WINDOW + i as u64;
                format!("[{address:#x}] expected {:#04x}  got {:#04x}", host[i], software[i])
            })
            .collect()
    }
}

/// FSTENV, FSAVE and their inverses.
fn is_environment(case: &Case) -> bool {
    matches!(case.insn.mnemonic(), Mnemonic::Fnstenv | Mnemonic::Fldenv | Mnemonic::Fnsave | Mnemonic::Frstor)
}

/// FXSAVE and FXRSTOR.
fn is_save_or_restore(case: &Case) -> bool {
    matches!(
        case.insn.mnemonic(),
        Mnemonic::Fxsave | Mnemonic::Fxsave64 | Mnemonic::Fxrstor | Mnemonic::Fxrstor64
    )
}

fn describe(case: &Case, seed: u64, lines: &[String]) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    let mut assembly = String::new();
    NasmFormatter::new().format(&case.insn, &mut assembly);
    let bytes: Vec<_> = case.bytes.iter().map(|b| format!("{b:02x}")).collect();
    let lock = if case.bad_lock { " (with a LOCK that it does not take)" } else { "" };
    let stray = if case.stray_prefix { " (with a stray prefix)" } else { "" };
    let _ = writeln!(text, "{:?}: {assembly}{lock}{stray}", case.insn.code());
    let _ = writeln!(text, "  bytes    {} at {:#x}", bytes.join(" "), case.input.rip);
    let _ = writeln!(text, "  {}", registers(&case.input).join("\n  "));
    for (address, bytes) in &case.patches {
        let bytes: Vec<_> = bytes.iter().take(64).map(|b| format!("{b:02x}")).collect();
        let _ = writeln!(text, "  [{address:#x}] {}", bytes.join(" "));
    }
    for line in lines {
        let _ = writeln!(text, "  ** {line}");
    }
    let _ = writeln!(
        text,
        "  again:   REPLAYVM_DIFF_SEED={seed:#x} REPLAYVM_DIFF_CASE={} cargo test -p replayvm-cpu --test differential",
        case.number
    );
    text
}

fn registers(input: &Registers) -> Vec<String> {
    let g = &input.gpr;
    let mut lines = vec![
        format!("rax {:016x} rcx {:016x} rdx {:016x} rbx {:016x}", g[0], g[1], g[2], g[3]),
        format!("rsp {:016x} rbp {:016x} rsi {:016x} rdi {:016x}", g[4], g[5], g[6], g[7]),
        format!("r8  {:016x} r9  {:016x} r10 {:016x} r11 {:016x}", g[8], g[9], g[10], g[11]),
        format!("r12 {:016x} r13 {:016x} r14 {:016x} r15 {:016x}", g[12], g[13], g[14], g[15]),
        format!("rflags {}  mxcsr {:#06x}  x87 {:x?}", flags(input.rflags), input.mxcsr(), input.x87()),
    ];
    for i in (0..8).step_by(2) {
        lines.push(format!("st{i}  {:020x} st{}  {:020x}", input.st(i), i + 1, input.st(i + 1)));
    }
    for i in (0..16).step_by(2) {
        lines.push(format!("xmm{i:<2} {:032x} xmm{:<2} {:032x}", input.xmm(i), i + 1, input.xmm(i + 1)));
    }
    lines
}

pub fn run() -> ExitCode {
    let seed = number_from("REPLAYVM_DIFF_SEED").unwrap_or(SEED);
    let (host, is_profile) = profile();
    let how = if is_profile { "every flag is compared" } else { "undefined flags are not compared" };
    println!("differential: seed {seed:#x}; host {host}: {how}");
    if !is_profile {
        println!("SKIPPED: x87 arithmetic, which is as on the profile's processor, and this is another");
    }
    let supported = catalogue::supported();
    let codes: Vec<Code> =
        supported.iter().copied().filter(|&c| catalogue::not_testable(c).is_none()).collect();
    let mut bench = match Bench::new(seed, is_profile) {
        Ok(bench) => bench,
        Err(why) => {
            println!("SKIPPED: {why}");
            return ExitCode::SUCCESS;
        }
    };
    let mut generator = Generator::new(seed, bench.native.fs_base());
    if let Some(number) = number_from("REPLAYVM_DIFF_CASE") {
        return one_case(&mut bench, &mut generator, &codes, seed, number);
    }

    let only = std::env::var("REPLAYVM_DIFF_ONLY").unwrap_or_default();
    let selected: Vec<usize> = (0..codes.len())
        .filter(|&i| format!("{:?}", codes[i]).contains(&only) || catalogue::family(codes[i]).contains(&only))
        .collect();
    let cases = number_from("REPLAYVM_DIFF_CASES").unwrap_or(CASES);
    let rounds = cases.div_ceil(selected.len().max(1) as u64);
    let mut tallies = vec![Tally::default(); codes.len()];
    let started = Instant::now();
    for round in 0..rounds {
        for &i in &selected {
            let number = round * codes.len() as u64 + i as u64;
            let tally = &mut tallies[i];
            // A code that cannot be generated is not tried for ever.
            if tally.cases == 0 && tally.ungenerated > 20 {
                continue;
            }
            let Some(case) = generator.case(codes[i], number) else {
                tally.ungenerated += 1;
                continue;
            };
            if !is_profile && processors::differ(&case) {
                tally.forgone += 1;
                continue;
            }
            tally.cases += 1;
            match bench.try_case(&case) {
                Verdict::Agree { fault } => tally.faults += u64::from(fault),
                Verdict::Undefined => {
                    tally.undefined += 1;
                    let line = "the software CPU raises #UD".to_owned();
                    tally.example.get_or_insert_with(|| describe(&case, seed, &[line]));
                }
                Verdict::Differ(lines) => {
                    tally.failures += 1;
                    // A difference says more than a missing instruction.
                    if tally.failures == 1 {
                        tally.example = Some(describe(&case, seed, &lines));
                    }
                }
            }
        }
    }
    report(&codes, &selected, &supported, &tallies, started.elapsed().as_secs_f64(), only.is_empty())
}

fn one_case(
    bench: &mut Bench,
    generator: &mut Generator,
    codes: &[Code],
    seed: u64,
    number: u64,
) -> ExitCode {
    let code = codes[(number % codes.len() as u64) as usize];
    let Some(case) = generator.case(code, number) else {
        println!("{code:?}: no valid case of this number");
        return ExitCode::FAILURE;
    };
    println!("{}", describe(&case, seed, &[]));
    match bench.try_case(&case) {
        Verdict::Agree { fault } => println!("agree{}", if fault { " (a fault)" } else { "" }),
        Verdict::Undefined => println!("the software CPU raises #UD"),
        Verdict::Differ(lines) => {
            println!("differ:\n  {}", lines.join("\n  "));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

#[derive(Default)]
struct Row {
    supported: usize,
    testable: usize,
    covered: usize,
    undefined: usize,
    failing: usize,
    cases: u64,
    faults: u64,
}

fn report(
    codes: &[Code],
    selected: &[usize],
    supported: &[Code],
    tallies: &[Tally],
    seconds: f64,
    complete: bool,
) -> ExitCode {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    let mut reasons: BTreeMap<&str, Vec<Code>> = BTreeMap::new();
    for &code in supported {
        rows.entry(catalogue::family(code)).or_default().supported += 1;
        if let Some(why) = catalogue::not_testable(code) {
            reasons.entry(why).or_default().push(code);
        }
    }
    let verbose = std::env::var_os("REPLAYVM_DIFF_VERBOSE").is_some();
    let (mut shown, mut failing, mut undefined, mut uncovered) = (0, Vec::new(), Vec::new(), Vec::new());
    for &i in selected {
        let (code, tally) = (codes[i], &tallies[i]);
        let row = rows.entry(catalogue::family(code)).or_default();
        row.testable += 1;
        row.cases += tally.cases;
        row.faults += tally.faults;
        row.covered += usize::from(tally.cases > 0);
        if tally.cases + tally.forgone == 0 {
            uncovered.push(code);
        } else if tally.failures > 0 {
            row.failing += 1;
            failing.push(format!("{code:?} ({} of {})", tally.failures, tally.cases));
            if let Some(example) = tally.example.as_ref().filter(|_| verbose || shown < EXAMPLES) {
                println!("\n{example}");
                shown += 1;
            }
        }
        if tally.undefined > 0 {
            row.undefined += 1;
            undefined.push(format!("{code:?} ({} of {})", tally.undefined, tally.cases));
            if tally.undefined < tally.cases && tally.failures == 0 && (verbose || shown < EXAMPLES) {
                println!("\n{}", tally.example.as_deref().unwrap_or_default());
                shown += 1;
            }
        }
    }
    let cases: u64 = tallies.iter().map(|t| t.cases).sum();
    println!("\nsupported, but the host cannot be asked:");
    for (why, codes) in reasons {
        println!("  {why}: {}", names(codes.iter().map(|c| format!("{c:?}"))));
    }
    println!(
        "\n{:18} {:>9} {:>8} {:>7} {:>5} {:>7} {:>9} {:>9}",
        "family", "supported", "testable", "covered", "#UD", "failing", "cases", "faults"
    );
    for (family, r) in &rows {
        println!(
            "{family:18} {:>9} {:>8} {:>7} {:>5} {:>7} {:>9} {:>9}",
            r.supported, r.testable, r.covered, r.undefined, r.failing, r.cases, r.faults
        );
    }
    println!("{cases} cases in {seconds:.1} s, {:.0} a second", cases as f64 / seconds);
    for (what, list) in [
        ("the two differ", &failing),
        ("#UD from the software CPU", &undefined),
        ("never exercised", &uncovered.iter().map(|c| format!("{c:?}")).collect()),
    ] {
        if !list.is_empty() {
            println!("\n{what}: {}", names(list.iter().cloned()));
        }
    }
    let bad = !failing.is_empty() || !undefined.is_empty() || (complete && !uncovered.is_empty());
    if bad {
        println!("\ndifferential: FAILED");
        return ExitCode::FAILURE;
    }
    println!("\ndifferential: ok");
    ExitCode::SUCCESS
}

fn names(list: impl Iterator<Item = String>) -> String {
    list.collect::<Vec<_>>().join(", ")
}
