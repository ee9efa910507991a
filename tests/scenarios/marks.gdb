# A place with a name is found again, and gdb sees the move.
guest lost-update --limit 300000
mode batch

> seek 100000
position 100000+0
> p $pc
$1 = (*mut fn ()) {here} {}
> mark here
here is 100000+0
> seek +1000
> p $tick
$2 = {}
! 100000
> tt-marks
here             100000+0
> back here
position 100000+0
> p $pc
$3 = (*mut fn ()) {here} {}
> back nowhere
there is no mark `nowhere`{}
> when
position 100000+0
