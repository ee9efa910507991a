//! Random programs, run by both forms.

use replayvm_cpu::{Moment, Step};

use crate::machine::{CODE, CODE64, DATA, HANDLERS, IDT, Machine, PT, RING0_STACK, STACK, USER_STACK, gate};
use crate::programs::{Dice, LENGTH, Spice, program};
use crate::twins::Twins;

/// How often something has been caught, in memory.
const COUNTER: u64 = 0x7000;
/// The vector of interrupts.
const VECTOR: u8 = 0x30;

/// Exceptions and traps go on somewhere in the program with the stack as it was in the beginning; the interrupt
/// returns.
fn handlers(machine: &mut Machine, user: bool, length: usize) {
    use iced_x86::code_asm::*;
    machine.assemble(64, HANDLERS, |a| {
        a.inc(dword_ptr(COUNTER)).unwrap();
        a.mov(rsp, RING0_STACK).unwrap();
        a.mov(eax, dword_ptr(COUNTER)).unwrap();
        a.imul_3(rax, rax, 0x35).unwrap();
        a.xor(edx, edx).unwrap();
        a.mov(ecx, length as u32).unwrap();
        a.div(rcx).unwrap();
        a.add(rdx, CODE as i32).unwrap();
        if user {
            a.push(0x23).unwrap();
            a.push(USER_STACK as i32 - 0x100).unwrap();
            a.push(0x202).unwrap();
            a.push(0x2b).unwrap();
            a.push(rdx).unwrap();
            a.iretq().unwrap();
        } else {
            a.mov(rsp, STACK).unwrap();
            a.push(0x202).unwrap();
            a.popfq().unwrap();
            a.jmp(rdx).unwrap();
        }
    });
    machine.assemble(64, HANDLERS + 0x800, |a| {
        a.push(rax).unwrap();
        a.inc(dword_ptr(COUNTER + 8)).unwrap();
        a.pop(rax).unwrap();
        a.iretq().unwrap();
    });
    for vector in 0..256 {
        let target = if vector == u64::from(VECTOR) { HANDLERS + 0x800 } else { HANDLERS };
        machine.bus.put64(IDT + 16 * vector, gate(target, CODE64, if vector == 0x40 { 0xee } else { 0x8e }));
    }
}

fn machine(code: &[u8], user: bool) -> Machine {
    let mut machine = Machine::long();
    if user {
        machine = machine.user();
        machine.cpu.state.rip = CODE;
        machine.cpu.state.rflags |= 0x200;
        for page in [CODE, CODE + 0x1000, DATA, DATA + 0x1000] {
            machine.pte(page, |entry| entry | 4);
        }
    }
    // The third page of data is not there, the fourth cannot be written.
    machine.pte(DATA + 0x2000, |_| 0);
    machine.pte(DATA + 0x3000, |entry| entry & !2);
    machine.bus.put(CODE, code);
    handlers(&mut machine, user, code.len());
    machine
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// Programs of one kind, each for some thousand steps in runs of all lengths.
fn programs(kind: u64, user: bool, spice: Spice, play: impl Fn(&mut Twins, &mut Dice, usize)) {
    let seed = number("REPLAYVM_BLOCKS_SEED", 1);
    for n in 0..number("REPLAYVM_BLOCKS_PROGRAMS", 30) {
        let seed = seed.wrapping_mul(1_000_003) ^ kind << 32 ^ n;
        let mut dice = Dice::new(seed);
        let code = program(&mut dice, spice);
        assert!(code.len() <= LENGTH + 0x100);
        let mut twins = Twins::new(|| machine(&code, user));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..40 {
                play(&mut twins, &mut dice, round);
                if twins.plain.cpu.state.shutdown {
                    break;
                }
                if twins.plain.cpu.state.halted {
                    twins.both(|machine| machine.bus.interrupt = Some(VECTOR));
                }
            }
        }));
        if let Err(panic) = result {
            eprintln!("kind {kind} program {n} seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

fn any_run(twins: &mut Twins, dice: &mut Dice) -> Step {
    match dice.below(4) {
        0 => {
            let steps = 1 + dice.below(40) as u32;
            twins.steps(steps)
        }
        1 => {
            let ticks = dice.below(40);
            twins.ticks(ticks)
        }
        2 => {
            let now = twins.plain.cpu.state.now;
            let (tick, offset) = (now.tick + dice.below(50), dice.below(30) as u32);
            twins.run(now.tick + dice.below(50), Moment { tick, offset })
        }
        _ => twins.ticks(200),
    }
}

#[test]
fn programs_that_compute() {
    programs(1, false, Spice::default(), |twins, dice, _| {
        any_run(twins, dice);
    });
}

#[test]
fn programs_at_cpl_3() {
    programs(2, true, Spice::default(), |twins, dice, _| {
        any_run(twins, dice);
    });
}

#[test]
fn runs_that_end_where_user_code_begins_or_ends() {
    programs(7, true, Spice { code: true, ..Spice::default() }, |twins, dice, round| {
        twins.one_privilege = true;
        if dice.one_in(2) {
            twins.both(|machine| machine.bus.interrupt = Some(VECTOR));
        }
        any_run(twins, dice);
        assert!(round < 39 || twins.changes > 1, "no run has ended there");
    });
}

#[test]
fn programs_that_change_their_own_code() {
    programs(3, false, Spice { code: true, ..Spice::default() }, |twins, dice, _| {
        any_run(twins, dice);
    });
}

#[test]
fn programs_that_change_their_page_tables() {
    let spice = Spice { tables: true, code: true, system: true };
    programs(4, false, spice, |twins, dice, _| {
        any_run(twins, dice);
    });
}

#[test]
fn programs_of_a_kernel_with_interrupts() {
    let spice = Spice { system: true, ..Spice::default() };
    programs(5, false, spice, |twins, dice, _| {
        if dice.one_in(2) {
            twins.both(|machine| machine.bus.interrupt = Some(VECTOR));
        }
        if dice.one_in(8) {
            twins.both(|machine| machine.bus.nmi = true);
        }
        any_run(twins, dice);
    });
}

#[test]
fn programs_step_by_step() {
    let spice = Spice { system: true, code: true, tables: true };
    programs(6, false, spice, |twins, _, round| {
        for _ in 0..50 {
            if twins.steps(1 + round as u32 % 8) == Step::Shutdown {
                return;
            }
        }
    });
}

#[test]
fn programs_with_breakpoints() {
    programs(7, false, Spice { code: true, ..Spice::default() }, |twins, dice, _| {
        let addresses = (0..dice.below(20)).map(|_| CODE + dice.below(LENGTH as u64)).collect();
        twins.break_at(addresses);
        for _ in 0..10 {
            any_run(twins, dice);
        }
    });
}

#[test]
fn programs_that_somebody_else_writes_to() {
    programs(8, false, Spice::default(), |twins, dice, _| {
        let (at, byte) = (CODE + dice.below(LENGTH as u64), dice.bits() as u8);
        let entry = PT + 8 * ((CODE >> 12) + dice.below(2));
        let clear = dice.one_in(3);
        twins.both(|machine| {
            machine.bus.put(at, &[byte]);
            if clear {
                let value = machine.bus.get64(entry);
                machine.bus.put64(entry, value & !0x20);
            }
            machine.cpu.state_changed();
        });
        any_run(twins, dice);
    });
}
