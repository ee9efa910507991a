//! The command `replayvm`: parses arguments, calls the libraries, prints.

/// Printing: numbers, sizes, progress, JSON. First, for its `print!` and `println!`.
#[macro_use]
mod output;

/// What the command line may say.
mod args;
/// One file a subcommand.
mod commands;
/// What went wrong, and the exit status it means.
mod failure;
/// Finding a guest by path or by corpora name.
mod guest;
/// What runs live.
mod live;
/// The machine of a file, told to a person.
mod machine;
/// Positions as a person writes them.
mod place;
/// The person's terminal during an interactive recording.
mod terminal;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;

use args::{Arguments, Command};
use failure::Failure;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let status = if error.use_stderr() { failure::BAD_INPUT } else { failure::FINE };
            // Nothing can be done about a terminal that is gone.
            let _ = error.print();
            return ExitCode::from(status);
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("REPLAYVM_LOG").unwrap_or_else(|_| "warn".into()),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    // A file that may not grow further is an error of the write, to be reported as one, and not the end of this process.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    match run(arguments) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.status)
        }
    }
}

fn run(arguments: Arguments) -> Result<u8, Failure> {
    match arguments.command {
        Command::Hunt(hunt) => commands::hunt::run(&hunt, &interrupt_flag()?),
        Command::Record(record) => commands::record::run(&record),
        Command::Snapshot(snapshot) => commands::snapshot::run(&snapshot),
        Command::Run(run) => commands::run::run(&run),
        Command::Replay(replay) => commands::replay::run(&replay, &interrupt_flag()?),
        Command::Gdb(gdb) => commands::gdb::run(&gdb),
        Command::Tui(tui) => commands::tui::run(&tui),
        Command::Info(info) => commands::info::run(&info, &interrupt_flag()?),
        Command::Diff(diff) => commands::diff::run(&diff, &interrupt_flag()?),
        Command::Exits(exits) => commands::exits::run(&exits),
        Command::Console(console) => commands::console::run(&console),
        Command::Symbols(symbols) => commands::symbols::run(&symbols),
        Command::Corpora(corpora) => commands::corpora::run(&corpora),
        Command::Doctor(doctor) => commands::doctor::run(&doctor),
        Command::Bench(bench) => commands::bench::run(&bench),
    }
}

/// Becomes true on the first Ctrl-C or SIGTERM; the second ends the process as usual.
pub(crate) fn interrupt_flag() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| Failure::internal(&error))?;
    }
    Ok(stop)
}
