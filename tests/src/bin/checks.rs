//! Everything that a change must pass besides the tests: `cargo checks`.

use std::process::{Command, ExitCode};

/// A check: the arguments of cargo, and an environment variable.
type Check = (&'static [&'static str], Option<(&'static str, &'static str)>);

/// What is run, in this order.
const CHECKS: &[Check] = &[
    (&["fmt", "--all", "--check"], None),
    (&["fmt", "--all", "--check", "--manifest-path", "corpora/guests/Cargo.toml"], None),
    (&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"], None),
    (&["doc", "--workspace", "--no-deps", "--quiet"], Some(("RUSTDOCFLAGS", "-D warnings"))),
    (&["deny", "--log-level", "error", "check", "licenses", "bans", "sources"], None),
];

fn main() -> ExitCode {
    for (arguments, environment) in CHECKS {
        println!("cargo {}", arguments.join(" "));
        let mut command = Command::new("cargo");
        command.args(*arguments);
        if let Some((name, value)) = environment {
            command.env(name, value);
        }
        match command.status() {
            Ok(status) if status.success() => {}
            Ok(status) => {
                println!("failed: {status}");
                return ExitCode::FAILURE;
            }
            Err(error) => {
                println!("cannot run: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("all checks passed");
    ExitCode::SUCCESS
}
