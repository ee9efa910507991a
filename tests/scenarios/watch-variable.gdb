# From the end of the run: who wrote this variable last, and before that?
guest lost-update --limit 300000
mode batch

> seek end
> p lost_update::COUNTER
$1 = {last}
> watch lost_update::COUNTER
Hardware watchpoint 1: lost_update::COUNTER
> reverse-continue
Old value = {last}
New value = {before}
> x/i $pc
=> {}:	mov {}COUNTER{}
> when
position {store}
> reverse-continue
Old value = {before}
> continue
New value = {before}
> continue
Old value = {before}
New value = {last}
> reverse-continue
> when
position {store}
