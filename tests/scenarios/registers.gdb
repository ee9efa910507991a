# Registers of every kind have their names in gdb.
guest lost-update --limit 300000
mode batch

> break lost_update::count
Breakpoint 1 at {entry}: {}
> continue
Breakpoint 1, {}
> info registers rip cr0 cr3 efer fs_base
rip            {entry}            {entry} <lost_update::count>
cr0            {} [ PE {} PG ]
cr3            {cr_three} {}
efer           0x500               [ LME LMA ]
fs_base        0x0                 0
> p/x $cr3
$1 = {cr_three}
> p $efer
$2 = [ LME LMA ]
> p/x $fs_base
$3 = 0x0
> p/x $k_gs_base
$4 = 0x0
> p/x $mxcsr
$5 = 0x1f80
> p $st0
$6 = 0
> p $cs
$7 = 8
> info all-registers
rax {}
eflags {}
st7 {}
fop {}
xmm15 {}
mxcsr {}
k_gs_base {}
cr2 {}
cr4 {}
cr8 {}
tr {}
gdt_base {}
idt_limit {}
tick {}
tick_offset {}
instructions {}
> bt
#0  lost_update::count () at {}
#1  {} in lost_update::main () at {}
