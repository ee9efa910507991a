//! Start-up. The loader enters `_start` as multiboot 1 says: 32-bit protected mode, flat segments, paging off.
//! The assembly maps the first 16 MiB one to one, enters long mode and calls [`start`].
//!
//! The multiboot header carries load addresses of its own (flag 16), so the image may be an ELF64 file:
//! loaders that read only ELF32, QEMU's among them, then take it too.

use core::arch::global_asm;

global_asm!(
    r#"
    .pushsection .boot.header, "a", @progbits
    .balign 4
multiboot_header:
    .long 0x1badb002                // magic
    .long 0x00010000                // flags: the address fields are valid
    .long -(0x1badb002 + 0x00010000)
    .long multiboot_header
    .long image_start               // load address
    .long image_load_end            // end of what is in the file
    .long image_end                 // end of what the loader clears
    .long _start
    .popsection

    .pushsection .boot, "ax", @progbits
    .code32
    .global _start
    .type _start, @function
_start:
    cli
    cld
    mov esp, offset boot_stack_top
    mov esi, eax                    // the loader's magic number; EBX is the address of its information

    // Page tables: PML4[0] -> PDPT[0] -> PD[0..8], eight pages of 2 MiB, present and writable.
    mov edi, offset boot_pd
    mov eax, 0x83
    mov ecx, 8
2:  mov dword ptr [edi], eax
    add eax, 0x200000
    add edi, 8
    dec ecx
    jnz 2b
    mov eax, offset boot_pd
    or eax, 3
    mov dword ptr [boot_pdpt], eax
    mov eax, offset boot_pdpt
    or eax, 3
    mov dword ptr [boot_pml4], eax

    mov eax, cr4
    or eax, (1 << 5) | (1 << 9) | (1 << 10)         // PAE, OSFXSR, OSXMMEXCPT
    mov cr4, eax
    mov eax, offset boot_pml4
    mov cr3, eax
    mov ecx, 0xc0000080                             // EFER
    rdmsr
    or eax, 1 << 8                                  // LME
    wrmsr
    mov eax, cr0
    and eax, ~((1 << 2) | (1 << 3))                 // no EM, no TS: SSE is usable
    or eax, (1 << 31) | (1 << 16) | (1 << 1) | 1    // PG, WP, MP, PE
    mov cr0, eax

    lgdt [gdt_pointer]
    mov eax, offset long_mode
    push 0x08
    push eax
    retf

    .code64
long_mode:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    mov esp, offset boot_stack_top
    xor ebp, ebp
    push 0              // where a backtrace ends
    mov edi, ebx
    jmp {start}
    .popsection

    .pushsection .bss.boot, "aw", @nobits
    .balign 4096
    .global boot_pml4
boot_pml4:
    .skip 4096
boot_pdpt:
    .skip 4096
    .global boot_pd
boot_pd:
    .skip 4096
boot_stack:
    .skip 16384
boot_stack_top:
    .popsection
    "#,
    start = sym start,
);

/// First Rust code: the devices every guest uses, then the guest.
extern "C" fn start(information: u32, magic: u32) -> ! {
    crate::multiboot::init(information, magic);
    crate::serial::init();
    crate::irq::init();
    crate::guest_main()
}
