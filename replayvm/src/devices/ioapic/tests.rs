//! The behaviours that the 82093AA datasheet promises.

use super::*;

const SVR: u64 = 0xf0;
const EOI: u64 = 0xb0;

fn pair() -> (Ioapic, Lapic) {
    let mut lapic = Lapic::new(false);
    lapic.write_page(0, SVR, 0x1ff);
    (Ioapic::new(0), lapic)
}

fn read(ioapic: &mut Ioapic, lapic: &mut Lapic, register: u32) -> u32 {
    ioapic.write(SELECT, register, lapic);
    ioapic.read(WINDOW)
}

fn write(ioapic: &mut Ioapic, lapic: &mut Lapic, register: u32, value: u32) {
    ioapic.write(SELECT, register, lapic);
    ioapic.write(WINDOW, value, lapic);
}

#[test]
fn it_has_24_masked_entries_at_reset() {
    let (mut ioapic, mut lapic) = pair();
    assert_eq!(read(&mut ioapic, &mut lapic, 1), 0x0017_0011);
    for pin in 0..24 {
        assert_eq!(read(&mut ioapic, &mut lapic, 0x10 + 2 * pin), 0x1_0000);
        assert_eq!(read(&mut ioapic, &mut lapic, 0x11 + 2 * pin), 0);
    }
    assert_eq!(read(&mut ioapic, &mut lapic, 0x40), 0);
}

#[test]
fn the_id_has_four_bits_and_is_the_arbitration_id() {
    let (mut ioapic, mut lapic) = pair();
    write(&mut ioapic, &mut lapic, 0, 0xffff_ffff);
    assert_eq!(read(&mut ioapic, &mut lapic, 0), 0x0f00_0000);
    assert_eq!(read(&mut ioapic, &mut lapic, 2), 0x0f00_0000);
}

#[test]
fn delivery_status_and_remote_irr_cannot_be_written() {
    let (mut ioapic, mut lapic) = pair();
    write(&mut ioapic, &mut lapic, 0x20, 0xffff_ffff);
    assert_eq!(read(&mut ioapic, &mut lapic, 0x20), 0x1_afff);
}

#[test]
fn a_rising_edge_sends_once() {
    let (mut ioapic, mut lapic) = pair();
    write(&mut ioapic, &mut lapic, 0x18, 0x44);
    ioapic.set_line(4, true, &mut lapic);
    assert_eq!(lapic.acknowledge(), 0x44);
    lapic.write_page(0, EOI, 0);
    ioapic.set_line(4, true, &mut lapic);
    assert!(!lapic.has_interrupt());
    ioapic.set_line(4, false, &mut lapic);
    ioapic.set_line(4, true, &mut lapic);
    assert!(lapic.has_interrupt());
}

#[test]
fn an_edge_on_a_masked_pin_is_lost() {
    let (mut ioapic, mut lapic) = pair();
    ioapic.set_line(4, true, &mut lapic);
    write(&mut ioapic, &mut lapic, 0x18, 0x44);
    assert!(!lapic.has_interrupt());
}

#[test]
fn a_level_on_a_masked_pin_waits() {
    let (mut ioapic, mut lapic) = pair();
    ioapic.set_line(9, true, &mut lapic);
    write(&mut ioapic, &mut lapic, 0x22, 0x8049);
    assert!(lapic.has_interrupt());
}

#[test]
fn remote_irr_blocks_a_level_pin_until_the_eoi_of_its_vector() {
    let (mut ioapic, mut lapic) = pair();
    write(&mut ioapic, &mut lapic, 0x22, 0x8049);
    ioapic.set_line(9, true, &mut lapic);
    assert_eq!(lapic.acknowledge(), 0x49);
    assert_eq!(read(&mut ioapic, &mut lapic, 0x22), 0xc049);
    ioapic.end_of_interrupt(0x48, &mut lapic);
    assert_eq!(read(&mut ioapic, &mut lapic, 0x22), 0xc049);
    let broadcast = lapic.write_page(0, EOI, 0).unwrap();
    ioapic.set_line(9, false, &mut lapic);
    ioapic.end_of_interrupt(broadcast, &mut lapic);
    assert_eq!(read(&mut ioapic, &mut lapic, 0x22), 0x8049);
}

#[test]
fn making_a_pin_edge_triggered_clears_remote_irr() {
    let (mut ioapic, mut lapic) = pair();
    write(&mut ioapic, &mut lapic, 0x22, 0x8049);
    ioapic.set_line(9, true, &mut lapic);
    write(&mut ioapic, &mut lapic, 0x22, 0x1_0049);
    write(&mut ioapic, &mut lapic, 0x22, 0x1_8049);
    assert_eq!(read(&mut ioapic, &mut lapic, 0x22), 0x1_8049);
}

#[test]
fn a_message_for_another_apic_is_not_accepted() {
    let (mut ioapic, mut lapic) = pair();
    write(&mut ioapic, &mut lapic, 0x23, 0x0500_0000);
    write(&mut ioapic, &mut lapic, 0x22, 0x8049);
    ioapic.set_line(9, true, &mut lapic);
    assert!(!lapic.has_interrupt());
    assert_eq!(read(&mut ioapic, &mut lapic, 0x22), 0x8049, "nobody accepted: no remote IRR");
}

#[test]
fn isa_lines_keep_their_number_but_the_timer() {
    assert_eq!(pin_of_irq(0), Some(2));
    assert_eq!(pin_of_irq(2), None);
    for irq in [1, 3, 4, 8, 15] {
        assert_eq!(pin_of_irq(irq), Some(irq));
    }
    assert_eq!(pin_of_irq(16), None);
}
