//! Time: ticks, offsets, stalls.

use iced_x86::code_asm::*;
use replayvm_cpu::{STALL_STEPS_KERNEL, Step};

use crate::machine::*;

#[test]
fn a_counted_loop_is_counted_exactly() {
    let mut machine = Machine::long().code(CODE, |a| {
        let mut again = a.create_label();
        a.mov(ecx, 5).unwrap();
        a.set_label(&mut again).unwrap();
        a.nop().unwrap();
        a.dec(ecx).unwrap();
        a.jne(again).unwrap();
        a.nop().unwrap();
        a.hlt().unwrap();
    });
    machine.steps(3);
    assert_eq!(machine.now(), (0, 3));
    machine.step();
    assert_eq!(machine.now(), (1, 0));
    machine.run();
    // The branch that is not taken is a tick like the others.
    assert_eq!(machine.now(), (5, 2));
    assert_eq!(machine.cpu.state.instructions, 18);
}

#[test]
fn loop_and_jrcxz_are_ticks_and_plain_jumps_are_not() {
    let mut machine = Machine::long().code(CODE, |a| {
        let mut again = a.create_label();
        let mut out = a.create_label();
        a.mov(ecx, 3).unwrap();
        a.set_label(&mut again).unwrap();
        a.loop_(again).unwrap();
        a.jrcxz(out).unwrap();
        a.set_label(&mut out).unwrap();
        a.call(CODE + 0x100).unwrap();
        a.hlt().unwrap();
    });
    machine.assemble(64, CODE + 0x100, |a| a.ret().unwrap());
    machine.run();
    assert_eq!(machine.now(), (4, 3));
    assert_eq!(machine.cpu.state.instructions, 8);
}

#[test]
fn entering_the_kernel_is_a_tick_and_leaving_it_is_not() {
    let mut machine = Machine::long().user().code(USER_CODE, |a| {
        a.nop().unwrap();
        a.syscall().unwrap();
        a.ud2().unwrap();
    });
    machine.assemble(64, CODE, |a| a.sysretq().unwrap());
    machine.cpu.state.lstar = CODE;
    machine.step();
    assert_eq!(machine.now(), (0, 1));
    machine.step();
    assert_eq!(machine.now(), (1, 0));
    machine.step();
    assert_eq!(machine.now(), (1, 1));
    assert_eq!((machine.cpu.state.cpl(), machine.cpu.state.rip), (3, USER_CODE + 3));
    machine.step();
    assert_eq!(machine.now(), (2, 0));
    assert_eq!(machine.cpu.state.instructions, 3, "a faulting instruction does not retire");
}

#[test]
fn an_exception_within_the_kernel_is_a_step() {
    let mut machine = Machine::long().code(CODE, |a| a.ud2().unwrap());
    machine.step();
    assert_eq!(machine.now(), (0, 1));
    assert_eq!(machine.cpu.state.instructions, 0);
}

#[test]
fn code_without_ticks_stalls_at_the_limit() {
    let mut machine = Machine::long().code(CODE, |a| {
        let mut again = a.create_label();
        a.set_label(&mut again).unwrap();
        a.inc(rax).unwrap();
        a.jmp(again).unwrap();
    });
    for step in 1..STALL_STEPS_KERNEL {
        assert_eq!(machine.step(), Step::Done, "step {step}");
    }
    assert_eq!(machine.now(), (0, STALL_STEPS_KERNEL - 1));
    assert_eq!(machine.step(), Step::Idle);
    assert_eq!(machine.now(), (1, 0));
    assert_eq!(machine.step(), Step::Done);
}

#[test]
fn a_jump_to_itself_stalls_at_once_and_again_each_time() {
    let mut machine = Machine::long();
    machine.bus.put(CODE, &[0xf3, 0x90, 0xeb, 0xfc]);
    let steps: Vec<Step> = (0..6).map(|_| machine.step()).collect();
    use Step::{Done, Idle};
    assert_eq!(steps, [Done, Done, Done, Idle, Done, Idle]);
    assert_eq!(machine.now(), (2, 0));
}

#[test]
fn a_ring_of_jumps_is_found_out() {
    let mut machine = Machine::long();
    // Seven jumps, the last of them back to the second.
    for i in 0..6_u64 {
        machine.bus.put(CODE + 16 * i, &[0xeb, 14]);
    }
    machine.bus.put(CODE + 96, &[0xeb, (-82_i8) as u8]);
    let first = (0..64).position(|_| machine.step() == Step::Idle);
    assert!(first.is_some_and(|n| n < 32), "{first:?}");
    let again = (0..64).position(|_| machine.step() == Step::Idle);
    assert!(again.is_some_and(|n| n < 12), "{again:?}");
}
