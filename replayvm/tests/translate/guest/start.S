# RAX says which, RDI how much. The result is in RAX at the end, which is an undefined instruction.
    .globl _start
_start:
    lea table(%rip), %rcx
    call *(%rcx,%rax,8)
    ud2
    .balign 8
table:
    .quad sha256, quicksort, heapsort, crc32, crc_by_bit, strings, fibonacci, compress, interpret, floats, atomics
