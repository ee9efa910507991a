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
const MF: Option<u8> = Some(16);
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

/// The state after these bytes, and the vector of the exception that they raised.
fn run_bytes(bytes: &[u8], prepare: impl FnOnce(&mut CpuState)) -> (CpuState, Option<u8>) {
    run(|a| a.db(bytes), prepare)
}

#[test]
fn mmx_asks_for_the_x87_and_not_for_fxsave() {
    assert_eq!(run(|a| a.paddb(mm0, mm1), |s| s.cr0 |= 4).1, UD);
    assert_eq!(run(|a| a.paddb(mm0, mm1), |s| s.cr0 |= 8).1, NM);
    assert_eq!(run(|a| a.paddb(mm0, mm1), |s| s.cr0 |= 12).1, UD);
    assert_eq!(run(|a| a.paddb(mm0, mm1), |s| s.cr4 &= !0x200).1, None);
    assert_eq!(run(|a| a.pshufb(mm0, mm1), |s| s.cr4 &= !0x200).1, None);
    assert_eq!(run(|a| a.cvtpi2ps(xmm0, mm1), |s| s.cr4 &= !0x200).1, UD);
    assert_eq!(run(|a| a.movdq2q(mm0, xmm1), |s| s.cr4 &= !0x200).1, UD);
    assert_eq!(run(|a| a.emms(), |s| s.cr0 |= 4).1, UD);
}

#[test]
fn mmx_meets_the_exception_that_the_x87_has_left() {
    let pending = |s: &mut CpuState| (s.fcw, s.fsw, s.ftw) = (0x37e, 0xb881, 0x0f);
    let (state, vector) = run(|a| a.movq(mm1, qword_ptr(WINDOW)), pending);
    assert_eq!((vector, state.fsw, state.ftw), (MF, 0xb881, 0x0f));
    assert_eq!(run(|a| a.emms(), pending).1, MF);
    assert_eq!(run(|a| a.cvtpi2pd(xmm0, mm1), pending).1, MF);
}

#[test]
fn mmx_takes_over_the_registers_of_the_x87() {
    let (state, vector) = run(
        |a| a.movd(mm3, eax),
        |s| {
            (s.fsw, s.ftw, s.gpr[0]) = (0x3d00, 0x01, 0x8000_0001);
            s.st = [7; 8];
        },
    );
    assert_eq!(vector, None);
    // TOP is 0, the condition codes stay, every register is in use, and the one that was written is a NaN.
    assert_eq!((state.fsw, state.ftw), (0x0500, 0xff));
    let mut st = [7; 8];
    st[3] = 0xffff << 64 | 0x8000_0001;
    assert_eq!(state.st, st);
    let (state, _) = run(|a| a.emms(), |s| (s.fsw, s.ftw) = (0x0500, 0xff));
    assert_eq!((state.fsw, state.ftw), (0x0500, 0));
}

#[test]
fn later_vectors_ask_for_the_same_as_sse() {
    assert_eq!(run(|a| a.pshufb(xmm0, xmm1), |s| s.cr4 &= !0x200).1, UD);
    assert_eq!(run(|a| a.ptest(xmm0, xmm1), |s| s.cr0 |= 8).1, NM);
    assert_eq!(run(|a| a.pcmpistri(xmm0, xmm1, 0), |s| s.cr0 |= 8).1, NM);
    assert_eq!(run(|a| a.haddps(xmm0, xmm1), |s| s.cr0 |= 4).1, UD);
    let bar = |s: &mut CpuState| (s.cr0, s.cr4) = (s.cr0 | 0xc, s.cr4 & !0x200);
    assert_eq!(run(|a| a.crc32(eax, ebx), bar).1, None);
    assert_eq!(run(|a| a.popcnt(eax, ebx), bar).1, None);
}

#[test]
fn rounding_raises_what_mxcsr_does_not_mask() {
    let half = |s: &mut CpuState| {
        s.mxcsr = 0x0f80;
        s.xmm[1] = 0.5f64.to_bits().into();
    };
    let (state, vector) = run(|a| a.roundsd(xmm0, xmm1, 0), half);
    assert_eq!((vector, state.mxcsr, state.xmm[0]), (XM, 0x0fa0, 0));
    // Bit 3: precision does not matter.
    let (state, vector) = run(|a| a.roundsd(xmm0, xmm1, 10), half);
    assert_eq!((vector, state.mxcsr, state.xmm[0]), (None, 0x0f80, 1.0f64.to_bits().into()));
}

#[test]
fn what_the_model_does_not_have_is_undefined() {
    assert_eq!(run(|a| a.monitor(), |_| {}).1, UD);
    assert_eq!(run(|a| a.mwait(), |_| {}).1, UD);
    assert_eq!(run(|a| a.vaddps(xmm0, xmm1, xmm2), |_| {}).1, UD);
    assert_eq!(run(|a| a.vzeroupper(), |_| {}).1, UD);
    assert_eq!(run(|a| a.aesenc(xmm0, xmm1), |_| {}).1, UD);
    assert_eq!(run(|a| a.pclmulqdq(xmm0, xmm1, 0), |_| {}).1, UD);
    assert_eq!(run(|a| a.xgetbv(), |_| {}).1, UD);
    assert_eq!(run(|a| a.xsave(ptr(WINDOW)), |_| {}).1, UD);
    assert_eq!(run(|a| a.andn(eax, ebx, ecx), |_| {}).1, UD);
    assert_eq!(run(|a| a.adcx(eax, ebx), |_| {}).1, UD);
    assert_eq!(run(|a| a.sha1nexte(xmm0, xmm1), |_| {}).1, UD);
    assert_eq!(run(|a| a.extrq(xmm0, xmm1), |_| {}).1, UD);
    assert_eq!(run(|a| a.pfadd(mm0, mm1), |_| {}).1, UD);
    assert_eq!(run(|a| a.femms(), |_| {}).1, UD);
}

/// Of several mandatory prefixes F2 and F3 win over 66, and the last of the two over the first (SDM vol. 2, 2.1.2).
#[test]
fn the_last_repeat_prefix_says_which_instruction_it_is() {
    let run = |bytes: &[u8]| {
        let (state, vector) = run_bytes(bytes, |s| {
            s.xmm[0] = 0;
            s.xmm[1] = u128::from(2.0f64.to_bits()) << 64 | u128::from(3.0f64.to_bits());
            (s.gpr[0], s.gpr[3]) = (u64::MAX, 0x10);
        });
        (state.xmm[0], state.gpr[0], vector)
    };
    let (pd, sd) = (0x4000_0000_0000_0000_4008_0000_0000_0000, 0x4008_0000_0000_0000);
    assert_eq!(run(&[0x66, 0x0f, 0x58, 0xc1]).0, pd);
    assert_eq!(run(&[0x66, 0xf2, 0x0f, 0x58, 0xc1]).0, sd);
    assert_eq!(run(&[0xf2, 0x66, 0x0f, 0x58, 0xc1]).0, sd);
    assert_eq!(run(&[0xf3, 0xf2, 0x0f, 0x58, 0xc1]).0, sd);
    // POPCNT EAX, EBX; with F2 last there is no such instruction; with 66 it has 16 bits.
    assert_eq!(run(&[0xf3, 0x0f, 0xb8, 0xc3]).1, 1);
    assert_eq!(run(&[0xf2, 0xf3, 0x0f, 0xb8, 0xc3]).1, 1);
    assert_eq!(run(&[0xf3, 0xf2, 0x0f, 0xb8, 0xc3]).2, UD);
    assert_eq!(run(&[0x66, 0xf3, 0x0f, 0xb8, 0xc3]).1, 0xffff_ffff_ffff_0001);
    // CRC32 EAX, BX with both 66 and F2; MOVBE needs memory, so that without F2 it is undefined.
    assert_eq!(run(&[0x66, 0xf2, 0x0f, 0x38, 0xf1, 0xc3]), (0, 0x315b_79ac, None));
    assert_eq!(run(&[0x66, 0x0f, 0x38, 0xf1, 0xc3]).2, UD);
    // PSHUFB with F3 is undefined, not the MMX form.
    assert_eq!(run(&[0xf3, 0x0f, 0x38, 0x00, 0xc1]).2, UD);
}
