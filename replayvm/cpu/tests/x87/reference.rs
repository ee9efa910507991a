//! The transcendental functions against `reference.txt`, which `reference.py` has made in decimal arithmetic of 150
//! digits.

use crate::{load, run};

/// Instructions by name, and the register of their result.
const INSTRUCTIONS: [(&str, [u8; 2], usize); 7] = [
    ("fsin", [0xd9, 0xfe], 0),
    ("fcos", [0xd9, 0xff], 0),
    ("fptan", [0xd9, 0xf2], 1),
    ("fpatan", [0xd9, 0xf3], 0),
    ("f2xm1", [0xd9, 0xf0], 0),
    ("fyl2x", [0xd9, 0xf1], 0),
    ("fyl2xp1", [0xd9, 0xf9], 0),
];

/// The rest of a unit in the last place, in units of 2^-32.
const HALF: u128 = 1 << 31;
/// What an error may be above a half.
const SLACK: u128 = 1 << 4;

#[test]
fn transcendental_functions_are_rounded_from_more_than_ninety_bits() {
    let mut seen = 0;
    for line in include_str!("reference.txt").lines() {
        let fields: Vec<_> = line.split(' ').collect();
        let [name, x, y, place, digits] = fields[..] else { panic!("{line}") };
        let (_, bytes, at) = INSTRUCTIONS.into_iter().find(|(n, ..)| *n == name).expect(line);
        let [x, y] = [x, y].map(|text| u128::from_str_radix(text, 16).unwrap());
        let exponent: i128 = place[1..].parse().unwrap();
        let digits = u128::from_str_radix(digits, 16).unwrap();

        let after = run(&[&bytes], |state, _| load(state, &[x, y]));
        let got = after.state.st[(usize::from(after.state.fsw >> 11) + at) & 7];
        assert_eq!(got >> 79 == 1, place.starts_with('-'), "{line}: the sign of {got:020x}");
        // A carry into the next exponent is a carry of the ordinal.
        let ordinal = |exponent: u128, significand: u128| exponent << 95 | significand & (u128::MAX >> 33);
        let ours = ordinal(got >> 64 & 0x7fff, (got & u128::from(u64::MAX)) << 32);
        let truth = ordinal((exponent + 0x3fff) as u128, digits);
        let error = ours.abs_diff(truth);
        assert!(error <= HALF + SLACK, "{line}: {got:020x} is off by {error:#x} / 2^32 units");
        assert_eq!(after.state.fsw & 0x3f, 0x20, "{line}: exceptions");
        assert_eq!(after.state.fsw >> 9 & 1 == 1, ours > truth, "{line}: C1");
        seen += 1;
    }
    assert_eq!(seen, 7 * 400);
}

#[test]
fn arguments_beyond_two_to_the_63_are_refused_and_left_alone() {
    for opcode in [0xfe, 0xff, 0xfb, 0xf2] {
        let huge = 0x403e_8000_0000_0000_0000;
        let after = run(&[&[0xd9, opcode]], |state, _| load(state, &[huge]));
        assert_eq!((after.state.fsw, after.state.ftw, after.state.st[0]), (0x400, 1, huge));
        let below = 0x403d_ffff_ffff_ffff_ffff;
        let after = run(&[&[0xd9, opcode]], |state, _| load(state, &[below]));
        assert_eq!(after.state.fsw & 0x420, 0x20);
    }
}

#[test]
fn the_sine_of_pi_is_what_the_66_bit_pi_leaves() {
    let pi = 0x4000_c90f_daa2_2168_c235;
    let after = run(&[&[0xd9, 0xfe]], |state, _| load(state, &[pi]));
    // -2^-64: the register's pi is that much larger than the reduction's.
    assert_eq!(after.state.st[0], 0xbfbf_8000_0000_0000_0000);
}
