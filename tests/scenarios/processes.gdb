# Ring 3: two processes, a system call, and the switch from one address space to the other.
guest process-race --limit 300000
mode batch

> break process_race::post
Breakpoint 1 at {}
> continue
Breakpoint 1, process_race::post () at {}
> p $cs & 3
$1 = 0
> bt
#0  process_race::post () at {}
#1  process_race::syscall (number=1) at {}
> finish
process_race::syscall (number=1) at {}
> delete
> info registers cr3
cr3            {first} {}
> watch process_race::CURRENT
Hardware watchpoint {}: process_race::CURRENT
> continue
Old value = 0
New value = 1
> when
position {switch}
> continue
Old value = 1
New value = 0
> reverse-continue
Old value = 0
New value = 1
> reverse-continue
Old value = 1
New value = 0
