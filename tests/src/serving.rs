//! A recording, served to a debugger that comes by itself.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::command::{Replayvm, binary};
use crate::recording::path_text;

/// A server for one debugger. It ends with that, or with this.
#[derive(Debug)]
pub struct Serving {
    server: Child,
    address: String,
}

impl Serving {
    /// Serves a recording at a free port; `arguments` are more of `gdb`'s.
    pub fn start(recording: &Path, arguments: &[&str]) -> Self {
        let mut server = Command::new(binary())
            .args(["gdb", path_text(recording), "--once", "--listen", ":0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        // It says where it listens when it does.
        let mut stdout = BufReader::new(server.stdout.take().expect("a pipe"));
        stdout.read_line(&mut line).expect("the server says something");
        let address = line.split_once("target remote ").and_then(|(_, rest)| rest.split_once('\''));
        Self { server, address: address.expect("an address").0.to_owned() }
    }

    /// HOST:PORT.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What gdb prints that connects and is given these commands, complaints and the answers of `monitor` in their places.
    pub fn gdb(&self, before: &[&str], script: &[&str]) -> String {
        let connect = format!("target remote {}", self.address);
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" 2>&1", "gdb", "-nx", "-batch"]);
        command.args(before.iter().flat_map(|line| ["-ex", line])).args(["-ex", &connect]);
        command.args(script.iter().flat_map(|line| ["-ex", line]));
        Replayvm::from_command(command).run().exits(0).stdout
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It has ended by itself unless its test has failed.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
