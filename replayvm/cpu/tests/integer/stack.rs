//! The stack in 32-bit and 16-bit code, and POPF by privilege.

use iced_x86::code_asm::*;
use replayvm_cpu::{Attributes, SegmentName};

use crate::machine::{Machine, STACK};
use crate::{RAX, RBX};

const RSP: usize = 4;
const RBP: usize = 5;

#[test]
fn pusha_pushes_the_stack_pointer_as_it_was_and_popa_skips_it() {
    let machine = Machine::protected(|a| {
        a.pushad().unwrap();
        a.popad().unwrap();
    });
    let mut machine = machine;
    for i in (0..8).filter(|&i| i != RSP) {
        machine = machine.with(i, 0x1111 * (i as u64 + 1));
    }
    let machine = machine.step();
    assert_eq!(machine.gpr(RSP), STACK - 32);
    let pushed: Vec<u32> = (0..8).map(|i| machine.board.dword(STACK - 4 - 4 * i)).collect();
    assert_eq!(pushed, [0x1111, 0x2222, 0x3333, 0x4444, STACK as u32, 0x6666, 0x7777, 0x8888]);
    let machine = machine.with(RAX, 0).with_memory(STACK - 20, &[9, 9, 9, 9]).step();
    assert_eq!((machine.gpr(RAX), machine.gpr(RSP)), (0x1111, STACK));
}

#[test]
fn push_of_a_segment_register_is_zero_extended() {
    let machine = Machine::protected(|a| a.push(ds).unwrap());
    let machine = machine.with_memory(STACK - 4, &[0xff; 4]).step();
    assert_eq!(machine.board.dword(STACK - 4), 8);
}

#[test]
fn push_of_the_stack_pointer_pushes_it_as_it_was_and_pop_into_it_keeps_what_was_popped() {
    let machine = Machine::protected(|a| {
        a.push(esp).unwrap();
        a.pop(esp).unwrap();
    });
    let machine = machine.step();
    assert_eq!(machine.board.dword(STACK - 4), STACK as u32);
    assert_eq!(machine.step().gpr(RSP), STACK);
}

#[test]
fn pop_to_memory_forms_its_address_after_the_stack_pointer_has_moved() {
    let machine = Machine::protected(|a| a.pop(dword_ptr(esp + 4)).unwrap());
    let machine = machine.with_memory(STACK, &[1, 2, 3, 4]).step();
    assert_eq!(machine.board.dword(STACK + 8), 0x0403_0201);
}

#[test]
fn a_16_bit_stack_wraps_and_leaves_the_upper_half_alone() {
    let machine = Machine::real(|a| {
        a.push(ax).unwrap();
        a.push(eax).unwrap();
    });
    let machine = machine.with(RSP, 0x1234_0004).with(RAX, 0xaabb_ccdd).step();
    assert_eq!((machine.gpr(RSP), machine.board.word(2)), (0x1234_0002, 0xccdd));
    let machine = machine.with(RSP, 0x1234_0000).step();
    assert_eq!((machine.gpr(RSP), machine.board.dword(0xfffc)), (0x1234_fffc, 0xaabb_ccdd));
}

#[test]
fn enter_with_nesting_copies_the_display_and_leave_undoes_it() {
    let machine = Machine::protected(|a| {
        a.enter(0x20, 2).unwrap();
        a.leave().unwrap();
    });
    let machine = machine.with(RBP, 0x6004).with_memory(0x6000, &0x5555_u32.to_le_bytes()).step();
    let frame: Vec<u32> = (1..=3).map(|i| machine.board.dword(STACK - 4 * i)).collect();
    assert_eq!(frame, [0x6004, 0x5555, STACK as u32 - 4]);
    assert_eq!((machine.gpr(RBP), machine.gpr(RSP)), (STACK - 4, STACK - 12 - 0x20));
    let machine = machine.step();
    assert_eq!((machine.gpr(RBP), machine.gpr(RSP)), (0x6004, STACK));
}

/// RFLAGS after POPFD of `image` at a CPL and an IOPL.
fn popf(cpl: u16, iopl: u64, image: u64) -> u64 {
    let machine = Machine::protected(|a| {
        a.push(ebx).unwrap();
        a.popfd().unwrap();
    });
    let mut machine = machine.with(RBX, image).with_flags(iopl << 12);
    for name in [SegmentName::Ss, SegmentName::Ds, SegmentName::Es] {
        machine.cpu.state.segment_mut(name).attributes = Attributes(0xc093 | cpl << 5);
    }
    machine.cpu.state.segment_mut(SegmentName::Cs).attributes = Attributes(0xc09b | cpl << 5);
    machine.steps(2).cpu.state.rflags
}

#[test]
fn popf_writes_iopl_at_cpl_0_only_and_if_up_to_iopl() {
    const ALL: u64 = 0x24_7fd7;
    assert_eq!(popf(0, 0, ALL & !0x100), ALL & !0x100);
    assert_eq!(popf(3, 0, ALL & !0x100), ALL & !0x100 & !0x3200);
    assert_eq!(popf(3, 3, 0x200), 0x3202);
    assert_eq!(popf(3, 3, 0), 0x3002);
    // VM, VIF, VIP and the reserved bits are never written.
    assert_eq!(popf(0, 0, 0xffff_ffff & !0x100), ALL & !0x100);
}

#[test]
fn pushf_shows_neither_vm_nor_rf() {
    let machine = Machine::protected(|a| a.pushfd().unwrap());
    let machine = machine.with_flags(0x4_0cd5).step();
    assert_eq!(machine.board.dword(STACK - 4), 0x4_0cd7);
}
