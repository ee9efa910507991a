//! Programs as a compiler makes them, for exactness and for speed.

use std::process::Command;
use std::time::{Duration, Instant};

use replayvm::engine::kvm::translate::{Layout, Translator, Why};

use crate::machine::{CODE, CODE_LEN, HEAP, STACK};
use crate::native::{Native, Registers};
use crate::place::{CODE_MODEL, FAR, LAYOUT};
use crate::twins::{Ended, Memory, Twins};

/// The programs in `guest/start.S`, with how much they are to do for a comparison and for a measurement.
const PROGRAMS: [(&str, u64, u64); 11] = [
    ("sha256", 20, 40_000),
    ("quicksort", 600, 400_000),
    ("heapsort", 500, 200_000),
    ("crc32", 2_000, 30_000_000),
    ("crc_by_bit", 1_000, 4_000_000),
    ("strings", 200, 1_000_000),
    ("fibonacci", 12, 32),
    ("compress", 1, 20),
    ("interpret", 5_000, 8_000_000),
    ("floats", 2_000, 8_000_000),
    ("atomics", 1_000, 1_000_000),
];

/// The programs, compiled for [`CODE`]. `None`, said aloud: there is no compiler.
fn compile(level: &str) -> Option<Vec<u8>> {
    let directory = tempfile::tempdir().unwrap();
    let guest = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/translate/guest");
    let [elf, flat] = ["guest.elf", "guest.bin"].map(|name| directory.path().join(name));
    let built = Command::new("gcc")
        .args([
            level,
            "-static",
            "-nostdlib",
            "-ffreestanding",
            CODE_MODEL,
            "-no-pie",
            "-fno-stack-protector",
        ])
        .args([
            "-fno-asynchronous-unwind-tables",
            "-fno-tree-loop-distribute-patterns",
            "-Wl,--build-id=none",
        ])
        .args([
            "-mno-red-zone",
            "-mpopcnt",
            "-fcf-protection=none",
            "-w",
            "-Wl,-N",
            &format!("-Wl,-Ttext={CODE:#x}"),
            &format!("-DHEAP=((u8*){HEAP:#x})"),
        ])
        .args(["-o"])
        .arg(&elf)
        .args([format!("{guest}/start.S"), format!("{guest}/programs.c")])
        .status();
    match built {
        Ok(status) => assert!(status.success(), "gcc fails"),
        Err(why) => {
            println!("SKIPPED: no gcc: {why}");
            return None;
        }
    }
    let copied = Command::new("objcopy").args(["-O", "binary"]).arg(&elf).arg(&flat).status();
    match copied {
        Ok(status) => assert!(status.success(), "objcopy fails"),
        Err(why) => {
            println!("SKIPPED: no objcopy: {why}");
            return None;
        }
    }
    let code = std::fs::read(flat).unwrap();
    assert!(code.len() <= CODE_LEN);
    Some(code)
}

fn compare(layout: Layout, level: &str) {
    let Some(code) = compile(level) else { return };
    for (number, (name, amount, _)) in PROGRAMS.iter().enumerate() {
        let mut twins = match Twins::new(layout, &code, &[0; 0x1000]) {
            Ok(twins) => twins,
            Err(why) => {
                println!("SKIPPED: {why}");
                return;
            }
        };
        twins.use_heap(0x10_0000);
        twins.restart(CODE, |state| {
            state.gpr[0] = number as u64;
            state.gpr[7] = *amount;
            state.gpr[4] = STACK + 0x1000;
        });
        // Every tick at first, then in ever longer stretches.
        let mut ticks = 1;
        let ended = loop {
            let ended = twins.run(ticks);
            if ended != Ended::Budget {
                break ended;
            }
            ticks = if twins.cpu.state.now.tick < 1000 { 1 } else { 1 + ticks + ticks / 4 };
        };
        assert_eq!(ended, Ended::Exception(6), "{name}");
        println!("{name} {level}: {:?}", twins.tally);
    }
}

#[test]
fn optimised_programs() {
    compare(LAYOUT, "-O2");
}

#[test]
fn programs_that_are_not_optimised() {
    compare(LAYOUT, "-O0");
}

#[test]
fn programs_with_vectors_out_of_reach() {
    compare(FAR, "-O3");
}

/// Native and translated code side by side. Says how much longer the latter takes.
#[test]
#[ignore = "a measurement"]
#[allow(clippy::disallowed_methods, reason = "it measures")]
fn speed() {
    let Some(code) = compile("-O2") else { return };
    let mut native = Native::new(LAYOUT).unwrap();
    let mut bytes = vec![0; CODE_LEN];
    bytes[..code.len()].copy_from_slice(&code);
    native.write(CODE, &bytes, false);
    native.execute(CODE, CODE_LEN);
    println!("{:12} {:>9} {:>9} {:>6} {:>9}", "", "native", "translated", "ratio", "instr/ns");
    for (number, (name, _, amount)) in PROGRAMS.iter().enumerate() {
        let mut registers = Registers::new();
        registers.gpr[0] = number as u64;
        registers.gpr[7] = *amount;
        registers.gpr[4] = STACK + 0x1000;
        registers.set_mxcsr(0x1f80);
        let mut best = [Duration::MAX; 2];
        let (mut instructions, mut costs) = (0, Costs::default());
        for _ in 0..3 {
            registers.rip = CODE;
            let started = Instant::now();
            let (plain, _) = native.run(&registers);
            best[0] = best[0].min(started.elapsed());
            let started = Instant::now();
            let (result, count, cost) = translated(&mut native, &registers, &bytes);
            best[1] = best[1].min(started.elapsed());
            assert_eq!(result, plain.gpr[0], "{name}");
            (instructions, costs) = (count, cost);
        }
        let [plain, ours] = best.map(|time| time.as_secs_f64());
        println!(
            "{name:12} {:>7.1}ms {:>7.1}ms {:>6.2} {:>9.2}   translated {} times in {:?}, {} bytes",
            plain * 1e3,
            ours * 1e3,
            ours / plain,
            instructions as f64 / ours * 1e-9,
            costs.times,
            costs.spent,
            costs.bytes
        );
    }
}

/// What translating has cost.
#[derive(Debug, Default, Clone, Copy)]
struct Costs {
    times: u64,
    spent: Duration,
    bytes: usize,
}

/// A program from [`CODE`] to its end. Its result, how many instructions it was, and what translating it has cost.
#[allow(clippy::disallowed_methods, reason = "it measures")]
fn translated(native: &mut Native, registers: &Registers, code: &[u8]) -> (u64, u64, Costs) {
    let mut translator = Translator::new(LAYOUT);
    translator.clear(&mut native.area());
    let mut costs = Costs::default();
    let (mut registers, mut rip, mut offset, mut instructions) = (*registers, CODE, 0, 0);
    loop {
        let stack = native.read(STACK, 0x1000).to_vec();
        let data = (STACK, stack.as_slice());
        let mut memory =
            Memory { at: CODE, bytes: code, registers: registers.gpr, data, asked: 0, lies: false };
        let entry = match translator.entry(rip) {
            Some(entry) => entry,
            None => {
                let started = Instant::now();
                let entry = translator.translate(&mut native.area(), rip, &mut memory);
                costs.spent += started.elapsed();
                costs.times += 1;
                costs.bytes = translator.used(&native.area());
                match entry {
                    Ok(entry) => entry,
                    Err(_) => return (registers.gpr[0], instructions, costs),
                }
            }
        };
        translator.begin(&mut native.area(), u64::MAX, offset);
        registers.rip = entry;
        let (mut out, _) = native.run(&registers);
        let (mut gpr, mut rflags) = (out.gpr, out.rflags);
        let recovered = translator.recover(&native.area(), out.rip, &mut gpr, &mut rflags).unwrap();
        (out.gpr, out.rflags) = (gpr, rflags & !0x10000);
        (rip, offset) = (recovered.rip, recovered.offset);
        instructions += recovered.instructions;
        registers = out;
        if recovered.why == Why::Leave {
            return (registers.gpr[0], instructions, costs);
        }
        assert!(matches!(recovered.why, Why::Budget | Why::Untranslated), "{recovered:x?}");
    }
}
