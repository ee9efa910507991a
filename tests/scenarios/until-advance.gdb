# `until`, `advance`, a call stepped over, and the ways back.
guest lost-update --limit 300000
mode batch

> break lost_update::beacon
Breakpoint 1 at {}
> continue
Breakpoint 1, lost_update::beacon () at {}
> delete
> next
{call}	in {}lost-update.rs
> bt 1
#0  {} () at {}:{call}
> next
{behind}	in {}lost-update.rs
> bt 1
#0  {} () at {}:{behind}
> reverse-next
{call}	in {}lost-update.rs
> when
position {before}
> advance lost_update::count
lost_update::count () at {}
> until
{}	in {}lost-update.rs
> reverse-finish
lost_update::beacon () at {}:{call}
