//! PVH and vmlinux, tested with ELF files of a few bytes.

use recorder::BootKind;
use replayvm_cpu::Mode;

use super::super::{GuestImages, detect};
use crate::machine::Machine;
use crate::session::Settings;

const LOAD: u32 = 0x20_0000;

/// An ELF64 file with one page of code, loaded at 2 MiB, for a kernel's addresses; with a note, if one is given.
fn elf(note: Option<(&[u8; 4], u32, &[u8])>) -> Vec<u8> {
    let note = note.map_or_else(Vec::new, |(name, kind, content)| {
        let mut bytes = [4, content.len() as u32, kind].map(u32::to_le_bytes).concat();
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(content);
        bytes
    });
    let header = |kind: u32, offset: u64, virt: u64, phys: u64, size: u64| {
        let mut bytes = [kind, 7].map(u32::to_le_bytes).concat();
        for value in [offset, virt, phys, size, size, 4] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        bytes
    };
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend_from_slice(&[2, 0, 62, 0, 1, 0, 0, 0]);
    for value in [u64::from(LOAD), 64, 0] {
        file.extend_from_slice(&value.to_le_bytes());
    }
    file.extend_from_slice(&[0, 0, 0, 0, 64, 0, 56, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    file.extend(header(1, 0x1000, 0xffff_ffff_8000_0000 + u64::from(LOAD), u64::from(LOAD), 0x1000));
    file.extend(header(4, 0x800, 0, 0, note.len() as u64));
    file.resize(0x800, 0);
    file.extend(note);
    file.resize(0x1000, 0);
    file.resize(0x2000, 0xf4);
    file
}

fn boot(kernel: Vec<u8>, initrd: Option<Vec<u8>>) -> Machine {
    let kind = detect(&kernel).unwrap();
    let settings =
        Settings { memory_bytes: 8 << 20, command_line: "hello".to_owned(), ..Settings::default() };
    let images = GuestImages { kernel, initrd, ..GuestImages::default() };
    Machine::boot(&settings.description("test", kind), &images).unwrap()
}

#[test]
fn a_xen_note_with_an_entry_makes_a_pvh_kernel() {
    let entry = (LOAD + 0x10).to_le_bytes();
    let wide = [entry, [0; 4]].concat();
    let note = |name, kind, content| detect(&elf(Some((name, kind, content)))).unwrap();
    assert_eq!(note(b"Xen\0", 18, &entry), BootKind::Pvh);
    assert_eq!(note(b"Xen\0", 18, &wide), BootKind::Pvh);
    assert_eq!(note(b"Xen\0", 17, &entry), BootKind::LinuxElf);
    assert_eq!(note(b"GNU\0", 18, &entry), BootKind::LinuxElf);
    assert_eq!(note(b"Xen\0", 18, &entry[..3]), BootKind::LinuxElf, "too short to be an address");
    assert_eq!(detect(&elf(None)).unwrap(), BootKind::LinuxElf);
}

#[test]
fn a_pvh_kernel_finds_memory_modules_command_line_and_tables_through_ebx() {
    let machine = boot(elf(Some((b"Xen\0", 18, &(LOAD + 0x10).to_le_bytes()))), Some(vec![9; 0x1001]));
    let (state, ram) = (&machine.cpu.state, &machine.platform.ram);
    assert_eq!((state.rip, state.mode()), (u64::from(LOAD) + 0x10, Mode::Protected32));
    let word = |gpa| u32::from_le_bytes(ram.load(gpa).unwrap());
    let long = |gpa| u64::from_le_bytes(ram.load(gpa).unwrap());
    let info = state.gpr[3];
    assert_eq!((word(info), word(info + 4), word(info + 12)), (0x336e_c578, 1, 1));
    let module = long(info + 16);
    assert_eq!((long(module), long(module + 8)), ((8 << 20) - 0x2000, 0x1001));
    assert_eq!(ram.slice(long(module), 0x1001).unwrap(), [9; 0x1001]);
    assert_eq!(ram.slice(long(info + 24), 6).unwrap(), b"hello\0");
    assert_eq!(ram.slice(long(info + 32), 8).unwrap(), b"RSD PTR ");
    let (map, entries) = (long(info + 40), word(info + 48));
    assert_eq!(entries, 3);
    assert_eq!((long(map + 48), long(map + 56), word(map + 64)), (1 << 20, 7 << 20, 1));
}

#[test]
fn a_vmlinux_is_entered_in_long_mode_with_a_zero_page() {
    let machine = boot(elf(None), Some(vec![9; 10]));
    let (state, ram) = (&machine.cpu.state, &machine.platform.ram);
    assert_eq!((state.rip, state.mode()), (u64::from(LOAD), Mode::Long64));
    assert_eq!(ram.slice(state.gpr[6] + 0x202, 4).unwrap(), b"HdrS");
    assert_eq!(ram.slice(state.gpr[6] + 0x21c, 4).unwrap(), 10_u32.to_le_bytes());
}

#[test]
fn damaged_notes_panic_nowhere() {
    let image = elf(Some((b"Xen\0", 18, &LOAD.to_le_bytes())));
    for at in (0..0xb0).chain(0x800..0x814) {
        for value in [0, 0x7f, 0xff] {
            let mut image = image.clone();
            image[at] = value;
            if let Ok(kind) = detect(&image) {
                let images = GuestImages { kernel: image, ..GuestImages::default() };
                let settings = Settings { memory_bytes: 4 << 20, ..Settings::default() };
                let _ = Machine::boot(&settings.description("test", kind), &images);
            }
        }
    }
}
