# Commands for gdb on a recording: what `monitor` offers, with gdb told to look again after each move.
# Where gdb has Python, commands.py takes their place.

# Breakpoints in 64-bit code are kept whole while gdb takes the machine for a smaller one.
set remoteaddresssize 64

define when
  monitor when
end
document when
Where in the recording the machine stands.
end

define seek
  if $argc != 1
    echo seek POSITION, seek begin, seek end, seek TIME, seek +N, seek -N\n
  else
    monitor seek $arg0 quiet
    maintenance flush register-cache
    maintenance flush dcache
    frame 0
  end
end
document seek
Go to a place in the recording: seek TICK+OFFSET, seek begin, seek end, seek TIME (virtual: 1.5s, 20ms, 300ns), seek +N,
seek -N (steps).
end

define mark
  if $argc != 1
    echo mark NAME\n
  else
    monitor mark $arg0
  end
end
document mark
Give this place in the recording a name, for `back`.
end

define marks
  monitor marks
end
document marks
List the places that have been given names.
end

define back
  if $argc != 1
    echo back NAME\n
  else
    monitor back $arg0 quiet
    maintenance flush register-cache
    maintenance flush dcache
    frame 0
  end
end
document back
Go to the place with that name.
end

define fork
  if $argc == 0
    monitor fork
  else
    monitor fork $arg0
  end
end
document fork
Leave the recording here for a branch, in which registers and memory can be changed and the machine runs live: fork [SEED].
end

define return-to-recording
  monitor return quiet
  maintenance flush register-cache
  maintenance flush dcache
  frame 0
end
document return-to-recording
Throw the branch away and go back to where it left the recording.
end

define last-write
  if $argc != 1
    echo last-write VARIABLE\n
  else
    set $rvm_where = &($arg0)
    set $rvm_bytes = sizeof($arg0)
    # In Rust, gdb does not end an expression at a comma.
    with language c -- eval "monitor last-write %p %lu", $rvm_where, $rvm_bytes
  end
end
document last-write
Tell who wrote last to a variable before this place. The machine stays where it stands.
end

# gdb says nothing of what its steps back are for: lines, which go over interrupts, or instructions.
define hook-reverse-step
  monitor step-back over
end
define hook-reverse-next
  monitor step-back over
end
define hook-reverse-finish
  monitor step-back over
end
define hook-reverse-stepi
  monitor step-back into
end
define hook-reverse-nexti
  monitor step-back over
end
