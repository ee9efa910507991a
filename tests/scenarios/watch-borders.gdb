# Unaligned, over a page border, and a part of what one store writes.
guest stores
mode batch

> set language c
> watch *(unsigned int *)0x8ffe
Hardware watchpoint 1: {}
> continue
Hardware watchpoint 1: {}
Old value = 0
New value = 65537
{after} in ?? ()
> continue
Hardware watchpoint 1: {}
Old value = 65537
New value = 131074
{after} in ?? ()
> reverse-continue
Hardware watchpoint 1: {}
Old value = 131074
New value = 65537
{before} in ?? ()
> reverse-continue
Hardware watchpoint 1: {}
Old value = 65537
New value = 0
{before} in ?? ()
> reverse-continue
No more reverse-execution history.
> delete
> watch *(unsigned char *)0x9000
Hardware watchpoint 2: {}
> continue
Hardware watchpoint 2: {}
Old value = 0 '\000'
New value = 1 '\001'
{after} in ?? ()
> reverse-continue
Hardware watchpoint 2: {}
{before} in ?? ()
> delete
> watch *(unsigned long long *)0x8ffb
Hardware watchpoint 3: {}
> continue
Hardware watchpoint 3: {}
Old value = 0
New value = 1099528404992
{after} in ?? ()
> reverse-continue
Hardware watchpoint 3: {}
Old value = 1099528404992
New value = 0
{before} in ?? ()
