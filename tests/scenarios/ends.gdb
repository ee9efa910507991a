# Both ends of the recording are ends of gdb's history.
guest lost-update --limit 300000
mode batch

> reverse-stepi
No more reverse-execution history.
> continue
No more reverse-execution history.
> stepi
No more reverse-execution history.
> reverse-continue
No more reverse-execution history.
> when
position {}, the begin of the recording
