//! Building with cargo what a test runs, from the sources as they are now.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cargo_metadata::Message;

/// The executable of the target with this name, built by cargo with these arguments, in the profile and the target folder of the
/// test that asks.
pub fn executable(target_name: &str, arguments: &[&str]) -> PathBuf {
    // TARGET/PROFILE/deps/TEST, or TARGET/TRIPLE/PROFILE/deps/TEST: cargo is told the first two parts and tells us the rest.
    let test = std::env::current_exe().expect("a test knows its own file");
    let profile_folder = test.ancestors().nth(2).expect("a test lies in target/PROFILE/deps");
    let profile = match profile_folder.file_name().and_then(OsStr::to_str).expect("a profile has a name") {
        "debug" => "dev",
        other => other,
    };
    let mut target = profile_folder.parent().expect("a profile lies in a target folder");
    // Cargo tags the target folder itself, and not the folder of a triple in it.
    let untagged = Some(target).filter(|folder| !folder.join("CACHEDIR.TAG").exists());
    let triple = untagged.and_then(Path::file_name);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).args(arguments);
    cargo.args(["--message-format=json-render-diagnostics", "--profile", profile]);
    if let Some(triple) = triple {
        cargo.arg("--target").arg(triple);
        target = target.parent().expect("a triple lies in a target folder");
    }
    cargo.arg("--target-dir").arg(target);
    let output = cargo.stderr(Stdio::inherit()).output().expect("cargo runs");
    assert!(output.status.success(), "{target_name} does not build");
    Message::parse_stream(output.stdout.as_slice())
        .filter_map(|message| match message.expect("cargo speaks JSON") {
            Message::CompilerArtifact(artifact) if artifact.target.name == target_name => artifact.executable,
            _ => None,
        })
        .last()
        .expect("cargo has built what it was asked for")
        .into()
}
