//! Random programs.

use std::collections::BTreeMap;

use iced_x86::{Decoder, DecoderOptions, Mnemonic, OpKind};
use replayvm::engine::kvm::translate::Layout;
use replayvm_cpu::CpuState;

use crate::machine::{CODE, CONSTANT, DATA, STACK};
use crate::place::{FAR, LAYOUT};
use crate::programs::{Dice, Spice, program};
use crate::twins::{Ended, Tally, Twins};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// What a kind of programs is made of.
pub struct Make {
    pub program: fn(&mut Dice) -> Vec<u8>,
    /// A page of it.
    pub data: fn(&mut Dice) -> Vec<u8>,
    /// Where in so many bytes of code it goes on after an exception, and with what.
    pub begin: fn(&mut Dice, usize, &mut CpuState),
}

fn data(dice: &mut Dice) -> Vec<u8> {
    (0..0x1000).map(|_| dice.bits() as u8).collect()
}

/// Registers such that programs find memory, anywhere in the program.
pub fn place(dice: &mut Dice, code: usize, state: &mut CpuState) {
    state.rip = CODE + dice.below(code as u64);
    for register in [3, 6, 7] {
        state.gpr[register] = match dice.below(10) {
            0 => DATA + 0xf80 + dice.below(0x80),
            1 => DATA + 0x1f80 + dice.below(0x100),
            2 => CONSTANT + dice.below(0x1000),
            _ => DATA + 0x100 + dice.below(0xd00),
        };
    }
    for register in 12..16 {
        state.gpr[register] = dice.below(32);
    }
    state.gpr[4] = STACK + 0x800 + 8 * dice.below(64);
    state.rflags = dice.bits() & 0x8d5 | 0x202;
}

/// Makes plain moves of accesses that lock the bus where they are not aligned, which hosts punish by delays.
fn without_locks(code: &mut [u8]) {
    let mut decoder = Decoder::with_ip(64, code, CODE, DecoderOptions::NONE);
    let mut places = Vec::new();
    while decoder.can_decode() {
        let at = decoder.position();
        let insn = decoder.decode();
        if insn.has_lock_prefix() || insn.mnemonic() == Mnemonic::Xchg && insn.op0_kind() == OpKind::Memory {
            places.push(at..decoder.position());
        }
    }
    for place in places {
        for byte in &mut code[place] {
            match *byte {
                0xf0 => *byte = 0x3e,
                0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 => {}
                0x86 | 0x87 => {
                    *byte += 2;
                    break;
                }
                _ => break,
            }
        }
    }
}

pub fn play(kind: u64, layout: Layout, make: Make) {
    let seed = number("REPLAYVM_TRANSLATE_SEED", 1);
    let (mut tally, mut strays) = (Tally::default(), 0);
    let mut left: BTreeMap<String, u64> = BTreeMap::new();
    let programs = number("REPLAYVM_TRANSLATE_PROGRAMS", 60);
    for n in 0..programs {
        let seed = seed.wrapping_mul(1_000_003) ^ kind << 32 ^ n;
        let mut dice = Dice::new(seed);
        let mut code = (make.program)(&mut dice);
        without_locks(&mut code);
        let data = (make.data)(&mut dice);
        let mut twins = match Twins::new(layout, &code, &data) {
            Ok(twins) => twins,
            Err(why) => {
                println!("SKIPPED: {why}");
                return;
            }
        };
        twins.restart(CODE, |state| {
            (make.begin)(&mut dice, code.len(), state);
            state.rip = CODE;
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..300 {
                for page in [DATA, DATA + 0x1000, CONSTANT, STACK] {
                    if dice.one_in(3) {
                        twins.hide(page);
                    }
                }
                let ticks = if dice.one_in(3) { 1 } else { 1 + dice.below(60) };
                match twins.run(ticks) {
                    Ended::Budget => {}
                    Ended::Stray => {
                        strays += 1;
                        break;
                    }
                    Ended::Exception(_) | Ended::Elsewhere => {
                        twins.restart(CODE, |state| (make.begin)(&mut dice, code.len(), state));
                    }
                }
            }
        }));
        add(&mut tally, &twins.tally);
        twins.left.iter().for_each(|(name, n)| *left.entry(name.clone()).or_default() += n);
        if let Err(panic) = result {
            eprintln!("kind {kind} program {n} seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
    println!("{tally:?}, {strays} strays");
    let mut left: Vec<_> = left.into_iter().collect();
    left.sort_by_key(|(_, n)| u64::MAX - n);
    left.truncate(24);
    println!("left to the software CPU most often: {left:?}");
    assert!(strays <= programs / 4, "{strays} of {programs} programs went astray");
}

fn add(all: &mut Tally, one: &Tally) {
    all.faults += one.faults;
    all.resolved += one.resolved;
    all.budgets += one.budgets;
    all.untranslated += one.untranslated;
    all.leaves += one.leaves;
    all.stalling += one.stalling;
    all.refused += one.refused;
    all.instructions += one.instructions;
    all.soft += one.soft;
}

#[test]
fn programs_that_compute() {
    play(1, LAYOUT, Make { program: |dice| program(dice, Spice::default()), data, begin: place });
}

#[test]
fn programs_out_of_reach() {
    play(2, FAR, Make { program: |dice| program(dice, Spice::default()), data, begin: place });
}
