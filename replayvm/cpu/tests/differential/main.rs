//! The host processor against the software CPU: generated instructions, one at a time, on both, from equal states.
//!
//! Environment:
//! - `REPLAYVM_DIFF_SEED`: the seed (default: fixed, so that the ordinary suite is reproducible).
//! - `REPLAYVM_DIFF_CASES`: how many cases in total.
//! - `REPLAYVM_DIFF_ONLY`: only codes or families whose name contains this.
//! - `REPLAYVM_DIFF_CASE`: only the case of this number, printed whether it agrees or not.
//! - `REPLAYVM_DIFF_VERBOSE`: print an example of each failing code, not of the first few only.
#![allow(clippy::disallowed_methods, reason = "a run is limited in time, and timed")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that clippy does not know as one"
)]

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod catalogue;
#[path = "../common/mod.rs"]
mod common;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod compare;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod generate;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod maker;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod native;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod processors;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod run;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod values;

use std::process::ExitCode;

fn main() -> ExitCode {
    // As much of the test harness's command line as cargo and nextest use.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|a| a == "--list") {
        if !arguments.iter().any(|a| a == "--ignored") {
            println!("differential: test");
        }
        return ExitCode::SUCCESS;
    }
    let filters: Vec<_> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let skipped = arguments.windows(2).any(|w| w[0] == "--skip" && "differential".contains(w[1].as_str()));
    if skipped || (!filters.is_empty() && !filters.iter().any(|f| "differential".contains(f.as_str()))) {
        return ExitCode::SUCCESS;
    }
    run()
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn run() -> ExitCode {
    run::run()
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn run() -> ExitCode {
    println!("SKIPPED: the oracle is an x86-64 Linux host, which this is not");
    ExitCode::SUCCESS
}
