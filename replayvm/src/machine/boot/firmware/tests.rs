//! Firmware of a few bytes, from the reset vector.

use recorder::{BootKind, MachineDescription};
use replayvm_cpu::{Mode, Step};

use super::super::{BootError, GuestImages, detect};
use super::*;
use crate::session::Settings;

/// An image whose reset vector jumps to f000:e05b, where `code` is.
fn image(length: usize, code: &[u8]) -> Vec<u8> {
    let mut image: Vec<u8> = (0..length).map(|at| (at >> 16) as u8).collect();
    let (entry, reset) = (length - 0x1_0000 + 0xe05b, length - 16);
    image[entry..entry + code.len()].copy_from_slice(code);
    image[reset..reset + 5].copy_from_slice(&[0xea, 0x5b, 0xe0, 0x00, 0xf0]);
    image
}

fn description() -> MachineDescription {
    Settings { memory_bytes: 2 << 20, ..Settings::default() }.description("test", BootKind::Firmware)
}

fn boot(kernel: Vec<u8>) -> Machine {
    assert_eq!(detect(&kernel).unwrap(), BootKind::Firmware);
    Machine::boot(&description(), &GuestImages { kernel, ..GuestImages::default() }).unwrap()
}

#[test]
fn the_first_instruction_is_at_the_reset_vector_and_the_second_in_the_copy() {
    let mut machine = boot(image(256 << 10, &[0xb0, 0x42]));
    assert_eq!((machine.cpu.state.linear_rip(), machine.cpu.state.mode()), (0xffff_fff0, Mode::Real));
    let next = machine.disassemble_next().to_lowercase();
    assert!(next.contains("$0xf000,$0xe05b"), "`{next}`");
    assert_eq!(machine.cpu.step(&mut machine.platform), Step::Done);
    assert_eq!(machine.cpu.state.linear_rip(), 0xf_e05b);
    machine.cpu.step(&mut machine.platform);
    assert_eq!(machine.cpu.state.gpr[0] as u8, 0x42);
}

#[test]
fn the_last_128_kib_are_copied_below_1_mib_and_no_more() {
    let machine = boot(image(256 << 10, &[]));
    let ram = &machine.platform.ram;
    assert_eq!((ram.load(0xe_0000), ram.load(0xf_0000)), (Some([2]), Some([3])));
    assert_eq!(ram.load(0xd_ffff), Some([0]));
    let small = boot(image(64 << 10, &[]));
    assert_eq!(
        (small.platform.ram.load(0xf_fff0), small.platform.ram.load(0xe_ffff)),
        (Some([0xea]), Some([0]))
    );
}

#[test]
fn stores_to_the_rom_are_ignored_and_leave_no_trace() {
    // mov ebx, 0xffff0000; mov byte [ebx], 0x77; mov al, [ebx], in unreal terms: DS has a base of its own.
    let mut machine = boot(image(128 << 10, &[0xc6, 0x07, 0x77, 0x8a, 0x07, 0xf4]));
    machine.platform.log_exits = true;
    machine.cpu.state.segment_mut(replayvm_cpu::SegmentName::Ds).base = 0xffff_0000;
    machine.cpu.state_changed();
    for _ in 0..3 {
        machine.cpu.step(&mut machine.platform);
    }
    assert_eq!(machine.cpu.state.gpr[0] as u8, 1, "the image's byte");
    assert_eq!(machine.platform.exits, [], "the ROM is memory, not a device");
}

#[test]
fn what_has_no_reset_vector_or_a_strange_size_is_no_firmware() {
    let mut wrong = image(128 << 10, &[]);
    wrong[(128 << 10) - 16] = 0;
    assert!(detect(&wrong).is_err());
    assert!(detect(&image(128 << 10, &[])[1..]).is_err());
    let mut machine = Machine::bare(&description()).unwrap();
    assert!(matches!(attach(&mut machine, &[]), Err(BootError::Unknown)));
    assert!(matches!(attach(&mut machine, &vec![0xea; 32 << 20]), Err(BootError::Unknown)));
}
