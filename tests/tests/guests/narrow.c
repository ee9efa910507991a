/* A 32-bit multiboot guest with calls to look back through. */
__asm__(".section .boot,\"a\"\n"
        ".align 4\n"
        ".long 0x1badb002, 0, -0x1badb002\n"
        ".text\n"
        ".globl _start\n"
        "_start: mov $stack + 4096, %esp\n"
        "push $0\n"
        "call outer\n"
        "hlt\n"
        "nop\n");

char stack[4096];
volatile unsigned counter;

__attribute__((noinline)) unsigned inner(unsigned depth)
{
    counter += depth;
    return counter;
}

__attribute__((noinline)) unsigned middle(unsigned depth)
{
    unsigned deeper = inner(depth + 1);
    return deeper + depth;
}

__attribute__((noinline)) void outer(void)
{
    for (unsigned round = 0; round < 3; round++)
        middle(round);
}
