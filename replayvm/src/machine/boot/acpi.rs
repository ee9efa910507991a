//! ACPI tables: what a kernel needs to find the interrupt controllers, the serial port, the clock, virtio devices, and the
//! register that turns the machine off.
//!
//! Source: ACPI specification 6.5, chapter 5. The tables lie in the BIOS area, where a kernel that is not told about
//! them (`boot_params.acpi_rsdp_addr`, `hvm_start_info.rsdp_paddr`) looks for the RSDP. They are a function of the machine's
//! description alone.

use acpi_tables::aml::{
    Device, EISAName, IO, Interrupt, Memory32Fixed, Name, Package, Path, ResourceTemplate, Scope,
};
use acpi_tables::facs::FACS;
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, aml};

use super::BootError;
use crate::devices::{
    APIC_DEFAULT_BASE, IOAPIC_BASE, MmioSlot, PM_TIMER_PORT, PM1_CONTROL_PORT, PM1_EVENT_PORT, SCI_IRQ,
    SLEEP_TYPE_S5,
};
use crate::machine::Machine;

/// Where the RSDP is: on a 16-byte boundary between 0xe0000 and 0xfffff (5.2.5.1).
pub(super) const RSDP: u64 = 0xe_0000;
/// The other tables; the FACS, which comes first, wants 64 bytes' alignment.
const TABLES: u64 = 0xe_0040;
/// A quarter of the BIOS area: far more than the most devices need.
const TABLES_END: u64 = 0xe_8000;

const OEM: [u8; 6] = *b"REPLAY";
const OEM_TABLE: [u8; 8] = *b"REPLAYVM";
const OEM_REVISION: u32 = 1;

/// IAPC_BOOT_ARCH (5.2.9.3): there are ISA devices; no VGA, no MSI. The 8042 that there is has neither keyboard nor mouse, and
/// is not announced.
const BOOT_ARCHITECTURE: u16 = 1 | 1 << 2 | 1 << 3;
/// Where CMOS RAM has the century.
const CENTURY: u8 = 0x32;
/// Latencies that say that there is neither C2 nor C3.
const NO_C2: u16 = 101;
const NO_C3: u16 = 1001;
const RESET_PORT: u16 = 0xcf9;
const RESET_VALUE: u8 = 0x06;

/// MADT structures and flags (5.2.12).
const MADT_PCAT_COMPATIBLE: u32 = 1;
const MADT_LOCAL_APIC: u8 = 0;
const MADT_IO_APIC: u8 = 1;
const MADT_OVERRIDE: u8 = 2;
const MADT_LOCAL_NMI: u8 = 4;
/// Bus default.
const CONFORMS: u16 = 0;
const LEVEL_ACTIVE_HIGH: u16 = 0xd;

/// Writes the tables into memory; returns the address of the RSDP.
///
/// # Errors
/// There are more devices than the tables have room for.
pub(super) fn write(machine: &mut Machine, slots: &[MmioSlot]) -> Result<u64, BootError> {
    for (gpa, bytes) in tables(slots)? {
        machine.platform.ram.write_slice(gpa, &bytes)?;
    }
    Ok(RSDP)
}

/// All tables with their addresses.
fn tables(slots: &[MmioSlot]) -> Result<Vec<(u64, Vec<u8>)>, BootError> {
    let mut placed = Vec::new();
    let mut next = TABLES;
    let mut place = |bytes: Vec<u8>| {
        let at = next;
        next = (next + bytes.len() as u64).next_multiple_of(16);
        placed.push((at, bytes));
        if next > TABLES_END { Err(BootError::Acpi) } else { Ok(at) }
    };
    let facs = place(bytes_of(&FACS::new()))?;
    let dsdt = place(dsdt(slots))?;
    let fadt = place(fadt(facs, dsdt))?;
    let madt = place(madt())?;
    let mut xsdt = XSDT::new(OEM, OEM_TABLE, OEM_REVISION);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    let xsdt = place(bytes_of(&xsdt))?;
    placed.push((RSDP, bytes_of(&Rsdp::new(OEM, xsdt))));
    Ok(placed)
}

fn bytes_of(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

fn register(port: u16, bits: u8, access: AccessSize) -> GAS {
    GAS::new(AddressSpace::SystemIo, bits, 0, access, u64::from(port))
}

/// Fixed ACPI description table (5.2.9).
fn fadt(facs: u64, dsdt: u64) -> Vec<u8> {
    let mut table = FADTBuilder::new(OEM, OEM_TABLE, OEM_REVISION)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        // Set, these say that there is no such button among the fixed registers, and no clock alarm.
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        .flag(Flags::FixRtc)
        .flag(Flags::TmrValExt)
        .flag(Flags::ResetRegSup);
    table.firmware_ctrl = (facs as u32).into();
    table.dsdt = (dsdt as u32).into();
    table.x_dsdt = dsdt.into();
    table.sci_int = u16::from(SCI_IRQ).into();
    table.pm1a_evt_blk = u32::from(PM1_EVENT_PORT).into();
    table.pm1a_cnt_blk = u32::from(PM1_CONTROL_PORT).into();
    table.pm_tmr_blk = u32::from(PM_TIMER_PORT).into();
    table.pm1_evt_len = 4;
    table.pm1_cnt_len = 2;
    table.pm_tmr_len = 4;
    table.p_lvl2_lat = NO_C2.into();
    table.p_lvl3_lat = NO_C3.into();
    table.century = CENTURY;
    table.iapc_boot_arch = BOOT_ARCHITECTURE.into();
    table.reset_reg = register(RESET_PORT, 8, AccessSize::ByteAccess);
    table.reset_value = RESET_VALUE;
    table.x_pm1a_evt_blk = register(PM1_EVENT_PORT, 32, AccessSize::WordAccess);
    table.x_pm1a_cnt_blk = register(PM1_CONTROL_PORT, 16, AccessSize::WordAccess);
    table.x_pm_tmr_blk = register(PM_TIMER_PORT, 32, AccessSize::DwordAccess);
    bytes_of(&table.finalize())
}

/// Multiple APIC description table (5.2.12): one processor, one I/O APIC, and which ISA lines are wired otherwise.
fn madt() -> Vec<u8> {
    let mut table = Sdt::new(*b"APIC", 44, 4, OEM, OEM_TABLE, OEM_REVISION);
    table.write_u32(36, APIC_DEFAULT_BASE as u32);
    table.write_u32(40, MADT_PCAT_COMPATIBLE);
    // Processor 0 with APIC 0, enabled.
    table.append_slice(&[MADT_LOCAL_APIC, 8, 0, 0, 1, 0, 0, 0]);
    // I/O APIC 0, interrupts from 0 up.
    let mut io_apic = vec![MADT_IO_APIC, 12, 0, 0];
    io_apic.extend_from_slice(&(IOAPIC_BASE as u32).to_le_bytes());
    io_apic.extend_from_slice(&0_u32.to_le_bytes());
    table.append_slice(&io_apic);
    // The timer arrives at pin 2; the system control interrupt is level-triggered.
    for (irq, pin, flags) in [(0_u8, 2_u32, CONFORMS), (SCI_IRQ, u32::from(SCI_IRQ), LEVEL_ACTIVE_HIGH)] {
        let mut entry = vec![MADT_OVERRIDE, 10, 0, irq];
        entry.extend_from_slice(&pin.to_le_bytes());
        entry.extend_from_slice(&flags.to_le_bytes());
        table.append_slice(&entry);
    }
    // NMI at LINT1 of every processor.
    table.append_slice(&[MADT_LOCAL_NMI, 6, 0xff, 0, 0, 1]);
    table.as_slice().to_vec()
}

/// Differentiated system description table: what is on the board, and how S5 is entered.
fn dsdt(slots: &[MmioSlot]) -> Vec<u8> {
    const COM1: u16 = 0x3f8;
    const RTC: u16 = 0x70;
    let edge = |irq: u8| Interrupt::new(true, true, false, false, u32::from(irq));

    let mut devices =
        device("COM1", &EISAName::new("PNP0501"), 1, vec![&IO::new(COM1, COM1, 1, 8), &edge(4)]);
    devices.extend(device("RTC_", &EISAName::new("PNP0B00"), 0, vec![&IO::new(RTC, RTC, 1, 2), &edge(8)]));
    for (index, slot) in slots.iter().enumerate() {
        let registers = Memory32Fixed::new(true, slot.base as u32, slot.size);
        let interrupt = Interrupt::new(true, false, false, false, slot.gsi);
        let name = format!("V{index:03}");
        devices.extend(device(&name, &"LNRO0005", index as u32, vec![&registers, &interrupt]));
    }
    let mut table = Sdt::new(*b"DSDT", 36, 2, OEM, OEM_TABLE, OEM_REVISION);
    table.append_slice(&Scope::raw(Path::new("_SB_"), devices));
    let sleep = Package::new(vec![&SLEEP_TYPE_S5, &SLEEP_TYPE_S5, &aml::ZERO, &aml::ZERO]);
    table.append_slice(&bytes_of(&Name::new(Path::new("\\_S5_"), &sleep)));
    table.as_slice().to_vec()
}

/// A device: hardware ID, number among its kind, resources.
fn device(name: &str, hardware: &dyn Aml, number: u32, resources: Vec<&dyn Aml>) -> Vec<u8> {
    /// Present, enabled, shown, working.
    const STATUS: u8 = 0xf;
    bytes_of(&Device::new(
        Path::new(name),
        vec![
            &Name::new(Path::new("_HID"), hardware),
            &Name::new(Path::new("_UID"), &number),
            &Name::new(Path::new("_STA"), &STATUS),
            &Name::new(Path::new("_CRS"), &ResourceTemplate::new(resources)),
        ],
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(count: u32) -> Vec<MmioSlot> {
        let base = |n| 0xfeb0_0000 + u64::from(n) * 0x1000;
        (0..count).map(|n| MmioSlot { base: base(n), size: 0x1000, gsi: 16 + n }).collect()
    }

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    #[test]
    fn every_table_is_whole_where_it_is_said_to_be_and_none_overlaps_another() {
        let tables = tables(&slots(8)).unwrap();
        for (index, (gpa, bytes)) in tables.iter().enumerate() {
            let end = gpa + bytes.len() as u64;
            assert!(*gpa >= RSDP && end <= TABLES_END);
            assert!(tables[..index].iter().all(|(other, b)| end <= *other || other + b.len() as u64 <= *gpa));
            match &bytes[..4] {
                b"FACS" => assert_eq!((gpa % 64, bytes.len()), (0, 64)),
                b"RSD " => assert_eq!((gpa % 16, sum(&bytes[..20]), sum(bytes)), (0, 0, 0)),
                _ => {
                    let length = u32::from_le_bytes(bytes[4..8].try_into().unwrap());
                    assert_eq!((length as usize, sum(bytes)), (bytes.len(), 0));
                }
            }
        }
        let find = |signature: &[u8]| &tables.iter().find(|(_, b)| b.starts_with(signature)).unwrap().1;
        let address = |of: &[u8], at: usize| u64::from_le_bytes(of[at..at + 8].try_into().unwrap());
        let xsdt = address(find(b"RSD PTR "), 24);
        let xsdt = &tables.iter().find(|(gpa, _)| *gpa == xsdt).unwrap().1;
        assert_eq!(&xsdt[..4], b"XSDT");
        for (at, signature) in [(36, b"FACP"), (44, b"APIC")] {
            let named = &tables.iter().find(|(gpa, _)| *gpa == address(xsdt, at)).unwrap().1;
            assert_eq!(&named[..4], signature);
        }
        let dsdt = address(find(b"FACP"), 140);
        assert_eq!(&tables.iter().find(|(gpa, _)| *gpa == dsdt).unwrap().1[..4], b"DSDT");
    }

    #[test]
    fn a_virtio_device_is_described_by_its_registers_and_its_interrupt() {
        let dsdt = dsdt(&slots(2));
        for slot in slots(2) {
            let mut registers = vec![0x86, 9, 0, 1];
            registers.extend_from_slice(&(slot.base as u32).to_le_bytes());
            registers.extend_from_slice(&slot.size.to_le_bytes());
            // A consumer, level-triggered, active high, exclusive; one interrupt.
            registers.extend_from_slice(&[0x89, 6, 0, 1, 1]);
            registers.extend_from_slice(&slot.gsi.to_le_bytes());
            assert!(dsdt.windows(registers.len()).any(|window| window == registers));
        }
        assert_eq!(dsdt.windows(8).filter(|window| window == b"LNRO0005").count(), 2);
    }

    #[test]
    fn more_devices_than_there_is_room_for_are_refused() {
        assert!(matches!(tables(&slots(1000)), Err(BootError::Acpi)));
    }
}
