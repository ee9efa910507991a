//! Direct execution against the software CPU: random programs in user mode, with a kernel below them that changes what they stand on.

use iced_x86::code_asm::*;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use recorder::Position;
use replayvm::engine::{Breakpoints, Engine, EngineError, KvmEngine, Stop};
use replayvm::machine::Machine;

use super::guest::{
    DATA, HANDLERS, HOLE, USER_CODE, USER_CODE_SELECTOR, USER_DATA, USER_STACK, long64, page_entry, place,
};
use super::run::{arrive, digests, native};

/// Programs; `REPLAYVM_DIRECT_PROGRAMS` overrides.
fn programs() -> u64 {
    std::env::var("REPLAYVM_DIRECT_PROGRAMS").ok().and_then(|n| n.parse().ok()).unwrap_or(400)
}

/// Registers that programs compute in; the others hold addresses and counts.
const VALUES: [AsmRegister64; 8] = [rax, rdx, rbx, rbp, r8, r9, r10, r11];

fn value(rng: &mut ChaCha8Rng) -> AsmRegister64 {
    VALUES[rng.next_u32() as usize % VALUES.len()]
}

/// A place in memory: data most of the time, now and then the page that comes and goes, the code itself, or a page table.
fn somewhere(rng: &mut ChaCha8Rng) -> AsmMemoryOperand {
    at(rng, 1)
}

/// The same at a multiple of some bytes: a locked access that crosses a cache line stops all processors of some hosts.
fn at(rng: &mut ChaCha8Rng, multiple: u32) -> AsmMemoryOperand {
    let offset = i32::try_from(rng.next_u32() % 0xff0 / multiple * multiple).unwrap();
    match rng.next_u32() % 64 {
        0..40 => qword_ptr(r12 + offset),
        40..60 => qword_ptr(r13 + offset),
        60..62 => qword_ptr(r14 + offset),
        // Beside the program, in its page.
        62 => qword_ptr(USER_CODE + 0xe00 + u64::from(rng.next_u32() % 0x1f0 / multiple * multiple)),
        // Entries of pages that nobody uses.
        _ => qword_ptr(page_entry(0x18_0000) + u64::from(rng.next_u32() % 64) * 8),
    }
}

fn instruction(a: &mut CodeAssembler, rng: &mut ChaCha8Rng) -> Result<(), IcedError> {
    let (x, y) = (value(rng), value(rng));
    let count = rng.next_u32() % 63 + 1;
    match rng.next_u32() % 30 {
        0 => a.add(x, y),
        1 => a.adc(x, y),
        2 => a.sub(x, rng.next_u32() as i32),
        3 => a.xor(x, y),
        4 => a.and(x, y),
        5 => a.imul_2(x, y),
        6 => a.shl(x, count),
        7 => a.ror(x, count),
        8 => a.sar(x, count),
        9 => a.lea(x, qword_ptr(y + x * 4 + 7)),
        10 | 11 => a.mov(x, somewhere(rng)),
        12 | 13 => a.mov(somewhere(rng), x),
        14 => a.add(somewhere(rng), x),
        15 => a.xor(x, somewhere(rng)),
        16 => a.cmp(x, somewhere(rng)).and_then(|()| a.setb(al)),
        17 => a.push(x).and_then(|()| a.pop(y)),
        18 => a.bsf(x, y),
        19 => a.mul(y),
        20 => a.xchg(at(rng, 8), x),
        21 => a.popcnt(x, y),
        22 => a.movq(xmm1, x).and_then(|()| a.paddq(xmm2, xmm1)).and_then(|()| a.movq(y, xmm2)),
        23 => a.cvtsi2sd(xmm3, x).and_then(|()| a.sqrtsd(xmm3, xmm3)).and_then(|()| a.movq(y, xmm3)),
        24 => a.lock().xadd(at(rng, 8), x),
        25 => a.cmovs(x, y),
        26 => a.bt(x, y).and_then(|()| a.rcl(y, 1)),
        27 => a.shld(x, y, count),
        28 => a.neg(x),
        _ => a.not(x),
    }
}

/// A block of instructions, perhaps with a branch over some of it, a call, a string instruction, or a call to the kernel.
fn block(a: &mut CodeAssembler, rng: &mut ChaCha8Rng, function: CodeLabel) -> Result<(), IcedError> {
    for _ in 0..rng.next_u32() % 8 {
        instruction(a, rng)?;
    }
    match rng.next_u32() % 12 {
        0..5 => {
            let mut over = a.create_label();
            a.test(value(rng), value(rng))?;
            match rng.next_u32() % 4 {
                0 => a.jz(over)?,
                1 => a.js(over)?,
                2 => a.jp(over)?,
                _ => a.jg(over)?,
            }
            instruction(a, rng)?;
            a.set_label(&mut over)?;
            a.nop()?;
        }
        5 | 6 => a.call(function)?,
        7 => {
            a.lea(rsi, qword_ptr(r12 + i32::try_from(rng.next_u32() % 0x800).unwrap()))?;
            a.lea(rdi, qword_ptr(r13 + i32::try_from(rng.next_u32() % 0x800).unwrap()))?;
            a.push(rcx)?;
            a.mov(ecx, rng.next_u32() % 200)?;
            if rng.next_u32().is_multiple_of(2) {
                a.rep().movsb()?
            } else {
                a.rep().stosq()?
            };
            a.pop(rcx)?;
        }
        8 => a.int(0x80)?,
        9 => a.int(0x81)?,
        10 => a.rdtsc()?,
        _ => a.cpuid()?,
    }
    Ok(())
}

fn user_program(a: &mut CodeAssembler, rng: &mut ChaCha8Rng) -> Result<(), IcedError> {
    let mut function = a.create_label();
    let mut again = a.create_label();
    for register in VALUES {
        a.mov(register, rng.next_u64())?;
    }
    a.mov(r12, DATA)?;
    a.mov(r13, DATA + 0x1000 + u64::from(rng.next_u32() % 0x400) * 8)?;
    a.mov(r14, HOLE)?;
    a.mov(r15d, rng.next_u32() % 60 + 20)?;
    a.set_label(&mut again)?;
    for _ in 0..rng.next_u32() % 6 + 2 {
        // CPUID writes RCX; nothing is kept there.
        block(a, rng, function)?;
    }
    a.dec(r15)?;
    a.jnz(again)?;
    a.int(0x82)?;
    a.set_label(&mut function)?;
    for _ in 0..rng.next_u32() % 5 + 1 {
        instruction(a, rng)?;
    }
    a.ret()
}

fn enter_user(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.push(u32::from(USER_DATA) as i32)?;
    a.push(USER_STACK as i32)?;
    a.push(0x3002)?;
    a.push(u32::from(USER_CODE_SELECTOR) as i32)?;
    a.push(USER_CODE as i32)?;
    a.iretq()
}

/// The handlers: a page fault maps the hole; 80h takes it away again; 81h turns two pages of data round and writes into the program's
/// page; 82h ends.
fn guest(seed: u64) -> Machine {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut machine = long64(|a| enter_user(a).unwrap());
    place(&mut machine, 64, USER_CODE, |a| user_program(a, &mut rng).unwrap());
    let mut handler = |vector: u64, program: &dyn Fn(&mut CodeAssembler) -> Result<(), IcedError>| {
        place(&mut machine, 64, HANDLERS + 0x1000 + vector * 256, |a| program(a).unwrap());
        place(&mut machine, 64, HANDLERS + vector * 16, |a| a.jmp(HANDLERS + 0x1000 + vector * 256).unwrap());
    };
    handler(14, &|a| {
        a.push(rax)?;
        a.mov(rax, HOLE | 7)?;
        a.mov(qword_ptr(page_entry(HOLE)), rax)?;
        a.pop(rax)?;
        a.add(rsp, 8)?;
        a.iretq()
    });
    handler(0x80, &|a| {
        a.mov(qword_ptr(page_entry(HOLE)), 0)?;
        a.iretq()
    });
    handler(0x81, &|a| {
        a.push(rax)?;
        a.push(rcx)?;
        a.mov(rax, qword_ptr(page_entry(DATA)))?;
        a.mov(rcx, qword_ptr(page_entry(DATA + 0x2000)))?;
        a.mov(qword_ptr(page_entry(DATA)), rcx)?;
        a.mov(qword_ptr(page_entry(DATA + 0x2000)), rax)?;
        a.inc(qword_ptr(USER_CODE + 0xff8))?;
        a.pop(rcx)?;
        a.pop(rax)?;
        a.iretq()
    });
    handler(0x82, &|a| {
        a.mov(dx, 0xf4_u32)?;
        a.mov(al, 1_u32)?;
        a.out(dx, al)?;
        a.hlt()
    });
    machine
}

/// Runs to a position or the end as a session does.
fn go(engine: &mut dyn Engine, machine: &mut Machine, until: Position) -> Stop {
    loop {
        let stop =
            engine.run(machine, until, &Breakpoints::default()).unwrap_or_else(|error| panic!("{error}"));
        if !matches!(stop, Stop::Due | Stop::Idle) {
            return stop;
        }
        if !arrive(machine, stop == Stop::Idle) || machine.position() >= until {
            return stop;
        }
    }
}

#[test]
fn random_user_programs_come_through_the_same_states() {
    let (mut looks, mut natively, mut softly) = (0_u64, 0, 0);
    for seed in 0..programs() {
        let mut rng = ChaCha8Rng::seed_from_u64(!seed);
        let mut soft = replayvm::engine::SoftEngine::new();
        let (mut expected, mut got) = (guest(seed), guest(seed));
        let mut kvm = match KvmEngine::eager(&got) {
            Ok(engine) => engine,
            Err(EngineError::Unavailable { why, .. }) => return skipped(&why),
            Err(error) => panic!("{error}"),
        };
        // Some programs are compared at nearly every tick, some only now and then.
        let far = 1 << (seed % 9);
        loop {
            let from = expected.position();
            let offset = if rng.next_u32().is_multiple_of(3) { rng.next_u32() % 9 } else { 0 };
            let until = Position::new(from.tick + 1 + rng.next_u64() % far, offset);
            let ends = [go(&mut soft, &mut expected, until), go(&mut kvm, &mut got, until)];
            assert_eq!(ends[0], ends[1], "program {seed} from {from} to {until}");
            assert_eq!(got.cpu.state, expected.cpu.state, "program {seed} from {from} to {until}");
            looks += 1;
            let over = ends[0] != Stop::Reached || expected.position().tick > 20_000;
            if over || looks.is_multiple_of(16) {
                assert_eq!(digests(&got), digests(&expected), "program {seed} from {from} to {until}");
                let pages = |machine: &mut Machine| machine.platform.ram.take_dirty();
                assert_eq!(pages(&mut got), pages(&mut expected), "program {seed}: pages written by {until}");
            }
            if over {
                break;
            }
        }
        let statistics = native(&kvm.statistics());
        natively += statistics.native;
        softly += statistics.soft;
    }
    eprintln!(
        "{} programs, {looks} looks, {natively} instructions natively, {softly} by the software CPU",
        programs()
    );
    assert!(natively > softly / 8, "too little ran natively");
}

fn skipped(why: &str) {
    let required = std::env::var("REPLAYVM_REQUIRED_ENGINES").unwrap_or_default();
    assert!(!required.split_whitespace().any(|engine| engine == "kvm"), "no engine kvm: {why}");
    eprintln!("SKIPPED on engine `kvm`: {why}");
}
