//! What a line of `monitor` asks for.

use recorder::{ExitKind, Position};
use replayvm::inspect::Subject;

use super::branches::unescape;
use super::words::{one_of, resolve};
use crate::architecture::Architecture;

/// Bytes that one command looks for writes to.
pub(super) const LOOK_BYTES_MAX: u64 = 1 << 20;
/// Bytes that are looked at unless told otherwise.
const LOOK_BYTES: u64 = 8;
/// Entries that one command lists at the most, to either side.
pub(super) const LIST_MAX: usize = 1000;
/// Entries that are listed unless told otherwise.
const LIST: usize = 10;
/// The subject of `info` that is no [`Subject`].
const PAGE_TABLE: &str = "pagetable";

/// What a line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command<'a> {
    Help(Option<&'a str>),
    When,
    Seek { target: Target<'a>, quiet: bool },
    Mark(&'a str),
    Marks,
    Checkpoint,
    DropCheckpoint(Option<Position>),
    Checkpoints,
    Physical(Option<bool>),
    StepBack { over: bool },
    Architecture(Option<Wanted>),
    Symbols,
    BreakIn { space: Option<Space>, address: Option<u64> },
    LastWrite { address: u64, len: u64 },
    Writes { address: u64, len: u64, from: Place, to: Place },
    Calls { function: &'a str, from: Place, to: Place },
    Translate(u64),
    Info(Subject),
    InfoPageTable(Tables),
    InfoList,
    Exits { kind: Option<ExitKind>, count: usize },
    Events(usize),
    Console(usize),
    Diff(Place),
    Fork(u64),
    Return { quiet: bool },
    Type(Vec<u8>),
    Stats,
}

/// As what gdb is to be shown the machine; `None`: by the guest's mode.
pub(super) type Wanted = Option<Architecture>;

/// Where to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target<'a> {
    Position(Position),
    Begin,
    End,
    /// Nanoseconds of virtual time.
    Time(u64),
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

/// An address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    Here,
    Any,
    Cr3(u64),
}

/// A part of the page tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tables {
    /// The walk to an address.
    To(u64),
    /// What is mapped from an address on.
    From(u64),
}

pub(super) fn parse(line: &str) -> Result<Command<'_>, String> {
    // The rest of the line is the text, blanks and all.
    if let Some((first, text)) = line.trim_start().split_once(' ')
        && resolve(first) == Ok("type")
    {
        return unescape(text).map(Command::Type);
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let (words, quiet) = match words.as_slice() {
        [rest @ .., "quiet"] if rest.len() > 1 => (rest, true),
        all => (all, false),
    };
    let Some((first, rest)) = words.split_first() else { return Ok(Command::Help(None)) };
    let name = resolve(first)?;
    Ok(match (name, rest) {
        ("help", []) => Command::Help(None),
        ("help", [command]) => Command::Help(Some(command)),
        ("when", []) => Command::When,
        ("seek", [target]) => Command::Seek { target: parse_target(target)?, quiet },
        ("back", [name]) => Command::Seek { target: Target::Mark(name), quiet },
        ("mark", [name]) => Command::Mark(name),
        ("marks", []) => Command::Marks,
        ("checkpoint", []) => Command::Checkpoint,
        ("checkpoint", ["drop", "all"]) => Command::DropCheckpoint(None),
        ("checkpoint", ["drop", position]) => Command::DropCheckpoint(Some(parse_position(position)?)),
        ("checkpoints", []) => Command::Checkpoints,
        ("phys", []) => Command::Physical(None),
        ("phys", ["on"]) => Command::Physical(Some(true)),
        ("phys", ["off"]) => Command::Physical(Some(false)),
        ("step-back", ["over"]) => Command::StepBack { over: true },
        ("step-back", ["into"]) => Command::StepBack { over: false },
        ("arch", []) => Command::Architecture(None),
        ("arch", ["auto"]) => Command::Architecture(Some(None)),
        ("arch", ["x86-64"]) => Command::Architecture(Some(Some(Architecture::X86_64))),
        ("arch", ["i386"]) => Command::Architecture(Some(Some(Architecture::I386))),
        ("arch", ["i8086"]) => Command::Architecture(Some(Some(Architecture::I8086))),
        ("symbols", []) => Command::Symbols,
        ("break-in", []) => Command::BreakIn { space: None, address: None },
        ("break-in", [space]) => Command::BreakIn { space: Some(parse_space(space)?), address: None },
        ("break-in", [space, at]) => {
            Command::BreakIn { space: Some(parse_space(space)?), address: Some(address(at)?) }
        }
        ("last-write", [at]) => Command::LastWrite { address: address(at)?, len: LOOK_BYTES },
        ("last-write", [at, len]) => Command::LastWrite { address: address(at)?, len: length(len)? },
        ("writes", [at, len, range]) => {
            let (from, to) = parse_range(range)?;
            Command::Writes { address: address(at)?, len: length(len)?, from, to }
        }
        ("calls", [function]) => Command::Calls { function, from: Place::Begin, to: Place::End },
        ("calls", [function, range]) => {
            let (from, to) = parse_range(range)?;
            Command::Calls { function, from, to }
        }
        ("translate", [linear]) => Command::Translate(address(linear)?),
        ("info", []) => Command::InfoList,
        ("info", [subject, rest @ ..]) => parse_info(subject, rest)?,
        ("exits", []) => Command::Exits { kind: None, count: LIST },
        ("exits", [word]) if word.bytes().all(|byte| byte.is_ascii_digit()) => {
            Command::Exits { kind: None, count: count(word)? }
        }
        ("exits", [name]) => Command::Exits { kind: Some(kind(name)?), count: LIST },
        ("exits", [name, many]) => Command::Exits { kind: Some(kind(name)?), count: count(many)? },
        ("events", []) => Command::Events(LIST),
        ("events", [many]) => Command::Events(count(many)?),
        ("console", []) => Command::Console(LIST),
        ("console", [many]) => Command::Console(count(many)?),
        ("diff", [place]) => Command::Diff(parse_place(place)?),
        ("stats", []) => Command::Stats,
        ("fork", []) => Command::Fork(0),
        ("fork", [seed]) => {
            Command::Fork(number(seed).ok_or_else(|| format!("`{seed}` is not a seed: write a number"))?)
        }
        ("return", []) => Command::Return { quiet: false },
        ("return", ["quiet"]) => Command::Return { quiet: true },
        (command, _) => return Err(format!("`{command}` is used otherwise: see `monitor help {command}`")),
    })
}

fn parse_target(text: &str) -> Result<Target<'_>, String> {
    let steps = |digits: &str| {
        digits.parse().map_err(|_| format!("`{text}` is not a number of steps: write +N or -N"))
    };
    Ok(match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(digits), _) => Target::Forward(steps(digits)?),
        (_, Some(digits)) => Target::Backward(steps(digits)?),
        _ if text.ends_with('s') && text.starts_with(|first: char| first.is_ascii_digit()) => {
            Target::Time(time_ns(text).ok_or_else(|| {
                format!("`{text}` is not a time in whole nanoseconds: write 1.5s, 20ms, 3us or 2097400ns")
            })?)
        }
        _ => match parse_place(text)? {
            Place::At(position) => Target::Position(position),
            Place::Begin => Target::Begin,
            Place::End => Target::End,
        },
    })
}

/// Nanoseconds of a decimal number with a unit.
fn time_ns(text: &str) -> Option<u64> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    // How many digits after the point are whole nanoseconds.
    let digits = match unit {
        "s" => 9,
        "ms" => 6,
        "us" => 3,
        "ns" => 0,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > digits || number.ends_with('.') {
        return None;
    }
    let digit = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digit(whole) || !digit(fraction) {
        return None;
    }
    format!("{whole}{fraction:0<digits$}").parse().ok()
}

fn parse_place(text: &str) -> Result<Place, String> {
    Ok(match text {
        "begin" | "start" => Place::Begin,
        "end" => Place::End,
        _ => Place::At(parse_position(text)?),
    })
}

fn parse_position(text: &str) -> Result<Position, String> {
    text.parse().map_err(|error: recorder::ParsePositionError| error.to_string())
}

fn parse_range(range: &str) -> Result<(Place, Place), String> {
    let (from, to) = range.split_once("..").ok_or_else(|| {
        format!("`{range}` is not a range of positions: write FROM..TO, for example 12..end")
    })?;
    let from = if from.is_empty() { Place::Begin } else { parse_place(from)? };
    let to = if to.is_empty() { Place::End } else { parse_place(to)? };
    Ok((from, to))
}

fn parse_space(text: &str) -> Result<Space, String> {
    Ok(match text {
        "here" => Space::Here,
        "any" => Space::Any,
        _ => Space::Cr3(number(text).ok_or_else(|| {
            format!("`{text}` is no address space: write here, any, or a value of CR3 as 0x1000")
        })?),
    })
}

fn parse_info<'a>(subject: &str, rest: &[&str]) -> Result<Command<'a>, String> {
    let names = Subject::ALL.iter().map(|subject| subject.name()).chain([PAGE_TABLE]);
    let name = one_of(names, subject, "subject of `info`")
        .map_err(|error| format!("{error}: see `monitor help info`"))?;
    match (Subject::ALL.into_iter().find(|subject| subject.name() == name), rest) {
        (Some(subject), []) => Ok(Command::Info(subject)),
        (None, []) => Ok(Command::InfoPageTable(Tables::From(0))),
        (None, [at]) => Ok(Command::InfoPageTable(match at.strip_suffix("..") {
            Some(from) => Tables::From(address(from)?),
            None => Tables::To(address(at)?),
        })),
        _ => Err("`info` is used otherwise: see `monitor help info`".to_owned()),
    }
}

/// A number as gdb prints it: hexadecimal with 0x, else decimal.
pub(super) fn number(text: &str) -> Option<u64> {
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
        assert_eq!(parse("step-back over"), Ok(Command::StepBack { over: true }));
        assert_eq!(parse("seek begin quiet"), Ok(Command::Seek { target: Target::Begin, quiet: true }));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(parse("seek x").is_err_and(|error| error.contains("TICK+OFFSET")));
        assert!(parse("seek +x").is_err_and(|error| error.contains("number of steps")));
        assert!(parse("seek").is_err_and(|error| error.contains("`seek`")));
        assert!(parse("reboot now").is_err_and(|error| error.contains("no command `reboot`")));
        assert_eq!(parse(""), Ok(Command::Help(None)));
    }

    #[test]
    fn times_are_whole_nanoseconds() {
        let time = |ns| Ok(Command::Seek { target: Target::Time(ns), quiet: false });
        assert_eq!(parse("seek 1.5s"), time(1_500_000_000));
        assert_eq!(parse("seek 20ms"), time(20_000_000));
        assert_eq!(parse("seek 0.001us"), time(1));
        assert_eq!(parse("seek 2097400ns"), time(2_097_400));
        for wrong in ["1.5ns", "1.s", "0.0001us", "1h2s", "99999999999s", "1..2s", "1_000s"] {
            assert!(
                parse(&format!("seek {wrong}")).is_err_and(|error| error.contains("not a time")),
                "{wrong}"
            );
        }
    }

    #[test]
    fn words_may_be_short_and_what_they_take_is_checked() {
        assert_eq!(parse("tr 0x10"), parse("translate 0x10"));
        assert_eq!(parse("info pi"), Err("`pi` may be pic, pit: see `monitor help info`".to_owned()));
        assert_eq!(parse("info page 0x10.."), Ok(Command::InfoPageTable(Tables::From(16))));
        assert_eq!(parse("info pagetable 0x10"), Ok(Command::InfoPageTable(Tables::To(16))));
        assert_eq!(parse("info gdt"), Ok(Command::Info(Subject::Gdt)));
        assert!(
            parse("info gdt 3").is_err() && parse("info gtd").is_err_and(|error| error.contains("`gdt`"))
        );
        let bound = |space, address| Ok(Command::BreakIn { space: Some(space), address });
        assert_eq!(parse("break-in 0x1000 0x2000"), bound(Space::Cr3(0x1000), Some(0x2000)));
        assert_eq!(parse("break-in any"), bound(Space::Any, None));
        assert!(parse("break-in there").is_err_and(|error| error.contains("no address space")));
        assert!(parse("calls f 1").is_err_and(|error| error.contains("FROM..TO")));
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
