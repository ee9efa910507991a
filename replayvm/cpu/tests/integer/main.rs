//! Integer instructions where a processor in 64-bit mode cannot be asked: 32-bit and 16-bit code, decimal adjustment,
//! string instructions on ports, flags by privilege. What 64-bit user code can do is in `differential`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod decimal;
mod machine;
mod stack;
mod strings;

use iced_x86::code_asm::*;
use machine::Machine;

const CF: u64 = 1;
const RAX: usize = 0;
const RCX: usize = 1;
const RDX: usize = 2;
const RBX: usize = 3;
const RSI: usize = 6;
const RDI: usize = 7;

#[test]
fn a_write_of_32_bits_clears_the_upper_half_and_one_of_16_or_8_bits_merges() {
    let machine = Machine::protected(|a| {
        a.mov(eax, 0x1234_5678).unwrap();
        a.mov(ax, 0xabcd_u32).unwrap();
        a.mov(ah, 0x11).unwrap();
        a.mov(al, 0x22).unwrap();
    });
    let machine = machine.with(RAX, u64::MAX).step();
    assert_eq!(machine.gpr(RAX), 0x1234_5678);
    let machine = machine.step();
    assert_eq!(machine.gpr(RAX), 0x1234_abcd);
    assert_eq!(machine.steps(2).gpr(RAX), 0x1234_1122);
}

#[test]
fn a_16_bit_address_wraps_within_its_segment() {
    let machine = Machine::real(|a| a.mov(al, ptr(bx + si + 0x10)).unwrap());
    let machine = machine.with(RBX, 0xfff0).with(RSI, 0xffff_0100).with_memory(0x100, &[0x5a]);
    assert_eq!(machine.step().gpr(RAX), 0x5a);
}

#[test]
fn lea_gives_the_offset_cut_to_the_operand() {
    let machine = Machine::protected(|a| {
        a.lea(eax, ptr(ebx + ecx * 4 + 8)).unwrap();
        a.lea(dx, ptr(ebx + ecx * 4 + 8)).unwrap();
    });
    let machine = machine.with(RBX, 0xffff_fff0).with(RCX, 0x4003).with(RDX, 0x7777_0000).steps(2);
    assert_eq!((machine.gpr(RAX), machine.gpr(RDX)), (0x1_0004, 0x7777_0004));
}

#[test]
fn a_bit_offset_in_a_register_reaches_below_and_above_the_operand() {
    let machine = Machine::protected(|a| {
        a.bts(dword_ptr(0x2000), eax).unwrap();
        a.bts(dword_ptr(0x2000), ecx).unwrap();
        a.bt(word_ptr(0x2000), dx).unwrap();
    });
    let machine = machine.with(RAX, u64::from(-1_i32 as u32)).with(RCX, 65).with(RDX, 0xffff).steps(3);
    assert_eq!(machine.board.dword(0x1ffc), 1 << 31);
    assert_eq!(machine.board.dword(0x2008), 2);
    assert_eq!(machine.flags() & CF, CF);
}

#[test]
fn bound_raises_br_outside_and_nothing_at_the_bounds() {
    let bounds: Vec<u8> = [-5_i32, 10].iter().flat_map(|b| b.to_le_bytes()).collect();
    for (index, raises) in [(-6_i32, true), (-5, false), (10, false), (11, true)] {
        let machine = Machine::protected(|a| a.bound(eax, dword_ptr(0x2000)).unwrap());
        let mut machine = machine.with(RAX, u64::from(index as u32)).with_memory(0x2000, &bounds);
        machine.cpu.step(&mut machine.board);
        assert_eq!(machine.cpu.state.rip == machine::CODE + 6, !raises, "{index}");
    }
}

#[test]
fn division_by_zero_and_a_quotient_that_does_not_fit_change_nothing() {
    for (high, low, divisor) in [(0, 1, 0), (1, 0, 1), (5, 0, 5), (u32::MAX, 0, 7)] {
        let machine = Machine::protected(|a| a.div(ecx).unwrap());
        let mut machine = machine.with(RAX, low).with(RDX, u64::from(high)).with(RCX, divisor);
        machine.cpu.step(&mut machine.board);
        assert_eq!((machine.gpr(RAX), machine.gpr(RDX)), (low, u64::from(high)));
        assert_ne!(machine.cpu.state.rip, machine::CODE + 2);
    }
}

#[test]
fn the_least_number_divided_by_minus_one_is_a_divide_error() {
    let machine = Machine::protected(|a| a.idiv(ecx).unwrap());
    let mut machine = machine.with(RAX, 0x8000_0000).with(RDX, 0xffff_ffff).with(RCX, 0xffff_ffff);
    machine.cpu.step(&mut machine.board);
    assert_ne!(machine.cpu.state.rip, machine::CODE + 2);
}

#[test]
fn inc_and_dec_leave_carry_alone() {
    let machine = Machine::protected(|a| {
        a.inc(ax).unwrap();
        a.dec(ax).unwrap();
    });
    let machine = machine.with(RAX, 0xffff).with_flags(CF).step();
    assert_eq!((machine.gpr(RAX), machine.flags()), (0, 0x55), "CF PF AF ZF");
    let machine = machine.step();
    assert_eq!((machine.gpr(RAX), machine.flags()), (0xffff, 0x95), "CF PF AF SF");
}

#[test]
fn salc_spreads_carry_over_al() {
    let machine = Machine::protected(|a| a.db(&[0xd6, 0xd6]).unwrap());
    assert_eq!(machine.with(RAX, 0x1234).with_flags(CF).step().gpr(RAX), 0x12ff);
}

#[test]
fn xlat_reads_at_bx_plus_al_within_16_bits() {
    let machine = Machine::real(|a| a.xlatb().unwrap());
    let machine = machine.with(RBX, 0xfff0).with(RAX, 0x1220).with_memory(0x10, &[0x99]);
    assert_eq!(machine.step().gpr(RAX), 0x1299);
}

#[test]
fn cmpxchg8b_exchanges_or_loads() {
    let machine = Machine::protected(|a| {
        a.cmpxchg8b(qword_ptr(0x2000)).unwrap();
        a.cmpxchg8b(qword_ptr(0x2000)).unwrap();
    });
    let machine = machine.with(RAX, 1).with(RDX, 2).with(RBX, 3).with(RCX, 4);
    let machine = machine.with_memory(0x2000, &[1, 0, 0, 0, 2, 0, 0, 0]).step();
    assert_eq!((machine.board.dword(0x2000), machine.board.dword(0x2004)), (3, 4));
    assert_eq!(machine.flags(), 0x40);
    let machine = machine.step();
    assert_eq!((machine.gpr(RAX), machine.gpr(RDX), machine.flags()), (3, 4, 0));
}

#[test]
fn a_32_bit_string_instruction_uses_no_more_than_32_bits_of_its_registers() {
    let machine = Machine::protected(|a| a.movsb().unwrap());
    let machine = machine.with(RSI, 0x7_0000_2000).with(RDI, 0x9_0000_3000).with_memory(0x2000, &[7]).step();
    assert_eq!(machine.board.bytes(0x3000, 1), [7]);
    assert_eq!((machine.gpr(RSI), machine.gpr(RDI)), (0x2001, 0x3001));
}
