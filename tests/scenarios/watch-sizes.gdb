# Stores of 1, 2, 4 and 8 bytes, seen forwards and backwards, with the values before and after.
guest stores
mode batch

> set language c
> watch *(unsigned char *)0x8000
Hardware watchpoint 1: *(unsigned char *)0x8000
> watch *(unsigned short *)0x8010
Hardware watchpoint 2: *(unsigned short *)0x8010
> watch *(unsigned int *)0x8020
Hardware watchpoint 3: *(unsigned int *)0x8020
> watch *(unsigned long long *)0x8028
Hardware watchpoint 4: *(unsigned long long *)0x8028
> continue
Hardware watchpoint 1: {}
Old value = 0 '\000'
New value = 1 '\001'
> continue
Hardware watchpoint 2: {}
Old value = 0
New value = 1
> continue
Hardware watchpoint 3: {}
Old value = 0
New value = 1
> continue
Hardware watchpoint 4: {}
Old value = 0
New value = 1
> continue
Hardware watchpoint 1: {}
Old value = 1 '\001'
New value = 2 '\002'
> reverse-continue
Hardware watchpoint 1: {}
Old value = 2 '\002'
New value = 1 '\001'
> reverse-continue
Hardware watchpoint 4: {}
Old value = 1
New value = 0
> reverse-continue
Hardware watchpoint 3: {}
Old value = 1
New value = 0
> reverse-continue
Hardware watchpoint 2: {}
Old value = 1
New value = 0
> reverse-continue
Hardware watchpoint 1: {}
Old value = 1 '\001'
New value = 0 '\000'
> reverse-continue
No more reverse-execution history.
