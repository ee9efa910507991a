//! The behaviours that the SDM promises.

use super::registers::*;
use super::*;

const ONE_SHOT: u32 = 0;
const PERIODIC: u32 = 1 << 17;
const TSC_DEADLINE: u32 = 2 << 17;
const SELF: u32 = 1 << 18;

fn lapic() -> Lapic {
    let mut lapic = Lapic::new(false);
    write(&mut lapic, SVR, 0x1ff);
    lapic
}

fn x2apic() -> Lapic {
    let mut lapic = lapic();
    lapic.write_base_msr(APIC_DEFAULT_BASE | BASE_BOOTSTRAP | BASE_ENABLED | BASE_X2APIC).unwrap();
    lapic
}

fn read(lapic: &mut Lapic, register: u16) -> u32 {
    lapic.read_page(0, u64::from(register) << 4)
}

fn write(lapic: &mut Lapic, register: u16, value: u32) -> Option<u8> {
    lapic.write_page(0, u64::from(register) << 4, value)
}

fn send_self(lapic: &mut Lapic, vector: u32) {
    write(lapic, ICR, SELF | vector);
}

#[test]
fn power_on_is_as_firmware_leaves_it() {
    let mut lapic = Lapic::new(false);
    assert_eq!(lapic.base_msr(), 0xfee0_0900);
    assert_eq!((read(&mut lapic, ID), read(&mut lapic, VERSION)), (0, 0x0005_0014));
    assert_eq!((read(&mut lapic, SVR), read(&mut lapic, DFR)), (0xff, 0xffff_ffff));
    assert_eq!((read(&mut lapic, 0x35), read(&mut lapic, 0x36)), (0x700, 0x400), "virtual wire");
    assert_eq!(read(&mut lapic, LVT), 0x1_0000);
}

#[test]
fn an_interrupt_moves_from_irr_to_isr_to_nothing() {
    let mut lapic = lapic();
    send_self(&mut lapic, 0x41);
    assert_eq!(read(&mut lapic, IRR + 2), 2);
    assert_eq!(lapic.acknowledge(), 0x41);
    assert_eq!((read(&mut lapic, IRR + 2), read(&mut lapic, ISR + 2)), (0, 2));
    assert_eq!(write(&mut lapic, EOI, 0), None, "edge-triggered: no broadcast");
    assert_eq!(read(&mut lapic, ISR + 2), 0);
}

#[test]
fn an_interrupt_in_service_blocks_its_class_and_those_below() {
    let mut lapic = lapic();
    send_self(&mut lapic, 0x45);
    lapic.acknowledge();
    send_self(&mut lapic, 0x4f);
    send_self(&mut lapic, 0x30);
    assert!(!lapic.has_interrupt());
    send_self(&mut lapic, 0x50);
    assert_eq!(lapic.acknowledge(), 0x50);
    write(&mut lapic, EOI, 0);
    write(&mut lapic, EOI, 0);
    assert_eq!(lapic.acknowledge(), 0x4f);
}

#[test]
fn the_task_priority_holds_back_its_class_and_those_below() {
    let mut lapic = lapic();
    write(&mut lapic, TPR, 0x4f);
    send_self(&mut lapic, 0x4f);
    assert!(!lapic.has_interrupt());
    assert_eq!(read(&mut lapic, PPR), 0x4f);
    lapic.set_cr8(3);
    assert_eq!(read(&mut lapic, TPR), 0x30);
    assert!(lapic.has_interrupt());
}

#[test]
fn the_processor_priority_is_the_higher_of_task_and_service() {
    let mut lapic = lapic();
    send_self(&mut lapic, 0x65);
    lapic.acknowledge();
    write(&mut lapic, TPR, 0x2a);
    assert_eq!(read(&mut lapic, PPR), 0x60);
    write(&mut lapic, TPR, 0x6a);
    assert_eq!(read(&mut lapic, PPR), 0x6a);
}

#[test]
fn an_acknowledgement_without_an_interrupt_gives_the_spurious_vector() {
    let mut lapic = lapic();
    send_self(&mut lapic, 0x41);
    write(&mut lapic, TPR, 0xf0);
    assert_eq!(lapic.acknowledge(), 0xff);
    assert_eq!(highest(&lapic.state.in_service), None);
}

#[test]
fn the_eoi_of_a_level_interrupt_is_broadcast() {
    let mut lapic = lapic();
    let message = Message {
        vector: 0x51,
        mode: DeliveryMode::Fixed,
        level: true,
        destination: Destination::Physical(0),
    };
    assert!(lapic.deliver(message));
    assert_eq!(read(&mut lapic, TMR + 2), 1 << 17);
    lapic.acknowledge();
    assert_eq!(write(&mut lapic, EOI, 0), Some(0x51));
}

#[test]
fn a_software_disabled_apic_masks_its_lvt_and_accepts_nothing() {
    let mut lapic = lapic();
    send_self(&mut lapic, 0x60);
    write(&mut lapic, LVT, 0x40);
    write(&mut lapic, SVR, 0xff);
    assert_eq!(read(&mut lapic, LVT), 0x1_0040);
    write(&mut lapic, LVT, 0x41);
    assert_eq!(read(&mut lapic, LVT), 0x1_0041, "the mask stays");
    send_self(&mut lapic, 0x70);
    assert_eq!(lapic.acknowledge(), 0x60, "what was pending is kept");
    assert!(!lapic.has_interrupt());
}

#[test]
fn an_illegal_vector_is_an_error_that_a_write_to_esr_shows() {
    let mut lapic = lapic();
    write(&mut lapic, LVT_LAST, 0xe0);
    send_self(&mut lapic, 0x0f);
    assert_eq!(read(&mut lapic, ESR), 0);
    write(&mut lapic, ESR, 0);
    assert_eq!(read(&mut lapic, ESR), 0x20);
    write(&mut lapic, ESR, 0);
    assert_eq!(read(&mut lapic, ESR), 0);
    assert_eq!(lapic.acknowledge(), 0xe0, "the error interrupt");
}

#[test]
fn a_received_illegal_vector_and_an_illegal_register_are_errors() {
    let mut lapic = lapic();
    lapic.deliver(Message {
        vector: 3,
        mode: DeliveryMode::Fixed,
        level: false,
        destination: Destination::All,
    });
    assert_eq!(read(&mut lapic, 0x00), 0);
    write(&mut lapic, ESR, 0);
    assert_eq!(read(&mut lapic, ESR), 0xc0);
}

#[test]
fn shorthands_and_destinations_reach_the_one_cpu_or_nobody() {
    let reached = |low: u32, high: u32| {
        let mut lapic = lapic();
        write(&mut lapic, LDR, 0x0200_0000);
        write(&mut lapic, ICR_HIGH, high << 24);
        write(&mut lapic, ICR, low | 0x80);
        lapic.has_interrupt()
    };
    assert!(reached(0, 0) && reached(0, 0xff) && !reached(0, 1), "physical");
    assert!(reached(ICR_LOGICAL, 0x03) && !reached(ICR_LOGICAL, 0x01), "logical, flat");
    assert!(reached(SELF, 9) && reached(2 << 18, 9) && !reached(3 << 18, 0), "shorthands");
}

#[test]
fn the_cluster_model_matches_cluster_and_member() {
    let mut lapic = lapic();
    write(&mut lapic, DFR, 0);
    write(&mut lapic, LDR, 0x2400_0000);
    assert!(
        lapic.is_destination(Destination::Logical(0x24)) && lapic.is_destination(Destination::Logical(0x2f))
    );
    assert!(
        !lapic.is_destination(Destination::Logical(0x14))
            && !lapic.is_destination(Destination::Logical(0x21))
    );
}

#[test]
fn an_nmi_to_oneself_is_pending_until_taken() {
    let mut lapic = lapic();
    write(&mut lapic, ICR, 0x400);
    assert!(lapic.nmi_pending() && lapic.take_nmi() && !lapic.take_nmi());
}

#[test]
fn the_one_shot_timer_counts_to_zero_and_stops() {
    let mut lapic = lapic();
    write(&mut lapic, DIVIDE, 0x3); // by 16
    write(&mut lapic, LVT, ONE_SHOT | 0x40);
    write(&mut lapic, INITIAL_COUNT, 100);
    assert_eq!(lapic.read_page(159, 0x390), 91);
    assert_eq!(lapic.deadline().fires_at(), Some(1600));
    lapic.advance(1599);
    assert!(!lapic.has_interrupt());
    lapic.advance(1600);
    assert_eq!(lapic.acknowledge(), 0x40);
    assert_eq!(lapic.read_page(1600, 0x390), 0);
    assert_eq!(lapic.deadline().fires_at(), None);
}

#[test]
fn the_periodic_timer_starts_again_from_the_initial_count() {
    let mut lapic = lapic();
    write(&mut lapic, DIVIDE, 0xb);
    write(&mut lapic, LVT, PERIODIC | 0x40);
    write(&mut lapic, INITIAL_COUNT, 1000);
    for period in 1..4 {
        assert_eq!(lapic.deadline().fires_at(), Some(period * 1000));
        lapic.advance(period * 1000);
    }
    assert_eq!(lapic.read_page(3001, 0x390), 999);
}

#[test]
fn the_divider_has_eight_values() {
    for (code, divisor) in [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (10, 128), (11, 1)] {
        let mut lapic = lapic();
        write(&mut lapic, DIVIDE, code);
        write(&mut lapic, INITIAL_COUNT, 10);
        assert_eq!(lapic.deadline().fires_at(), Some(10 * divisor));
    }
}

#[test]
fn an_initial_count_of_zero_stops_the_timer() {
    let mut lapic = lapic();
    write(&mut lapic, LVT, PERIODIC | 0x40);
    write(&mut lapic, INITIAL_COUNT, 100);
    write(&mut lapic, INITIAL_COUNT, 0);
    assert_eq!(lapic.deadline().fires_at(), None);
    assert_eq!(lapic.read_page(50, 0x390), 0);
}

#[test]
fn a_masked_timer_counts_and_does_not_interrupt() {
    let mut lapic = lapic();
    write(&mut lapic, LVT, LVT_MASKED | 0x40);
    write(&mut lapic, INITIAL_COUNT, 100);
    lapic.advance(1 << 20);
    assert!(!lapic.has_interrupt());
}

#[test]
fn the_tsc_deadline_fires_once_when_the_tsc_reaches_it() {
    let mut lapic = lapic();
    lapic.set_tsc_deadline(0, 500, 900);
    assert_eq!(lapic.tsc_deadline(), 0, "ignored in the other modes");
    write(&mut lapic, LVT, TSC_DEADLINE | 0x40);
    lapic.set_tsc_deadline(100, 500, 900);
    assert_eq!((lapic.tsc_deadline(), lapic.deadline().fires_at()), (900, Some(500)));
    write(&mut lapic, INITIAL_COUNT, 7);
    assert_eq!(lapic.deadline().fires_at(), Some(500), "the initial count is ignored in this mode");
    lapic.advance(500);
    assert_eq!((lapic.tsc_deadline(), lapic.acknowledge()), (0, 0x40));
}

#[test]
fn a_tsc_deadline_in_the_past_fires_now_and_zero_disarms() {
    let mut lapic = lapic();
    write(&mut lapic, LVT, TSC_DEADLINE | 0x40);
    lapic.set_tsc_deadline(100, 500, 10);
    assert_eq!(lapic.deadline().fires_at(), Some(100));
    lapic.set_tsc_deadline(100, 500, 0);
    assert_eq!(lapic.deadline().fires_at(), None);
}

#[test]
fn a_change_to_or_from_tsc_deadline_mode_disarms() {
    let mut lapic = lapic();
    write(&mut lapic, LVT, TSC_DEADLINE | 0x40);
    lapic.set_tsc_deadline(0, 0, 10);
    write(&mut lapic, LVT, ONE_SHOT | 0x40);
    assert!(!lapic.deadline().is_set());
    write(&mut lapic, INITIAL_COUNT, 10);
    write(&mut lapic, LVT, TSC_DEADLINE | 0x40);
    assert!(!lapic.deadline().is_set());
}

#[test]
fn lint0_in_fixed_mode_interrupts_with_its_own_vector() {
    let mut lapic = lapic();
    write(&mut lapic, 0x35, 0x61);
    assert!(!lapic.passes_external_interrupts());
    lapic.set_lint0(true);
    assert_eq!(lapic.acknowledge(), 0x61);
    lapic.set_lint0(true);
    assert!(!lapic.has_interrupt(), "an edge");
}

#[test]
fn apic_base_moves_the_page_and_refuses_reserved_bits() {
    let mut lapic = lapic();
    assert_eq!(lapic.write_base_msr(0xfec1_0000 | 0x900), Some(()));
    assert_eq!(lapic.page(), Some(0xfec1_0000));
    for reserved in [1, 1 << 9, 1 << PHYSICAL_ADDRESS_BITS, 1 << 63] {
        assert_eq!(lapic.write_base_msr(0xfee0_0900 | reserved), None, "{reserved:#x}");
    }
}

#[test]
fn the_modes_change_only_as_figure_11_27_allows() {
    let modes = [
        ("disabled", 0),
        ("xAPIC", BASE_ENABLED),
        ("x2APIC", BASE_ENABLED | BASE_X2APIC),
        ("invalid", BASE_X2APIC),
    ];
    let allowed = [[true, true, false, false], [true, true, true, false], [true, false, true, false]];
    for (from, row) in allowed.iter().enumerate() {
        for (to, expected) in row.iter().enumerate() {
            let mut lapic = lapic();
            if from == 2 {
                lapic = x2apic();
            } else {
                lapic.write_base_msr(APIC_DEFAULT_BASE | modes[from].1).unwrap();
            }
            let result = lapic.write_base_msr(APIC_DEFAULT_BASE | modes[to].1);
            assert_eq!(result.is_some(), *expected, "{} to {}", modes[from].0, modes[to].0);
        }
    }
}

#[test]
fn disabling_resets_the_apic() {
    let mut lapic = lapic();
    send_self(&mut lapic, 0x80);
    lapic.write_base_msr(APIC_DEFAULT_BASE).unwrap();
    assert!(!lapic.has_interrupt() && lapic.passes_external_interrupts() && lapic.page().is_none());
    lapic.write_base_msr(APIC_DEFAULT_BASE | BASE_ENABLED).unwrap();
    assert!(!lapic.has_interrupt());
    assert_eq!(read(&mut lapic, SVR), 0xff);
}

#[test]
fn x2apic_registers_are_msrs_and_only_then() {
    assert_eq!(lapic().read_msr(0, 0x802), None);
    let mut lapic = x2apic();
    assert_eq!(lapic.page(), None);
    assert_eq!(lapic.read_msr(0, 0x80d), Some(1), "logical ID from the ID");
    assert_eq!(lapic.write_msr(0, 0x83f, 0x77), Some(None), "SELF IPI");
    assert_eq!(lapic.acknowledge(), 0x77);
    assert_eq!(lapic.write_msr(0, 0x80b, 0), Some(None));
    lapic.write_msr(0, 0x830, u64::from(ICR_LOGICAL) | 0x78 | 1 << 32).unwrap();
    assert_eq!(lapic.acknowledge(), 0x78);
}

#[test]
fn x2apic_refuses_what_does_not_exist() {
    let mut lapic = x2apic();
    for read_only in [0x802, 0x803, 0x80a, 0x80d, 0x810, 0x820, 0x839] {
        assert_eq!(lapic.write_msr(0, read_only, 0), None, "{read_only:#x}");
        assert!(lapic.read_msr(0, read_only).is_some());
    }
    for write_only in [0x80b, 0x83f] {
        assert_eq!(lapic.read_msr(0, write_only), None, "{write_only:#x}");
    }
    for absent in [0x800, 0x80e, 0x82f, 0x831, 0x840, 0x8ff] {
        assert_eq!((lapic.read_msr(0, absent), lapic.write_msr(0, absent, 0)), (None, None), "{absent:#x}");
    }
    for (index, reserved) in
        [(0x808, 0x100), (0x80b, 1), (0x828, 1), (0x832, 1 << 20), (0x830, 1 << 13), (0x83e, 4)]
    {
        assert_eq!(lapic.write_msr(0, index, reserved), None, "{index:#x}");
    }
}
