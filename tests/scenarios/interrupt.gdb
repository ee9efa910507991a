# Where an interrupt has come between two instructions of a line, steps by lines go over it both ways, and steps by
# instructions into it. (gdb finds no call where it steps back into a handler: it would run to the begin of the recording.)
guest lost-update --limit 300000
mode batch

> seek 200000
> break lost_update::beacon
> continue
Breakpoint 1, lost_update::beacon () at {}
> delete
> frame 3
#3  lost_update::receive {}
> set $interrupted = $pc
> set $stack = $sp
> set $after = $tick
> tbreak *$interrupted if $sp == $stack && $tick >= $after
> continue
Temporary breakpoint 2, {}
> mark after
> p $tick
$1 = {after}
> reverse-next
! No more
! signal handler
> printf "%d\n", $tick < $after
> p/x $sp == $stack
> back after
> reverse-stepi
{} in interrupt_common ()
> x/i $pc
=> {}:	iretq
> stepi
> printf "%lu\n", $tick
{after}
