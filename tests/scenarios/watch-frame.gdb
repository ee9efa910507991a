# What the CPU itself writes: the frame that an interrupt pushes, and IRET reads.
guest stores
mode batch

> set language c
> watch *(unsigned short *)0x7bfa
Hardware watchpoint 1: {}
> continue
Hardware watchpoint 1: {}
Old value = 0
{handler} in ?? ()
> x/i $pc
=> {}:	iret
> reverse-continue
Hardware watchpoint 1: {}
New value = 0
{interrupted} in ?? ()
> delete
> awatch *(unsigned short *)0x7bfe
Hardware access (read/write) watchpoint 2: {}
> continue
Hardware access (read/write) watchpoint 2: {}
Old value = 0
{handler} in ?? ()
> continue
Hardware access (read/write) watchpoint 2: {}
Value = {}
{after} in ?? ()
> reverse-continue
Hardware access (read/write) watchpoint 2: {}
{handler} in ?? ()
> reverse-continue
Hardware access (read/write) watchpoint 2: {}
{interrupted} in ?? ()
