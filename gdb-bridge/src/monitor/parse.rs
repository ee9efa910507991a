//! What a line of `monitor` asks for.

use recorder::{ExitKind, Position};

use super::branches::unescape;

pub(super) const HELP: &str = "\
monitor when               where in the recording the machine stands
monitor seek POSITION      go there: TICK or TICK+OFFSET, as `when` prints it
monitor seek begin|end     go to the begin or the end of the recording
monitor seek +N|-N         go N steps forwards or backwards
monitor mark NAME          give this place a name
monitor marks              list the names
monitor back NAME          go to the place with that name
monitor phys on|off        take addresses of memory reads as physical; by the guest's page tables
To run live and to change things, in a branch of the recording that can be thrown away:
monitor fork [SEED]        begin a branch here; SEED (0) decides what is left to chance
monitor type TEXT          type on the guest's serial port; \\n and other escapes are bytes
monitor return             throw the branch away and go back to where it began
To look around without moving the machine:
monitor last-write ADDR [LEN]      who wrote last to these bytes (8) before here
monitor writes ADDR LEN FROM..TO   all writes to these bytes between two positions
monitor translate ADDR             the physical address of a linear one, or why there is none
monitor exits [KIND] [N]           the N (10) exits before and after here
monitor events [N]                 the N (10) recorded inputs before and after here
monitor console [N]                the last N (10) lines printed before here
monitor diff POSITION|begin|end    registers and pages that differ between here and there
In a recording registers and memory can be read but not changed. Breakpoints and watchpoints are linear addresses in any case.
";

/// Bytes that one command looks for writes to.
pub(super) const LOOK_BYTES_MAX: u64 = 1 << 20;
/// Bytes that are looked at unless told otherwise.
const LOOK_BYTES: u64 = 8;
/// Entries that one command lists at the most, to either side.
pub(super) const LIST_MAX: usize = 1000;
/// Entries that are listed unless told otherwise.
const LIST: usize = 10;

/// What a line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command<'a> {
    Help,
    When,
    Seek { target: Target<'a>, quiet: bool },
    Mark(&'a str),
    Marks,
    Physical(Option<bool>),
    LastWrite { address: u64, len: u64 },
    Writes { address: u64, len: u64, from: Place, to: Place },
    Translate(u64),
    Exits { kind: Option<ExitKind>, count: usize },
    Events(usize),
    Console(usize),
    Diff(Place),
    Fork(u64),
    Return { quiet: bool },
    Type(Vec<u8>),
}

/// Where to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target<'a> {
    Position(Position),
    Begin,
    End,
    Forward(u64),
    Backward(u64),
    Mark(&'a str),
}

/// A place that does not depend on where the machine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    At(Position),
    Begin,
    End,
}

pub(super) fn parse(line: &str) -> Result<Command<'_>, String> {
    // The rest of the line is the text, blanks and all.
    if let Some(text) = line.trim_start().strip_prefix("type ") {
        return unescape(text).map(Command::Type);
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let (words, quiet) = match words.as_slice() {
        [rest @ .., "quiet"] if rest.len() > 1 => (rest, true),
        all => (all, false),
    };
    Ok(match words {
        [] | ["help"] => Command::Help,
        ["when"] => Command::When,
        ["seek", target] => Command::Seek { target: parse_target(target)?, quiet },
        ["back", name] => Command::Seek { target: Target::Mark(name), quiet },
        ["mark", name] => Command::Mark(name),
        ["marks"] => Command::Marks,
        ["phys"] => Command::Physical(None),
        ["phys", "on"] => Command::Physical(Some(true)),
        ["phys", "off"] => Command::Physical(Some(false)),
        ["last-write", at] => Command::LastWrite { address: address(at)?, len: LOOK_BYTES },
        ["last-write", at, len] => Command::LastWrite { address: address(at)?, len: length(len)? },
        ["writes", at, len, range] => {
            let (from, to) = range.split_once("..").ok_or_else(|| {
                format!("`{range}` is not a range of positions: write FROM..TO, for example 12..end")
            })?;
            let from = if from.is_empty() { Place::Begin } else { parse_place(from)? };
            let to = if to.is_empty() { Place::End } else { parse_place(to)? };
            Command::Writes { address: address(at)?, len: length(len)?, from, to }
        }
        ["translate", linear] => Command::Translate(address(linear)?),
        ["exits"] => Command::Exits { kind: None, count: LIST },
        ["exits", word] if word.bytes().all(|byte| byte.is_ascii_digit()) => {
            Command::Exits { kind: None, count: count(word)? }
        }
        ["exits", name] => Command::Exits { kind: Some(kind(name)?), count: LIST },
        ["exits", name, many] => Command::Exits { kind: Some(kind(name)?), count: count(many)? },
        ["events"] => Command::Events(LIST),
        ["events", many] => Command::Events(count(many)?),
        ["console"] => Command::Console(LIST),
        ["console", many] => Command::Console(count(many)?),
        ["fork"] => Command::Fork(0),
        ["fork", seed] => {
            Command::Fork(number(seed).ok_or_else(|| format!("`{seed}` is not a seed: write a number"))?)
        }
        ["return"] => Command::Return { quiet: false },
        ["return", "quiet"] => Command::Return { quiet: true },
        ["diff", place] => Command::Diff(parse_place(place)?),
        [
            command @ ("seek" | "back" | "mark" | "phys" | "last-write" | "writes" | "translate" | "exits"
            | "events" | "console" | "diff" | "fork" | "return" | "type"),
            ..,
        ] => {
            return Err(format!("`{command}` is used otherwise: see `monitor help`"));
        }
        [command, ..] => return Err(format!("there is no command `{command}`: see `monitor help`")),
    })
}

fn parse_target(text: &str) -> Result<Target<'_>, String> {
    let steps = |digits: &str| {
        digits.parse().map_err(|_| format!("`{text}` is not a number of steps: write +N or -N"))
    };
    Ok(match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(digits), _) => Target::Forward(steps(digits)?),
        (_, Some(digits)) => Target::Backward(steps(digits)?),
        _ => match parse_place(text)? {
            Place::At(position) => Target::Position(position),
            Place::Begin => Target::Begin,
            Place::End => Target::End,
        },
    })
}

fn parse_place(text: &str) -> Result<Place, String> {
    Ok(match text {
        "begin" | "start" => Place::Begin,
        "end" => Place::End,
        _ => Place::At(text.parse().map_err(|error: recorder::ParsePositionError| error.to_string())?),
    })
}

/// A number as gdb prints it: hexadecimal with 0x, else decimal.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            u64::from_str_radix(digits, 16).ok()
        }
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

fn address(text: &str) -> Result<u64, String> {
    number(text).ok_or_else(|| format!("`{text}` is not an address: write it as 0x1234"))
}

fn length(text: &str) -> Result<u64, String> {
    let len = number(text).filter(|len| (1..=LOOK_BYTES_MAX).contains(len));
    len.ok_or_else(|| format!("`{text}` is not a number of bytes from 1 to {LOOK_BYTES_MAX}"))
}

fn count(text: &str) -> Result<usize, String> {
    let many = number(text).and_then(|many| usize::try_from(many).ok());
    let many = many.filter(|many| (1..=LIST_MAX).contains(many));
    many.ok_or_else(|| format!("`{text}` is not a number from 1 to {LIST_MAX}"))
}

fn kind(name: &str) -> Result<ExitKind, String> {
    ExitKind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
        let names: Vec<_> = ExitKind::ALL.iter().map(|kind| kind.name()).collect();
        format!("there is no kind of exits `{name}`: {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_positions_ends_steps_and_marks() {
        let seek = |target| Ok(Command::Seek { target, quiet: false });
        assert_eq!(parse("seek 12+3"), seek(Target::Position(Position::new(12, 3))));
        assert_eq!(parse(" seek  12 "), seek(Target::Position(Position::new(12, 0))));
        assert_eq!(parse("seek end"), seek(Target::End));
        assert_eq!(parse("seek +7"), seek(Target::Forward(7)));
        assert_eq!(parse("seek -7"), seek(Target::Backward(7)));
        assert_eq!(parse("back here"), seek(Target::Mark("here")));
        assert_eq!(parse("seek begin quiet"), Ok(Command::Seek { target: Target::Begin, quiet: true }));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(parse("seek x").is_err_and(|error| error.contains("TICK+OFFSET")));
        assert!(parse("seek +x").is_err_and(|error| error.contains("number of steps")));
        assert!(parse("seek").is_err_and(|error| error.contains("`seek`")));
        assert!(parse("reboot now").is_err_and(|error| error.contains("no command `reboot`")));
        assert_eq!(parse(""), Ok(Command::Help));
    }

    #[test]
    fn every_command_is_in_the_help() {
        for command in [
            "when",
            "seek",
            "mark",
            "marks",
            "back",
            "phys",
            "last-write",
            "writes",
            "translate",
            "exits",
            "events",
            "console",
            "diff",
            "fork",
            "type",
            "return",
        ] {
            assert!(HELP.contains(&format!("monitor {command}")), "{command}");
        }
    }

    #[test]
    fn addresses_are_written_as_gdb_prints_them() {
        assert_eq!(parse("last-write 0x1fF8"), Ok(Command::LastWrite { address: 0x1ff8, len: 8 }));
        assert_eq!(parse("last-write 4096 0x10"), Ok(Command::LastWrite { address: 4096, len: 16 }));
        assert_eq!(parse("translate 0xffffffffffffffff"), Ok(Command::Translate(u64::MAX)));
        for wrong in [
            "last-write x",
            "last-write 0x",
            "translate 0x10000000000000000",
            "translate -1",
            "translate 0x+1",
        ] {
            assert!(parse(wrong).is_err_and(|error| error.contains("not an address")), "{wrong}");
        }
        for wrong in ["last-write 0x10 0", "last-write 0x10 1048577", "writes 0x10 x 1..2"] {
            assert!(parse(wrong).is_err_and(|error| error.contains("number of bytes")), "{wrong}");
        }
    }

    #[test]
    fn ranges_are_open_where_nothing_is_written() {
        let writes = |from, to| Ok(Command::Writes { address: 16, len: 4, from, to });
        let at = |tick, offset| Place::At(Position::new(tick, offset));
        assert_eq!(parse("writes 0x10 4 12+3..15"), writes(at(12, 3), at(15, 0)));
        assert_eq!(parse("writes 0x10 4 ..15"), writes(Place::Begin, at(15, 0)));
        assert_eq!(parse("writes 0x10 4 begin..end"), writes(Place::Begin, Place::End));
        assert_eq!(parse("writes 0x10 4 .."), writes(Place::Begin, Place::End));
        assert!(parse("writes 0x10 4 12").is_err_and(|error| error.contains("FROM..TO")));
        assert!(parse("writes 0x10 4 1...2").is_err());
        assert!(parse("diff +1").is_err(), "not from here");
    }

    #[test]
    fn branches_have_a_seed_and_what_is_typed_keeps_its_blanks() {
        assert_eq!(parse("fork"), Ok(Command::Fork(0)));
        assert_eq!(parse("fork 0x10"), Ok(Command::Fork(16)));
        assert!(parse("fork x").is_err_and(|error| error.contains("not a seed")));
        assert_eq!(parse("return"), Ok(Command::Return { quiet: false }));
        assert_eq!(parse("return quiet"), Ok(Command::Return { quiet: true }));
        assert_eq!(parse("type  a  quiet"), Ok(Command::Type(b" a  quiet".to_vec())));
        assert!(parse("type").is_err_and(|error| error.contains("`type`")));
    }

    #[test]
    fn lists_have_a_kind_and_a_length() {
        let exits = |kind, count| Ok(Command::Exits { kind, count });
        assert_eq!(parse("exits"), exits(None, 10));
        assert_eq!(parse("exits 3"), exits(None, 3));
        assert_eq!(parse("exits port-write"), exits(Some(ExitKind::PortWrite), 10));
        assert_eq!(parse("exits halt 2"), exits(Some(ExitKind::Halt), 2));
        assert!(parse("exits port").is_err_and(|error| error.contains("port-read, port-write")));
        for wrong in ["events 0", "console 1001", "exits halt x", "events 99999999999999999999"] {
            assert!(parse(wrong).is_err_and(|error| error.contains("from 1 to 1000")), "{wrong}");
        }
    }
}
