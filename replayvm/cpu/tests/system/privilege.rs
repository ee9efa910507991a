//! Crossing rings: system calls, call gates, returns, ports; and who may do what.

use iced_x86::code_asm::*;
use replayvm_cpu::{Rflags, SegmentName};

use crate::machine::*;

#[test]
fn syscall_and_sysret_go_there_and_back() {
    let mut machine = Machine::long()
        .user()
        .code(USER_CODE, |a| {
            a.syscall().unwrap();
            a.nop().unwrap();
        })
        .set(|state| {
            state.lstar = CODE;
            state.fmask = Rflags::IF.bits();
            state.rflags |= Rflags::IF.bits();
        });
    machine.assemble(64, CODE, |a| a.sysretq().unwrap());
    machine.step();
    let state = &machine.cpu.state;
    assert_eq!((state.rip, state.gpr[1], state.gpr[11]), (CODE, USER_CODE + 2, 0x202));
    assert_eq!((state.rflags, state.segments[1].selector, state.segments[2].selector), (2, CODE64, DATA0));
    machine.step();
    let state = &machine.cpu.state;
    assert_eq!((state.rip, state.rflags), (USER_CODE + 2, 0x202));
    assert_eq!((state.segments[1].selector, state.segments[2].selector), (USER64, USER_SS));
}

#[test]
fn sysenter_and_sysexit_go_there_and_back() {
    let mut machine = Machine::protected().user().code(USER_CODE, |a| a.sysenter().unwrap()).set(|state| {
        state.sysenter_cs = u64::from(CODE64);
        (state.sysenter_eip, state.sysenter_esp) = (CODE, STACK);
        (state.gpr[2], state.gpr[1]) = (USER_CODE + 0x10, USER_STACK);
    });
    machine.assemble(32, CODE, |a| a.sysexit().unwrap());
    machine.step();
    let state = &machine.cpu.state;
    assert_eq!((state.cpl(), state.rip, state.gpr[4]), (0, CODE, STACK));
    machine.step();
    let state = &machine.cpu.state;
    assert_eq!((state.cpl(), state.rip, state.gpr[4]), (3, USER_CODE + 0x10, USER_STACK));
    assert_eq!((state.segments[1].selector, state.segments[2].selector), (USER32, USER_SS));
}

#[test]
fn a_call_gate_copies_parameters_and_ret_goes_back() {
    let mut machine = Machine::protected().user().code(USER_CODE, |a| {
        a.push(0x11).unwrap();
        a.push(0x22).unwrap();
        a.db(&[0x9a, 0, 0, 0, 0, GATE as u8 | 3, 0]).unwrap();
        a.hlt().unwrap();
    });
    machine.bus.put64(GDT + u64::from(GATE), gate(CODE, CODE32, 0xec) | 2 << 32);
    machine.assemble(32, CODE, |a| {
        a.mov(ecx, dword_ptr(esp + 8)).unwrap();
        a.retf_1(8).unwrap();
    });
    machine.steps(3);
    let frame: Vec<u64> = (0..6).map(|i| machine.stack(i)).collect();
    let back = USER_CODE + 11;
    assert_eq!(frame, [back, u64::from(USER32), 0x22, 0x11, USER_STACK - 8, u64::from(USER_SS)]);
    assert_eq!(machine.now(), (1, 0), "entering the kernel is a tick");
    machine.steps(2);
    let state = &machine.cpu.state;
    assert_eq!((state.cpl(), state.rip, state.gpr[4], state.gpr[1]), (3, back, USER_STACK, 0x22));
}

#[test]
fn a_call_gate_of_long_mode_switches_to_the_stack_of_the_task_state() {
    let mut machine = Machine::long().user().code(USER_CODE, |a| a.call(fword_ptr(USER_DATA)).unwrap());
    machine.bus.put64(GDT + u64::from(GATE), gate(CODE, CODE64, 0xec));
    machine.bus.put(USER_DATA + 4, &(GATE | 3).to_le_bytes());
    machine.bus.put(CODE, &[0x48, 0xcb]);
    machine.step();
    let frame: Vec<u64> = (0..4).map(|i| machine.stack(i)).collect();
    let back = frame[0];
    assert_eq!(frame[1..], [u64::from(USER64), USER_STACK, u64::from(USER_SS)]);
    assert_eq!((machine.cpu.state.cpl(), machine.cpu.state.gpr[4]), (0, RING0_STACK - 32));
    machine.step();
    let state = &machine.cpu.state;
    assert_eq!((state.cpl(), state.rip, state.gpr[4]), (3, back, USER_STACK));
}

#[test]
fn returning_to_user_mode_clears_segments_that_it_may_not_hold() {
    let mut machine = Machine::protected().code(CODE, |a| {
        for word in [u32::from(USER_SS), USER_STACK as u32, 0x202, u32::from(USER32), USER_CODE as u32] {
            a.push(word as i32).unwrap();
        }
        a.iretd().unwrap();
    });
    machine.steps(6);
    let state = &machine.cpu.state;
    assert_eq!((state.cpl(), state.rip, state.gpr[4]), (3, USER_CODE, USER_STACK));
    assert_eq!(state.segment(SegmentName::Ds).selector, 0);
    assert!(!state.segment(SegmentName::Ds).attributes.present());
}

#[test]
fn iretq_to_a_selector_that_is_not_code_faults_with_all_registers_as_before() {
    let mut machine = Machine::long().code(CODE, |a| a.iretq().unwrap());
    let frame = [CODE + 0x10, u64::from(DATA0), 2, STACK, u64::from(DATA0)];
    for (i, word) in frame.into_iter().enumerate() {
        machine.bus.put64(STACK + 8 * i as u64, word);
    }
    machine.run();
    assert_eq!((machine.caught(), machine.stack(0), machine.stack(1)), (13, u64::from(DATA0), CODE));
    assert_eq!(machine.stack(4), STACK);
}

#[test]
fn a_port_is_open_by_the_map_in_the_task_state() {
    let mut machine = Machine::long().user().code(USER_CODE, |a| {
        a.in_(al, 0x42).unwrap();
        a.in_(al, 0x43).unwrap();
    });
    machine.cpu.state.tr.limit = 0xff;
    machine.bus.put(TSS + 0x68 + 8, &[0b1111_1011]);
    machine.step();
    assert_eq!(machine.cpu.state.gpr[0], 0x42);
    machine.run();
    assert_eq!((machine.caught(), machine.stack(1)), (13, USER_CODE + 2));
}

#[test]
fn privileged_instructions_raise_gp_in_user_mode() {
    let instructions: [&[u8]; 9] = [
        &[0xf4],
        &[0xfa],
        &[0xfb],
        &[0x0f, 0x30],
        &[0x0f, 0x32],
        &[0x0f, 0x20, 0xc0],
        &[0x0f, 0x06],
        &[0x0f, 0x09],
        &[0xe4, 0x10],
    ];
    for bytes in instructions {
        let mut machine = Machine::long().user();
        machine.bus.put(USER_CODE, bytes);
        machine.run();
        assert_eq!((machine.caught(), machine.stack(0), machine.stack(1)), (13, 0, USER_CODE), "{bytes:x?}");
    }
}

#[test]
fn task_priority_swapgs_and_the_counter_belong_to_the_kernel() {
    let mut machine = Machine::long()
        .code(CODE, |a| {
            a.mov(eax, 7).unwrap();
            a.mov(cr8, rax).unwrap();
            a.mov(rbx, cr8).unwrap();
            a.swapgs().unwrap();
            a.rdtsc().unwrap();
            a.hlt().unwrap();
        })
        .set(|state| state.kernel_gs_base = 0x1234);
    machine.run();
    let state = &machine.cpu.state;
    assert_eq!((machine.bus.priority, state.gpr[3]), (7, 7));
    assert_eq!((state.segments[5].base, state.kernel_gs_base), (0x1234, 0));
    assert_eq!(state.gpr[0], 1_000_000);
}

#[test]
fn msrs_refuse_what_they_cannot_hold() {
    for (index, value) in [
        (0xc000_0080_u32, 1_u64 << 20),
        (0xc000_0082, 1 << 47),
        (0x277, 2),
        (0x2ff, 0x1000),
        (0xc000_0103, 1 << 32),
        (0x1234_5678, 0),
        (0x179, 0),
    ] {
        let mut machine = Machine::long().code(CODE, |a| a.wrmsr().unwrap()).set(|state| {
            (state.gpr[1], state.gpr[0], state.gpr[2]) = (u64::from(index), value & 0xffff_ffff, value >> 32);
        });
        machine.run();
        assert_eq!((machine.caught(), machine.stack(0)), (13, 0), "{index:#x}");
    }
}

#[test]
fn writing_the_counter_moves_it() {
    let mut machine = Machine::long().code(CODE, |a| {
        a.mov(ecx, 0x10).unwrap();
        a.mov(eax, 5).unwrap();
        a.wrmsr().unwrap();
        a.rdtsc().unwrap();
        a.mov(ebx, eax).unwrap();
        a.mov(ecx, 0x3b).unwrap();
        a.rdmsr().unwrap();
        a.hlt().unwrap();
    });
    machine.run();
    let state = &machine.cpu.state;
    assert_eq!((state.gpr[3], state.gpr[0] as u32), (5, 5_u32.wrapping_sub(1_000_000)));
}
