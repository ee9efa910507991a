//! Hosts whose KVM cannot be used: absent, forbidden, or another thing by its name. The command says what is the matter and what
//! to do, and everything that does not need KVM works.
//!
//! Such hosts are made of this one: by another user, and by a mount namespace. Where neither can be had, tests say SKIPPED.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use replayvm_tests::{Finished, Replayvm, binary, folder, info, path_text};

/// A user who owns nothing.
const NOBODY: u32 = 65534;

/// A host, as a way to run the command with these arguments in this folder.
type Host<'a> = &'a dyn Fn(&Path, &[&str]) -> Finished;

/// What holds on every host without KVM; `what` and `advice` are what it must say of this one.
fn works_without_kvm(host: Host<'_>, what: &str, advice: &str) {
    let folder = folder();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let run = |arguments: &[&str]| host(folder.path(), arguments);

    let doctor = run(&["doctor", "--json"]).exits(0).json();
    let problem = doctor["kvm_problem"].as_str().unwrap();
    assert!(problem.starts_with(&format!("/dev/kvm {what}")) && problem.contains(advice), "{problem}");
    for engine in doctor["engines"].as_array().unwrap() {
        let name = engine["name"].as_str().unwrap();
        let usable = ["auto", "soft", "plain"].contains(&name);
        assert_eq!(engine["usable"], usable, "{engine}");
        assert!(usable || engine["problem"] == problem, "{engine}");
    }
    let text = run(&["doctor"]).exits(0);
    assert!(text.stdout.contains(&format!("kvm        not usable: {problem}\n")), "{text}");

    for engine in ["kvm", "step", "lockstep"] {
        let said = format!("engine `{engine}` cannot run here: {problem}");
        run(&["record", "lost-update", "--engine", engine, "--output", "no.rvm"]).refused(&[&said]);
        assert!(!folder.path().join("no.rvm").exists(), "{engine}");
    }
    // What is automatic falls back to the software CPU, in both directions.
    for engine in ["auto", "soft"] {
        let file = folder.path().join(format!("{engine}.rvm"));
        let options = ["--engine", engine, "--limit", "20000", "--output", path_text(&file)];
        run(&[&["record", "lost-update"], &options[..]].concat()).exits(0);
        run(&["replay", path_text(&file), "--engine", engine]).exits(0);
        assert_eq!(info(&file)["engine"], "soft");
    }
}

/// The command, by a user who may not open the device.
fn as_nobody(folder: &Path, arguments: &[&str]) -> Finished {
    let mut command = Command::new(binary());
    command.args(arguments).uid(NOBODY).gid(NOBODY).current_dir(folder);
    Replayvm::from_command(command).run()
}

#[test]
fn a_device_that_this_user_may_not_open() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root can run the command as another user");
        return;
    }
    let device = match fs::metadata("/dev/kvm") {
        Ok(device) => device,
        Err(error) => {
            println!("SKIPPED: /dev/kvm: {error}");
            return;
        }
    };
    if device.permissions().mode() & 0o006 != 0 {
        println!("SKIPPED: everybody may open /dev/kvm");
        return;
    }
    let mut trial = Command::new(binary());
    if let Err(error) = trial.arg("--version").uid(NOBODY).gid(NOBODY).output() {
        println!("SKIPPED: nobody may not run {}: {error}", binary().display());
        return;
    }
    works_without_kvm(&as_nobody, "may not be opened by this user", "join the group `kvm`");
}

/// The command, in a mount namespace in which the shell has done this before.
fn with_mounts(folder: &Path, mount: &str, arguments: &[&str]) -> Finished {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &format!("{mount} && exec \"$@\""), "sh"]);
    command.arg(binary()).args(arguments).current_dir(folder);
    Replayvm::from_command(command).run()
}

/// Whether there are mount namespaces here in which this can be done.
fn can_mount(mount: &str) -> bool {
    let tried = Command::new("unshare").args(["--mount", "sh", "-c", mount]).output();
    let there = tried.as_ref().is_ok_and(|output| output.status.success());
    if !there {
        println!("SKIPPED: `{mount}` in a mount namespace: {tried:?}");
    }
    there
}

#[test]
fn a_host_without_the_device() {
    let mount = "mount -t tmpfs none /dev";
    if can_mount(mount) {
        works_without_kvm(
            &|folder, arguments| with_mounts(folder, mount, arguments),
            "does not exist",
            "load the kvm module",
        );
    }
}

#[test]
fn another_thing_by_the_name_of_the_device() {
    for (thing, what) in
        [("touch /dev/kvm", "is not the device of KVM"), ("mkdir /dev/kvm", "is no device (Is a directory")]
    {
        let mount = format!("mount -t tmpfs none /dev && {thing}");
        if can_mount(&mount) {
            works_without_kvm(
                &|folder, arguments| with_mounts(folder, &mount, arguments),
                what,
                "mount a proper /dev",
            );
        }
    }
}
