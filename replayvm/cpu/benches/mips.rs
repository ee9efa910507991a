//! Millions of instructions a second on small loops of user code. Prints a table; asserts nothing.
//!
//! `cargo bench -p replayvm-cpu --bench mips`

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "a bench")]

#[path = "../tests/common/mod.rs"]
mod common;

use common::{CODE, FlatBus, WINDOW, user_state};
use iced_x86::code_asm::*;
use replayvm_cpu::{Blocks, Cpu, Limits, Moment};
use rustix::time::{ClockId, clock_gettime};

const STEPS: u64 = 20_000_000;

type Program = fn(&mut CodeAssembler) -> Result<(), IcedError>;

/// Register arithmetic: a xorshift and a sum.
fn registers(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.mov(rax, 88_172_645_463_325_252_u64)?;
    a.set_label(&mut again)?;
    a.mov(rcx, rax)?;
    a.shl(rcx, 13)?;
    a.xor(rax, rcx)?;
    a.mov(rcx, rax)?;
    a.shr(rcx, 7)?;
    a.xor(rax, rcx)?;
    a.add(rbx, rax)?;
    a.inc(edx)?;
    a.test(edx, edx)?;
    a.jne(again)
}

/// Loads and stores: a byte-wise checksum that writes its way.
fn memory(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.set_label(&mut again)?;
    a.movzx(eax, byte_ptr(rsi + rcx))?;
    a.add(ebx, eax)?;
    a.mov(dword_ptr(rdi + rcx * 4), ebx)?;
    a.add(qword_ptr(rdi), 1)?;
    a.inc(ecx)?;
    a.and(ecx, 0xff)?;
    a.test(ecx, ecx)?;
    a.jne(again)?;
    a.jmp(again)
}

/// Calls, pushes and pops.
fn calls(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut again, mut function) = (a.create_label(), a.create_label());
    a.set_label(&mut again)?;
    a.call(function)?;
    a.cmp(eax, 7)?;
    a.jne(again)?;
    a.jmp(again)?;
    a.set_label(&mut function)?;
    a.push(rbp)?;
    a.mov(rbp, rsp)?;
    a.push(rbx)?;
    a.lea(eax, ptr(rdi + 1))?;
    a.pop(rbx)?;
    a.leave()?;
    a.ret()
}

/// A REP MOVSQ of 2 KiB: iterations do not count.
fn strings(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.set_label(&mut again)?;
    a.mov(rsi, WINDOW)?;
    a.mov(rdi, WINDOW + 0x1000)?;
    a.mov(ecx, 256)?;
    a.rep().movsq()?;
    a.cmp(ecx, 1)?;
    a.jne(again)
}

/// Processor time, which a busy host does not disturb.
fn cpu_seconds() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

fn main() {
    let programs: [(&str, Program, u64); 4] = [
        ("registers", registers, STEPS),
        ("memory", memory, STEPS),
        ("calls", calls, STEPS),
        ("rep movsq 2 KiB", strings, STEPS / 100),
    ];
    for (name, program, steps) in programs {
        let mut assembler = CodeAssembler::new(64).unwrap();
        program(&mut assembler).unwrap();
        let code = assembler.assemble(CODE).unwrap();
        let mut bus = FlatBus::new();
        let at = FlatBus::index(CODE);
        bus.memory[at..at + code.len()].copy_from_slice(&code);
        let mut state = user_state();
        state.gpr[6] = WINDOW;
        state.gpr[7] = WINDOW + 0x800;
        let mut mips = [0.0; 2];
        for (fast, mips) in [false, true].into_iter().zip(&mut mips) {
            let mut bus = FlatBus { memory: bus.memory.clone(), exception: None };
            let mut cpu = Cpu::new(state.clone());
            let start = cpu_seconds();
            if fast {
                let mut blocks = Blocks::new();
                let limits = Limits {
                    due_tick: u64::MAX,
                    until: Moment { tick: u64::MAX, offset: 0 },
                    one_privilege: false,
                };
                while cpu.state.instructions < steps {
                    let due_tick = cpu.state.now.tick + 1000;
                    blocks.run(&mut cpu, &mut bus, Limits { due_tick, ..limits });
                }
            } else {
                while cpu.state.instructions < steps {
                    cpu.step(&mut bus);
                }
            }
            *mips = cpu.state.instructions as f64 / (cpu_seconds() - start) / 1e6;
            assert!(bus.exception.is_none(), "{name} raised {:?}", bus.exception);
        }
        println!("{name:<16} plain {:>8.1} MIPS, blocks {:>8.1} MIPS", mips[0], mips[1]);
    }
}
