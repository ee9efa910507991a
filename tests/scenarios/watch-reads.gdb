# Reads, and accesses of any kind.
guest stores
mode batch

> set language c
> rwatch *(unsigned char *)0x8040
Hardware read watchpoint 1: {}
> continue
Hardware read watchpoint 1: {}
Value = 0 '\000'
{after} in ?? ()
> continue
Hardware read watchpoint 1: {}
{after} in ?? ()
> reverse-continue
Hardware read watchpoint 1: {}
{before} in ?? ()
> reverse-continue
Hardware read watchpoint 1: {}
{before} in ?? ()
> reverse-continue
No more reverse-execution history.
> delete
> awatch *(unsigned short *)0x910e
Hardware access (read/write) watchpoint 2: {}
> continue
Hardware access (read/write) watchpoint 2: {}
Old value = 0
New value = 1
> continue
Hardware access (read/write) watchpoint 2: {}
Value = 1
> continue
Hardware access (read/write) watchpoint 2: {}
Old value = 1
New value = 2
> reverse-continue
Hardware access (read/write) watchpoint 2: {}
Old value = 2
New value = 1
> reverse-continue
Hardware access (read/write) watchpoint 2: {}
Value = 1
> reverse-continue
Hardware access (read/write) watchpoint 2: {}
Old value = 1
New value = 0
