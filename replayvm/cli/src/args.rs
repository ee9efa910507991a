//! What the command line may say.

use std::ops::Range;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use recorder::Position;
use replayvm::machine::{DEFAULT_NS_PER_TICK, DiskPaths};

/// Records a run of a whole guest machine and lets you stand at any instruction of it, forwards and backwards.
#[derive(Debug, Parser)]
#[command(name = "replayvm", version, max_term_width = 110)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a guest under one seed after the other until its own check fails; keep that recording
    Hunt(Hunt),
    /// Record one run of a guest
    Record(Record),
    /// Replay a recording, checking every exit, every digest and the end
    Replay(Replay),
    /// Save one position of a recording as a machine of its own, or show such a file
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Go on live from a snapshot
    Run(Run),
    /// Serve a recording to gdb, forwards and backwards
    Gdb(Gdb),
    /// Browse a recording in the terminal: its exits, and the CPU at each of them
    Tui(Tui),
    /// What is in a recording
    Info(Info),
    /// Where two recordings of one machine part: their first different input, exit, state and CPU
    Diff(Diff),
    /// The exits of a recording, counted by reason or listed
    Exits(Exits),
    /// What the guest has printed, with the positions at which it did
    Console(Console),
    /// The guest's symbols: its image's, or those that a Linux kernel keeps in its memory
    Symbols(Symbols),
    /// The guests that come with the command, each with a real bug
    Corpora(Corpora),
    /// What this host can do, and why
    Doctor(Doctor),
    /// Measure recording, checkpoints, seeks and reverse steps on this host
    Bench(Bench),
}

/// How a guest is run.
#[derive(Debug, Args)]
pub struct GuestOptions {
    /// Linux kernel (bzImage or vmlinux), ELF file, multiboot kernel or boot sector, or the name of a corpora guest (see
    /// `replayvm corpora`)
    pub guest: String,
    /// Engine: auto, soft, kvm, plain, step or lockstep
    #[arg(long, default_value = "auto")]
    pub engine: String,
    /// Guest memory: bytes, or with K, M or G [default: 64M; for Linux 256M]
    #[arg(long, value_parser = parse_size)]
    pub memory: Option<u64>,
    /// Command line handed to the guest
    #[arg(long, default_value = "", value_name = "CMDLINE")]
    pub append: String,
    /// Initial RAM disk of a Linux kernel
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// Raw disk image that the guest finds as a virtio disk, with `,ro` behind it to be read only; may be repeated. The file is
    /// never written: what the guest writes belongs to the recording
    #[arg(long = "disk", value_name = "FILE[,ro]")]
    pub disks: Vec<String>,
    /// Largest disk image that goes into the recording itself; of a larger one the recording keeps path and hash, and needs the
    /// unchanged file at replay
    #[arg(long, default_value = "64M", value_name = "SIZE", value_parser = parse_size)]
    pub embed_disks_up_to: u64,
    /// Whether the guest finds an entropy device (virtio-rng); auto: if it is a Linux kernel
    #[arg(long, default_value = "auto", value_name = "WHEN")]
    pub entropy_device: EntropyDevice,
    /// File handed to a multiboot guest as a module; may be repeated; words after the file name are its command line
    #[arg(long = "module", value_name = "FILE")]
    pub modules: Vec<String>,
    /// Value at isa-debug-exit (port 0xf4) that means that the guest's own check passed
    #[arg(long, default_value = "0x10", value_parser = parse_code)]
    pub pass: u32,
    /// End a run after this many ticks (conditional branches); to a hunt, a guest that runs so long has failed [default:
    /// 100000000; for Linux and firmware a hunt's is 2000000000, and `record` has none, nor has an interactive
    /// recording of any guest]
    #[arg(long, value_name = "TICKS")]
    pub limit: Option<u64>,
    /// Virtual time that a tick (a conditional branch) takes, in nanoseconds: what the guest's clocks go by. With less the
    /// guest sees a faster machine, with fewer timer interrupts in the same work
    #[arg(long, default_value_t = DEFAULT_NS_PER_TICK, value_name = "NS", value_parser = clap::value_parser!(u32).range(1..))]
    pub tick_ns: u32,
    /// Longest delay of a timer past its deadline, in nanoseconds of virtual time
    #[arg(long, default_value_t = 20_000, value_name = "NS")]
    pub timer_delay: u64,
    /// Longest hold of an interrupt after a timer has fired, in ticks
    #[arg(long, default_value_t = 64, value_name = "TICKS")]
    pub interrupt_hold: u32,
    /// Leave nothing to chance until the guest has printed this text: every seed then has the same start, and a hunt runs it
    /// once and forks its runs there [default: for the Linux guests of the corpora, where their job begins]
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub vary_after: Option<String>,
    /// Ticks between checkpoints; of those that pass while user code runs natively (engine kvm) a sixteenth counts
    #[arg(long, default_value_t = 250_000, value_name = "TICKS", value_parser = clap::value_parser!(u64).range(1..))]
    pub checkpoint_every: u64,
    /// CPU feature that CPUID is to show (+) or to hide (-), by its name in Linux's /proc/cpuinfo; may be repeated
    #[arg(long = "cpu-feature", value_name = "+NAME|-NAME", allow_hyphen_values = true)]
    pub cpu_features: Vec<String>,
}

/// Whether the guest finds an entropy device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum EntropyDevice {
    /// If it is a Linux kernel.
    Auto,
    /// Yes.
    On,
    /// No.
    Off,
}

/// Where the files of a recording are now.
#[derive(Debug, Clone, Args)]
pub struct RecordedDisks {
    /// Where a disk image is that is not in the recording, by its name there; otherwise it is looked for at its old path and then
    /// beside the recording; may be repeated
    #[arg(long = "disk-path", value_name = "NAME=FILE", value_parser = parse_disk_path)]
    pub paths: Vec<(String, PathBuf)>,
}

impl RecordedDisks {
    /// The same as the library takes it.
    pub fn paths(&self) -> DiskPaths {
        DiskPaths(self.paths.clone())
    }
}

/// How a guest runs live.
#[derive(Debug, Args)]
pub struct LiveOptions {
    /// Hand standard input to the guest's serial port
    #[arg(long)]
    pub stdin: bool,
    /// Make this terminal the guest's console, raw: Ctrl-A X leaves, Ctrl-A H helps [default: for a Linux kernel on a
    /// terminal, without --stdin and --json]
    #[arg(short, long, conflicts_with_all = ["stdin", "json"])]
    pub interactive: bool,
    /// Let an idle guest wait as long as it says, instead of being at its next timer at once; replay never waits
    #[arg(long)]
    pub realtime: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `replayvm hunt`
#[derive(Debug, Args)]
pub struct Hunt {
    /// The guest.
    #[command(flatten)]
    pub guest: GuestOptions,
    /// Seeds to try, the end not included
    #[arg(long, default_value = "0..1000", value_parser = parse_seeds, value_name = "A..B")]
    pub seeds: Range<u64>,
    /// Runs at a time [default: one a processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Try every seed and count, instead of stopping at the first failure; keeps the first failing recording
    #[arg(long)]
    pub all: bool,
    /// Where to keep the failing recording [default: GUEST-SEED.rvm]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `replayvm record`
#[derive(Debug, Args)]
pub struct Record {
    /// The guest.
    #[command(flatten)]
    pub guest: GuestOptions,
    /// Seed of all that is left to chance: entropy, power-on clock, timer delays, interrupt holds
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Where to write the recording [default: GUEST-SEED.rvm]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// How it runs.
    #[command(flatten)]
    pub live: LiveOptions,
}

/// `replayvm replay`
#[derive(Debug, Args)]
pub struct Replay {
    /// The recording
    pub file: PathBuf,
    /// Its disks.
    #[command(flatten)]
    pub disks: RecordedDisks,
    /// Symbols of the guest: ELF file, System.map or a copy of /proc/kallsyms [default: of its image, or of the kernel's
    /// memory]
    #[arg(long, value_name = "FILE")]
    pub symbols: Option<PathBuf>,
    /// Engine: auto, soft, kvm, plain, step or lockstep
    #[arg(long, default_value = "auto")]
    pub engine: String,
    /// Stop at this position, TICK or TICK+OFFSET
    #[arg(long, value_name = "POS")]
    pub to: Option<Position>,
    /// Also print what the guest said on its serial port
    #[arg(long)]
    pub console: bool,
    /// Also print what the engine has counted
    #[arg(long)]
    pub engine_stats: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `replayvm snapshot`
#[derive(Debug, Subcommand)]
pub enum Snapshot {
    /// Save the machine as it stands at a position of a recording
    Save(SaveSnapshot),
    /// Verify a snapshot and say what is in it
    Show(ShowSnapshot),
}

/// `replayvm snapshot save`
#[derive(Debug, Args)]
pub struct SaveSnapshot {
    /// The recording, and where in it: TICK, TICK+OFFSET, begin or end
    #[arg(value_name = "FILE@POS")]
    pub from: String,
    /// Where to write the snapshot; an older file is replaced once the new one is whole
    #[arg(value_name = "OUT")]
    pub output: PathBuf,
    /// The recording's disks.
    #[command(flatten)]
    pub disks: RecordedDisks,
    /// Largest disk image that goes into the snapshot if it is not in the recording; a larger one is only named, and needed
    /// unchanged to go on
    #[arg(long, default_value = "1G", value_name = "SIZE", value_parser = parse_size)]
    pub embed_disks_up_to: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `replayvm snapshot show`
#[derive(Debug, Args)]
pub struct ShowSnapshot {
    /// The snapshot
    pub file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `replayvm run`
#[derive(Debug, Args)]
pub struct Run {
    /// The snapshot. What the machine is, it says itself
    pub file: PathBuf,
    /// Its disks.
    #[command(flatten)]
    pub disks: RecordedDisks,
    /// Engine: auto, soft, plain, step or lockstep
    #[arg(long, default_value = "auto")]
    pub engine: String,
    /// Seed of all that is left to chance: entropy, timer delays, interrupt holds [default: the recording's]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Record the run; the recording begins where the snapshot stands
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// End the run this many ticks (conditional branches) after the snapshot [default: 100000000; for Linux, for firmware
    /// and for a person at the console none]
    #[arg(long, value_name = "TICKS")]
    pub limit: Option<u64>,
    /// Longest delay of a timer past its deadline, in nanoseconds of virtual time
    #[arg(long, default_value_t = 20_000, value_name = "NS")]
    pub timer_delay: u64,
    /// Longest hold of an interrupt after a timer has fired, in ticks
    #[arg(long, default_value_t = 64, value_name = "TICKS")]
    pub interrupt_hold: u32,
    /// With --record: ticks between checkpoints
    #[arg(long, default_value_t = 250_000, value_name = "TICKS", value_parser = clap::value_parser!(u64).range(1..))]
    pub checkpoint_every: u64,
    /// How it runs.
    #[command(flatten)]
    pub live: LiveOptions,
}

/// `replayvm gdb`
#[derive(Debug, Clone, Args)]
pub struct Gdb {
    /// The recording
    #[arg(required_unless_present = "print_python")]
    pub file: Option<PathBuf>,
    /// Its disks.
    #[command(flatten)]
    pub disks: RecordedDisks,
    /// Symbols of the guest: ELF file, System.map or a copy of /proc/kallsyms [default: of its image, or of the kernel's
    /// memory]
    #[arg(long, value_name = "FILE")]
    pub symbols: Option<PathBuf>,
    /// Where to listen: HOST:PORT, :PORT or PORT (on loopback), or the path of a Unix socket with a / in it [default:
    /// 127.0.0.1:1234; with --launch a private socket]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Where the cursor stands first: begin, end, or a position
    #[arg(long, default_value = "end", value_name = "POS")]
    pub at: String,
    /// As what debuggers are shown the machine first [default: as what the file of symbols is for, or the mode in which the
    /// guest stands]
    #[arg(long, default_value = "auto", hide_default_value = true, value_name = "ARCH")]
    pub arch: ShownAs,
    /// Start gdb here, connected, with the guest's symbols and commands that move along the recording
    #[arg(long)]
    pub launch: bool,
    /// Print these commands, for `source` in a gdb that is not started here: when, seek, mark, back, tt-marks,
    /// last-write, `$rvm_position`, and the position in the prompt
    #[arg(long, exclusive = true)]
    pub print_python: bool,
    /// Serve one gdb and end with it
    #[arg(long)]
    pub once: bool,
    /// With --launch: more arguments for gdb, after `--`
    #[arg(last = true, value_name = "GDB-ARGUMENT")]
    pub gdb_arguments: Vec<String>,
}

/// As what a debugger is shown the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ShownAs {
    /// By the file of symbols, or by the mode of the guest.
    Auto,
    /// 64-bit code.
    #[value(name = "x86-64")]
    X86_64,
    /// 32-bit code.
    I386,
    /// 16-bit code.
    I8086,
}

/// `replayvm tui`
#[derive(Debug, Args)]
pub struct Tui {
    /// The recording
    pub file: PathBuf,
    /// Its disks.
    #[command(flatten)]
    pub disks: RecordedDisks,
    /// Symbols of the guest: ELF file, System.map or a copy of /proc/kallsyms [default: of its image, or of the kernel's
    /// memory]
    #[arg(long, value_name = "FILE")]
    pub symbols: Option<PathBuf>,
    /// Another recording of the same machine, B: list where they part, and begin there. `B` then goes from one to the other
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// Where the cursor stands first: begin, end, or a position [default: begin; with --against where the CPU differs first]
    #[arg(long, value_name = "POS")]
    pub at: Option<String>,
    /// Print the position of the cursor at the end. The screen is then the terminal that the command belongs to, so that a shell
    /// can take what is printed
    #[arg(long)]
    pub print_position: bool,
}

/// `replayvm info`
#[derive(Debug, Args)]
pub struct Info {
    /// The recording
    pub file: PathBuf,
    /// Symbols of the guest: ELF file, System.map or a copy of /proc/kallsyms [default: of its image, or of the kernel's
    /// memory]
    #[arg(long, value_name = "FILE")]
    pub symbols: Option<PathBuf>,
    /// Replay it, and print what the engine has counted: natively run instructions, stretches, traps by kind
    #[arg(long)]
    pub engine_stats: bool,
    /// The engine that replays it for --engine-stats: auto, soft, kvm, plain, step or lockstep
    #[arg(long, default_value = "kvm", requires = "engine_stats")]
    pub engine: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `replayvm diff`
#[derive(Debug, Args)]
#[command(after_help = "Exit status: 0 the runs are equal, 1 they differ, 2 they cannot be compared.")]
pub struct Diff {
    /// A recording, A
    pub a: PathBuf,
    /// Another one of the same machine, B
    pub b: PathBuf,
    /// Exits that are shown of what both have in common, and of each side from where exits part; and inputs of each side
    #[arg(long, default_value_t = 5, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(..=10_000))]
    pub exits: u16,
    /// Symbols of the guest: ELF file, System.map or a copy of /proc/kallsyms [default: of its image, or of the kernel's
    /// memory]
    #[arg(long, value_name = "FILE")]
    pub symbols: Option<PathBuf>,
    /// Their disks.
    #[command(flatten)]
    pub disks: RecordedDisks,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `replayvm exits`
#[derive(Debug, Args)]
pub struct Exits {
    /// The recording
    pub file: PathBuf,
    /// Its disks.
    #[command(flatten)]
    pub disks: RecordedDisks,
    /// Symbols of the guest: ELF file, System.map or a copy of /proc/kallsyms [default: of its image, or of the kernel's
    /// memory]
    #[arg(long, value_name = "FILE")]
    pub symbols: Option<PathBuf>,
    /// List the exits instead of counting them
    #[arg(long)]
    pub list: bool,
    /// With --list: also where in the program each was made, by symbol. Replays the recording up to there, where a plain
    /// list only reads it
    #[arg(long = "where", requires = "list")]
    pub places: bool,
    /// Only exits of this kind, as the table names them
    #[arg(long)]
    pub kind: Option<String>,
    /// Only exits at or after this position
    #[arg(long, value_name = "POS")]
    pub from: Option<Position>,
    /// Only exits before this position
    #[arg(long, value_name = "POS")]
    pub to: Option<Position>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `replayvm console`
#[derive(Debug, Args)]
pub struct Console {
    /// The recording
    pub file: PathBuf,
    /// The console as it was at this position: what had been printed before it
    #[arg(long, value_name = "POS", conflicts_with_all = ["to", "line", "to_line"])]
    pub at: Option<Position>,
    /// Only what was printed at or after this position
    #[arg(long, value_name = "POS", conflicts_with_all = ["line", "to_line"])]
    pub from: Option<Position>,
    /// Only what was printed before this position
    #[arg(long, value_name = "POS", conflicts_with_all = ["line", "to_line"])]
    pub to: Option<Position>,
    /// Number the lines, each with the position at which its first byte was printed
    #[arg(long)]
    pub positions: bool,
    /// Only this line (the first is 1)
    #[arg(long, value_name = "N", conflicts_with = "to_line", value_parser = clap::value_parser!(u64).range(1..))]
    pub line: Option<u64>,
    /// Only the position of this line, for `replay --to`, `gdb --at` and others
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub to_line: Option<u64>,
    /// Which port: the serial port, the debug ports (0x402 and 0xe9), or all
    #[arg(long, value_enum, default_value = "all")]
    pub source: ConsoleSource,
    /// Bytes as the guest sent them; otherwise control characters and escape sequences are dropped, but line feeds, tabs
    /// and, on a terminal, colours
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
    /// Print JSON: a row a line
    #[arg(long)]
    pub json: bool,
}

/// Through what the guest prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ConsoleSource {
    /// All ports, in the order in which it printed.
    All,
    /// COM1.
    Serial,
    /// The debug ports.
    Debug,
}

/// `replayvm symbols`
#[derive(Debug, Args)]
pub struct Symbols {
    /// The recording
    pub file: PathBuf,
    /// Symbols of the guest: ELF file, System.map or a copy of /proc/kallsyms [default: of its image, or of the kernel's
    /// memory]
    #[arg(long, value_name = "FILE")]
    pub symbols: Option<PathBuf>,
    /// Write an ELF file with these symbols, for a debugger's `symbol-file`
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Look up a name, or what is at an address (0x...)
    #[arg(long, value_name = "NAME|ADDRESS")]
    pub find: Option<String>,
    /// Print JSON
    #[arg(long, conflicts_with = "find")]
    pub json: bool,
}

/// `replayvm corpora`
#[derive(Debug, Args)]
pub struct Corpora {
    /// Write the guests' ELF files into this folder, for other debuggers and hypervisors
    #[arg(long, value_name = "FOLDER")]
    pub export: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `replayvm doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `replayvm bench`
#[derive(Debug, Args)]
pub struct Bench {
    /// Millions of guest instructions of the long recording
    #[arg(long, default_value_t = 100)]
    pub instructions: u64,
    /// Random positions for seeks and reverse steps
    #[arg(long, default_value_t = 1000)]
    pub seeks: usize,
    /// Measure only seeks and reverse steps, in this recording
    #[arg(long, value_name = "FILE", conflicts_with = "instructions")]
    pub recording: Option<PathBuf>,
    /// Measure the terminal front end on this recording instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["instructions", "seeks", "recording"])]
    pub tui: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size: write bytes, or a number with K, M or G");
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

fn parse_disk_path(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.to_owned(), path.into())),
        _ => Err(format!("`{text}` does not say where a disk image is: write NAME=FILE")),
    }
}

fn parse_code(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("`{text}` is not a number"))
}

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("`{text}` is not a range of seeds: write A..B, for example 0..1000");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let range = from.parse().map_err(|_| wrong())?..to.parse().map_err(|_| wrong())?;
    if range.is_empty() { Err(format!("`{text}` holds no seed")) } else { Ok(range) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn sizes_seeds_and_codes_are_read_or_refused() {
        assert_eq!(parse_size("64M"), Ok(64 << 20));
        assert_eq!(parse_size("4096"), Ok(4096));
        assert!(parse_size("M").is_err());
        assert!(parse_size("99999999999G").is_err());
        assert_eq!(parse_seeds("3..9"), Ok(3..9));
        assert!(parse_seeds("9..3").is_err());
        assert_eq!(parse_disk_path("a.img=/b=c"), Ok(("a.img".to_owned(), "/b=c".into())));
        assert!(parse_disk_path("a.img").is_err() && parse_disk_path("=b").is_err());
        assert_eq!(parse_code("0x10"), Ok(16));
        assert!(parse_code("x").is_err());
    }
}
