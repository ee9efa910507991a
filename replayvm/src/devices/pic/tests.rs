//! The behaviours that the 8259A datasheet promises.

use super::*;

const FIRST: bool = false;
const SECOND: bool = true;
const COMMAND: bool = false;
const DATA: bool = true;

/// Both chips at vectors 0x20 and 0x28, 8086 mode, nothing masked.
fn pic_with_icw4(first: u8, second: u8) -> Pic {
    let mut pic = Pic::new(0);
    for (chip, base, cascade, icw4) in [(FIRST, 0x20, 4, first), (SECOND, 0x28, 2, second)] {
        pic.write(chip, COMMAND, 0x11);
        pic.write(chip, DATA, base);
        pic.write(chip, DATA, cascade);
        pic.write(chip, DATA, icw4);
    }
    pic
}

fn pic() -> Pic {
    pic_with_icw4(1, 1)
}

fn pulse(pic: &mut Pic, irq: u8) {
    pic.set_line(irq, false);
    pic.set_line(irq, true);
}

fn in_service(pic: &mut Pic, second: bool) -> u8 {
    pic.write(second, COMMAND, 0x0b);
    pic.read(second, COMMAND)
}

fn requests(pic: &mut Pic, second: bool) -> u8 {
    pic.write(second, COMMAND, 0x0a);
    pic.read(second, COMMAND)
}

#[test]
fn the_vector_is_the_base_of_icw2_plus_the_input() {
    let mut pic = pic();
    pulse(&mut pic, 3);
    assert!(pic.output());
    assert_eq!(pic.acknowledge(), 0x23);
    pulse(&mut pic, 14);
    pic.write(FIRST, COMMAND, 0x20);
    assert_eq!(pic.acknowledge(), 0x2e);
}

#[test]
fn acknowledging_moves_a_request_from_irr_to_isr() {
    let mut pic = pic();
    pulse(&mut pic, 5);
    assert_eq!((requests(&mut pic, FIRST), in_service(&mut pic, FIRST)), (0x20, 0));
    pic.acknowledge();
    assert_eq!((requests(&mut pic, FIRST), in_service(&mut pic, FIRST)), (0, 0x20));
}

#[test]
fn input_0_has_the_highest_priority_after_initialisation() {
    let mut pic = pic();
    pulse(&mut pic, 7);
    pulse(&mut pic, 0);
    assert_eq!(pic.acknowledge(), 0x20);
    assert!(!pic.output(), "7 waits for 0");
    pic.write(FIRST, COMMAND, 0x20);
    assert_eq!(pic.acknowledge(), 0x27);
}

#[test]
fn a_higher_request_interrupts_a_lower_service_and_not_the_reverse() {
    let mut pic = pic();
    pulse(&mut pic, 4);
    pic.acknowledge();
    pulse(&mut pic, 6);
    assert!(!pic.output());
    pulse(&mut pic, 1);
    assert_eq!(pic.acknowledge(), 0x21);
    pic.write(FIRST, COMMAND, 0x20);
    assert_eq!(in_service(&mut pic, FIRST), 0x10, "the non-specific EOI ended the highest");
}

#[test]
fn a_masked_request_waits_in_irr() {
    let mut pic = pic();
    pic.write(FIRST, DATA, 0x08);
    pulse(&mut pic, 3);
    assert!(!pic.output());
    assert_eq!(requests(&mut pic, FIRST), 0x08);
    pic.write(FIRST, DATA, 0);
    assert!(pic.output());
    assert_eq!(pic.read(FIRST, DATA), 0);
}

#[test]
fn an_edge_input_that_stays_high_interrupts_once() {
    let mut pic = pic();
    pic.set_line(4, true);
    pic.acknowledge();
    pic.write(FIRST, COMMAND, 0x20);
    assert!(!pic.output());
    pulse(&mut pic, 4);
    assert!(pic.output());
}

#[test]
fn a_level_input_interrupts_as_long_as_it_is_high() {
    let mut pic = pic();
    pic.write_elcr(FIRST, 0x20);
    pic.set_line(5, true);
    pic.acknowledge();
    pic.write(FIRST, COMMAND, 0x20);
    assert!(pic.output());
    pic.set_line(5, false);
    assert!(!pic.output());
}

#[test]
fn elcr_has_no_bits_for_inputs_0_1_2_8_and_13() {
    let mut pic = pic();
    pic.write_elcr(FIRST, 0xff);
    pic.write_elcr(SECOND, 0xff);
    assert_eq!((pic.read_elcr(FIRST), pic.read_elcr(SECOND)), (0xf8, 0xde));
}

#[test]
fn a_request_that_falls_before_its_acknowledgement_becomes_the_default_ir7() {
    let mut pic = pic();
    pic.set_line(4, true);
    pic.set_line(4, false);
    assert!(!pic.output());
    assert_eq!(pic.acknowledge(), 0x27);
    assert_eq!(in_service(&mut pic, FIRST), 0, "a spurious interrupt sets no ISR bit");
}

#[test]
fn a_spurious_irq_15_leaves_the_cascade_in_service() {
    let mut pic = pic();
    // The second chip's request disappears between the two chips' parts of one acknowledgement.
    pic.state.first.set_line(CASCADE, true);
    assert_eq!(pic.acknowledge(), 0x2f);
    assert_eq!((in_service(&mut pic, FIRST), in_service(&mut pic, SECOND)), (0x04, 0));
}

#[test]
fn specific_eoi_ends_the_named_input() {
    let mut pic = pic();
    pulse(&mut pic, 4);
    pic.acknowledge();
    pulse(&mut pic, 1);
    pic.acknowledge();
    pic.write(FIRST, COMMAND, 0x64);
    assert_eq!(in_service(&mut pic, FIRST), 0x02);
}

#[test]
fn automatic_eoi_leaves_nothing_in_service() {
    let mut pic = pic_with_icw4(3, 1);
    pulse(&mut pic, 3);
    assert_eq!(pic.acknowledge(), 0x23);
    assert_eq!(in_service(&mut pic, FIRST), 0);
}

#[test]
fn rotation_on_eoi_makes_the_ended_input_the_lowest() {
    let mut pic = pic();
    pulse(&mut pic, 4);
    pic.acknowledge();
    pic.write(FIRST, COMMAND, 0xa0);
    pulse(&mut pic, 4);
    pulse(&mut pic, 5);
    pulse(&mut pic, 3);
    let order: Vec<_> = (0..3)
        .map(|_| {
            let vector = pic.acknowledge();
            pic.write(FIRST, COMMAND, 0x60 | vector & 7);
            vector
        })
        .collect();
    assert_eq!(order, [0x25, 0x23, 0x24]);
}

#[test]
fn rotation_on_specific_eoi_and_set_priority_name_the_lowest() {
    let mut pic = pic();
    pulse(&mut pic, 6);
    pic.acknowledge();
    pic.write(FIRST, COMMAND, 0xe6);
    assert_eq!((pic.state.first.lowest, pic.state.first.in_service), (6, 0));
    pic.write(FIRST, COMMAND, 0xc2);
    assert_eq!(pic.state.first.lowest, 2);
}

#[test]
fn rotation_in_automatic_eoi_mode_happens_with_each_acknowledgement() {
    let mut pic = pic_with_icw4(3, 1);
    pic.write(FIRST, COMMAND, 0x80);
    pulse(&mut pic, 0);
    pic.acknowledge();
    assert_eq!(pic.state.first.lowest, 0);
    pic.write(FIRST, COMMAND, 0x00);
    pulse(&mut pic, 5);
    pic.acknowledge();
    assert_eq!(pic.state.first.lowest, 0, "cleared");
}

#[test]
fn special_mask_mode_lets_lower_priorities_through() {
    let mut pic = pic();
    pulse(&mut pic, 2 + 1);
    pic.acknowledge();
    pulse(&mut pic, 6);
    assert!(!pic.output());
    pic.write(FIRST, DATA, 0x08);
    pic.write(FIRST, COMMAND, 0x68);
    assert_eq!(pic.acknowledge(), 0x26);
    pic.write(FIRST, COMMAND, 0x20);
    assert_eq!(in_service(&mut pic, FIRST), 0x08, "a non-specific EOI does not end a masked input");
    pic.write(FIRST, COMMAND, 0x48);
    pulse(&mut pic, 6);
    assert!(!pic.output(), "reset");
}

#[test]
fn the_poll_command_makes_the_next_read_an_acknowledgement() {
    let mut pic = pic();
    pic.write(FIRST, COMMAND, 0x0c);
    assert_eq!(pic.read(FIRST, COMMAND), 0, "nothing requested");
    pulse(&mut pic, 4);
    pic.write(FIRST, COMMAND, 0x0c);
    assert_eq!(pic.read(FIRST, COMMAND), 0x84);
    assert_eq!(in_service(&mut pic, FIRST), 0x10);
    pulse(&mut pic, 9);
    pic.write(SECOND, COMMAND, 0x0c);
    assert_eq!(pic.read(SECOND, COMMAND), 0x81);
}

#[test]
fn the_second_chip_may_interrupt_itself_in_special_fully_nested_mode() {
    for (icw4, expected) in [(0x01, false), (0x11, true)] {
        let mut pic = pic_with_icw4(icw4, 1);
        pulse(&mut pic, 12);
        assert_eq!(pic.acknowledge(), 0x2c);
        pulse(&mut pic, 8);
        assert_eq!(pic.output(), expected, "ICW4 {icw4:#x}");
    }
}

#[test]
fn a_second_request_behind_the_cascade_is_a_new_edge() {
    let mut pic = pic_with_icw4(1, 3);
    pulse(&mut pic, 8);
    pulse(&mut pic, 12);
    assert_eq!(pic.acknowledge(), 0x28);
    pic.write(FIRST, COMMAND, 0x20);
    assert_eq!(pic.acknowledge(), 0x2c);
}

#[test]
fn icw1_clears_mask_service_and_edges() {
    let mut pic = pic();
    pic.write(FIRST, DATA, 0x10);
    pulse(&mut pic, 3);
    pic.acknowledge();
    pulse(&mut pic, 4);
    pic.write(FIRST, COMMAND, 0x13);
    pic.write(FIRST, DATA, 0x40);
    pic.write(FIRST, DATA, 1);
    assert_eq!(pic.read(FIRST, DATA), 0);
    assert_eq!((requests(&mut pic, FIRST), in_service(&mut pic, FIRST)), (0, 0), "inputs must rise again");
    pulse(&mut pic, 1);
    assert_eq!(pic.acknowledge(), 0x41, "single: no ICW3 was expected");
}

#[test]
fn ltim_makes_all_inputs_level_triggered() {
    let mut pic = Pic::new(0);
    for (data_port, value) in [(COMMAND, 0x19), (DATA, 0x20), (DATA, 4), (DATA, 1)] {
        pic.write(FIRST, data_port, value);
    }
    pic.set_line(0, true);
    pic.acknowledge();
    pic.write(FIRST, COMMAND, 0x20);
    assert!(pic.output());
}
