//! The commands by name: which word means which, and what `help` says of them.

use std::fmt::Write;

/// What commands are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Where,
    Past,
    State,
    Branch,
    Session,
}

impl Group {
    const ALL: [Self; 5] = [Self::Where, Self::Past, Self::State, Self::Branch, Self::Session];

    const fn title(self) -> &'static str {
        match self {
            Self::Where => "Where the machine stands, and going elsewhere",
            Self::Past => "What was before and comes after; the machine stays where it stands",
            Self::State => "What the machine looks like here",
            Self::Branch => "Changing things and running live, in a branch of the recording",
            Self::Session => "This session",
        }
    }
}

/// A command as `help` tells of it.
struct Word {
    name: &'static str,
    group: Group,
    /// Each way to write it, and what that does.
    uses: &'static [(&'static str, &'static str)],
    /// What else there is to say.
    more: &'static str,
}

static WORDS: &[Word] = &[
    Word {
        name: "when",
        group: Group::Where,
        uses: &[("when", "where in the recording the machine stands")],
        more: "The position, virtual time, instructions since power-on, and the address of the next instruction with its \
               symbol where one is known.",
    },
    Word {
        name: "seek",
        group: Group::Where,
        uses: &[
            ("seek POSITION", "go there: TICK or TICK+OFFSET, as `when` prints it"),
            ("seek begin|end", "go to the begin or the end of the recording"),
            ("seek TIME", "go to the first position at that virtual time: 1.5s, 20ms, 3us, 2097400ns"),
            ("seek +N|-N", "go N steps forwards or backwards"),
        ],
        more: "gdb does not know that the machine has moved: `maintenance flush register-cache` makes it look again. \
               The commands `seek` and `back` that `replayvm gdb --launch` gives to gdb do so by themselves.",
    },
    Word {
        name: "back",
        group: Group::Where,
        uses: &[("back NAME", "go to the place with that name")],
        more: "",
    },
    Word { name: "mark", group: Group::Where, uses: &[("mark NAME", "give this place a name")], more: "" },
    Word { name: "marks", group: Group::Where, uses: &[("marks", "list the names")], more: "" },
    Word {
        name: "checkpoint",
        group: Group::Where,
        uses: &[
            ("checkpoint", "keep this place in memory: coming back is instant"),
            ("checkpoint drop POSITION|all", "give such a place up"),
        ],
        more: "At most 64 places are kept, and half of the memory that is for checkpoints (256 MiB) is for them.",
    },
    Word {
        name: "checkpoints",
        group: Group::Where,
        uses: &[("checkpoints", "list these places, and count the others in memory and in the file")],
        more: "",
    },
    Word {
        name: "last-write",
        group: Group::Past,
        uses: &[("last-write ADDR [LEN]", "who wrote last to these bytes (8) before here")],
        more: "A write is a store of the guest's program or of the delivery of an interrupt or exception. What devices store \
               is none.",
    },
    Word {
        name: "writes",
        group: Group::Past,
        uses: &[("writes ADDR LEN A..B", "all writes to these bytes between two positions")],
        more: "A or B may be left out: from the begin, to the end. Every range of positions is written so.",
    },
    Word {
        name: "calls",
        group: Group::Past,
        uses: &[("calls FUNCTION [A..B]", "every call of a symbol or an address between two positions")],
        more: "Position, who called, and in 64-bit code the first three arguments in RDI, RSI and RDX. A call is an arrival at \
               the function's first instruction, by a jump too; that instruction begun again after an exception is none.",
    },
    Word {
        name: "exits",
        group: Group::Past,
        uses: &[("exits [KIND] [N]", "the N (10) exits before and after here")],
        more: "",
    },
    Word {
        name: "events",
        group: Group::Past,
        uses: &[("events [N]", "the N (10) recorded inputs before and after here")],
        more: "",
    },
    Word {
        name: "console",
        group: Group::Past,
        uses: &[("console [N]", "the last N (10) lines printed before here")],
        more: "",
    },
    Word {
        name: "diff",
        group: Group::Past,
        uses: &[("diff POSITION|begin|end", "registers and pages that differ between here and there")],
        more: "",
    },
    Word {
        name: "translate",
        group: Group::State,
        uses: &[("translate ADDR", "the physical address of a linear one, or why there is none")],
        more: "`info pagetable ADDR` shows every entry on the way.",
    },
    Word {
        name: "info",
        group: Group::State,
        uses: &[
            ("info pic|apic|ioapic|pit|rtc|uart", "a device"),
            ("info cpu", "control registers, segments and MSRs, with the names of their bits"),
            ("info gdt|ldt|idt|tss", "descriptor tables and the task state, as they are in memory"),
            ("info pagetable ADDR", "every entry of the page tables on the way to an address"),
            ("info pagetable [ADDR..]", "what is mapped, from an address on"),
        ],
        more: "No device notices. A line of `info pagetable` is the first and the last address, user (u), read (r), write (w) \
               and execute (x) as all entries on the way allow them, and where that is in physical memory if it is in one piece.",
    },
    Word {
        name: "fork",
        group: Group::Branch,
        uses: &[("fork [SEED]", "leave the recording here for a branch")],
        more: "In a branch registers and memory can be written, gdb's `set var`, `call`, `jump` and `return` work, and the machine \
               runs live: SEED (0) decides what is left to chance. Everything else works as in a recording, backwards too, from \
               where the branch was last changed on. The recording is never changed.",
    },
    Word {
        name: "type",
        group: Group::Branch,
        uses: &[("type TEXT", "type on the guest's serial port")],
        more: "In TEXT \\n, \\r, \\t, \\e, \\xHH and \\ooo are bytes. The guest is given them as it runs.",
    },
    Word {
        name: "return",
        group: Group::Branch,
        uses: &[("return", "throw the branch away and go back to where it left the recording")],
        more: "",
    },
    Word {
        name: "break-in",
        group: Group::Session,
        uses: &[
            ("break-in here|CR3 [ADDR]", "breakpoints stop in this address space only"),
            ("break-in any [ADDR]", "they stop in every one again"),
            ("break-in", "list what is bound"),
        ],
        more: "With ADDR it is said of the breakpoint there, whenever gdb sets it; without, of all in the lower half of the \
               address space, where user programs are. An address space is bits 51 to 12 of CR3 while paging is on. What counts \
               is CR3 at the instruction: a kernel that has a page table of its own for user mode (page-table isolation) \
               switches CR3 after its entry, so that one process has two. `here` in user mode means the one for user mode.",
    },
    Word {
        name: "arch",
        group: Group::Session,
        uses: &[
            ("arch", "in what mode the guest is, and as what gdb is shown it"),
            (
                "arch auto|x86-64|i386|i8086",
                "what gdb is to be shown when it reads the target description again",
            ),
        ],
        more: "",
    },
    Word {
        name: "symbols",
        group: Group::Session,
        uses: &[("symbols", "what gdb can read of the guest's symbols, and how to add a file")],
        more: "",
    },
    Word {
        name: "phys",
        group: Group::Session,
        uses: &[("phys on|off", "take addresses of memory as physical; by the guest's page tables")],
        more: "Breakpoints and watchpoints are linear addresses in any case.",
    },
    Word {
        name: "step-back",
        group: Group::Session,
        uses: &[("step-back over|into", "steps back go over interrupts, or into the ends of their handlers")],
        more: "gdb says nothing of what its steps back are for, and finds no call where one leads into a handler. The commands \
               that `replayvm gdb --launch` gives to gdb say `over` before reverse-next and reverse-step, and `into` before \
               reverse-stepi.",
    },
    Word {
        name: "stats",
        group: Group::Session,
        uses: &[("stats", "what has been replayed and what is in memory")],
        more: "",
    },
    Word {
        name: "help",
        group: Group::Session,
        uses: &[("help [COMMAND]", "this, or more about one")],
        more: "Commands can be written as short as they are told from the others.",
    },
];

/// The name of the command that a word means: all of it, or as much as no other begins with.
pub(super) fn resolve(word: &str) -> Result<&'static str, String> {
    one_of(WORDS.iter().map(|known| known.name), word, "command")
        .map_err(|error| format!("{error}: see `monitor help`"))
}

/// The one of `names` that a word means.
pub(super) fn one_of(
    names: impl Iterator<Item = &'static str> + Clone,
    word: &str,
    kind: &str,
) -> Result<&'static str, String> {
    if let Some(name) = names.clone().find(|name| *name == word) {
        return Ok(name);
    }
    let begun: Vec<_> = names.clone().filter(|name| !word.is_empty() && name.starts_with(word)).collect();
    match begun.as_slice() {
        [name] => Ok(name),
        [] => {
            let near = nearest(names, word).map_or_else(String::new, |name| format!(", but `{name}`"));
            Err(format!("there is no {kind} `{word}`{near}"))
        }
        several => Err(format!("`{word}` may be {}", several.join(", "))),
    }
}

/// The name that somebody may have meant who has slipped on the keys.
fn nearest(names: impl Iterator<Item = &'static str>, word: &str) -> Option<&'static str> {
    // Longer words come from no slip, and would take their time.
    let word: String = word.chars().take(40).collect();
    let far = |name: &str| strsim::damerau_levenshtein(name, &word);
    let slips = 1 + word.len() / 4;
    names.map(|name| (far(name), name)).filter(|(far, _)| *far <= slips).min().map(|(_, name)| name)
}

/// All commands, in their groups.
pub(super) fn help() -> String {
    let mut text = String::new();
    for group in Group::ALL {
        let _ = writeln!(text, "{}:", group.title());
        for word in WORDS.iter().filter(|word| word.group == group) {
            text.push_str(&uses(word));
        }
    }
    text.push_str("In a recording, registers and memory can be read but not changed. `monitor help COMMAND` says more.\n");
    text
}

/// One command.
pub(super) fn help_about(word: &str) -> Result<String, String> {
    let name = resolve(word)?;
    let word = WORDS.iter().find(|word| word.name == name);
    Ok(word.map_or_else(String::new, |word| {
        let mut text = uses(word);
        if !word.more.is_empty() {
            let _ = writeln!(text, "{}", word.more);
        }
        text
    }))
}

fn uses(word: &Word) -> String {
    word.uses.iter().fold(String::new(), |mut text, (form, what)| {
        let _ = writeln!(text, "  monitor {form:<34} {what}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_name_or_what_no_other_name_begins_with() {
        assert_eq!(resolve("mark"), Ok("mark"));
        assert_eq!(resolve("marks"), Ok("marks"));
        assert_eq!(resolve("wri"), Ok("writes"));
        assert_eq!(resolve("checkpoint"), Ok("checkpoint"));
        assert_eq!(resolve("w"), Err("`w` may be when, writes: see `monitor help`".to_owned()));
    }

    #[test]
    fn a_slip_of_the_keys_is_told_from_what_nobody_has_meant() {
        assert!(
            resolve("sekk").is_err_and(|error| error.starts_with("there is no command `sekk`, but `seek`"))
        );
        assert!(resolve("last-wirte").is_err_and(|error| error.contains("`last-write`")));
        assert_eq!(resolve("reboot"), Err("there is no command `reboot`: see `monitor help`".to_owned()));
        assert!(resolve(&"x".repeat(1 << 20)).is_err());
        assert!(resolve("").is_err());
    }

    #[test]
    fn help_names_every_command_once_and_has_lines_that_fit() {
        let help = help();
        for word in WORDS {
            let heads = help.lines().filter(|line| line.starts_with(&format!("  monitor {} ", word.name)));
            assert_eq!(heads.count(), word.uses.len(), "{}", word.name);
            assert!(help_about(word.name).is_ok_and(|text| text.contains(word.uses[0].1)));
        }
        assert!(help.lines().all(|line| line.len() <= 130), "{help}");
    }
}
