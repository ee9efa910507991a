//! Exceptions, interrupts, shadows, double and triple faults.

use iced_x86::code_asm::*;
use replayvm_cpu::{Observation, Rflags, Step};

use crate::machine::*;

const IF: u64 = Rflags::IF.bits();

#[test]
fn an_exception_pushes_its_frame_and_error_code_on_an_aligned_stack() {
    let mut machine = Machine::long()
        .code(CODE, |a| a.mov(rax, qword_ptr(0x40_0000)).unwrap())
        .set(|state| state.gpr[4] = STACK - 3);
    machine.run();
    assert_eq!(machine.caught(), 14);
    let frame: Vec<u64> = (0..6).map(|i| machine.stack(i)).collect();
    assert_eq!(frame, [0, CODE, u64::from(CODE64), 0x1_0002, STACK - 3, u64::from(DATA0)]);
    assert_eq!(machine.cpu.state.gpr[4], ((STACK - 3) & !15) - 48);
}

#[test]
fn a_fault_in_the_delivery_of_a_page_fault_is_a_double_fault_on_its_own_stack() {
    let mut machine = Machine::long()
        .code(CODE, |a| a.mov(rax, qword_ptr(0x40_0000)).unwrap())
        .set(|state| state.gpr[4] = 0x50_0000);
    let gate = machine.bus.get64(IDT + 16 * 8);
    machine.bus.put64(IDT + 16 * 8, gate | 1 << 32);
    machine.bus.put64(TSS + 36, STACK);
    machine.run();
    assert_eq!(machine.caught(), 8);
    assert_eq!([machine.stack(0), machine.stack(1)], [0, CODE]);
    assert_eq!(machine.cpu.state.cr2, 0x50_0000 - 8);
}

#[test]
fn a_fault_in_the_delivery_of_a_double_fault_shuts_the_cpu_down() {
    let mut machine = Machine::long().code(CODE, |a| a.ud2().unwrap()).set(|state| state.idtr.limit = 0);
    machine.run();
    assert_eq!(machine.step(), Step::Shutdown);
    assert_eq!(machine.bus.log, [Observation::Shutdown]);
    assert_eq!(machine.cpu.state.rip, CODE);
}

#[test]
fn an_absent_gate_raises_np_with_the_external_bit_for_an_interrupt() {
    let mut machine = Machine::long().code(CODE, |a| a.nop().unwrap()).set(|state| state.rflags |= IF);
    machine.bus.put64(IDT + 16 * 0x40, 0x8e00 << 32 & !(0x8000 << 32) | 0x0e00 << 32);
    machine.bus.interrupt = Some(0x40);
    machine.run();
    assert_eq!(machine.caught(), 11);
    assert_eq!(machine.stack(0), 0x40 << 3 | 3);
}

#[test]
fn an_interrupt_waits_for_if() {
    let mut machine = Machine::long().code(CODE, |a| {
        a.nop().unwrap();
        a.sti().unwrap();
        a.nop().unwrap();
        a.nop().unwrap();
    });
    machine.bus.interrupt = Some(0x40);
    machine.run();
    assert_eq!(machine.caught(), 0x40);
    // After NOP, STI and the one instruction in the shadow of STI.
    assert_eq!(machine.stack(0), CODE + 3);
    assert_eq!(machine.cpu.state.rflags & IF, 0);
}

#[test]
fn mov_ss_holds_interrupts_and_nmis_off_for_one_instruction() {
    for nmi in [false, true] {
        let mut machine = Machine::long()
            .code(CODE, |a| {
                a.mov(ss, ax).unwrap();
                a.nop().unwrap();
                a.nop().unwrap();
            })
            .set(|state| {
                state.rflags |= IF;
                state.gpr[0] = u64::from(DATA0);
            });
        machine.step();
        (machine.bus.nmi, machine.bus.interrupt) = (nmi, Some(0x40));
        machine.run();
        assert_eq!(machine.caught(), if nmi { 2 } else { 0x40 });
        assert_eq!(machine.stack(0), CODE + 4);
    }
}

#[test]
fn a_second_nmi_waits_for_iret() {
    let mut machine = Machine::long().code(CODE, |a| a.nop().unwrap());
    machine.assemble(64, HANDLERS + 32, |a| {
        a.inc(rbx).unwrap();
        a.iretq().unwrap();
    });
    machine.bus.nmi = true;
    machine.step();
    machine.bus.nmi = true;
    machine.step();
    assert!(machine.bus.nmi && machine.cpu.state.nmi_blocked);
    machine.steps(2);
    assert!(!machine.bus.nmi, "taken at the boundary after IRET");
    machine.steps(2);
    assert_eq!(machine.cpu.state.gpr[3], 2);
    assert_eq!(machine.cpu.state.rip, CODE);
}

#[test]
fn hlt_waits_and_an_interrupt_wakes_it() {
    let mut machine = Machine::long().code(CODE, |a| {
        a.sti().unwrap();
        a.hlt().unwrap();
    });
    assert_eq!(machine.step(), Step::Done);
    assert_eq!(machine.step(), Step::Done);
    assert_eq!(machine.now(), (0, 2));
    assert_eq!(machine.step(), Step::Idle);
    assert_eq!(machine.step(), Step::Idle);
    assert_eq!(machine.now(), (2, 0));
    machine.bus.interrupt = Some(0x21);
    assert_eq!(machine.step(), Step::Done);
    assert!(!machine.cpu.state.halted);
    assert_eq!(machine.stack(0), CODE + 2);
    assert_eq!(machine.bus.log.last(), Some(&Observation::Interrupt { vector: 0x21 }));
}

#[test]
fn a_user_program_enters_the_kernel_by_a_gate_of_dpl_3_only() {
    let mut machine = Machine::long().user().code(USER_CODE, |a| a.int(0x80).unwrap());
    machine.run();
    assert_eq!(machine.caught(), 13);
    assert_eq!([machine.stack(0), machine.stack(1)], [0x80 << 3 | 2, USER_CODE]);

    let mut machine = Machine::long().user().code(USER_CODE, |a| a.int(0x80).unwrap());
    machine.bus.put64(IDT + 16 * 0x80, gate(HANDLERS + 16 * 0x80, CODE64, 0xee));
    machine.run();
    assert_eq!(machine.caught(), 0x80);
    let frame: Vec<u64> = (0..5).map(|i| machine.stack(i)).collect();
    assert_eq!(frame, [USER_CODE + 2, u64::from(USER64), 2, USER_STACK, u64::from(USER_SS)]);
    assert_eq!(machine.cpu.state.gpr[4], RING0_STACK - 40);
    assert_eq!((machine.cpu.state.cpl(), machine.cpu.state.segments[2].selector), (0, 0));
}

#[test]
fn protected_mode_switches_stacks_through_the_task_state() {
    let mut machine = Machine::protected().user().code(USER_CODE, |a| a.ud2().unwrap());
    machine.run();
    assert_eq!(machine.caught(), 6);
    let frame: Vec<u64> = (0..5).map(|i| machine.stack(i)).collect();
    assert_eq!(frame, [USER_CODE, u64::from(USER32), 0x1_0002, USER_STACK, u64::from(USER_SS)]);
    assert_eq!(machine.cpu.state.segments[2].selector, DATA0);
}

#[test]
fn fifteen_bytes_of_prefixes_raise_gp() {
    let mut machine = Machine::long();
    machine.bus.put(CODE, &[0x66; 15]);
    assert_eq!(machine.run().caught(), 13);
}

#[test]
fn lock_where_it_may_not_stand_is_ud() {
    let mut machine = Machine::long();
    machine.bus.put(CODE, &[0xf0, 0x89, 0xc8]);
    assert_eq!(machine.run().caught(), 6);
}
