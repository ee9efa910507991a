//! `replayvm diff`: where two recordings of one machine part.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use replayvm::compare::{self, Comparison, Entry, MemoryDifference, Parted, PlaceSide};
use replayvm::symbols::{self, Symbols};
use replayvm::timeline::{Progress, Timeline};
use serde::Serialize;

use crate::args::Diff;
use crate::failure::{FINE, FOUND, Failure};
use crate::output::{self, grouped};

/// Registers and ranges of memory that are printed; JSON has all.
const PRINTED_ROWS: usize = 24;

#[derive(Debug, Serialize)]
struct Report {
    a: Run,
    b: Run,
    equal: bool,
    made: Vec<Row>,
    begin: String,
    end: String,
    parts_at: Option<String>,
    input: Option<Pair>,
    inputs: Inputs,
    exit: Option<Exits>,
    state: Option<Place>,
    cpu: Option<Place>,
}

/// One recording.
#[derive(Debug, Serialize)]
struct Run {
    file: String,
    guest: String,
    seed: u64,
    reason: Option<String>,
    last_position: String,
}

/// Something that both sides have, each another.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    a: String,
    b: String,
}

/// An input or an exit; `None`: there are no more.
#[derive(Debug, Serialize)]
struct Pair {
    a: Option<Listed>,
    b: Option<Listed>,
}

#[derive(Debug, Serialize)]
struct Listed {
    position: String,
    what: String,
}

/// The last inputs before the CPU differs.
#[derive(Debug, Serialize)]
struct Inputs {
    a: Vec<Listed>,
    b: Vec<Listed>,
}

#[derive(Debug, Serialize)]
struct Exits {
    number: u64,
    #[serde(skip)]
    shown: usize,
    common: Vec<Listed>,
    a: Vec<Listed>,
    b: Vec<Listed>,
}

#[derive(Debug, Serialize)]
struct Place {
    position: String,
    components: Vec<String>,
    before: Option<Side>,
    a: Side,
    b: Side,
    registers: Vec<Row>,
    memory: Memory,
}

#[derive(Debug, Serialize)]
struct Side {
    position: String,
    rip: String,
    place: Option<String>,
    instruction: String,
}

#[derive(Debug, Serialize)]
struct Memory {
    pages: u64,
    disk_pages: u64,
    ranges: Vec<Range>,
    more: bool,
}

#[derive(Debug, Serialize)]
struct Range {
    physical: String,
    bytes: usize,
    a: String,
    b: String,
}

/// `replayvm diff`
pub fn run(arguments: &Diff, stop: &Arc<AtomicBool>) -> Result<u8, Failure> {
    let files = [arguments.a.as_path(), arguments.b.as_path()];
    let disks = arguments.disks.paths();
    let timelines = [Timeline::open_finding(files[0], &disks)?, Timeline::open_finding(files[1], &disks)?];
    for timeline in &timelines {
        if let Some(recovered) = timeline.opened().recording().recovery() {
            eprintln!("replayvm: {}: {recovered}", timeline.opened().path().display());
        }
    }
    let runs = timelines.each_ref().map(Run::new);
    let bar = output::progress(0, "{spinner} at tick {pos} of {len}, {elapsed}");
    let compared = compare::compare(timelines, arguments.exits.into(), &mut |progress: Progress| {
        bar.set_length(progress.goal.tick);
        bar.set_position(progress.position.tick);
        !stop.load(Ordering::Relaxed)
    });
    bar.finish_and_clear();
    let report = report(runs, files, &compared?, arguments)?;
    if arguments.json {
        output::json(&report)?;
    } else {
        report.print();
    }
    Ok(if report.equal { FINE } else { FOUND })
}

fn report(
    [a, b]: [Run; 2],
    files: [&Path; 2],
    found: &Comparison,
    arguments: &Diff,
) -> Result<Report, Failure> {
    let (symbols, shown) = (arguments.symbols.as_deref(), usize::from(arguments.exits));
    // To look for symbols takes a while.
    let names = match &found.state {
        Some(_) => [names(files[0], symbols)?, names(files[1], symbols)?],
        None => [None, None],
    };
    Ok(Report {
        a,
        b,
        equal: found.is_equal(),
        made: found.made.iter().map(|made| row(made.what, &made.sides)).collect(),
        begin: found.begin.to_string(),
        end: found.end.to_string(),
        parts_at: found.parts_at().map(|at| at.to_string()),
        input: found.input.as_ref().map(Pair::new),
        inputs: Inputs { a: list(&found.inputs[0]), b: list(&found.inputs[1]) },
        exit: found.exit.as_ref().map(|exit| Exits {
            number: exit.number,
            shown,
            common: list(&found.common_exits),
            a: list(&found.exits[0]),
            b: list(&found.exits[1]),
        }),
        state: found.state.as_ref().map(|place| Place::new(place, &names)),
        cpu: found.cpu.as_ref().map(|place| Place::new(place, &names)),
    })
}

fn names(file: &Path, symbols: Option<&Path>) -> Result<Option<Symbols>, Failure> {
    Ok(symbols::of_recording(file, symbols)?)
}

fn row(name: impl Into<String>, [a, b]: &[String; 2]) -> Row {
    Row { name: name.into(), a: a.clone(), b: b.clone() }
}

fn list<T: Display>(entries: &[Entry<T>]) -> Vec<Listed> {
    entries.iter().map(Listed::new).collect()
}

impl Run {
    fn new(timeline: &Timeline) -> Self {
        let opened = timeline.opened();
        let description = opened.recording().description();
        Self {
            file: opened.path().display().to_string(),
            guest: description.guest_name.clone(),
            seed: description.seed,
            reason: opened.recording().end().map(|end| end.reason.to_string()),
            last_position: timeline.end().to_string(),
        }
    }

    fn print(&self, side: char) {
        let reason = self.reason.as_deref().unwrap_or("cut off");
        println!(
            "{side}  {}: {} seed {}, {reason} at {}",
            self.file,
            self.guest.escape_debug(),
            self.seed,
            self.last_position
        );
    }
}

impl Pair {
    fn new<T: Display>(parted: &Parted<T>) -> Self {
        let [a, b] = parted.sides.each_ref().map(|side| side.as_ref().map(Listed::new));
        Self { a, b }
    }
}

impl Listed {
    fn new<T: Display>((at, what): &Entry<T>) -> Self {
        Self { position: at.to_string(), what: what.to_string() }
    }

    fn print(&self, side: char) {
        println!("  {side} {:>18}  {}", self.position, self.what);
    }
}

impl Place {
    fn new(place: &compare::Place, names: &[Option<Symbols>; 2]) -> Self {
        let [a, b] = &place.sides;
        Self {
            position: place.position().to_string(),
            components: place.components.clone(),
            before: place.before.as_ref().map(|before| Side::new(before, names[0].as_ref())),
            a: Side::new(a, names[0].as_ref()),
            b: Side::new(b, names[1].as_ref()),
            registers: place.registers.iter().map(|found| row(found.name.as_str(), &found.sides)).collect(),
            memory: Memory::new(&place.memory),
        }
    }

    fn print(&self, title: &str) {
        println!("{title} at {}: {}", self.position, self.components.join(", "));
        if let Some(before) = &self.before {
            before.print("same");
        }
        self.a.print("A");
        self.b.print("B");
        for Row { name, a, b } in self.registers.iter().take(PRINTED_ROWS) {
            println!("  {name:<18}  A {a}  B {b}");
        }
        more(self.registers.len(), "registers");
        for range in self.memory.ranges.iter().take(PRINTED_ROWS) {
            let bytes = if range.bytes == 1 { "byte" } else { "bytes" };
            println!("  memory {}, {} {bytes}", range.physical, range.bytes);
            println!("    A {}", range.a);
            println!("    B {}", range.b);
        }
        more(self.memory.ranges.len(), "ranges of memory");
        if self.memory.pages > 0 {
            println!("  pages of RAM that differ: {}", grouped(self.memory.pages));
        }
        if self.memory.disk_pages > 0 {
            println!("  pages of disks that differ: {}", grouped(self.memory.disk_pages));
        }
    }
}

fn more(rows: usize, what: &str) {
    if rows > PRINTED_ROWS {
        println!("  ... {} more {what} (--json has them)", rows - PRINTED_ROWS);
    }
}

impl Side {
    fn new(side: &PlaceSide, names: Option<&Symbols>) -> Self {
        Self {
            position: side.position.to_string(),
            rip: format!("{:#x}", side.rip),
            place: names.and_then(|names| names.place(side.rip)).map(|place| place.to_string()),
            instruction: side.instruction.clone(),
        }
    }

    fn print(&self, side: &str) {
        let place = self.place.as_deref().unwrap_or_default();
        println!("  {side:<4} {:>16}  next at {} {place}: {}", self.position, self.rip, self.instruction);
    }
}

impl Memory {
    fn new(memory: &MemoryDifference) -> Self {
        let ranges = memory.ranges.iter().map(|range| {
            let [a, b] = range.sides.each_ref().map(|bytes| shown(bytes, range.len));
            Range { physical: format!("{:#x}", range.gpa), bytes: range.len, a, b }
        });
        Self {
            pages: memory.pages,
            disk_pages: memory.disk_pages,
            ranges: ranges.collect(),
            more: memory.more,
        }
    }
}

/// The first bytes of so many, in digits.
pub fn shown(bytes: &[u8], len: usize) -> String {
    let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let more = if len > bytes.len() { " ..." } else { "" };
    format!("{}{more}", digits.join(" "))
}

impl Report {
    fn print(&self) {
        self.a.print('A');
        self.b.print('B');
        if self.equal {
            println!("equal from {} to {}: inputs, exits, states and end", self.begin, self.end);
            return;
        }
        match &self.parts_at {
            Some(at) => println!("equal from {} up to {at}", self.begin),
            None => {
                println!("equal from {} to {}; only one goes on, or they end otherwise", self.begin, self.end)
            }
        }
        if let Some(Pair { a, b }) = &self.input {
            println!("first different input");
            print_side('A', a.as_ref());
            print_side('B', b.as_ref());
        }
        if let Some(state) = &self.state {
            match &self.cpu {
                Some(cpu) => {
                    println!("first different state at {}: {}", state.position, state.components.join(", "));
                    self.print_inputs();
                    cpu.print("first different CPU");
                }
                None => {
                    self.print_inputs();
                    state.print("first different state");
                }
            }
        }
        if let Some(exits) = &self.exit {
            println!("first different exit, after {} in common", grouped(exits.number));
            exits.common.iter().for_each(|exit| exit.print('='));
            for (side, list) in [('A', &exits.a), ('B', &exits.b)] {
                list.iter().for_each(|exit| exit.print(side));
                if list.is_empty() && exits.shown > 0 {
                    print_side(side, None);
                }
            }
        }
    }

    fn print_inputs(&self) {
        if !self.inputs.a.is_empty() || !self.inputs.b.is_empty() {
            println!("last inputs before");
            self.inputs.a.iter().for_each(|input| input.print('A'));
            self.inputs.b.iter().for_each(|input| input.print('B'));
        }
    }
}

fn print_side(side: char, listed: Option<&Listed>) {
    match listed {
        Some(listed) => listed.print(side),
        None => println!("  {side} {:>18}  no more", "-"),
    }
}
