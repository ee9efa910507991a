# Software and hardware breakpoints, once, with conditions, ignored a few times, with commands: both ways.
guest lost-update --limit 300000
mode batch

> hbreak lost_update::count
Hardware assisted breakpoint 1 at {}
> continue
Breakpoint 1, lost_update::count () at {}
> continue
Breakpoint 1, lost_update::count () at {}
> p lost_update::COUNTER
$1 = 1
> reverse-continue
Breakpoint 1, lost_update::count () at {}
> p lost_update::COUNTER
$2 = 0
> reverse-continue
No more reverse-execution history.
> delete
> break lost_update::count if lost_update::COUNTER == 5
Breakpoint 2 at {}
> continue
Breakpoint 2, lost_update::count () at {}
> p lost_update::COUNTER
$3 = 5
> printf "%lu+%lu\n", $tick, $tick_offset
{fifth}
> seek end
position {}, the end of the recording
> reverse-continue
Breakpoint 2, lost_update::count () at {}
> printf "%lu+%lu\n", $tick, $tick_offset
{fifth}
> delete
> seek begin
> break lost_update::count
Breakpoint 3 at {}
> ignore 3 6
> continue
Breakpoint 3, lost_update::count () at {}
> p lost_update::COUNTER
$4 = 6
> ignore 3 2
> reverse-continue
Breakpoint 3, lost_update::count () at {}
> p lost_update::COUNTER
$5 = 3
> delete
> tbreak lost_update::count
Temporary breakpoint 4 at {}
> reverse-continue
Temporary breakpoint 4, lost_update::count () at {}
> p lost_update::COUNTER
$6 = 2
> reverse-continue
No more reverse-execution history.
> break lost_update::count
Breakpoint 5 at {}
> commands
. silent
. printf "counter %lu\n", lost_update::COUNTER
. end
> continue
counter 0
! Breakpoint
> continue
counter 1
> reverse-continue
counter 0
> info breakpoints
	breakpoint already hit 3 times
