# Instructions and source lines, both ways: what a step undoes, a step brings back.
guest lost-update --limit 300000
mode batch

> break lost_update::count
Breakpoint 1 at {entry}: file {}lost-update.rs, line {}
> continue
Breakpoint 1, lost_update::count () at {}
> printf "%lu+%lu\n", $tick, $tick_offset
{first}
> stepi 2
{second}	{}
> reverse-stepi 2
Breakpoint 1, lost_update::count () at {}
> printf "%lu+%lu\n", $tick, $tick_offset
{first}
> reverse-stepi
lost_update::main () at {}
> stepi
Breakpoint 1, lost_update::count () at {}
> printf "%lu+%lu\n", $tick, $tick_offset
{first}
> next
{line}	in {}lost-update.rs
> next
{another}	in {}lost-update.rs
> reverse-next
{line}	in {}lost-update.rs
> reverse-next
Breakpoint 1, lost_update::count () at {}
> printf "%lu+%lu\n", $tick, $tick_offset
{first}
> step
{line}	in {}lost-update.rs
> reverse-step
Breakpoint 1, lost_update::count () at {}
> finish
{} in lost_update::main () at {}
> reverse-finish
Breakpoint 1, lost_update::count () at {}
> printf "%lu+%lu\n", $tick, $tick_offset
{first}
> up
#1  {} in lost_update::main () at {}
