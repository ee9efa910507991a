//! Decimal adjustment. The undefined flags are as an AMD Zen 5 processor in compatibility mode gave them.

use iced_x86::code_asm::*;

use crate::RAX;
use crate::machine::Machine;

/// Instruction bytes, AX and flags before, AX and flags after.
type Row = (&'static [u8], u64, u64, u64, u64);

const AAA: &[u8] = &[0x37];
const AAS: &[u8] = &[0x3f];
const DAA: &[u8] = &[0x27];
const DAS: &[u8] = &[0x2f];
const AAD: &[u8] = &[0xd5, 10];
const AAM: &[u8] = &[0xd4, 10];

const ROWS: [Row; 18] = [
    (AAA, 0x0009, 0x000, 0x0009, 0x004),
    (AAA, 0x000a, 0x000, 0x0100, 0x011),
    (AAA, 0x007a, 0x000, 0x0100, 0x011),
    (AAS, 0x0000, 0x010, 0xfe0a, 0x095),
    (AAS, 0x0006, 0x010, 0xff00, 0x095),
    (DAA, 0x001b, 0x001, 0x0081, 0x895),
    (DAA, 0x0079, 0x000, 0x0079, 0x000),
    (DAA, 0x009a, 0x000, 0x0000, 0x055),
    (DAS, 0x0081, 0x001, 0x0021, 0x805),
    (DAS, 0x0081, 0x010, 0x007b, 0x814),
    (DAS, 0x0081, 0x011, 0x001b, 0x815),
    (DAS, 0x0000, 0x010, 0x00fa, 0x095),
    (AAD, 0x0108, 0x000, 0x0012, 0x014),
    (AAD, 0x0905, 0x8d5, 0x005f, 0x004),
    (&[0xd5, 200], 0x0108, 0x000, 0x00d0, 0x090),
    (AAM, 0x003f, 0x8d5, 0x0603, 0x004),
    (AAM, 0x0000, 0x000, 0x0000, 0x044),
    (&[0xd4, 7], 0x00ff, 0x011, 0x2403, 0x004),
];

#[test]
fn each_adjustment_gives_the_digits_and_the_flags_of_the_profile() {
    for (bytes, before, flags_before, after, flags_after) in ROWS {
        let machine = Machine::protected(|a| a.db(bytes).unwrap());
        let machine = machine.with(RAX, 0x1234_0000 | before).with_flags(flags_before).step();
        let got = (machine.gpr(RAX), machine.flags());
        assert_eq!(
            got,
            (0x1234_0000 | after, flags_after),
            "{bytes:02x?} of {before:04x} {flags_before:03x}"
        );
    }
}

#[test]
fn packed_digits_add_as_the_manual_says() {
    // SDM vol. 2, DAA: 79 + 35 = 114.
    let machine = Machine::protected(|a| {
        a.add(al, bl).unwrap();
        a.daa().unwrap();
    });
    let machine = machine.with(RAX, 0x79).with(crate::RBX, 0x35).step();
    assert_eq!((machine.gpr(RAX), machine.flags() & !0x800), (0xae, 0x80));
    let machine = machine.step();
    assert_eq!((machine.gpr(RAX), machine.flags() & !0x800), (0x14, 0x15));
}

#[test]
fn aam_with_a_base_of_zero_is_a_divide_error() {
    let machine = Machine::protected(|a| a.db(&[0xd4, 0]).unwrap());
    let mut machine = machine.with(RAX, 0x1234);
    machine.cpu.step(&mut machine.board);
    assert_eq!(machine.gpr(RAX), 0x1234);
    assert_ne!(machine.cpu.state.rip, crate::machine::CODE + 2);
}
