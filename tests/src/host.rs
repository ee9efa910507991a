//! What the host has, and what else it does.

use std::process::{Child, Command, Stdio};

/// Whether a program is there that says its version. If it is not, says that the test is skipped; where `CI` is `true` that is a
/// failure.
pub fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    let asked = command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let there = asked.status().is_ok_and(|status| status.success());
    if !there {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{program} not installed");
        println!("SKIPPED: {program} not installed");
    }
    there
}

/// A process that does nothing as fast as it can.
#[derive(Debug)]
pub struct Busy(Child);

impl Busy {
    /// Starts one.
    pub fn start() -> Self {
        let spinning = Command::new("sh").args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn();
        Self(spinning.expect("there is a shell"))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("our own child can be ended");
    }
}
