# A breakpoint where the machine stands already is left by either way, and met again from the other side.
guest lost-update --limit 300000
mode batch

> break lost_update::count
Breakpoint 1 at {}
> continue
Breakpoint 1, {}
> mark first
first is {first}
> continue
Breakpoint 1, {}
> mark second
second is {second}
> reverse-continue
Breakpoint 1, {}
> when
position {first}
> continue
Breakpoint 1, {}
> when
position {second}
> back first
position {first}
> tbreak *$pc
Temporary breakpoint 2 at {}
> reverse-continue
No more reverse-execution history.
> continue
Breakpoint 1, {}
> when
position {first}
