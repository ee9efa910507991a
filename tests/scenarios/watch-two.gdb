# Two watchpoints that one store hits are both told, at the same place, forwards and backwards.
guest stores
mode batch

> set language c
> watch *(unsigned short *)0x8ffe
Hardware watchpoint 1: {}
> watch *(unsigned short *)0x9000
Hardware watchpoint 2: {}
> continue
Hardware watchpoint 1: {}
Old value = 0
New value = 1
! watchpoint 2
> when
position {first}
> continue
Hardware watchpoint 2: {}
Old value = 0
New value = 1
> when
position {first}
> continue
Hardware watchpoint 1: {}
Old value = 1
New value = 2
> when
position {second}
> continue
Hardware watchpoint 2: {}
Old value = 1
New value = 2
> when
position {second}
> reverse-continue
Hardware watchpoint 1: {}
Old value = 2
New value = 1
> when
position {before}
> reverse-continue
Hardware watchpoint 2: {}
Old value = 2
New value = 1
> when
position {before}
> reverse-continue
Hardware watchpoint 1: {}
Old value = 1
New value = 0
> reverse-continue
Hardware watchpoint 2: {}
Old value = 1
New value = 0
> reverse-continue
No more reverse-execution history.
