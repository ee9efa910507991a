//! Real mode, virtual-8086 mode, and the way to long mode.

use iced_x86::code_asm::*;
use replayvm_cpu::{Attributes, Mode, Rflags, SegmentName};

use crate::machine::*;

#[test]
fn int_and_iret_in_real_mode() {
    let mut machine = Machine::real().code(CODE, |a| {
        a.sti().unwrap();
        a.int(0x21).unwrap();
        a.hlt().unwrap();
    });
    machine.assemble(16, HANDLERS + 16 * 0x21, |a| {
        a.mov(bx, 7).unwrap();
        a.iret().unwrap();
    });
    machine.steps(2);
    assert_eq!([machine.stack(0), machine.stack(1), machine.stack(2)], [CODE + 3, 0, 0x202]);
    assert_eq!(machine.cpu.state.rflags & Rflags::IF.bits(), 0);
    machine.run();
    assert_eq!((machine.cpu.state.gpr[3], machine.cpu.state.rip), (7, CODE + 4));
    assert_eq!((machine.cpu.state.rflags, machine.cpu.state.gpr[4]), (0x202, 0x7000));
}

/// What protected mode has left stays in force (big real mode), and limit and granularity stay a pair that processors know.
#[test]
fn a_far_jump_in_real_mode_keeps_limit_and_granularity_of_cs() {
    let far = |a: &mut CodeAssembler| a.db(&[0xea, 0x00, 0x00, 0x90, 0x00]).unwrap();
    for (limit, granular) in [(u32::MAX, 0x8000), (0xffff, 0)] {
        let mut machine = Machine::real().code(CODE, far).set(|state| {
            let code = state.segment_mut(SegmentName::Cs);
            (code.limit, code.attributes) = (limit, Attributes(0x409b | granular));
        });
        machine.step();
        let code = machine.cpu.state.segment(SegmentName::Cs);
        assert_eq!((code.selector, code.base, code.limit), (0x90, 0x900, limit));
        assert_eq!(code.attributes, Attributes(0x9b | granular));
    }
}

#[test]
fn from_real_mode_to_protected_to_long_and_into_64_bit_code() {
    let mut machine = Machine::long();
    let tables = machine.bus.ram.clone();
    machine = Machine::real();
    machine.bus.ram[TABLES as usize..TABLES as usize + 0x4000]
        .copy_from_slice(&tables[TABLES as usize..TABLES as usize + 0x4000]);
    machine.cpu.state.gdtr = replayvm_cpu::Table::default();
    machine.bus.put(0x600, &0xff_u16.to_le_bytes());
    machine.bus.put(0x602, &(GDT as u32).to_le_bytes());
    machine.assemble(16, CODE, |a| {
        a.lgdt(fword_ptr(0x600)).unwrap();
        a.mov(eax, cr0).unwrap();
        a.or(al, 1).unwrap();
        a.mov(cr0, eax).unwrap();
        // JMP 0040:00008800
        a.db(&[0x66, 0xea, 0x00, 0x88, 0, 0, CODE32 as u8, 0]).unwrap();
    });
    machine.assemble(32, CODE + 0x800, |a| {
        a.mov(eax, u32::from(DATA0)).unwrap();
        a.mov(ds, ax).unwrap();
        a.mov(ss, ax).unwrap();
        a.mov(esp, STACK as u32).unwrap();
        a.mov(eax, 0x20).unwrap();
        a.mov(cr4, eax).unwrap();
        a.mov(eax, TABLES as u32).unwrap();
        a.mov(cr3, eax).unwrap();
        a.mov(ecx, 0xc000_0080_u32).unwrap();
        a.rdmsr().unwrap();
        a.or(eax, 0x100).unwrap();
        a.wrmsr().unwrap();
        a.mov(eax, cr0).unwrap();
        a.or(eax, 0x8000_0000_u32 as i32).unwrap();
        a.mov(cr0, eax).unwrap();
        a.db(&[0xea, 0x00, 0x90, 0, 0, CODE64 as u8, 0]).unwrap();
    });
    machine.assemble(64, 0x9000, |a| {
        a.mov(rax, 0x1122_3344_5566_7788_u64).unwrap();
        a.push(rax).unwrap();
        a.hlt().unwrap();
    });
    machine.steps(5);
    assert_eq!(machine.cpu.state.mode(), Mode::Protected32);
    machine.run();
    let state = &machine.cpu.state;
    assert_eq!((state.mode(), state.efer), (Mode::Long64, 0x500));
    assert_eq!(machine.bus.get64(STACK - 8), 0x1122_3344_5566_7788);
}

/// Protected mode that has just returned to virtual-8086 code at 0x900:0 (that is [`USER_CODE`] less 0x1000).
fn virtual8086(iopl: u32) -> Machine {
    let mut machine = Machine::protected().code(CODE, |a| {
        for word in [5, 4, 3, 2, 0x800, 0xfff0, (0x2_0002 | iopl << 12) as i32, 0x900, 0] {
            a.push(word).unwrap();
        }
        a.iretd().unwrap();
    });
    machine.steps(10);
    machine
}

#[test]
fn iret_enters_virtual_8086_mode() {
    let machine = virtual8086(0);
    let state = &machine.cpu.state;
    assert_eq!((state.mode(), state.cpl(), state.linear_rip()), (Mode::Virtual8086, 3, 0x9000));
    let selectors: Vec<u16> = state.segments.iter().map(|segment| segment.selector).collect();
    assert_eq!(selectors, [2, 0x900, 0x800, 3, 4, 5]);
    assert_eq!(state.segment(SegmentName::Gs).base, 0x50);
}

#[test]
fn an_exception_leaves_virtual_8086_mode_with_all_segments_saved_and_cleared() {
    let mut machine = virtual8086(0);
    machine.bus.put(0x9000, &[0x0f, 0x0b]);
    machine.run();
    assert_eq!(machine.caught(), 6);
    let frame: Vec<u64> = (0..9).map(|i| machine.stack(i)).collect();
    assert_eq!(frame, [0, 0x900, 0x3_0002, 0xfff0, 0x800, 2, 3, 4, 5]);
    let state = &machine.cpu.state;
    assert_eq!((state.mode(), state.segment(SegmentName::Ds).selector), (Mode::Protected32, 0));
}

#[test]
fn int_in_virtual_8086_mode_needs_iopl_3() {
    let mut machine = virtual8086(0);
    machine.bus.put(0x9000, &[0xcd, 0x21]);
    machine.run();
    assert_eq!((machine.caught(), machine.stack(0)), (13, 0));
    let mut machine = virtual8086(3);
    machine.bus.put(0x9000, &[0xcd, 0x21]);
    machine.bus.put64(IDT + 8 * 0x21, gate(HANDLERS + 16 * 0x21, CODE32, 0xee));
    machine.run();
    assert_eq!((machine.caught(), machine.stack(0)), (0x21, 2));
}

#[test]
fn a_limit_is_enforced_in_protected_mode_and_expand_down_turns_it_round() {
    for (kind, offset, vector) in
        [(0x93, 0xfffd, 13), (0x93, 0xfffc, 0), (0x97, 0xfffc, 13), (0x97, 0x1_0000, 0)]
    {
        let mut machine = Machine::protected().code(CODE, |a| {
            a.mov(eax, dword_ptr(ebx)).unwrap();
            a.hlt().unwrap();
        });
        machine.cpu.state.segment_mut(SegmentName::Ds).limit = 0xffff;
        machine.cpu.state.segment_mut(SegmentName::Ds).attributes.0 = 0x4000 | kind;
        machine.cpu.state.gpr[3] = offset;
        machine.run();
        if vector == 0 {
            assert_eq!(machine.cpu.state.rip, CODE + 3, "{kind:#x} {offset:#x}");
        } else {
            assert_eq!(machine.caught(), vector, "{kind:#x} {offset:#x}");
        }
    }
}

#[test]
fn compatibility_mode_runs_32_bit_code_under_a_64_bit_kernel() {
    let mut machine = Machine::long().user().set(|state| {
        *state.segment_mut(SegmentName::Cs) = segment(USER32, 0xc0fb);
    });
    machine.assemble(32, USER_CODE, |a| {
        a.mov(eax, -1).unwrap();
        a.push(eax).unwrap();
        a.int(0x80).unwrap();
    });
    machine.bus.put64(IDT + 16 * 0x80, gate(HANDLERS + 16 * 0x80, CODE64, 0xee));
    machine.assemble(64, HANDLERS + 16 * 0x80, |a| a.iretq().unwrap());
    machine.steps(3);
    assert_eq!((machine.cpu.state.mode(), machine.stack(1)), (Mode::Long64, u64::from(USER32)));
    machine.step();
    let state = &machine.cpu.state;
    assert_eq!((state.mode(), state.gpr[4]), (Mode::Protected32, USER_STACK - 4));
}

#[test]
fn a_call_to_a_task_state_switches_and_iret_comes_back() {
    const NEW: u64 = 0x3800;
    let mut machine = Machine::protected().code(CODE, |a| {
        a.mov(ebx, 77).unwrap();
        a.db(&[0x9a, 0, 0, 0, 0, GATE as u8, 0]).unwrap();
        a.hlt().unwrap();
    });
    machine.bus.put64(GDT + u64::from(GATE), 0x0000_8900_0000_0067 | NEW << 16);
    for (offset, value) in [
        (0x20, 0xc000),
        (0x24, 2),
        (0x28, 0x1234),
        (0x38, STACK as u32 - 0x100),
        (0x48, u32::from(DATA0)),
        (0x4c, u32::from(CODE32)),
        (0x50, u32::from(DATA0)),
        (0x54, u32::from(DATA0)),
    ] {
        machine.bus.put(NEW + offset, &value.to_le_bytes());
    }
    machine.assemble(32, 0xc000, |a| {
        a.mov(ebx, 1).unwrap();
        a.iretd().unwrap();
    });
    machine.steps(2);
    let state = &machine.cpu.state;
    assert_eq!((state.rip, state.gpr[0], state.tr.selector), (0xc000, 0x1234, GATE));
    assert_eq!((state.rflags & Rflags::NT.bits(), state.cr0 & 8), (Rflags::NT.bits(), 8));
    assert_eq!(machine.bus.get::<1>(GDT + u64::from(GATE) + 5), [0x8b], "busy");
    machine.run();
    let state = &machine.cpu.state;
    assert_eq!((state.rip, state.gpr[3], state.tr.selector), (CODE + 13, 77, TSS_SELECTOR));
    assert_eq!((state.rflags, machine.bus.get::<1>(GDT + u64::from(GATE) + 5)), (2, [0x89]));
}

#[test]
fn an_x87_environment_has_the_shape_of_its_mode() {
    // Three words below ones, then where the pointers would be: 16 bits below ones, or all of 32.
    let words = [0x7f, 3, 0xff, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let with_ones_at = |places: &[usize]| {
        let mut image = [0; 28];
        image[..12].copy_from_slice(&words);
        for &place in places {
            image[place..place + 2].fill(0xff);
        }
        image
    };
    for (machine, bits, places) in [(Machine::real(), 16, &[14, 22][..]), (Machine::long(), 64, &[26])] {
        let mut machine = machine.code(CODE, |_| {});
        machine.assemble(bits, CODE, |a| {
            a.fninit().unwrap();
            // FNSTENV with 32 bits, at [BX] or [RDI].
            a.db(if bits == 16 { &[0x66, 0xd9, 0x37] } else { &[0xd9, 0x37] }).unwrap();
        });
        machine.cpu.state.gpr[3] = 0x600;
        machine.cpu.state.gpr[7] = 0x600;
        machine.steps(2);
        assert_eq!(machine.bus.get::<28>(0x600), with_ones_at(places));
    }
}
