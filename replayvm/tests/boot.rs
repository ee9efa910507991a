//! Every kind of image boots, in the state that its kind promises, and says so through isa-debug-exit.

#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

use std::sync::Arc;

use iced_x86::code_asm::{CodeAssembler, al, ax, byte_ptr, ds, dword_ptr, dx, eax, ebx, ecx, edx, rax, rdi};
use recorder::{BootKind, EndReason};
use replayvm::machine::{GuestImages, Module, boot};
use replayvm::session::{RecordSession, Settings};

const LOAD: u64 = 0x10_0000;
const PASS: EndReason = EndReason::DebugExit { code: 0x10 };

/// An ELF file with one loadable segment: `code`, entered at its start.
fn elf(class: u8, machine: u16, code: &[u8]) -> Vec<u8> {
    let wide = class == 2;
    let (header, program_header) = if wide { (64_u64, 56_u64) } else { (52, 32) };
    let offset = 0x1000_u64;
    let mut image = vec![0x7f, b'E', b'L', b'F', class, 1, 1];
    image.resize(16, 0);
    let mut put = |value: u64, bytes: usize| image.extend_from_slice(&value.to_le_bytes()[..bytes]);
    let word = if wide { 8 } else { 4 };
    put(2, 2); // e_type: executable
    put(u64::from(machine), 2);
    put(1, 4);
    put(LOAD, word); // e_entry
    put(header, word); // e_phoff
    put(0, word);
    put(0, 4);
    put(header, 2);
    put(program_header, 2);
    put(1, 2); // e_phnum
    put(0, 2);
    put(0, 2);
    put(0, 2);
    let size = code.len() as u64;
    put(1, 4); // p_type: load
    if wide {
        put(7, 4);
    }
    put(offset, word);
    put(0xffff_0000, word); // p_vaddr: not where it is loaded
    put(LOAD, word); // p_paddr
    put(size, word);
    put(size + 0x1000, word); // p_memsz: with zeros behind
    if !wide {
        put(7, 4);
    }
    put(0x1000, word);
    image.resize(offset as usize, 0);
    image.extend_from_slice(code);
    image
}

fn assemble(bits: u32, base: u64, write: impl FnOnce(&mut CodeAssembler)) -> Vec<u8> {
    let mut code = CodeAssembler::new(bits).unwrap();
    write(&mut code);
    code.assemble(base).unwrap()
}

fn run(kernel: Vec<u8>, modules: Vec<Module>, command_line: &str) -> EndReason {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        memory_bytes: 16 << 20,
        limit_ticks: 1_000_000,
        command_line: command_line.to_owned(),
        ..Settings::default()
    };
    let images = GuestImages { kernel, modules, ..GuestImages::default() };
    let path = folder.path().join("boot.rvm");
    let session = RecordSession::start(&path, "boot", &images, &settings, None, Arc::default()).unwrap();
    session.run().unwrap().end.reason
}

#[test]
fn an_elf64_file_is_entered_in_long_mode_with_a_stack_and_boot_information() {
    let code = assemble(64, LOAD, |a| {
        // Only 64-bit code shifts a bit down from above 32.
        a.mov(rax, 0x1_0000_0000_u64).unwrap();
        a.shr(rax, 28).unwrap();
        a.push(rax).unwrap();
        a.pop(rax).unwrap();
        // Memory above 1 MiB in KiB: 15 MiB.
        a.mov(ecx, dword_ptr(rdi + 8)).unwrap();
        a.sub(ecx, 15 << 10).unwrap();
        a.add(eax, ecx).unwrap();
        a.mov(dx, 0xf4).unwrap();
        a.out(dx, eax).unwrap();
        a.hlt().unwrap();
    });
    let image = elf(2, 62, &code);
    assert_eq!(boot::detect(&image).unwrap(), BootKind::Elf64);
    assert_eq!(run(image, Vec::new(), ""), PASS);
}

#[test]
fn an_elf32_file_is_entered_in_flat_protected_mode() {
    let code = assemble(32, LOAD, |a| {
        a.mov(eax, 0x10).unwrap();
        // In 64-bit code this byte would be a prefix of the next instruction.
        a.inc(eax).unwrap();
        a.dec(eax).unwrap();
        a.mov(dx, 0xf4).unwrap();
        a.out(dx, eax).unwrap();
        a.hlt().unwrap();
    });
    let image = elf(1, 3, &code);
    assert_eq!(boot::detect(&image).unwrap(), BootKind::Elf32);
    assert_eq!(run(image, Vec::new(), ""), PASS);
}

#[test]
fn an_elf32_multiboot_kernel_finds_its_command_line_and_its_module() {
    let flags = 3_u32;
    let header = [0x1bad_b002, flags, 0_u32.wrapping_sub(0x1bad_b002 + flags)].map(u32::to_le_bytes).concat();
    let code = assemble(32, LOAD + 16, |a| {
        let mut wrong = a.create_label();
        a.cmp(eax, 0x2bad_b002_u32 as i32).unwrap();
        a.jne(wrong).unwrap();
        // The command line starts with `magic`.
        a.mov(ecx, dword_ptr(ebx + 16)).unwrap();
        a.cmp(dword_ptr(ecx), i32::from_le_bytes(*b"magi")).unwrap();
        a.jne(wrong).unwrap();
        // One module, whose first byte is the verdict.
        a.cmp(dword_ptr(ebx + 20), 1).unwrap();
        a.jne(wrong).unwrap();
        a.mov(ecx, dword_ptr(ebx + 24)).unwrap();
        a.mov(edx, dword_ptr(ecx)).unwrap();
        a.mov(eax, dword_ptr(edx)).unwrap();
        a.mov(dx, 0xf4).unwrap();
        a.out(dx, eax).unwrap();
        a.set_label(&mut wrong).unwrap();
        a.mov(dx, 0xf4).unwrap();
        a.mov(eax, 0x11).unwrap();
        a.out(dx, eax).unwrap();
        a.hlt().unwrap();
    });
    let mut segment = header;
    segment.resize(16, 0);
    segment.extend_from_slice(&code);
    let mut image = elf(1, 3, &segment);
    // Entered behind the header.
    image[24..28].copy_from_slice(&(LOAD as u32 + 16).to_le_bytes());
    assert_eq!(boot::detect(&image).unwrap(), BootKind::Multiboot);
    let module = Module { name: "m".to_owned(), command_line: "x".to_owned(), bytes: vec![0x10, 0, 0, 0] };
    assert_eq!(run(image, vec![module], "magic words"), PASS);
}

#[test]
fn a_boot_sector_runs_in_real_mode() {
    let mut image = assemble(16, 0x7c00, |a| {
        // A segment is its number times sixteen: the first byte there is the opcode of this very instruction.
        a.mov(ax, 0x7c0).unwrap();
        a.mov(ds, ax).unwrap();
        a.mov(al, byte_ptr(0).ds()).unwrap();
        a.sub(al, 0xb8 - 0x10).unwrap();
        a.mov(dx, 0xf4).unwrap();
        a.out(dx, al).unwrap();
        a.hlt().unwrap();
    });
    image.resize(512, 0);
    image[510..].copy_from_slice(&[0x55, 0xaa]);
    assert_eq!(run(image, Vec::new(), ""), PASS);
}
