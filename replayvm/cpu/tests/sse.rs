//! What the host cannot be asked about SSE: control registers that forbid it, and exceptions nobody has asked for.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{CODE, FlatBus, WINDOW, user_state};

use iced_x86::code_asm::*;
use replayvm_cpu::{Cpu, CpuState, Observation};

/// Runs one instruction: the state after it, and the vector of the exception it raised.
fn run(
    assemble: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
    prepare: impl FnOnce(&mut CpuState),
) -> (CpuState, Option<u8>) {
    let mut assembler = CodeAssembler::new(64).unwrap();
    assemble(&mut assembler).unwrap();
    let code = assembler.assemble(CODE).unwrap();
    let mut bus = FlatBus::new();
    let at = FlatBus::index(CODE);
    bus.memory[at..at + code.len()].copy_from_slice(&code);
    let mut state = user_state();
    prepare(&mut state);
    let mut cpu = Cpu::new(state);
    cpu.step(&mut bus);
    let vector = match bus.exception {
        Some(Observation::Exception { vector, .. }) => Some(vector),
        _ => None,
    };
    (cpu.state, vector)
}

const UD: Option<u8> = Some(6);
const NM: Option<u8> = Some(7);
const XM: Option<u8> = Some(19);

#[test]
fn sse_is_undefined_until_the_system_says_it_saves_xmm_registers() {
    assert_eq!(run(|a| a.addps(xmm0, xmm1), |s| s.cr4 &= !0x200).1, UD);
    assert_eq!(run(|a| a.movdqa(xmm0, xmm1), |s| s.cr4 &= !0x200).1, UD);
    assert_eq!(run(|a| a.ldmxcsr(dword_ptr(WINDOW)), |s| s.cr4 &= !0x200).1, UD);
    assert_eq!(run(|a| a.addps(xmm0, xmm1), |s| s.cr0 |= 4).1, UD);
}

#[test]
fn a_task_switch_makes_sse_unavailable() {
    assert_eq!(run(|a| a.addps(xmm0, xmm1), |s| s.cr0 |= 8).1, NM);
    assert_eq!(run(|a| a.paddb(xmm0, xmm1), |s| s.cr0 |= 8).1, NM);
    assert_eq!(run(|a| a.fxsave(ptr(WINDOW)), |s| s.cr0 |= 8).1, NM);
    assert_eq!(run(|a| a.wait(), |s| s.cr0 |= 8).1, NM);
    assert_eq!(run(|a| a.wait(), |s| s.cr0 = s.cr0 & !2 | 8).1, None);
}

#[test]
fn neither_bars_what_does_not_touch_xmm_registers() {
    let bar = |s: &mut CpuState| (s.cr0, s.cr4) = (s.cr0 | 0xc, s.cr4 & !0x200);
    assert_eq!(run(|a| a.lfence(), bar).1, None);
    assert_eq!(run(|a| a.movnti(qword_ptr(WINDOW), rax), bar).1, None);
    assert_eq!(run(|a| a.prefetchnta(byte_ptr(WINDOW)), bar).1, None);
    assert_eq!(run(|a| a.clflush(byte_ptr(WINDOW)), bar).1, None);
}

#[test]
fn an_unmasked_exception_is_undefined_if_the_system_has_not_asked_for_it() {
    let divide_by_zero = |s: &mut CpuState| {
        s.mxcsr = 0x1d80;
        s.xmm[0] = 1.0f64.to_bits().into();
    };
    let (state, vector) = run(|a| a.divsd(xmm0, xmm1), divide_by_zero);
    assert_eq!((vector, state.mxcsr, state.xmm[0]), (XM, 0x1d84, 1.0f64.to_bits().into()));
    let (_, vector) = run(
        |a| a.divsd(xmm0, xmm1),
        |s| {
            divide_by_zero(s);
            s.cr4 &= !0x400;
        },
    );
    assert_eq!(vector, UD);
}

#[test]
fn fxsave_leaves_no_instruction_pointer() {
    let mut assembler = CodeAssembler::new(64).unwrap();
    assembler.fxsave64(ptr(WINDOW)).unwrap();
    let code = assembler.assemble(CODE).unwrap();
    let mut bus = FlatBus::new();
    let (at, window) = (FlatBus::index(CODE), FlatBus::index(WINDOW));
    bus.memory[at..at + code.len()].copy_from_slice(&code);
    bus.memory[window..window + 512].fill(0xa5);
    Cpu::new(user_state()).step(&mut bus);
    assert_eq!(bus.memory[window + 6..window + 24], [0; 18]);
    assert_eq!(bus.memory[window + 28..window + 32], 0xffffu32.to_le_bytes());
    assert_eq!(bus.memory[window + 416..window + 512], [0xa5; 96], "the reserved end is not written");
}

#[test]
fn reciprocals_are_ours_and_not_the_hosts() {
    let (state, _) = run(|a| a.rcpss(xmm0, xmm1), |s| s.xmm[1] = 1.0f32.to_bits().into());
    assert_eq!(state.xmm[0] as u32, 0x3f7f_f000);
    let (state, _) = run(|a| a.rsqrtss(xmm0, xmm1), |s| s.xmm[1] = 4.0f32.to_bits().into());
    assert_eq!(state.xmm[0] as u32, 0x3eff_f800);
}
