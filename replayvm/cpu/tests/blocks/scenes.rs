//! What a block could get wrong, one thing at a time.

use iced_x86::code_asm::*;
use replayvm_cpu::{Moment, Step, cr4};

use crate::machine::{CODE, DATA, Machine, PT};
use crate::twins::Twins;

fn twins(f: impl Fn(&mut CodeAssembler)) -> Twins {
    Twins::new(|| Machine::long().code(CODE, &f))
}

/// A loop with some of everything in it, and how many of its ticks are looked at.
fn mixed(a: &mut CodeAssembler) {
    let mut again = a.create_label();
    let mut skip = a.create_label();
    a.mov(rsi, DATA).unwrap();
    a.sti().unwrap();
    a.set_label(&mut again).unwrap();
    a.add(eax, 3).unwrap();
    a.mov(dword_ptr(rsi + 16), eax).unwrap();
    a.test(al, 8).unwrap();
    a.jne(skip).unwrap();
    a.push(rax).unwrap();
    a.xor(ebx, dword_ptr(rsi + 16)).unwrap();
    a.pop(rdx).unwrap();
    a.cli().unwrap();
    a.shl(rdx, 5).unwrap();
    a.adc(rbx, rdx).unwrap();
    a.sti().unwrap();
    a.set_label(&mut skip).unwrap();
    a.inc(rcx).unwrap();
    a.cmp(rcx, 1000).unwrap();
    a.jb(again).unwrap();
    a.jmp(again).unwrap();
}

fn interruptible() -> Twins {
    Twins::new(|| {
        let mut machine = Machine::long().code(CODE, mixed);
        machine.assemble(64, crate::machine::HANDLERS + 0x300, |a| {
            a.inc(qword_ptr(DATA + 0x100)).unwrap();
            a.iretq().unwrap();
        });
        machine
    })
}

#[test]
fn every_moment_of_a_window_is_reached() {
    let mut reference = interruptible();
    let mut moments = Vec::new();
    for _ in 0..400 {
        moments.push(reference.plain.cpu.state.now);
        reference.plain.step();
    }
    for &until in &moments[1..] {
        let mut twins = interruptible();
        twins.run(u64::MAX, until);
        assert_eq!(twins.fast.cpu.state.now, until);
    }
    // One past a tick that there is not: to the next moment that there is.
    for offset in 0..60 {
        let mut twins = interruptible();
        twins.run(u64::MAX, Moment { tick: 7, offset });
    }
}

#[test]
fn an_interrupt_is_taken_at_every_tick_of_a_window_and_after_every_step() {
    for n in 0..200 {
        let mut twins = interruptible();
        twins.ticks(n);
        twins.both(|machine| machine.bus.interrupt = Some(0x30));
        twins.ticks(20);
        assert_eq!(twins.fast.bus.get64(DATA + 0x100), 1);
    }
    for n in 1..200 {
        let mut twins = interruptible();
        for _ in 0..n {
            twins.steps(1);
        }
        twins.both(|machine| machine.bus.interrupt = Some(0x30));
        twins.ticks(20);
        assert_eq!(twins.fast.bus.get64(DATA + 0x100), 1);
    }
}

#[test]
fn every_instruction_of_a_block_can_be_a_breakpoint() {
    let mut twins = twins(mixed);
    let mut hits = 0;
    for at in CODE..CODE + 0x60 {
        twins.break_at(vec![at]);
        for _ in 0..4 {
            let now = twins.plain.cpu.state.now;
            twins.run(u64::MAX, Moment { tick: now.tick + 10, offset: 0 });
            hits += u32::from(twins.fast.cpu.state.rip == at);
        }
    }
    assert!(hits > 50, "{hits} hits");
}

#[test]
fn the_next_instruction_is_changed() {
    let mut twins = twins(|a| {
        let mut again = a.create_label();
        let mut patched = a.create_label();
        a.lea(rsi, ptr(patched)).unwrap();
        a.set_label(&mut again).unwrap();
        a.inc(ecx).unwrap();
        a.mov(byte_ptr(rsi + 1), cl).unwrap();
        a.set_label(&mut patched).unwrap();
        a.mov(al, 0).unwrap();
        a.add(rbx, rax).unwrap();
        a.cmp(ecx, 200).unwrap();
        a.jne(again).unwrap();
        a.hlt().unwrap();
    });
    twins.run(u64::MAX, Moment { tick: 200, offset: 10 });
    assert_eq!(twins.fast.cpu.state.gpr[3], (1..=200).sum::<u64>());
}

#[test]
fn the_code_page_is_mapped_elsewhere_under_itself() {
    let mut twins = Twins::new(|| {
        let mut machine = Machine::long().code(CODE, |a| {
            let mut again = a.create_label();
            a.mov(rsi, PT + 8 * (CODE >> 12)).unwrap();
            a.set_label(&mut again).unwrap();
            a.xor(dword_ptr(rsi), 0x4_0000).unwrap();
            a.mov(al, 1).unwrap();
            a.add(bl, al).unwrap();
            a.inc(ecx).unwrap();
            a.jne(again).unwrap();
        });
        // The same program where the entry leads then, but for the 1.
        for i in 0..0x80 {
            let [byte] = machine.bus.get::<1>(CODE + i);
            machine.bus.put((CODE ^ 0x4_0000) + i, &[byte]);
        }
        let at = (0..0x80).find(|i| machine.bus.get::<2>(CODE + i) == [0xb0, 1]).unwrap();
        machine.bus.put((CODE ^ 0x4_0000) + at + 1, &[16]);
        machine
    });
    for _ in 0..20 {
        twins.ticks(1);
    }
    assert_eq!(twins.fast.cpu.state.gpr[3] & 0xff, (10 * 17) & 0xff);
}

#[test]
fn accessed_and_dirty_bits_that_are_cleared_are_set_again() {
    let mut twins = twins(|a| {
        let mut again = a.create_label();
        a.mov(rsi, PT + 8 * (DATA >> 12)).unwrap();
        a.mov(rdi, PT + 8 * (CODE >> 12)).unwrap();
        a.mov(rdx, DATA).unwrap();
        a.set_label(&mut again).unwrap();
        a.mov(dword_ptr(rdx), ecx).unwrap();
        a.add(rbx, qword_ptr(rsi)).unwrap();
        a.and(dword_ptr(rsi), !0x60_i32).unwrap();
        a.and(dword_ptr(rdi), !0x60_i32).unwrap();
        a.add(rbx, qword_ptr(rsi)).unwrap();
        a.add(rbx, qword_ptr(rdi)).unwrap();
        a.inc(ecx).unwrap();
        a.jne(again).unwrap();
    });
    for n in 1..40 {
        twins.steps(n);
        twins.ticks(3);
    }
}

#[test]
fn address_spaces_share_code_and_not_data() {
    let mut twins = Twins::new(|| {
        let mut machine = Machine::long().code(CODE, |a| {
            let mut again = a.create_label();
            a.mov(rax, cr3).unwrap();
            a.mov(rsi, DATA).unwrap();
            a.set_label(&mut again).unwrap();
            a.xor(rax, 0x10_0000).unwrap();
            a.mov(cr3, rax).unwrap();
            a.inc(qword_ptr(rsi)).unwrap();
            a.add(rbx, qword_ptr(rsi)).unwrap();
            a.inc(ecx).unwrap();
            a.jne(again).unwrap();
        });
        let tables = crate::machine::TABLES;
        for page in 0..4 {
            for i in 0..512 {
                let at = tables + 0x1000 * page + 8 * i;
                let entry = machine.bus.get64(at);
                let moved = if page < 3 && entry != 0 { entry ^ 0x10_0000 } else { entry };
                machine.bus.put64(at ^ 0x10_0000, moved);
            }
        }
        let entry = (PT ^ 0x10_0000) + 8 * (DATA >> 12);
        let old = machine.bus.get64(entry);
        machine.bus.put64(entry, old ^ 0x8_0000);
        machine
    });
    for _ in 0..30 {
        twins.ticks(10);
    }
    assert_eq!(twins.fast.bus.get64(DATA), 150);
    assert_eq!(twins.fast.bus.get64(DATA ^ 0x8_0000), 150);
}

#[test]
fn a_loop_that_does_nothing_idles_in_both_forms() {
    for nops in 0..4 {
        let mut twins = twins(|a| {
            let mut again = a.create_label();
            a.inc(eax).unwrap();
            a.set_label(&mut again).unwrap();
            for _ in 0..nops {
                a.nop().unwrap();
            }
            a.jmp(again).unwrap();
        });
        assert_eq!(twins.ticks(2), Step::Idle);
    }
}

#[test]
fn a_loop_without_a_tick_stalls_in_both_forms() {
    for odd in 0..3 {
        let mut twins = twins(|a| {
            let mut again = a.create_label();
            for _ in 0..odd {
                a.nop().unwrap();
            }
            a.set_label(&mut again).unwrap();
            for _ in 0..6 {
                a.inc(eax).unwrap();
            }
            a.jmp(again).unwrap();
        });
        assert_eq!(twins.ticks(2), Step::Idle);
        assert_eq!(twins.ticks(2), Step::Idle);
    }
}

#[test]
fn a_string_instruction_that_takes_several_steps_does_so_in_both_forms() {
    let mut twins = twins(|a| {
        a.mov(rcx, 0x28_0000_u64).unwrap();
        a.mov(rdi, DATA).unwrap();
        a.mov(rsi, DATA + 8).unwrap();
        a.mov(eax, 0x55).unwrap();
        a.xor(edx, edx).unwrap();
        a.rep().lodsb().unwrap();
        a.inc(edx).unwrap();
        a.jne(CODE).unwrap();
    });
    // Over the end of what is mapped, with a page fault in the middle; and before that in pieces.
    for n in 1..12 {
        twins.steps(n);
    }
}

#[test]
fn a_fault_in_the_middle_of_a_block_gives_back_what_was_not_executed() {
    for distance in 0..12_u64 {
        let mut twins = Twins::new(|| {
            let mut machine = Machine::long().code(CODE, |a| {
                let mut again = a.create_label();
                a.mov(rsi, DATA + 0x2000 - 8 * distance).unwrap();
                a.set_label(&mut again).unwrap();
                a.add(rax, 5).unwrap();
                a.mov(qword_ptr(rsi), rax).unwrap();
                a.add(rsi, 8).unwrap();
                a.inc(ecx).unwrap();
                a.jne(again).unwrap();
            });
            machine.pte(DATA + 0x2000, |_| 0);
            machine
        });
        twins.run(u64::MAX, Moment { tick: 100, offset: 0 });
        assert!(twins.fast.cpu.state.halted);
        assert_eq!(twins.fast.cpu.state.gpr[1], distance);
    }
}

#[test]
fn smap_is_lifted_and_put_back() {
    let mut twins = Twins::new(|| {
        let mut machine = Machine::long().set(|state| state.cr4 |= cr4::SMAP).code(CODE, |a| {
            a.mov(rsi, crate::machine::USER_DATA).unwrap();
            a.stac().unwrap();
            a.mov(dword_ptr(rsi), 1).unwrap();
            a.add(eax, dword_ptr(rsi)).unwrap();
            a.clac().unwrap();
            a.mov(dword_ptr(rsi), 2).unwrap();
            a.nop().unwrap();
        });
        machine.cpu.state_changed();
        machine
    });
    for _ in 0..8 {
        twins.steps(1);
    }
    assert_eq!(twins.fast.cpu.state.cr2, crate::machine::USER_DATA);
}
