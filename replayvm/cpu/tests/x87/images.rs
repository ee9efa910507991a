//! What FSTENV and FSAVE write (SDM vol. 1, figures 8-9 to 8-12): the pointers are always zero.

use replayvm_cpu::{Rflags, cr0};

use crate::common::{FlatBus, WINDOW};
use crate::{load, run};

const ONE: u128 = 0x3fff_8000_0000_0000_0000;
/// A one, an infinity, a denormal and a negative zero, below empty registers.
const STACK: [u128; 4] = [ONE, 0x7fff_8000_0000_0000_0000, 1, 0x8000_0000_0000_0000_0000];

/// Bytes of the window after an instruction on `[rax]`.
fn stored(bytes: &[u8], len: usize) -> Vec<u8> {
    let after = run(&[&[0xd8, 0xc0], bytes], |state, bus| {
        load(state, &STACK);
        state.gpr[0] = WINDOW;
        bus.memory[FlatBus::index(WINDOW)..][..256].fill(0xa5);
    });
    assert_eq!(after.vector, None);
    let at = FlatBus::index(WINDOW);
    assert!(after.bus.memory[at + len..at + 256].iter().all(|&byte| byte == 0xa5));
    after.bus.memory[at..at + len].to_vec()
}

#[test]
fn an_environment_of_32_bits_has_ones_above_its_words() {
    let mut expected = Vec::new();
    for word in [0x37fu32, 0, 0xff00 | 0b0110_1000] {
        expected.extend((word | 0xffff_0000).to_le_bytes());
    }
    expected.extend([0; 14]);
    expected.extend([0xff; 2]);
    assert_eq!(stored(&[0xd9, 0x30], 28), expected);
}

#[test]
fn an_environment_of_16_bits_has_words_alone() {
    let expected = [0x7f, 3, 0, 0, 0x68, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(stored(&[0x66, 0xd9, 0x30], 14), expected);
}

#[test]
fn saving_writes_the_stack_behind_the_environment_and_starts_anew() {
    for (bytes, header) in [(&[0xddu8, 0x30][..], 28), (&[0x66, 0xdd, 0x30][..], 14)] {
        let image = stored(bytes, header + 80);
        let two = 0x4000_8000_0000_0000_0000u128;
        let registers = [&[two], &STACK[1..], &[0; 4]].concat();
        for (part, register) in image[header..].chunks_exact(10).zip(registers) {
            assert_eq!(part, &register.to_le_bytes()[..10]);
        }
        let after = run(&[bytes], |state, _| {
            load(state, &STACK);
            state.gpr[0] = WINDOW;
        });
        assert_eq!((after.state.fcw, after.state.fsw, after.state.ftw), (0x37f, 0, 0));
        assert_eq!(after.state.st[1], STACK[1], "the registers keep their contents");
    }
}

#[test]
fn what_is_saved_can_be_restored() {
    for prefix in [&[][..], &[0x66]] {
        let save = [prefix, &[0xdd, 0x30]].concat();
        let restore = [prefix, &[0xdd, 0x20]].concat();
        let before = |state: &mut replayvm_cpu::CpuState| {
            load(state, &STACK);
            // TOP = 1, C3, an inexact result.
            (state.fcw, state.fsw, state.ftw) = (0xf75, 0x4820, 0x5a);
            state.gpr[0] = WINDOW;
        };
        let after = run(&[&save, &restore], |state, _| before(state)).state;
        let mut expected = after.clone();
        before(&mut expected);
        assert_eq!((after.fcw, after.ftw, after.st), (expected.fcw, expected.ftw, expected.st));
        assert_eq!(after.fsw, expected.fsw, "inexact is masked: nothing is pending");
    }
}

#[test]
fn exceptions_that_an_image_unmasks_are_pending() {
    let after = run(&[&[0xd9, 0x20], &[0x9b]], |state, bus| {
        state.gpr[0] = WINDOW;
        bus.put64(WINDOW, 0x0001_0000_037e);
        bus.put64(WINDOW + 8, 0xffff);
    });
    assert_eq!((after.vector, after.state.fsw, after.state.ftw), (Some(16), 0x8081, 0));
}

#[test]
fn operands_of_odd_sizes_ask_for_the_alignment_of_their_parts() {
    let vector = |bytes: &[u8], offset: u64| {
        run(&[bytes], |state, _| {
            load(state, &STACK);
            state.gpr[0] = WINDOW + offset;
            state.cr0 |= cr0::AM;
            state.rflags |= Rflags::AC.bits();
        })
        .vector
    };
    let (fstp_80, fnstenv, fnsave_16) = (&[0xdb, 0x38][..], &[0xd9, 0x30][..], &[0x66, 0xdd, 0x30][..]);
    assert_eq!(vector(fstp_80, 8), None);
    assert_eq!(vector(fstp_80, 4), Some(17));
    assert_eq!(vector(fnstenv, 4), None);
    assert_eq!(vector(fnstenv, 2), Some(17));
    assert_eq!(vector(fnsave_16, 2), None);
    assert_eq!(vector(fnsave_16, 1), Some(17));
}

#[test]
fn a_store_that_crosses_into_nothing_writes_nothing() {
    let edge = WINDOW + crate::common::WINDOW_LEN as u64 - 9;
    for bytes in [&[0xdb, 0x38][..], &[0xd9, 0x30], &[0xdd, 0x30], &[0xdf, 0x30]] {
        let after = run(&[bytes], |state, bus| {
            load(state, &STACK);
            state.gpr[0] = edge;
            bus.memory[FlatBus::index(edge)..][..9].fill(0xa5);
        });
        assert_eq!(after.vector, Some(14));
        assert_eq!(after.bus.memory[FlatBus::index(edge)..][..9], [0xa5; 9]);
        assert_eq!((after.state.fcw, after.state.fsw, after.state.ftw), (0x37f, 0, 15));
    }
}
