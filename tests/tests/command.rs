//! The command as a user meets it: its help, where it writes, and where gdb finds it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use recorder::Position;
use replayvm_tests::{Finished, Scene, end_of, folder, info, path_text, record, replay_end, replayvm};

fn run<const N: usize>(arguments: [&str; N]) -> Finished {
    replayvm(arguments).run()
}

#[test]
fn help_and_version_go_to_stdout_and_are_fine() {
    let help = run(["--help"]).exits(0);
    for subcommand in [
        "hunt", "record", "replay", "snapshot", "run", "gdb", "info", "diff", "exits", "corpora", "doctor",
        "bench",
    ] {
        assert!(help.stdout.contains(&format!("\n  {subcommand} ")), "{help}");
        let own = run([subcommand, "--help"]).exits(0);
        assert!(own.stdout.contains("Usage: replayvm"), "{own}");
        assert_eq!(own.stderr, "");
    }
    assert_eq!(help.stderr, "");
    let version = run(["--version"]).exits(0);
    assert_eq!(version.stdout, format!("replayvm {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn no_subcommand_and_an_unknown_one_are_bad_usage_with_a_hint() {
    let nothing = replayvm([""; 0]).run().exits(2);
    assert!(nothing.stderr.contains("Usage: replayvm"), "{nothing}");
    let unknown = run(["recrod", "lost-update"]).exits(2);
    assert!(unknown.stderr.contains("record"), "{unknown}");
}

#[test]
fn an_output_in_a_folder_that_is_not_there_is_refused() {
    record("lost-update", Path::new("/nowhere/run.rvm"), &[]).refused(&["/nowhere/run.rvm", "No such file"]);
    let hunt = run(["hunt", "lost-update", "--output", "/nowhere/run.rvm", "--json"]);
    hunt.refused(&["cannot write into /nowhere", "No such file"]);
}

#[test]
fn an_output_that_is_a_folder_is_refused() {
    let folder = folder();
    record("lost-update", folder.path(), &[]).refused(&[path_text(folder.path()), "directory"]);
    let hunt = run(["hunt", "lost-update", "--output", path_text(folder.path())]);
    hunt.refused(&[path_text(folder.path()), "directory", "--output"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_folder_without_permission_is_refused() {
    let folder = folder();
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(closed.join("probe"), "").is_ok() {
        println!("SKIPPED: this user may write everywhere (root)");
        return;
    }
    record("lost-update", &closed.join("run.rvm"), &[]).refused(&["closed/run.rvm", "Permission denied"]);
    let output = closed.join("run.rvm");
    run(["hunt", "lost-update", "--output", path_text(&output)])
        .refused(&["cannot write into", "Permission denied"]);
}

#[test]
fn a_device_without_space_is_an_error_that_names_it() {
    let finished = record("lost-update", Path::new("/dev/full"), &[]).exits(2);
    assert!(finished.stderr.contains("cannot write the recording /dev/full"), "{finished}");
    assert!(finished.stderr.contains("No space left"), "{finished}");
    assert!(!finished.stderr.contains('\x1b'), "colours for nobody: {finished}");
}

#[test]
fn a_port_that_somebody_else_has_is_refused_with_a_hint() {
    let scene = Scene::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    run(["gdb", path_text(&scene.recording), "--listen", &address])
        .refused(&[&address, "in use", "--listen"]);
}

#[test]
fn a_place_that_is_none_to_listen_at_is_refused() {
    let scene = Scene::new();
    let path = path_text(&scene.recording);
    run(["gdb", path, "--listen", "99999999"]).refused(&["cannot listen at `99999999`", "HOST:PORT"]);
    run(["gdb", path, "--listen", "/nowhere/socket"]).refused(&["/nowhere/socket", "No such file"]);
}

#[test]
fn a_position_beyond_the_end_is_refused_and_the_end_named() {
    let scene = Scene::new();
    let path = path_text(&scene.recording);
    let end = end_of(&info(&scene.recording)).position;
    let beyond = Position::new(end.tick, end.offset + 1).to_string();
    run(["gdb", path, "--at", &beyond]).refused(&[&beyond, "beyond the end", &end.to_string(), "--at end"]);
    run(["replay", path, "--to", &beyond]).refused(&[&beyond, "beyond the end", &end.to_string()]);
    let exactly = run(["replay", path, "--to", &end.to_string()]).exits(0);
    assert_eq!(replay_end(&exactly).position, end);
}
