# An array longer than any register that REP fills, and a byte of what REP copies out of it.
guest stores
mode batch

> set language c
> watch *(unsigned short (*)[16])0x9100
Hardware watchpoint 1: {}
> continue
Hardware watchpoint 1: {}
Old value = {0 <repeats 16 times>}
New value = {1 <repeats 16 times>}
> continue
Hardware watchpoint 1: {}
Old value = {1 <repeats 16 times>}
New value = {2 <repeats 16 times>}
> p/x $di
$1 = 0x9120
> reverse-continue
Hardware watchpoint 1: {}
Old value = {2 <repeats 16 times>}
New value = {1 <repeats 16 times>}
> p/x $di
$2 = 0x9100
> reverse-continue
Hardware watchpoint 1: {}
New value = {0 <repeats 16 times>}
> reverse-continue
No more reverse-execution history.
> delete
> watch *(unsigned char *)0x920e
Hardware watchpoint 2: {}
> continue
Hardware watchpoint 2: {}
Old value = 0 '\000'
New value = 1 '\001'
> p/x $si
$3 = 0x9110
> reverse-continue
Hardware watchpoint 2: {}
> p/x $si
$4 = 0x9100
