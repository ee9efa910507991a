//! Recordings, made and looked at.

use std::path::Path;

use recorder::Position;
use serde_json::Value;
use tempfile::TempDir;

use crate::{Finished, replayvm};

/// A folder that goes away with the test.
pub fn folder() -> TempDir {
    tempfile::Builder::new().prefix("replayvm-e2e-").tempdir().expect("a folder")
}

/// A path as an argument.
pub fn path_text(path: &Path) -> &str {
    path.to_str().expect("a path of ours is text")
}

/// Records a guest into `file`, with more options.
pub fn record(guest: &str, file: &Path, options: &[&str]) -> Finished {
    let mut arguments = vec!["record", guest, "--output", path_text(file)];
    arguments.extend(options);
    replayvm(arguments).run()
}

/// What `replayvm info --json` says.
#[track_caller]
pub fn info(file: &Path) -> Value {
    replayvm(["info", path_text(file), "--json"]).run().exits(0).json()
}

/// Where a run ended, and as what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Where.
    pub position: Position,
    /// The digest of the machine there.
    pub digest: String,
}

/// What a text of the command calls a position.
#[track_caller]
pub fn position(text: &str) -> Position {
    text.parse().unwrap_or_else(|error| panic!("`{text}`: {error}"))
}

/// The last line of a replay: `end POSITION digest HEX`.
#[track_caller]
pub fn replay_end(finished: &Finished) -> Ended {
    match finished.last_line().split(' ').collect::<Vec<_>>()[..] {
        ["end", at, "digest", digest] => Ended { position: position(at), digest: digest.to_owned() },
        _ => panic!("the last line is not `end POSITION digest HEX`: {finished}"),
    }
}

/// The end of the run as `replayvm info` has it.
#[track_caller]
pub fn end_of(info: &Value) -> Ended {
    let text = |name: &str| match info["end"][name].as_str() {
        Some(text) => text.to_owned(),
        None => panic!("no `{name}` of an end in {info}"),
    };
    Ended { position: position(&text("position")), digest: text("digest") }
}
