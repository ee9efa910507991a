//! Random instructions in lockstep: what the software CPU says of them, and what the processor does.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use recorder::Position;
use replayvm::engine::{Breakpoints, EngineError};
use replayvm::machine::Machine;
use replayvm_cpu::{Attributes, Mode, SegmentName};

use super::emulated;
use super::guest::{self, CODE, DATA, USER_CODE};
use super::run::{if_available, stepping};

/// Descriptor and page tables lie below.
const TABLES_END: usize = 0x1_4000;

/// Steps in each mode; `REPLAYVM_RANDOM_STEPS` overrides.
fn steps() -> u64 {
    std::env::var("REPLAYVM_RANDOM_STEPS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000)
}

/// Random bytes that look like code more often than not: prefixes and the longer opcode maps have their share.
fn random_code(rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut code = Vec::new();
    for prefix in [0x66, 0xf2, 0xf3, 0xf0] {
        if rng.next_u32().is_multiple_of(6) {
            code.push(prefix);
        }
    }
    if rng.next_u32().is_multiple_of(2) {
        code.push(0x48 | (rng.next_u32() & 7) as u8);
    }
    if rng.next_u32().is_multiple_of(2) {
        code.push(0x0f);
        if rng.next_u32().is_multiple_of(4) {
            code.push(if rng.next_u32().is_multiple_of(2) { 0x38 } else { 0x3a });
        }
    }
    while code.len() < 20 {
        code.push(rng.next_u32() as u8);
    }
    code
}

fn random_registers(machine: &mut Machine, rng: &mut ChaCha8Rng) {
    let state = &mut machine.cpu.state;
    for gpr in &mut state.gpr {
        *gpr = match rng.next_u32() % 4 {
            0 => rng.next_u64(),
            1 => rng.next_u64() & 0x3f,
            _ => DATA + (rng.next_u64() & 0x1fff),
        };
    }
    // Few iterations, so that nothing far away is overwritten.
    state.gpr[1] &= 0x3f;
    state.gpr[4] = DATA + 0x4000 + (rng.next_u64() & 0xfff);
    for xmm in &mut state.xmm {
        *xmm = match rng.next_u32() % 3 {
            0 => u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64()),
            1 => u128::from((f64::from(rng.next_u32()) / 1000.0).to_bits()),
            _ => u128::from((rng.next_u32() as f32 / 1000.0).to_bits()) * 0x1_0000_0001,
        };
    }
    state.rflags = 2 | (rng.next_u64() & 0xcd5);
}

fn in_lockstep(mut machine: Machine, seed: u64, words: &str) {
    let Some(mut engine) = if_available("lockstep", &machine) else { return };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let start = machine.cpu.state.clone();
    let linear = start.linear_rip();
    let emulated = emulated::by_qemu();
    let long64 = start.mode() == Mode::Long64;
    let mut left_out = std::collections::BTreeMap::new();
    let mut differences = std::collections::BTreeMap::<String, (u64, String)>::new();
    // Accessed and dirty once and for all, so that more goes to KVM.
    for page in 0..512 {
        let entry = guest::page_entry(page << 12);
        let [low] = machine.platform.ram.load::<1>(entry).unwrap();
        if machine.cpu.state.cr3 != 0 && low & 1 != 0 {
            machine.platform.ram.store(entry, [low | 0x60]);
        }
    }
    for slot in [0x1_0000, 0x1_1000, 0x1_2000] {
        if machine.cpu.state.cr3 != 0 {
            machine.platform.ram.store(slot, [0x27_u8]);
        }
    }
    let tables = machine.platform.ram.slice(0, TABLES_END).unwrap().to_vec();
    for _ in 0..steps() {
        machine.platform.signal = None;
        machine.platform.devices_changed(0);
        machine.platform.ram.write_slice(0, &tables).unwrap();
        machine.cpu.state = start.clone();
        random_registers(&mut machine, &mut rng);
        let code = random_code(&mut rng);
        machine.platform.ram.write_slice(linear, &code).unwrap();
        let mut noise = [0; 64];
        for byte in &mut noise {
            *byte = rng.next_u32() as u8;
        }
        let at = DATA + (rng.next_u64() & 0x1fc0);
        machine.platform.ram.write_slice(at, &noise).unwrap();
        machine.cpu.state_changed();
        let before = machine.cpu.state.clone();
        match engine.run(&mut machine, Position::new(0, 1), &Breakpoints::default()) {
            Ok(_) => {}
            Err(error) => {
                if emulated && let Some(why) = emulated::known(&code, long64, &error) {
                    *left_out.entry(why).or_insert(0_u64) += 1;
                    continue;
                }
                let mnemonic = match &error {
                    EngineError::Differ(difference) => {
                        let name = difference.instruction.split_whitespace().next().unwrap_or("").to_owned();
                        let what: Vec<_> = difference
                            .components
                            .iter()
                            .map(|c| c.0.split(' ').next().unwrap_or(""))
                            .collect();
                        format!("{name} {what:?}")
                    }
                    other => other.to_string().chars().take(60).collect(),
                };
                let entry = differences.entry(mnemonic).or_insert_with(|| {
                    (
                        0,
                        format!(
                            "{error}; code {code:02x?}; gpr {:x?} flags {:x} xmm {:x?}",
                            before.gpr, before.rflags, before.xmm
                        ),
                    )
                });
                entry.0 += 1;
            }
        }
    }
    eprintln!("{words}: {}; {} faults compared", engine.statistics(), stepping(&*engine).faults_compared);
    for (why, count) in &left_out {
        eprintln!("not compared with QEMU's emulated processor x{count}: {why}");
    }
    for (what, (count, example)) in &differences {
        eprintln!("DIFFERS {what} x{count}: {example}");
    }
    assert!(differences.is_empty(), "{words}: {} kinds of difference", differences.len());
}

#[test]
fn in_64_bit_kernel_mode() {
    in_lockstep(guest::long64(|_| {}), 1, "64-bit kernel mode");
}

#[test]
fn in_64_bit_user_mode() {
    let mut machine = guest::long64(|_| {});
    let state = &mut machine.cpu.state;
    for segment in &mut state.segments {
        segment.selector = guest::USER_DATA;
        segment.attributes = Attributes(0xc0f3);
    }
    let code = state.segment_mut(SegmentName::Cs);
    code.selector = guest::USER_CODE_SELECTOR;
    code.attributes = Attributes(0xa0fb);
    state.rip = USER_CODE;
    in_lockstep(machine, 2, "64-bit user mode");
}

#[test]
fn in_compatibility_mode() {
    let mut machine = guest::long64(|_| {});
    let state = &mut machine.cpu.state;
    for segment in &mut state.segments {
        segment.selector = guest::USER_DATA;
        segment.attributes = Attributes(0xc0f3);
    }
    let code = state.segment_mut(SegmentName::Cs);
    code.selector = guest::USER_CODE_SELECTOR;
    code.attributes = Attributes(0xc0fb);
    state.rip = USER_CODE;
    in_lockstep(machine, 3, "compatibility mode");
}

#[test]
fn in_32_bit_protected_mode() {
    in_lockstep(guest::protected32(|_| {}), 4, "32-bit protected mode");
}

#[test]
fn in_real_mode() {
    let mut machine = guest::real(|_| {});
    machine.cpu.state.rip = CODE & 0xff;
    in_lockstep(machine, 5, "real mode");
}
