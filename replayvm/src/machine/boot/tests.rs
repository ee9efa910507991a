//! Loading, tested with images made on the spot.

use super::*;

fn description(boot: BootKind) -> MachineDescription {
    MachineDescription {
        memory_bytes: 4 << 20,
        boot,
        command_line: "hello world".to_owned(),
        ..crate::session::Settings::default().description("test", boot)
    }
}

/// A multiboot image by load addresses: `code` at 1 MiB.
fn address_override(code: &[u8], bss: u32) -> Vec<u8> {
    let flags: u32 = 1 << 16 | 3;
    let load = 0x10_0000_u32;
    let end = load + 32 + code.len() as u32;
    let words =
        [0x1bad_b002, flags, 0_u32.wrapping_sub(0x1bad_b002 + flags), load, load, end, end + bss, load + 32];
    let mut image = words.map(u32::to_le_bytes).concat();
    image.extend_from_slice(code);
    image
}

#[test]
fn a_multiboot_image_is_loaded_where_its_header_says_and_entered_with_the_magic() {
    let image = address_override(&[0x90, 0xf4], 64);
    assert_eq!(detect(&image).unwrap(), BootKind::Multiboot);
    let modules = vec![Module { name: "m".into(), command_line: "arg".into(), bytes: vec![7; 5000] }];
    let machine = Machine::boot(
        &description(BootKind::Multiboot),
        &GuestImages { kernel: image, modules, ..GuestImages::default() },
    )
    .unwrap();
    let (state, ram) = (&machine.cpu.state, &machine.platform.ram);
    assert_eq!(state.rip, 0x10_0020);
    assert_eq!(state.gpr[0], 0x2bad_b002);
    assert_eq!(ram.slice(0x10_0020, 2).unwrap(), [0x90, 0xf4]);
    let word = |gpa| u32::from_le_bytes(ram.load(gpa).unwrap());
    let information = state.gpr[3];
    let command_line = u64::from(word(information + 16));
    assert_eq!(ram.slice(command_line, 12).unwrap(), b"hello world\0");
    assert_eq!(word(information + 20), 1);
    let list = u64::from(word(information + 24));
    let (start, end) = (u64::from(word(list)), u64::from(word(list + 4)));
    assert_eq!((start % 4096, end - start), (0, 5000));
    assert_eq!(ram.slice(start, 5000).unwrap(), [7; 5000]);
    assert_eq!(u64::from(word(information + 8)), (4 << 10) - 1024);
}

#[test]
fn an_image_larger_than_ram_is_refused() {
    let image = address_override(&[0x90], 8 << 20);
    let error = Machine::boot(
        &description(BootKind::Multiboot),
        &GuestImages { kernel: image, ..GuestImages::default() },
    )
    .unwrap_err();
    assert!(error.to_string().contains("--memory"), "{error}");
}

#[test]
fn damaged_images_are_refused_and_none_panics() {
    for (at, value) in (0..32).flat_map(|at| [0, 0x7f, 0x80, 0xff].map(|value| (at, value))) {
        let mut image = address_override(&[0x90; 16], 0);
        image[at] = value;
        if let Ok(boot) = detect(&image) {
            let _ =
                Machine::boot(&description(boot), &GuestImages { kernel: image, ..GuestImages::default() });
        }
    }
    assert!(matches!(detect(b"#!/bin/sh\n"), Err(BootError::Unknown)));
    for len in [5, 20, 52, 64, 100] {
        for class in [1, 2] {
            let mut image = vec![0; len];
            image[..5].copy_from_slice(&[0x7f, b'E', b'L', b'F', class]);
            let boot = detect(&image).unwrap();
            assert!(
                Machine::boot(&description(boot), &GuestImages { kernel: image, ..GuestImages::default() })
                    .is_err()
            );
        }
    }
}

#[test]
fn a_boot_sector_is_entered_at_7c00_in_real_mode() {
    let mut image = vec![0x90; 512];
    image[510..].copy_from_slice(&[0x55, 0xaa]);
    let machine = Machine::boot(
        &description(BootKind::Flat16),
        &GuestImages { kernel: image, ..GuestImages::default() },
    )
    .unwrap();
    assert_eq!(machine.cpu.state.linear_rip(), 0x7c00);
    assert_eq!(machine.cpu.state.mode(), replayvm_cpu::Mode::Real);
}
