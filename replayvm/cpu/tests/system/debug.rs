//! Single steps and breakpoints.

use iced_x86::code_asm::*;
use replayvm_cpu::{Rflags, dr6};

use crate::machine::*;

#[test]
fn tf_traps_after_each_instruction() {
    let mut machine = Machine::long()
        .code(CODE, |a| {
            a.inc(rax).unwrap();
            a.inc(rax).unwrap();
        })
        .set(|state| state.rflags |= Rflags::TF.bits());
    machine.run();
    assert_eq!(machine.caught(), 1);
    assert_eq!(machine.cpu.state.gpr[0], 1);
    assert_eq!(machine.stack(0), CODE + 3);
    assert_eq!(machine.cpu.state.dr6 & 0xe00f, dr6::BS);
    assert_ne!(machine.stack(2) & Rflags::TF.bits(), 0, "TF is in the saved flags");
    assert_eq!(machine.cpu.state.rflags & Rflags::TF.bits(), 0);
}

#[test]
fn a_code_breakpoint_faults_before_the_instruction_and_rf_passes_it() {
    let mut machine = Machine::long()
        .code(CODE, |a| {
            a.nop().unwrap();
            a.inc(rax).unwrap();
            a.hlt().unwrap();
        })
        .set(|state| {
            state.dr[1] = CODE + 1;
            state.dr7 = 0x400 | 1 << 2;
        });
    // The handler sets RF in the saved flags and returns.
    machine.assemble(64, HANDLERS + 16, |a| {
        a.bts(qword_ptr(rsp + 16), 16).unwrap();
        a.iretq().unwrap();
    });
    machine.steps(2);
    assert_eq!((machine.stack(0), machine.cpu.state.gpr[0]), (CODE + 1, 0));
    assert_eq!(machine.cpu.state.dr6 & 0xe00f, 2);
    machine.run();
    assert_eq!((machine.cpu.state.gpr[0], machine.cpu.state.rip), (1, CODE + 5));
    assert_eq!(machine.cpu.state.rflags & Rflags::RF.bits(), 0);
}

#[test]
fn a_data_breakpoint_traps_after_the_write_that_touches_it() {
    let mut machine = Machine::long()
        .code(CODE, |a| {
            a.mov(rax, qword_ptr(DATA)).unwrap();
            a.mov(qword_ptr(DATA), rax).unwrap();
            a.nop().unwrap();
        })
        .set(|state| {
            state.dr[0] = DATA + 4;
            // Four bytes, writes.
            state.dr7 = 0x400 | 1 | 0b1101 << 16;
        });
    machine.run();
    assert_eq!(machine.caught(), 1);
    assert_eq!(machine.stack(0), CODE + 20);
    assert_eq!(machine.cpu.state.dr6 & 0xe00f, 1);
}

#[test]
fn general_detect_faults_on_an_access_to_a_debug_register() {
    let mut machine =
        Machine::long().code(CODE, |a| a.mov(rax, dr0).unwrap()).set(|state| state.dr7 = 0x400 | 1 << 13);
    machine.run();
    assert_eq!((machine.caught(), machine.stack(0)), (1, CODE));
    assert_eq!(machine.cpu.state.dr6 & 0xe00f, dr6::BD);
    assert_eq!(machine.cpu.state.dr7, 0x400);
}

#[test]
fn the_shadow_of_mov_ss_holds_the_single_step_trap_off() {
    let mut machine = Machine::long()
        .code(CODE, |a| {
            a.mov(ss, ax).unwrap();
            a.nop().unwrap();
        })
        .set(|state| {
            state.rflags |= Rflags::TF.bits();
            state.gpr[0] = u64::from(DATA0);
        });
    machine.run();
    assert_eq!((machine.caught(), machine.stack(0)), (1, CODE + 4));
}
