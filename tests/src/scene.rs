//! A short recording in a folder of its own, and what every reader and recorder must refuse.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::damage::copy_damaged;
use crate::{Finished, folder, path_text, record, replayvm};

/// A folder with a short recording in it.
pub struct Scene {
    /// Where the recording lies, and where more can be put.
    pub folder: TempDir,
    /// The recording.
    pub recording: PathBuf,
}

impl Scene {
    /// Records one.
    #[must_use]
    pub fn new() -> Self {
        let folder = folder();
        let recording = folder.path().join("run.rvm");
        record("rtc-rollover", &recording, &["--checkpoint-every", "100"]).exits(0);
        Self { folder, recording }
    }

    /// The path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A copy of the recording, changed.
    pub fn damaged(&self, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
        let path = self.path("damaged.rvm");
        copy_damaged(&self.recording, &path, change);
        path
    }

    /// A file with this in it.
    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }
}

/// A guest that is a file with this in it, recorded.
pub fn record_bytes(content: &[u8], options: &[&str]) -> Finished {
    let folder = folder();
    let guest = folder.path().join("guest");
    fs::write(&guest, content).unwrap();
    let finished = record(path_text(&guest), &folder.path().join("out.rvm"), options);
    assert!(!folder.path().join("out.rvm").exists(), "a refusal leaves a file: {finished}");
    finished
}

/// A guest of the corpora with options that it must be refused for.
pub fn record_corpora(options: &[&str]) -> Finished {
    let folder = folder();
    let finished = record("lost-update", &folder.path().join("out.rvm"), options);
    assert!(!folder.path().join("out.rvm").exists(), "a refusal leaves a file: {finished}");
    finished
}

/// Every subcommand that reads a recording must refuse this one, in the same words.
pub fn every_reader_refuses(path: &Path, words: &[&str]) {
    let path = path_text(path);
    for arguments in [
        &["replay", path][..],
        &["info", path],
        &["info", path, "--json"],
        &["exits", path],
        &["exits", path, "--list"],
        &["diff", path, path],
        &["gdb", path, "--listen", "127.0.0.1:0"],
    ] {
        let finished = replayvm(arguments).run().refused(words);
        assert_eq!(finished.stdout, "", "{finished}");
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}
