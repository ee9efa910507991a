//! Repetition, its limit, direction, and string instructions on ports.

use iced_x86::code_asm::*;
use replayvm_cpu::REP_LIMIT;

use crate::machine::{CODE, Machine};
use crate::{RAX, RCX, RDI, RDX, RSI};

#[test]
fn rep_with_a_count_of_zero_touches_nothing() {
    let machine = Machine::protected(|a| a.rep().movsd().unwrap());
    let machine = machine.with(RSI, 0x2000).with(RDI, 0xffff_fff0).step();
    assert_eq!((machine.gpr(RSI), machine.gpr(RDI), machine.cpu.state.rip), (0x2000, 0xffff_fff0, CODE + 2));
}

#[test]
fn rep_stops_at_its_limit_and_goes_on_in_the_next_step() {
    let machine = Machine::protected(|a| a.rep().lodsb().unwrap());
    let machine = machine.with(RCX, REP_LIMIT + 5).step();
    assert_eq!((machine.gpr(RCX), machine.gpr(RSI), machine.cpu.state.rip), (5, REP_LIMIT, CODE));
    let machine = machine.step();
    assert_eq!((machine.gpr(RCX), machine.cpu.state.rip), (0, CODE + 2));
}

#[test]
fn strings_go_down_with_the_direction_flag() {
    let machine = Machine::protected(|a| {
        a.std().unwrap();
        a.rep().movsw().unwrap();
    });
    let machine = machine.with(RSI, 0x2004).with(RDI, 0x3004).with(RCX, 3);
    let machine = machine.with_memory(0x2000, &[1, 2, 3, 4, 5, 6]).steps(2);
    assert_eq!(machine.board.bytes(0x3000, 6), [1, 2, 3, 4, 5, 6]);
    assert_eq!((machine.gpr(RSI), machine.gpr(RDI), machine.gpr(RCX)), (0x1ffe, 0x2ffe, 0));
}

#[test]
fn overlapping_rep_movsb_spreads_a_byte() {
    let machine = Machine::protected(|a| a.rep().movsb().unwrap());
    let machine = machine.with(RSI, 0x2000).with(RDI, 0x2001).with(RCX, 7).with_memory(0x2000, &[9]).step();
    assert_eq!(machine.board.bytes(0x2000, 9), [9, 9, 9, 9, 9, 9, 9, 9, 0]);
}

#[test]
fn repne_scasb_finds_a_byte_and_repe_cmpsb_a_difference() {
    let machine = Machine::protected(|a| a.repne().scasb().unwrap());
    let machine = machine.with(RAX, u64::from(b'l')).with(RDI, 0x2000).with(RCX, 100);
    let machine = machine.with_memory(0x2000, b"hello").step();
    assert_eq!((machine.gpr(RDI), machine.gpr(RCX), machine.flags()), (0x2003, 97, 0x44));

    let machine = Machine::protected(|a| a.repe().cmpsb().unwrap());
    let machine = machine.with(RSI, 0x2000).with(RDI, 0x3000).with(RCX, 100);
    let machine = machine.with_memory(0x2000, b"hello").with_memory(0x3000, b"heLlo").step();
    assert_eq!((machine.gpr(RSI), machine.gpr(RDI), machine.gpr(RCX)), (0x2003, 0x3003, 97));
    assert_eq!(machine.flags() & 0x41, 0, "'l' is above 'L'");
}

#[test]
fn a_16_bit_string_wraps_its_index_and_keeps_the_upper_halves() {
    let machine = Machine::real(|a| a.rep().stosb().unwrap());
    let machine = machine.with(RDI, 0x1111_ffff).with(RCX, 0x2222_0002).with(RAX, 0x77).step();
    assert_eq!((machine.board.bytes(0xffff, 1), machine.board.bytes(0, 1)), (&[0x77][..], &[0x77][..]));
    assert_eq!((machine.gpr(RDI), machine.gpr(RCX)), (0x1111_0001, 0x2222_0000));
}

#[test]
fn a_segment_override_moves_the_source_only() {
    let mut machine = Machine::real(|a| a.db(&[0x26, 0xac]).unwrap());
    machine.cpu.state.segments[0].base = 0x2_0000;
    let machine = machine.with(RSI, 0x10).with_memory(0x2_0010, &[0x42]).step();
    assert_eq!(machine.gpr(RAX), 0x42);
}

#[test]
fn ins_and_outs_speak_to_the_port_in_dx_once_an_element() {
    let machine = Machine::protected(|a| {
        a.rep().insw().unwrap();
        a.mov(ecx, 2).unwrap();
        a.mov(esi, 0x2000).unwrap();
        a.rep().outsw().unwrap();
    });
    let machine = machine.with(RDX, 0x1f0).with(RDI, 0x2000).with(RCX, 3).steps(4);
    assert_eq!(machine.board.bytes(0x2000, 6), [1, 0, 2, 0, 3, 0]);
    assert_eq!(machine.board.port_writes, [(0x1f0, 2, 1), (0x1f0, 2, 2)]);
}

#[test]
fn with_the_trap_flag_each_iteration_is_a_step_of_its_own() {
    let machine = Machine::protected(|a| a.rep().lodsb().unwrap());
    let mut machine = machine.with(RCX, 3).with_flags(0x100);
    machine.cpu.step(&mut machine.board);
    assert_eq!((machine.gpr(RCX), machine.gpr(RSI)), (2, 1));
}

/// Runs a REP instruction to its end and gives back the machine.
fn run(bytes: &[u8], seed: u64, element_by_element: bool) -> Machine {
    let mut dice = seed;
    let mut random = |limit: u64| {
        dice = dice.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (dice >> 33) % limit
    };
    let mut machine = Machine::protected(|a| a.db(bytes).unwrap());
    for byte in &mut machine.board.memory[0x1_0000..0x2_0000] {
        *byte = random(256) as u8;
    }
    let from = 0x1_0000 + random(0x4000);
    let to = if random(2) == 0 { from + random(20) } else { 0x1_8000 + random(0x4000) };
    let value = random(u64::from(u32::MAX));
    machine = machine.with(RSI, from).with(RDI, to).with(RCX, random(3000)).with(RAX, value);
    machine = machine.with_flags(if random(8) == 0 { 0x400 } else { 0 });
    if element_by_element {
        // A breakpoint that nothing hits.
        machine.cpu.state.dr[0] = 0x9000_0000;
        machine.cpu.state.dr7 |= 0x3_0001;
    }
    machine.step()
}

#[test]
fn elements_moved_in_bulk_end_as_elements_moved_one_at_a_time() {
    let instructions: [&[u8]; 6] = [
        &[0xf3, 0xa4],
        &[0xf3, 0x66, 0xa5],
        &[0xf3, 0xa5],
        &[0xf3, 0xaa],
        &[0xf3, 0x66, 0xab],
        &[0xf3, 0xab],
    ];
    for seed in 0..600 {
        let bytes = instructions[seed as usize % instructions.len()];
        let (fast, slow) = (run(bytes, seed, false), run(bytes, seed, true));
        assert_eq!(fast.cpu.state.gpr, slow.cpu.state.gpr, "{bytes:02x?} seed {seed}");
        assert_eq!(fast.cpu.state.rip, slow.cpu.state.rip);
        assert!(fast.board.memory == slow.board.memory, "{bytes:02x?} seed {seed}");
    }
}
