# The boot of a Linux kernel whose package has no symbols: they come out of its memory. Breakpoints both ways, `finish`
# there and back, the frame above, and who wrote the clock.
guest linux-hello
mode batch

> seek end
position {}, the end of the recording
> break do_exit
Breakpoint 1 at {}
> reverse-continue
Breakpoint 1, {address} in do_exit ()
> info symbol $pc
do_exit in section .text
> when
position {last}
> reverse-continue
Breakpoint 1, {address} in do_exit ()
> when
! {last}
> continue
Breakpoint 1, {address} in do_exit ()
> when
position {last}
> delete
> reverse-stepi 2
> stepi 2
> when
position {last}
> up
#1  {} in do_group_exit ()
> break vfs_write
Breakpoint 2 at {}
> reverse-continue
Breakpoint 2, {} in vfs_write ()
> when
position {write}
> finish
{} in ksys_write ()
> reverse-finish
Breakpoint 2, {} in vfs_write ()
> when
position {write}
> delete
> watch *(unsigned long *)&jiffies_64
Hardware watchpoint 3: *(unsigned long *)&jiffies_64
> reverse-continue
Old value = {after}
New value = {before}
> info symbol $pc
do_timer + {} in section .text
> when
position {tick}
> reverse-continue
Old value = {before}
> continue
New value = {before}
> continue
New value = {after}
> reverse-continue
> when
position {tick}
> stepi
> last-write *(unsigned long *)&jiffies_64
position {tick}
{}: {} -> {}
in do_timer+{}
> delete
> hbreak *entry_SYSCALL_64
Hardware assisted breakpoint {} at {}
> reverse-continue
> p/x $k_gs_base
{} = 0xffff{}
> reverse-stepi
> p $cs & 3
{} = 3
> p $fs_base != 0
{} = 1
> info registers cr3
cr3            {} [ PCID={} PDBR={} ]
