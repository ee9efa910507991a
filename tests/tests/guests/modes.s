# A boot sector that goes from 16-bit code over 32-bit code to 64-bit code in the upper half, with a call in each. With the
# symbol MOVED it then runs 2 MiB above where it is linked to, as a kernel that moves itself does.
        .globl _start, real, prot, outer, inner, long, high, deep
        .code16
_start: cli
        xorw %ax, %ax
        movw %ax, %ds
        movw $0x100, %bx
        movw %bx, %ss
        movw $0x800, %sp
        pushw $0x1234
        calll real
        lgdtl gdtr
        movl %cr0, %eax
        orb $1, %al
        movl %eax, %cr0
        ljmpl $8, $prot
real:   nop
        retl

        .code32
prot:   movw $0x10, %ax
        movw %ax, %ds
        movw %ax, %ss
        movl $0x7c00, %esp
        call outer
        movl $0x2003, 0x1000            # PML4: the lowest and the highest entry
        movl $0x2003, 0x1ff8
        movl $0x3003, 0x2000            # page directory pointers: 0 and -2 GiB
        movl $0x3003, 0x2ff0
        movl $0x83, 0x3000              # a page of 2 MiB, twice
        movl $0x83, 0x3008
        movl %cr4, %eax
        orl $0x20, %eax
        movl %eax, %cr4
        movl $0x1000, %eax
        movl %eax, %cr3
        movl $0xc0000080, %ecx
        rdmsr
        orl $0x100, %eax
        wrmsr
        movl %cr0, %eax
        orl $0x80000000, %eax
        movl %eax, %cr0
        ljmp $0x18, $long
outer:  pushl %ebp
        movl %esp, %ebp
        call inner
        popl %ebp
        ret
inner:  pushl %ebp
        movl %esp, %ebp
        nop
        popl %ebp
        ret

        .code64
long:   movq $high - 0x80000000, %rax
        jmpq *%rax
high:   call deep
        .ifdef MOVED
        movl $0xc0000082, %ecx          # IA32_LSTAR
        movl $entry_SYSCALL_64 + 0x200000, %eax
        xorl %edx, %edx
        wrmsr
        movl $moved + 0x200000, %eax
        jmpq *%rax
moved:  call deep
        .endif
        hlt
deep:   nop
entry_SYSCALL_64:
        ret

        .balign 8
gdt:    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
gdtr:   .word 31
        .long gdt
        .org 510
        .word 0xaa55
