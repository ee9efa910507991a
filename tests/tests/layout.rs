//! The directions of the workspace, and what lies at its top. `ARCHITECTURE.md` says why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, TargetKind};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn metadata() -> &'static Metadata {
    static READ: OnceLock<Metadata> = OnceLock::new();
    READ.get_or_init(|| {
        MetadataCommand::new()
            .current_dir(root())
            .cargo_path(env!("CARGO"))
            .no_deps()
            .exec()
            .expect("cargo metadata")
    })
}

/// The packages of the workspace that each of them uses, in kinds of dependency that `counts` chooses.
fn uses(counts: impl Fn(DependencyKind) -> bool) -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let packages = metadata().workspace_packages();
    let ours: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let of = |package: &&'static Package| {
        let used = package.dependencies.iter().filter(|dependency| counts(dependency.kind));
        used.map(|dependency| dependency.name.as_str()).filter(|name| ours.contains(name)).collect()
    };
    packages.iter().map(|package| (package.name.as_str(), of(package))).collect()
}

/// Who may use whom, in what is built for a user. Nothing else does.
const DIRECTIONS: &[(&str, &[&str])] = &[
    // Leaves.
    ("recorder", &[]),
    ("replayvm-cpu", &[]),
    // The hypervisor. It is the only one that knows the CPU.
    ("replayvm", &["recorder", "replayvm-cpu"]),
    // Front ends: `Timeline`, and the words of a recording (`Position`, `Exit`). What they show of the CPU comes
    // through `Timeline`.
    ("gdb-bridge", &["recorder", "replayvm"]),
    ("tui", &["recorder", "replayvm"]),
    // The command. It needs nothing of the CPU.
    ("replayvm-cli", &["corpora", "gdb-bridge", "recorder", "replayvm", "tui"]),
    // Guests: bytes for whoever boots them.
    ("corpora", &[]),
    // Helpers of these tests.
    ("replayvm-tests", &["recorder"]),
];

#[test]
fn every_crate_uses_exactly_the_crates_that_the_architecture_gives_it() {
    let expected: BTreeMap<_, BTreeSet<_>> =
        DIRECTIONS.iter().map(|(name, used)| (*name, used.iter().copied().collect())).collect();
    assert_eq!(uses(|kind| kind != DependencyKind::Development), expected);
}

#[test]
fn the_leaves_stay_leaves_in_their_tests() {
    let used = uses(|_| true);
    for leaf in ["recorder", "replayvm-cpu", "corpora"] {
        assert_eq!(used[leaf], BTreeSet::new(), "{leaf}");
    }
}

#[test]
fn nobody_but_the_tests_uses_a_front_end_or_the_command_to_test_itself() {
    let used = uses(|kind| kind == DependencyKind::Development);
    for (package, used) in used.into_iter().filter(|(package, _)| *package != "replayvm-tests") {
        for other in ["gdb-bridge", "tui", "replayvm-cli", "replayvm-tests"] {
            assert!(!used.contains(other), "{package} uses {other} in its tests");
        }
    }
}

#[test]
fn cargo_run_runs_the_command() {
    let metadata = metadata();
    let members: Vec<_> = metadata.workspace_default_packages().iter().map(|p| p.name.as_str()).collect();
    assert_eq!(members, ["replayvm-cli"]);
    let package =
        metadata.workspace_packages().into_iter().find(|p| p.name.as_str() == "replayvm-cli").unwrap();
    let binaries: Vec<_> = package
        .targets
        .iter()
        .filter(|t| t.kind.contains(&TargetKind::Bin))
        .map(|t| t.name.as_str())
        .collect();
    assert_eq!(binaries, ["replayvm"]);
}

/// What git knows about, by first part of the path; hidden names left out.
fn top_level() -> BTreeSet<String> {
    let output = std::process::Command::new("git")
        .current_dir(root())
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output();
    match output {
        Ok(output) if output.status.success() => {
            let paths = String::from_utf8(output.stdout).unwrap();
            let first = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
            paths.split_terminator('\0').map(first).filter(|name| !name.starts_with('.')).collect()
        }
        // An unpacked archive, or no git: then the folder is what there is.
        _ => {
            let names =
                std::fs::read_dir(root()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
            names.filter(|name| !name.starts_with('.') && name != "target").collect()
        }
    }
}

#[test]
fn the_given_names_are_at_the_top_and_no_folder_besides() {
    let top = top_level();
    let folders = ["corpora", "docs", "gdb-bridge", "recorder", "replayvm", "tests", "tui"];
    let files =
        ["ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "Cargo.lock", "Cargo.toml", "README.md"];
    for name in folders {
        assert!(root().join(name).is_dir(), "{name}/ is missing");
    }
    for name in files {
        assert!(top.contains(name), "{name} is missing");
    }
    for name in top.iter().filter(|name| root().join(name).is_dir()) {
        assert!(folders.contains(&name.as_str()), "{name}/ is not one of the folders given");
    }
}

/// Kinds of items that a contents page may have.
fn is_contents(line: &str) -> bool {
    let starts = ["mod ", "pub mod ", "pub use ", "use ", "pub(crate) mod ", "pub(crate) use "];
    let marks = ["#!", "#[", "//", "}"];
    line.is_empty() || starts.iter().chain(&marks).any(|start| line.starts_with(start))
}

#[test]
fn every_lib_rs_is_a_contents_page() {
    let packages = metadata().workspace_packages();
    let libraries = packages.iter().filter(|p| p.name.as_str() != "corpora").flat_map(|package| {
        let library = package.targets.iter().find(|t| t.kind.contains(&TargetKind::Lib));
        library.map(|target| PathBuf::from(target.src_path.clone()))
    });
    let mut looked_at = 0;
    for path in libraries {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!"), "{} does not say what the crate is", path.display());
        // Lines that begin an item: those that are not indented.
        for line in text.lines().filter(|line| !line.starts_with(' ')) {
            assert!(is_contents(line), "{}: `{line}` belongs into a module", path.display());
        }
        looked_at += 1;
    }
    assert!(looked_at >= 6, "only {looked_at} libraries");
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    for package in metadata().workspace_packages() {
        let text = std::fs::read_to_string(&package.manifest_path).unwrap();
        assert!(text.contains("[lints]\nworkspace = true"), "{}", package.manifest_path);
    }
}
