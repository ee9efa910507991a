//! When instructions may run (SDM vol. 3, table 2-2), and when #MF comes (SDM vol. 1, 8.7).

use replayvm_cpu::{CpuState, cr0};

use crate::{load, run};

const UD: Option<u8> = Some(6);
const NM: Option<u8> = Some(7);
const MF: Option<u8> = Some(16);

const FADD: &[u8] = &[0xd8, 0xc1];
const FLDZ: &[u8] = &[0xd9, 0xee];
const FWAIT: &[u8] = &[0x9b];
const FNOP: &[u8] = &[0xd9, 0xd0];
const FNSTSW_AX: &[u8] = &[0xdf, 0xe0];
const FNCLEX: &[u8] = &[0xdb, 0xe2];
const FNINIT: &[u8] = &[0xdb, 0xe3];
const FDIV: &[u8] = &[0xd8, 0xf1];
const ONE: u128 = 0x3fff_8000_0000_0000_0000;

#[test]
fn emulation_or_a_task_switch_makes_the_x87_unavailable() {
    for bit in [cr0::EM, cr0::TS] {
        for instruction in [FADD, FLDZ, FNOP, FNSTSW_AX, FNCLEX, FNINIT] {
            assert_eq!(run(&[instruction], |state, _| state.cr0 |= bit).vector, NM);
        }
    }
}

#[test]
fn wait_minds_a_task_switch_only_if_the_coprocessor_is_monitored() {
    let with =
        |bits: u64| run(&[FWAIT], |state, _| state.cr0 = state.cr0 & !(cr0::MP | cr0::TS) | bits).vector;
    assert_eq!(with(cr0::MP | cr0::TS), NM);
    assert_eq!(with(cr0::TS), None);
    assert_eq!(with(cr0::MP), None);
    assert_eq!(with(cr0::EM), None);
}

/// One divided by zero, unmasked.
fn division(state: &mut CpuState) {
    load(state, &[ONE, 0]);
    state.fcw = 0x37b;
}

#[test]
fn an_unmasked_exception_is_delivered_by_the_next_waiting_instruction() {
    let after = run(&[FDIV], |state, _| division(state));
    assert_eq!((after.vector, after.state.fsw, after.state.st[0]), (None, 0x8084, ONE));
    for waiting in [FADD, FLDZ, FWAIT, FNOP] {
        let after = run(&[FDIV, waiting], |state, _| division(state));
        assert_eq!(after.vector, MF);
        assert_eq!(after.state.fsw, 0x8084, "it stays pending until the handler clears it");
    }
    for other in [FNSTSW_AX, FNCLEX, FNINIT] {
        assert_eq!(run(&[FDIV, other], |state, _| division(state)).vector, None);
    }
    assert_eq!(run(&[FDIV, FNCLEX, FWAIT], |state, _| division(state)).vector, None);
}

#[test]
fn without_native_errors_nothing_is_delivered() {
    let after = run(&[FDIV, FWAIT, FLDZ], |state, _| {
        division(state);
        state.cr0 &= !cr0::NE;
    });
    assert_eq!((after.vector, after.state.fsw), (None, 0xb884));
}

#[test]
fn instructions_of_the_80287_do_nothing_and_its_others_do_not_exist() {
    for opcode in [0xe0, 0xe1, 0xe4] {
        let after = run(&[FDIV, &[0xdb, opcode]], |state, _| division(state));
        assert_eq!((after.vector, after.state.fsw), (None, 0x8084));
    }
    for bytes in [[0xdb, 0xe5], [0xdf, 0xe1], [0xdf, 0xe2], [0xd9, 0xd1], [0xdd, 0xf0]] {
        assert_eq!(run(&[&bytes], |_, _| {}).vector, UD);
    }
}

#[test]
fn a_push_on_a_full_stack_and_a_pop_of_an_empty_one_are_told_apart() {
    let after = run(&[FLDZ], |state, _| load(state, &[ONE; 8]));
    assert_eq!((after.state.fsw, after.state.st[7]), (0x3a41, 0xffff_c000_0000_0000_0000));
    let after = run(&[FADD], |state, _| load(state, &[]));
    assert_eq!((after.state.fsw, after.state.st[0]), (0x0041, 0xffff_c000_0000_0000_0000));
}
