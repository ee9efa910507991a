"""Commands for gdb on a recording of Replayvm. Needs nothing but the Python inside gdb.

`replayvm gdb FILE --launch` loads this by itself. In a gdb that came by `target remote`, `source` it:
`replayvm gdb --print-python > replayvm.py` writes it.

    when  seek  mark  back  tt-marks (or marks)  last-write  calls  rvm-info  $rvm_position  set replayvm-prompt on|off
    fork  return-to-recording  type  set replayvm-arch auto|off
"""

import re
import signal

import gdb


def rvm_position():
    """Where the machine stands, TICK+OFFSET; None if there is no machine, it runs, or it is no recording."""
    try:
        frame = gdb.newest_frame()
        return "%d+%d" % (int(frame.read_register("tick")), int(frame.read_register("tick_offset")))
    except (gdb.error, ValueError):
        return None


def rvm_ask(line):
    """What the server answers to a line of `monitor`."""
    try:
        return gdb.execute("monitor " + line, to_string=True)
    except KeyboardInterrupt:
        # gdb has given up the answer. The server sees that, stops, and leaves the machine where it stood.
        raise gdb.GdbError("interrupted: the machine stands where it stood")
    except gdb.error as error:
        raise gdb.GdbError("`monitor %s`: %s" % (line.split()[0], error))


def rvm_marks():
    """The names of the marks. None at all where they cannot be asked for: this is for completion, too."""
    try:
        found = re.findall(r"^(\S+)\s+\d+\+\d+$", gdb.execute("monitor marks", to_string=True), re.MULTILINE)
    except gdb.error:
        found = []
    return found


def rvm_complete(text, word, names):
    """Those of `names` that begin with `text`, from where gdb's `word` begins: a name may have more than one."""
    text = text.lstrip()
    return [name[len(text) - len(word):] for name in names if name.startswith(text)]


def rvm_address(value, text):
    """The address that a value stands for, and the size of what is there if it has one."""
    if value.type.code in (gdb.TYPE_CODE_REF, gdb.TYPE_CODE_RVALUE_REF):
        value = value.referenced_value().address
    kind = value.type.strip_typedefs()
    if value.address is not None:
        value, size = value.address, kind.sizeof
    elif kind.code == gdb.TYPE_CODE_PTR:
        there = kind.target().strip_typedefs()
        known = there.code not in (gdb.TYPE_CODE_VOID, gdb.TYPE_CODE_FUNC, gdb.TYPE_CODE_ERROR)
        size = there.sizeof if known else 0
    elif kind.code == gdb.TYPE_CODE_INT:
        size = 0
    else:
        raise gdb.GdbError("`%s` is neither a place in memory nor an address." % text)
    return int(value) & 0xFFFFFFFFFFFFFFFF, size or None


def rvm_only_word(argument, usage):
    """The one word that a command takes."""
    words = argument.split()
    if len(words) != 1:
        raise gdb.GdbError("Usage: " + usage)
    return words[0]


def rvm_try(command):
    """Runs a command of gdb that this version may not have; says whether it has."""
    try:
        gdb.execute(command, to_string=True)
    except gdb.error:
        return False
    return True


def rvm_look_again():
    """Makes gdb forget what it knew of the machine."""
    # Until gdb 10 the first has the second's name, and there is no third.
    if not rvm_try("maintenance flush register-cache"):
        rvm_try("flushregs")
    rvm_try("maintenance flush dcache")
    rvm_follow()
    rvm_watch_again()
    rvm_remember()


def rvm_watch_again():
    """Makes watchpoints take the values that are here for the old ones: they stop only at what differs from those."""
    for point in gdb.breakpoints():
        if point.type in (gdb.BP_HARDWARE_WATCHPOINT, gdb.BP_ACCESS_WATCHPOINT, gdb.BP_WATCHPOINT) and point.enabled:
            try:
                point.enabled = False
                point.enabled = True
            except gdb.error:
                pass


# Steps that are asked for at once: Ctrl-C waits for so many.
RVM_STEPS = 500


def rvm_go(line, held):
    """What the server answers to a line that moves; many steps are walked in parts, until Ctrl-C. `held` are the signals
    that may come while it goes anywhere else."""
    steps = re.match(r"seek ([-+])([0-9]+)$", line)
    left = int(steps.group(2)) if steps else 0
    before = None
    while left > RVM_STEPS:
        answer = rvm_ask("seek %s%d quiet" % (steps.group(1), RVM_STEPS))
        left -= RVM_STEPS
        line = "seek %s%d" % (steps.group(1), left)
        # The end on this way, a complaint, or Ctrl-C.
        if answer == before or not answer.startswith("position ") or signal.SIGINT in signal.sigpending():
            return answer
        before = answer
    if steps:
        return rvm_ask(line + " quiet")
    blocked = signal.pthread_sigmask(signal.SIG_SETMASK, held)
    try:
        return rvm_ask(line + " quiet")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def rvm_move(line):
    """Goes where the line of `monitor` says, and shows where that is."""
    # Ctrl-C comes when gdb knows that the machine has moved.
    held = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        answer = rvm_go(line, held)
        rvm_look_again()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    if not re.search(r"^position \d+\+\d+", answer, re.MULTILINE):
        raise gdb.GdbError(answer.strip())
    gdb.write(answer)
    gdb.execute("frame 0")


def rvm_remember(_=None):
    """Keeps $rvm_position true: void where there is no position."""
    gdb.set_convenience_variable("rvm_position", rvm_position())


def rvm_called(event):
    """gdb has made the guest call a function: it then puts back every register, and believes that to be true of $tick."""
    gdb.replayvm_called = isinstance(event, gdb.InferiorCallPostEvent)


def rvm_settle(_=None):
    """Makes gdb look again at where the machine stands after such a call."""
    if getattr(gdb, "replayvm_called", False):
        gdb.replayvm_called = False
        rvm_look_again()
    else:
        rvm_remember()


# What gdb calls the architecture of code of so many bits.
RVM_ARCHITECTURES = {16: "i8086", 32: "i386", 64: "i386:x86-64"}


def rvm_follow(_=None):
    """Makes gdb take the machine for what it is, when it runs code of other width than before."""
    if gdb.parameter("replayvm-arch") != "auto":
        return
    try:
        frame = gdb.newest_frame()
        bits = int(frame.read_register("code_bits"))
        now = frame.architecture().name()
        # Whoever has said what the machine is keeps that: gdb would refuse the description of anything else.
        if now == RVM_ARCHITECTURES[bits] or '"auto"' not in gdb.execute("show architecture", to_string=True):
            return
        # With `monitor arch`, the person may have asked for what is not the guest's mode.
        if gdb.replayvm_followed == (bits, now):
            return
        # An executable would bind gdb to its own architecture. Its symbols stay.
        gdb.execute("exec-file", to_string=True)
        gdb.execute("unset tdesc filename", to_string=True)
        gdb.replayvm_followed = (bits, gdb.newest_frame().architecture().name())
    except (gdb.error, ValueError, KeyError):
        pass


class RvmArchSetting(gdb.Parameter):
    """Whether gdb follows the machine as it changes between 16-, 32- and 64-bit code."""

    set_doc = "Set whether gdb follows the machine as it changes between 16-, 32- and 64-bit code."
    show_doc = "Show whether gdb follows the machine as it changes between 16-, 32- and 64-bit code."

    def __init__(self):
        super().__init__("replayvm-arch", gdb.COMMAND_SUPPORT, gdb.PARAM_ENUM, ["auto", "off"])
        self.value = "auto"

    def get_set_string(self):
        gdb.replayvm_followed = None
        return ""

    def get_show_string(self, value):
        return "Following the machine between 16-, 32- and 64-bit code is %s." % value


class RvmPositionPrinter:
    """Shows $rvm_position as text where the language (Rust) would show an array of numbers."""

    def __init__(self, text):
        self.text = text

    def to_string(self):
        return self.text

    def display_hint(self):
        return "string"


def rvm_printer(value):
    """A printer for $rvm_position, and for nothing in the guest: what is there has an address."""
    kind = value.type.strip_typedefs()
    if kind.code != gdb.TYPE_CODE_ARRAY or kind.target().sizeof != 1 or kind.sizeof > 32 or value.address is not None:
        return None
    first, last = kind.range()
    text = "".join(chr(int(value[index]) & 0x7F) for index in range(first, last + 1)).rstrip("\0")
    return RvmPositionPrinter(text) if re.match(r"\d+\+\d+$", text) else None


class RvmWhen(gdb.Command):
    """Where in the recording the machine stands.
Usage: when"""

    def __init__(self):
        super().__init__("when", gdb.COMMAND_STATUS, gdb.COMPLETE_NONE)

    def invoke(self, argument, from_tty):
        if argument.strip():
            raise gdb.GdbError("Usage: when")
        gdb.write(rvm_ask("when"))


class RvmSeek(gdb.Command):
    """Go to a place in the recording.
Usage: seek TICK+OFFSET | seek begin | seek end | seek TIME | seek +N | seek -N | seek NAME
TIME is virtual time: 1.5s, 20ms, 3us, 2097400ns; +N and -N are steps; NAME is one of `tt-marks`."""

    def __init__(self):
        super().__init__("seek", gdb.COMMAND_RUNNING)

    def invoke(self, argument, from_tty):
        usage = "seek TICK+OFFSET | seek begin | seek end | seek TIME | seek +N | seek -N | seek NAME"
        target = rvm_only_word(argument, usage)
        is_name = not re.match(r"[-+0-9]|(begin|start|end)$", target)
        rvm_move(("back " if is_name and target in rvm_marks() else "seek ") + target)

    def complete(self, text, word):
        return rvm_complete(text, word, ["begin", "end"] + rvm_marks())


class RvmMark(gdb.Command):
    """Give this place in the recording a name, for `back` and `seek`.
Usage: mark NAME"""

    def __init__(self):
        super().__init__("mark", gdb.COMMAND_SUPPORT, gdb.COMPLETE_NONE)

    def invoke(self, argument, from_tty):
        gdb.write(rvm_ask("mark " + rvm_only_word(argument, "mark NAME")))


class RvmMarks(gdb.Command):
    """List the places in the recording that have been given names.
Usage: tt-marks, or marks"""

    def __init__(self, name):
        super().__init__(name, gdb.COMMAND_STATUS, gdb.COMPLETE_NONE)

    def invoke(self, argument, from_tty):
        if argument.strip():
            raise gdb.GdbError("Usage: tt-marks")
        gdb.write(rvm_ask("marks"))


class RvmBack(gdb.Command):
    """Go to the place with that name.
Usage: back NAME"""

    def __init__(self):
        super().__init__("back", gdb.COMMAND_RUNNING)

    def invoke(self, argument, from_tty):
        rvm_move("back " + rvm_only_word(argument, "back NAME"))

    def complete(self, text, word):
        return rvm_complete(text, word, rvm_marks())


class RvmFork(gdb.Command):
    """Leave the recording here for a branch, in which registers and memory can be changed and the machine runs live.
Usage: fork [SEED]
SEED (0) decides what is left to chance. `return-to-recording` throws the branch away; the recording is never changed."""

    def __init__(self):
        super().__init__("fork", gdb.COMMAND_RUNNING, gdb.COMPLETE_NONE)

    def invoke(self, argument, from_tty):
        seed = rvm_only_word(argument, "fork [SEED]") if argument.strip() else "0"
        answer = rvm_ask("fork " + seed)
        if not answer.startswith("position "):
            raise gdb.GdbError(answer.strip())
        gdb.write(answer)


class RvmReturn(gdb.Command):
    """Throw the branch away and go back to where it left the recording.
Usage: return-to-recording"""

    def __init__(self):
        super().__init__("return-to-recording", gdb.COMMAND_RUNNING, gdb.COMPLETE_NONE)

    def invoke(self, argument, from_tty):
        if argument.strip():
            raise gdb.GdbError("Usage: return-to-recording")
        rvm_move("return")


class RvmType(gdb.Command):
    """Type on the serial port of a guest that runs live, in a branch.
Usage: type TEXT
Escapes stand for bytes: \\n, \\r, \\t, \\e, \\xHH."""

    def __init__(self):
        super().__init__("type", gdb.COMMAND_RUNNING, gdb.COMPLETE_NONE)

    def invoke(self, argument, from_tty):
        if not argument:
            raise gdb.GdbError("Usage: type TEXT")
        gdb.write(rvm_ask("type " + argument))


class RvmLastWrite(gdb.Command):
    """Who wrote this memory last before here.
Usage: last-write EXPR [LEN]
EXPR is a place in memory, as for `watch`: a variable, `*pointer`, a field; or an address: `&variable`, a number.
LEN is in bytes; without it, it is the size of that place, if it is known."""

    def __init__(self):
        super().__init__("last-write", gdb.COMMAND_DATA, gdb.COMPLETE_EXPRESSION)

    def invoke(self, argument, from_tty):
        text = argument.strip()
        if not text:
            raise gdb.GdbError("Usage: last-write EXPR [LEN]")
        try:
            value, length = self.evaluate(text)
            address, size = rvm_address(value, text)
        except gdb.error as error:
            raise gdb.GdbError(str(error))
        if length is None:
            length = size
        line = "last-write 0x%x" % address
        answer = rvm_ask(line if length is None else "%s %d" % (line, length))
        if answer.startswith("there is no command"):
            raise gdb.GdbError(answer.strip())
        gdb.write(answer)

    @staticmethod
    def evaluate(text):
        """The value, and LEN if there is one: `p 4` has, `p + 4` has not, for `p +` is no expression."""
        with_length = re.match(r"(.*\S)\s+(0[xX][0-9a-fA-F]+|[0-9]+)$", text, re.DOTALL)
        if with_length:
            try:
                return gdb.parse_and_eval(with_length.group(1)), int(with_length.group(2), 0)
            except gdb.error:
                pass
            except ValueError:
                raise gdb.GdbError("`%s` is no length in bytes." % with_length.group(2))
        return gdb.parse_and_eval(text), None


class RvmCalls(gdb.Command):
    """Every call of a function, with its position, its caller and its first arguments.
Usage: calls FUNCTION [A..B]
FUNCTION is a function or an address. A..B are positions of the recording; without them it is looked at from begin to end."""

    def __init__(self):
        super().__init__("calls", gdb.COMMAND_DATA, gdb.COMPLETE_SYMBOL)

    def invoke(self, argument, from_tty):
        parts = re.match(r"(.*\S)\s+(\S*\.\.\S*)$", argument.strip(), re.DOTALL)
        function, positions = parts.groups() if parts else (argument.strip(), "")
        if not function:
            raise gdb.GdbError("Usage: calls FUNCTION [A..B]")
        try:
            where = "0x%x" % rvm_address(gdb.parse_and_eval(function), function)[0]
        except gdb.error as error:
            # A name that only the guest itself knows: the server may know it, too.
            if len(function.split()) != 1:
                raise gdb.GdbError(str(error))
            where = function
        gdb.write(rvm_ask(("calls %s %s" % (where, positions)).strip()))


class RvmInfo(gdb.Command):
    """What the machine looks like here: a device, a descriptor table, the page tables.
Usage: rvm-info SUBJECT
       rvm-info pagetable [EXPR | ADDR..]
EXPR is an address: every entry on the way to it is shown. ADDR.. is what is mapped from there on."""

    SUBJECTS = ["apic", "cpu", "gdt", "idt", "ioapic", "ldt", "pagetable", "pic", "pit", "rtc", "tss", "uart"]

    def __init__(self):
        super().__init__("rvm-info", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        words = argument.split(None, 1)
        if not words:
            raise gdb.GdbError("Usage: rvm-info %s" % "|".join(self.SUBJECTS))
        line = "info " + words[0]
        if len(words) == 2:
            where = words[1].strip()
            if not where.endswith(".."):
                try:
                    where = "0x%x" % rvm_address(gdb.parse_and_eval(where), where)[0]
                except gdb.error as error:
                    raise gdb.GdbError(str(error))
            line += " " + where
        gdb.write(rvm_ask(line))

    def complete(self, text, word):
        return rvm_complete(text, word, self.SUBJECTS)


class RvmPromptSetting(gdb.Parameter):
    """Whether the prompt shows where in the recording the machine stands."""

    set_doc = "Set whether the prompt shows where in the recording the machine stands."
    show_doc = "Show whether the prompt shows where in the recording the machine stands."

    def __init__(self):
        super().__init__("replayvm-prompt", gdb.COMMAND_SUPPORT, gdb.PARAM_BOOLEAN)
        self.value = True

    def get_set_string(self):
        return ""

    def get_show_string(self, value):
        return "The position in the prompt is %s." % value


class RvmPrompt:
    """The prompt, with the position in it: `(gdb 12345678+3) `."""

    def __init__(self, setting, earlier):
        self.setting = setting
        self.earlier = earlier  # the hook of somebody else, whose prompt it is then
        self.plain = None
        self.shown = None

    def __call__(self, current):
        # gdb keeps what a hook returns as the prompt; anything else has been set by the person.
        if current != self.shown:
            self.plain = current
        text = self.plain
        if self.earlier is not None:
            text = self.earlier(text) or text
        position = rvm_position() if self.setting.value else None
        if position is not None:
            inside = re.match(r"(.*)\)(\s*)$", text, re.DOTALL)
            text = "%s %s)%s" % (inside.group(1), position, inside.group(2)) if inside else position + " " + text
        self.shown = text
        return text


# gdb says nothing of what its steps back are for: lines, which go over interrupts, or instructions.
for rvm_command, rvm_way in (("step", "over"), ("next", "over"), ("finish", "over"), ("stepi", "into"), ("nexti", "over")):
    gdb.execute("define hook-reverse-%s\n  monitor step-back %s\nend" % (rvm_command, rvm_way))
RvmWhen()
RvmSeek()
RvmMark()
RvmMarks("tt-marks")
RvmMarks("marks")
RvmBack()
RvmFork()
RvmReturn()
RvmType()
RvmLastWrite()
RvmCalls()
RvmInfo()
# Once, however often this is sourced: a second hook would take the first one's prompt for the person's.
if not hasattr(gdb, "replayvm_prompt"):
    gdb.replayvm_followed = None
    gdb.replayvm_prompt = RvmPrompt(RvmPromptSetting(), gdb.prompt_hook)
    gdb.prompt_hook = gdb.replayvm_prompt
    RvmArchSetting()
    gdb.pretty_printers.append(rvm_printer)
    # In this order: what is shown of a stop is shown by the right architecture.
    gdb.events.stop.connect(rvm_follow)
    gdb.events.before_prompt.connect(rvm_follow)
    gdb.events.stop.connect(rvm_remember)
    gdb.events.exited.connect(rvm_remember)
    gdb.events.before_prompt.connect(rvm_settle)
    gdb.events.inferior_call.connect(rvm_called)
# Breakpoints in 64-bit code are kept whole while gdb takes the machine for a smaller one.
rvm_try("set remoteaddresssize 64")
rvm_remember()
